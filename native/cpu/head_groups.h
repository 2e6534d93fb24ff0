// The groups of query heads that a backward task must keep together because they add to the same
// key or value gradients; used by the CPU backward.
#pragma once

#include <vector>

#include "core/problem.h"

namespace fattn::cpu {

/// Query heads [first, first + count); no other head shares a key head or a value head with them.
struct HeadGroup {
    int64 first;
    int64 count;
};

/// The smallest such groups, ascending. Both head maps are monotone, so a group ends wherever both
/// step to a new head.
inline std::vector<HeadGroup> head_groups(const DenseProblem& problem) {
    std::vector<HeadGroup> groups;
    for (int64 h = 0; h < problem.num_q_heads; ++h) {
        const bool starts = h == 0 || (problem.k_head(h) != problem.k_head(h - 1) &&
                                       problem.v_head(h) != problem.v_head(h - 1));
        if (starts) groups.push_back({h, 0});
        ++groups.back().count;
    }
    return groups;
}

}  // namespace fattn::cpu
