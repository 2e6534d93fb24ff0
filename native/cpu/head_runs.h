// Consecutive query heads that share a key head and a value head, and the groups of them that share
// gradients; used by the CPU dense kernel.
#pragma once

#include <vector>

#include "core/problem.h"

namespace fattn::cpu {

/// Query heads [first, first + count) use one key head and one value head.
struct HeadRun {
    int64 first;
    int64 count;
};

/// All runs in ascending order. The maps floor(h * Hk / Hq) and floor(h * Hv / Hq) are monotone, so
/// equal heads are neighbours.
inline std::vector<HeadRun> head_runs(const DenseProblem& problem) {
    std::vector<HeadRun> runs;
    for (int64 h = 0; h < problem.num_q_heads; ++h) {
        const bool same = !runs.empty() && problem.k_head(h) == problem.k_head(runs.back().first) &&
                          problem.v_head(h) == problem.v_head(runs.back().first);
        if (same) {
            ++runs.back().count;
        } else {
            runs.push_back({h, 1});
        }
    }
    return runs;
}

}  // namespace fattn::cpu
