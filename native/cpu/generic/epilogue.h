// The end of a softmax row: normalise, convert, write O and LSE; and merges of partial rows. Called
// by the forward and decode loops and by table.h.
#pragma once

#include "core/epilogue.h"
#include "core/problem.h"
#include "core/softmax_state.h"
#include "core/types.h"
#include "cpu/generic/math.h"
#include "cpu/generic/pack.h"
#include "cpu/generic/rows.h"
#include "cpu/kernels.h"

namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE {
namespace {

/// Stores columns of f32 as the dtype of a layout.
FATTN_HD inline void store_columns(DType dtype, char* to, const float* from, int64 count,
                                   float factor) {
    with_dtype(dtype, [&]<DType kType>() {
        for (int64 c = 0; c < count; c += kWidth) {
            store_as<kType>(to + c * bytes_of(kType),
                            load_first(from + c, min_of<int64>(kWidth, count - c)) * Vec(factor),
                            min_of<int64>(kWidth, count - c));
        }
    });
}

/// Writes one finished row.
inline void write_row(const RowSpace& space, const DenseForwardArgs& args, const Row& row,
                      float max, float sum, const float* o) {
    const DenseProblem& problem = *space.problem;
    const RowEnd<float> end = finish(SoftmaxState<float>{max, sum});
    store_columns(problem.o.dtype, space.q_row(problem.o, args.o, row), o, problem.head_dim_v,
                  end.o_factor);
    if (args.lse != nullptr) args.lse[space.stat_index(row)] = end.lse;
}

/// Whether a row sees a key.
FATTN_HD inline bool row_sees(const RowSpace& space, const Row& row, int64 key) {
    if (key < row.begin || key >= row.end) return false;
    if (row.bits != nullptr) return bit_shows(row, key);
    const DenseProblem& problem = *space.problem;
    if (!problem.has_mask) return true;
    const int64 at = problem.mask.row(space.sequence.entry, row.head, row.query) + key;
    return mask_shows(space.mask, problem.mask.dtype, at);
}

/// Stores the unnormalised states of a task's rows as ForwardTask::partial says.
FATTN_HD inline void write_partial(float* partial, int64 num_rows, int64 extent, const float* max,
                                   const float* sum, const float* o, int64 o_stride) {
    const int64 stride = round_up<int64>(extent, 16);
    for (int64 r = 0; r < num_rows; ++r) {
        partial[r] = max[r];
        partial[num_rows + r] = sum[r];
        float* to = partial + 2 * num_rows + r * stride;
        for (int64 c = 0; c < extent; c += kWidth) {
            store_first(to + c, load(o + r * o_stride + c), min_of<int64>(kWidth, extent - c));
        }
    }
}

/// Adds one partial state to another: both unnormalised, maxima in base 2.
inline void merge_state(float* max, float* sum, float* o, float other_max, float other_sum,
                        const float* other_o, int64 columns) {
    SoftmaxState<float> state{*max, *sum};
    const MergeFactors<float> factor = merge(&state, SoftmaxState<float>{other_max, other_sum});
    *max = state.max;
    *sum = state.sum;
    for (int64 c = 0; c < columns; c += kWidth) {
        store(o + c,
              fma(load(other_o + c), Vec(factor.of_other), load(o + c) * Vec(factor.of_state)));
    }
}

/// Merges partial states of consecutive key ranges in ascending order and writes the rows.
inline void merge_partials(const MergePartialsTask& task) {
    const DenseProblem& problem = *task.problem;
    const RowSpace space =
        row_space(problem, *task.args, task.gathered, task.sequence, task.first_head);
    const int64 num_rows = task.row_end - task.row_begin;
    const int64 stride = round_up<int64>(problem.head_dim_v, 16);
    for (int64 r = 0; r < num_rows; ++r) {
        float* max = task.partial + r;
        float* sum = task.partial + num_rows + r;
        float* o = task.partial + 2 * num_rows + r * stride;
        for (int64 part = 1; part < task.num_parts; ++part) {
            const float* other = task.partial + part * task.part_stride;
            merge_state(max, sum, o, other[r], other[num_rows + r],
                        other + 2 * num_rows + r * stride, stride);
        }
        write_row(space, *task.args, space.row(task.row_begin + r, 0, 0), *max, *sum, o);
    }
}

/// Public merge of finished partial results, rows [row_begin, row_end) of the flattened [B, H, L].
inline void merge_rows(const MergeProblem& problem, int64 row_begin, int64 row_end) {
    const int64 heads = problem.part.shape[1];
    const int64 tokens = problem.part.shape[2];
    const int64 columns = problem.part.shape[3];
    for (int64 r = row_begin; r < row_end; ++r) {
        const int64 b = r / (heads * tokens);
        const int64 h = r / tokens % heads;
        const int64 i = r % tokens;
        float max = -kInfinity;
        for (int64 p = 0; p < problem.num_parts; ++p) {
            const float lse = problem.lse_parts[p][r];
            if (!(lse <= max)) max = lse;
        }
        float sum = 0.0F;
        if (max != -kInfinity) {
            for (int64 p = 0; p < problem.num_parts; ++p) {
                sum += fattn::exp2((problem.lse_parts[p][r] - max) * kLog2E);
            }
        }
        const float lse = sum == 0.0F ? -kInfinity : max + __builtin_logf(sum);
        // Weights come from exact differences: the rounded lse would cost its own size in
        // precision.
        const float inverse_sum = sum == 0.0F ? 0.0F : 1.0F / sum;
        for (int64 c = 0; c < columns; c += kWidth) {
            const int64 n = min_of<int64>(kWidth, columns - c);
            Vec acc(0.0F);
            for (int64 p = 0; p < problem.num_parts; ++p) {
                const float part_lse = problem.lse_parts[p][r];
                if (part_lse == -kInfinity) continue;
                const float weight = fattn::exp2((part_lse - max) * kLog2E) * inverse_sum;
                const char* from =
                    byte_offset(problem.o_parts[p],
                                (problem.part.row(b, h, i) + c) * bytes_of(problem.part.dtype));
                acc = fma(with_dtype(problem.part.dtype,
                                     [&]<DType kType>() { return load_as<kType>(from, n); }),
                          Vec(weight), acc);
            }
            char* to = static_cast<char*>(problem.out) +
                       (problem.o.row(b, h, i) + c) * bytes_of(problem.o.dtype);
            with_dtype(problem.o.dtype, [&]<DType kType>() { store_as<kType>(to, acc, n); });
        }
        if (problem.lse != nullptr) problem.lse[r] = lse;
    }
}

}  // namespace
}  // namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE
