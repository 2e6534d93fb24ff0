// The gradient of a bias that several heads or batch entries share: weights are recomputed and
// their gradients added in ascending order. Called through table.h.
#pragma once

#include "core/problem.h"
#include "core/types.h"
#include "cpu/generic/backward_scores.h"
#include "cpu/generic/pack.h"
#include "cpu/generic/scratch.h"
#include "cpu/kernels.h"

namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE {
namespace {

/// Scratch of one bias gradient task: a row tile and one key tile.
struct BackwardBiasScratch {
    BackwardScoreScratch score;
    float* k;  // [panels of keys][words of D][kPanel]
    float* v;  // [panels of keys][words of Dv][kPanel]

    template <class Dot>
    static BackwardBiasScratch take(const DenseProblem& problem, Scratch& scratch) {
        BackwardBiasScratch s{};
        s.score = BackwardScoreScratch::take<Dot>(problem, scratch);
        s.k = scratch.take<float>(kBackwardKeys * words_of<Dot>(problem.head_dim));
        s.v = scratch.take<float>(kBackwardKeys * words_of<Dot>(problem.head_dim_v));
        return s;
    }
};

/// Packs keys [key, end), at most kBackwardKeys, of a head of K or V into panels.
template <class Dot>
inline void pack_key_panels(const TensorLayout& layout, const TokenRows& rows, int64 key, int64 end,
                            float* to) {
    const int64 extent = layout.shape[3];
    for (int64 j = 0; j < kBackwardKeys && key + j < end; j += kPanel) {
        pack_transposed<Dot, kPanel>(
            layout.dtype, [&](int64 r) { return rows.row(key + j + r); }, end - key - j, extent,
            to + j * words_of<Dot>(extent));
    }
}

/// Adds to d_bias, which is zero where no other task writes, what rows [row, row + kBackwardRows)
/// of the task's entries and heads give.
template <class Dot>
void backward_bias(const BackwardBiasTask& task) {
    const DenseProblem& problem = *task.problem;
    const DenseBackwardArgs& args = *task.args;
    Scratch memory(task.scratch);
    const auto scratch = BackwardBiasScratch::take<Dot>(problem, memory);
    for (int64 b = task.entry_begin; b < task.entry_end; ++b) {
        const Sequence sequence = sequence_of(problem, args, b);
        if (task.row >= sequence.q_len) continue;
        BackwardScores<Dot> scores(problem, args, nullptr, sequence, 0, task.delta,
                                   BiasGradient::kAdd, scratch.score);
        for (int64 h = task.head_begin; h < task.head_end; ++h) {
            const TokenRows k_rows =
                token_rows(problem, problem.k, args.k, nullptr, sequence, problem.k_head(h));
            const TokenRows v_rows =
                token_rows(problem, problem.v, args.v, nullptr, sequence, problem.v_head(h));
            scores.start_rows(h * sequence.q_len + task.row,
                              min_of<int64>(kBackwardRows, sequence.q_len - task.row));
            scores.pack_rows(true);
            for (int64 key = scores.first_key() / kBackwardKeys * kBackwardKeys;
                 key < scores.last_key(); key += kBackwardKeys) {
                if (task.cancel != nullptr && __atomic_load_n(task.cancel, __ATOMIC_RELAXED) != 0) {
                    return;
                }
                pack_key_panels<Dot>(problem.k, k_rows, key, sequence.kv_len, scratch.k);
                pack_key_panels<Dot>(problem.v, v_rows, key, sequence.kv_len, scratch.v);
                scores.weigh(scratch.k, scratch.v, key);
            }
        }
    }
}

}  // namespace
}  // namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE
