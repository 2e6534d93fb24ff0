// Where the lists of a gathered tile and other per-thread parts lie in a workspace; used by
// gathered_forward.cpp and gathered_backward.cpp.
#pragma once

#include <cstddef>

#include "core/types.h"
#include "cpu/gatherer.h"

namespace fattn::cpu {

/// Hands out consecutive parts of a workspace, each on a cache line of its own. Without memory it
/// only counts, so that one function says both how much is needed and where things are.
class WorkspaceParts {
  public:
    explicit WorkspaceParts(std::byte* memory) : memory_(memory) {}

    template <class T>
    T* take(int64 count) {
        std::byte* part = memory_ == nullptr ? nullptr : memory_ + used_;
        used_ += round_up<uint64>(static_cast<uint64>(count) * sizeof(T), 64);
        return reinterpret_cast<T*>(part);
    }
    uint64 used() const { return used_; }

  private:
    std::byte* memory_;
    uint64 used_ = 0;
};

inline GatherBuffer take_buffer(const GatherCapacity& capacity, WorkspaceParts& parts) {
    return {.rows = parts.take<GatheredRow>(capacity.rows),
            .tokens = parts.take<int32>(capacity.slots),
            .bits = parts.take<uint64>(capacity.words),
            .scratch = parts.take<std::byte>(static_cast<int64>(capacity.scratch))};
}

}  // namespace fattn::cpu
