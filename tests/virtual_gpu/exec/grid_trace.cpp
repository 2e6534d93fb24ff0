// The rule of programmatic dependent launches: what the grids before did is behind
// griddepcontrol.wait.
#include "exec/grid_trace.h"

#include "exec/cta.h"
#include "exec/grid.h"
#include "exec/warp.h"

namespace fattn::vgpu {

void GridTrace::need_apart(Warp& warp, const Op& op, uint32_t lane, const MemoryBlock& block,
                           uint64_t address, uint32_t bytes, AccessFlags flags, bool writes,
                           bool has_ended) const {
    bool wrote = false;
    const GlobalCell* const found =
        shadow_.find_conflict(block, address, bytes, flags, writes, wrote);
    if (!found) return;
    if (has_ended) {
        warp.fault(op, lane, FaultKind::kRace,
                   "a non-coherent load (.nc, __ldg) reads what the grid before, " + name_ +
                       ", wrote, which may have run when this one began",
                   "the earlier access is " + describe_op(*program_, found->pc), address);
    }
    char place[32];
    std::snprintf(place, sizeof place, "0x%llx", static_cast<unsigned long long>(address));
    warp.fault(op, lane, FaultKind::kRace,
               std::string(writes ? "writes" : "reads") + " device memory at " + place +
                   ", which the grid before, " + name_ + ", " + (wrote ? "wrote" : "read") +
                   "; griddepcontrol.wait must stand before this",
               "the earlier access is " + describe_op(*program_, found->pc), address);
}

void need_grids_before(Warp& warp, const Op& op, uint32_t lane, const MemoryBlock& block,
                       uint64_t address, uint32_t bytes, AccessFlags flags, bool writes,
                       bool non_coherent) {
    const bool knows = warp.knowledge.ordered_across(lane, kGridsBefore, 0, 1);
    // A wait is for the grid before, and so for what that one has waited for.
    bool ended = knows;
    for (const auto& trace : warp.grid.launch.before) {
        if (!ended || non_coherent)
            trace->need_apart(warp, op, lane, block, address, bytes, flags, writes, ended);
        ended = ended && trace->waited();
    }
}

}  // namespace fattn::vgpu
