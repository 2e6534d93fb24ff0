// What the backward does once a row besides its tiles: the row constants before them, and the sum
// of the query gradients of key chunks after them. Called through table.h.
#pragma once

#include "core/problem.h"
#include "core/types.h"
#include "cpu/generic/epilogue.h"
#include "cpu/generic/pack.h"
#include "cpu/generic/rows.h"
#include "cpu/kernels.h"

namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE {
namespace {

/// delta = sum of dO * O over a row, less the gradient of its LSE.
inline void backward_delta(const BackwardDeltaTask& task) {
    const DenseProblem& problem = *task.problem;
    const DenseBackwardArgs& args = *task.args;
    const RowSpace space = row_space(problem, args, nullptr, task.sequence, 0);
    const int64 o_bytes = bytes_of(problem.o.dtype);
    const int64 d_o_bytes = bytes_of(problem.d_o.dtype);
    for (int64 i = task.row_begin; i < task.row_end; ++i) {
        const Row row{i, task.head, 0, 0, nullptr};
        const char* o = space.q_row(problem.o, args.o, row);
        const char* d_o = space.q_row(problem.d_o, args.d_o, row);
        Vec sum(0.0F);
        for (int64 c = 0; c < problem.head_dim_v; c += kWidth) {
            const int64 n = min_of<int64>(kWidth, problem.head_dim_v - c);
            const Vec a = with_dtype(
                problem.o.dtype, [&]<DType kType>() { return load_as<kType>(o + c * o_bytes, n); });
            const Vec b = with_dtype(problem.d_o.dtype, [&]<DType kType>() {
                return load_as<kType>(d_o + c * d_o_bytes, n);
            });
            sum = fma(a, b, sum);
        }
        const int64 at = space.stat_index(row);
        task.delta[at] = reduce_add(sum) - (args.d_lse == nullptr ? 0.0F : args.d_lse[at]);
    }
}

/// Floats of a row of sums in a workspace, see BackwardTask::d_q and TokenSums.
FATTN_HD constexpr int64 sum_stride(int64 extent) { return round_up<int64>(extent, 16); }
static_assert(kMicroRows <= 16 && 16 % kWidth == 0,
              "register tiles stay in the room that BackwardTask::d_q leaves");

/// Writes d_q as the sum of the key chunks' parts, ascending.
inline void merge_d_q(const MergeDqTask& task) {
    const DenseProblem& problem = *task.problem;
    const DenseBackwardArgs& args = *task.args;
    const RowSpace space = row_space(problem, args, nullptr, task.sequence, 0);
    const int64 stride = sum_stride(problem.head_dim);
    for (int64 i = task.row_begin; i < task.row_end; ++i) {
        float* sums = task.parts + i * stride;
        for (int64 part = 1; part < task.num_parts; ++part) {
            const float* other = sums + part * task.part_stride;
            for (int64 c = 0; c < stride; c += kWidth) {
                store(sums + c, load(sums + c) + load(other + c));
            }
        }
        store_columns(problem.d_q.dtype,
                      space.q_row(problem.d_q, args.d_q, Row{i, task.head, 0, 0, nullptr}), sums,
                      problem.head_dim, problem.scale);
    }
}

/// Adds rows of sums, of extent floats at a distance of from_stride, to the rows of their tokens.
template <class TokenOf>
inline void scatter_rows(const float* from, int64 from_stride, int64 num_rows, int64 extent,
                         const TokenSums& to, const TokenOf& token_of) {
    const int64 stride = sum_stride(extent);
    const int64 columns = padded_columns(extent);
    for (int64 r = 0; r < num_rows; ++r) {
        const int64 token = token_of(r);
        const float* row = from + r * from_stride;
        float* sums = to.sums + token * stride;
        const bool first = to.touched[token] == 0;
        to.touched[token] = 1;
        for (int64 c = 0; c < columns; c += kWidth) {
            const Vec x = load(row + c);
            store(sums + c, first ? x : load(sums + c) + x);
        }
    }
}

/// Writes rows of a tensor as the sums of their parts, ascending.
inline void write_sums(const WriteSumsTask& task) {
    const TensorLayout& layout = *task.layout;
    const int64 extent = layout.shape[3];
    const int64 stride = sum_stride(extent);
    for (int64 i = task.row_begin; i < task.row_end; ++i) {
        float* sum = nullptr;
        for (int64 part = 0; part < task.num_parts; ++part) {
            if (task.sums.touched[part * task.part_rows + i] == 0) continue;
            float* other = task.sums.sums + (part * task.part_rows + i) * stride;
            if (sum == nullptr) {
                sum = other;
                continue;
            }
            for (int64 c = 0; c < padded_columns(extent); c += kWidth) {
                store(sum + c, load(sum + c) + load(other + c));
            }
        }
        if (sum == nullptr && !task.writes_zeros) continue;
        char* to = static_cast<char*>(task.data) +
                   (task.first + i * layout.strides[2]) * bytes_of(layout.dtype);
        if (sum != nullptr) {
            store_columns(layout.dtype, to, sum, extent, task.factor);
            continue;
        }
        with_dtype(layout.dtype, [&]<DType kType>() {
            for (int64 c = 0; c < extent; c += kWidth) {
                store_as<kType>(to + c * bytes_of(kType), Vec(0.0F),
                                min_of<int64>(kWidth, extent - c));
            }
        });
    }
}

}  // namespace
}  // namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE
