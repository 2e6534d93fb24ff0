// The kernel tables that the machine of a test can run; used by the tests of the CPU kernels.
#pragma once

#include <vector>

#include "cpu/dispatch.h"
#include "support/sampling.h"

namespace fattn::cpu {

/// Tables of the targets that this machine runs and that are tested.
inline std::vector<const KernelTable*> tables() {
    std::vector<const KernelTable*> found;
    for (uint32 target = 1; target < 6; ++target) {
        if (!test::runs_target(target, targets_available())) continue;
        Choice choice;
        if (choose_target(static_cast<Target>(target), &choice).ok()) {
            found.push_back(choice.kernels);
        }
    }
    return found;
}

}  // namespace fattn::cpu
