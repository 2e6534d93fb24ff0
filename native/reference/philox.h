// The dropout generator of dense attention, Philox4x32-10, written from its publication; used by
// the reference and by the tests of the library's own generator.
#pragma once

#include <array>

#include "core/types.h"

namespace fattn::reference {

/// Four random words of a counter under a 64-bit key (low word first).
std::array<uint32, 4> philox4x32_10(std::array<uint32, 4> counter, std::array<uint32, 2> key);

/// One place of the attention matrix as dropout sees it.
struct DropoutPlace {
    int64 entry;  // batch entry, or sequence of a packed batch
    int64 q_head;
    int64 num_q_heads;
    int64 q_idx;   // index plus position offset
    int64 kv_idx;  // index plus position offset
};

/// Whether the weight at a place is kept when each is dropped with probability p.
bool dropout_keeps(const DropoutPlace& place, double p, uint64 seed, uint64 offset);

}  // namespace fattn::reference
