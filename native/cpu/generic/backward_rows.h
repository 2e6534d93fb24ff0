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

/// Floats of a row of BackwardTask::d_q.
FATTN_HD constexpr int64 d_q_sum_stride(const DenseProblem& problem) {
    return round_up<int64>(problem.head_dim, 16);
}
static_assert(kMicroRows <= 16 && 16 % kWidth == 0,
              "register tiles stay in the room that BackwardTask::d_q leaves");

/// Writes d_q as the sum of the key chunks' parts, ascending.
inline void merge_d_q(const MergeDqTask& task) {
    const DenseProblem& problem = *task.problem;
    const DenseBackwardArgs& args = *task.args;
    const RowSpace space = row_space(problem, args, nullptr, task.sequence, 0);
    const int64 stride = d_q_sum_stride(problem);
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

}  // namespace
}  // namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE
