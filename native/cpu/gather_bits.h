// The bits of gathered rows (GatheredRow::bits), set in runs; used by the gatherers.
#pragma once

#include "core/types.h"
#include "cpu/gathered_tile.h"

namespace fattn::cpu {

/// Sets bits [begin, end).
inline void set_bits(uint64* bits, int64 begin, int64 end) {
    while (begin < end) {
        const int64 first = begin % kBitsOfWord;
        const int64 count = min_of(kBitsOfWord - first, end - begin);
        bits[begin / kBitsOfWord] |= ~uint64{0} >> (kBitsOfWord - count) << first;
        begin += count;
    }
}

}  // namespace fattn::cpu
