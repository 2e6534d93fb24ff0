// How dense and gathered backward runs are cut alike, and the pass over rows that both begin with;
// used by dense_backward.cpp and gathered_backward.cpp.
#pragma once

#include "backend/status.h"
#include "core/problem.h"
#include "cpu/kernels.h"
#include "cpu/parallel.h"

namespace fattn::cpu {

constexpr int64 kRowsOfTask = 512;  // of passes over rows

/// Chunks that kv_len keys are cut into when there are num_tasks pairs of a batch entry and a head
/// group. Depends on the problem alone, so that results do not depend on threads.
constexpr int64 num_key_chunks(int64 num_tasks, int64 kv_len) {
    constexpr int64 kEnoughTasks = 16;  // from here on keys are not cut
    constexpr int64 kMostChunks = 8;
    constexpr int64 kChunkKeys = 2048;  // fewest keys worth a chunk of their own
    return num_tasks >= kEnoughTasks
               ? 1
               : clamp_to<int64>(ceil_div(kv_len, kChunkKeys), 1, kMostChunks);
}

/// Delta of every row, [B, Hq, Lq].
inline Status find_deltas(const DenseProblem& problem, const KernelTable& table,
                          const DenseBackwardArgs& args, int num_threads, const int32* cancel,
                          float* delta) {
    const int64 blocks = ceil_div(problem.q_len, kRowsOfTask);
    return parallel_for(
        problem.batch * problem.num_q_heads * blocks, num_threads, cancel, [&](int64 task, int) {
            const int64 outer = task / blocks;
            const Sequence sequence = sequence_of(problem, args, outer / problem.num_q_heads);
            const int64 begin = task % blocks * kRowsOfTask;
            table.backward_delta({.problem = &problem,
                                  .args = &args,
                                  .sequence = sequence,
                                  .head = outer % problem.num_q_heads,
                                  .row_begin = begin,
                                  .row_end = min_of(begin + kRowsOfTask, sequence.q_len),
                                  .delta = delta});
        });
}

}  // namespace fattn::cpu
