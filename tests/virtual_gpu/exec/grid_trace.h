// What a grid did to device memory, for grids that may begin before it has ended: programmatic
// dependents. Made by run_grid, looked at by the accesses of the grids behind it.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "exec/global_shadow.h"
#include "exec/program.h"

namespace fattn::vgpu {

// In what a thread knows of other clusters, the number of the grids before its own: it knows of
// them once griddepcontrol.wait is ordered before it.
inline constexpr uint32_t kGridsBefore = 0xfffffffe;

class GridTrace {
  public:
    // `waited` says that a thread of the grid executed griddepcontrol.wait, so that the grid's end
    // is behind that of the one before it.
    GridTrace(std::string name, GlobalShadow&& shadow, std::shared_ptr<const Program> program,
              bool waited)
        : name_(std::move(name)),
          shadow_(std::move(shadow)),
          program_(std::move(program)),
          waited_(waited) {}

    bool waited() const { return waited_; }
    // Faults when the grid touched these bytes in a way that conflicts with this access;
    // `has_ended`: one that does not mind that the grid is known to have ended.
    void need_apart(Warp& warp, const Op& op, uint32_t lane, const MemoryBlock& block,
                    uint64_t address, uint32_t bytes, AccessFlags flags, bool writes,
                    bool has_ended) const;

  private:
    std::string name_;
    GlobalShadow shadow_;
    std::shared_ptr<const Program> program_;
    bool waited_;
};

// An access of a grid that was launched as a programmatic dependent: grids before it that the lane
// does not know to have ended must not have touched these bytes, and none of them have written what
// a non-coherent load reads.
void need_grids_before(Warp& warp, const Op& op, uint32_t lane, const MemoryBlock& block,
                       uint64_t address, uint32_t bytes, AccessFlags flags, bool writes,
                       bool non_coherent = false);

}  // namespace fattn::vgpu
