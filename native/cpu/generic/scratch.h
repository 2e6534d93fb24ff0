// Cuts a task's scratch memory into aligned pieces; used by the tile loops to lay it out and to say
// how much they need.
#pragma once

#include "core/types.h"

namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE {
namespace {

class Scratch {
  public:
    explicit Scratch(void* memory) : memory_(static_cast<char*>(memory)) {}

    /// The next piece of count objects, 64-byte aligned; null when there is no memory and only
    /// used() matters.
    template <class T>
    T* take(int64 count) {
        char* piece = memory_ == nullptr ? nullptr : memory_ + used_;
        used_ += round_up<uint64>(static_cast<uint64>(count) * sizeof(T), 64);
        return reinterpret_cast<T*>(piece);
    }
    uint64 used() const { return used_; }

  private:
    char* memory_;
    uint64 used_ = 0;
};

}  // namespace
}  // namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE
