// What read-modify-writes compute: of one element, from the old value and the operands. Used by
// atomics and bulk reductions.
#pragma once

#include <cstdint>

#include "ptx/types.h"

namespace fattn::vgpu {

enum class Rmw : uint8_t { kAdd, kMin, kMax, kAnd, kOr, kXor, kExch, kCas, kInc, kDec };

// Who adds floats: atomics on device memory flush subnormal f32, and those on shared memory alone
// make NaNs of f64 quiet.
enum class RmwUnit { kDevice, kShared, kBulk };

// Bits of the new value; the operands are the bits of `type`, and `c` counts for kCas alone.
uint64_t compute_rmw(ptx::Type type, Rmw what, uint64_t old, uint64_t b, uint64_t c, RmwUnit unit);

}  // namespace fattn::vgpu
