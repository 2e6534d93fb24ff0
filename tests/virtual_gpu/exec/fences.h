// What fences and acquiring or releasing accesses do to the order between threads. Used by loads,
// stores, atomics and fences.
#pragma once

#include <cstdint>

namespace fattn::vgpu {

class Warp;

// Between clusters order is not tracked access by access: a cluster that has acquired is believed
// to be ordered after others.
void acquire_fence(Warp& warp, uint32_t mask);
void release_fence(Warp& warp, uint32_t mask);

}  // namespace fattn::vgpu
