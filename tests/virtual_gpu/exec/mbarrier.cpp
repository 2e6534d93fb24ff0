// Phases of mbarrier objects.
#include "exec/mbarrier.h"

namespace fattn::vgpu {

bool settle_phase(Mbarrier& barrier) {
    if (barrier.pending != 0 || barrier.transactions != 0) return false;
    ++barrier.phase;
    barrier.pending = barrier.expected;
    barrier.completed = std::move(barrier.current);
    barrier.current = {};
    barrier.arrived = std::move(barrier.arriving);
    barrier.arriving.clear();
    return true;
}

std::string MbarrierTable::describe() const {
    std::string made;
    for (const auto& [offset, barrier] : table_) {
        made += "\n  mbarrier at shared byte " + std::to_string(offset) + ": phase " +
                std::to_string(barrier.phase) + ", pending " + std::to_string(barrier.pending) +
                " of " + std::to_string(barrier.expected) + ", bytes outstanding " +
                std::to_string(barrier.transactions);
    }
    return made;
}

}  // namespace fattn::vgpu
