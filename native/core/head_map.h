// Which query heads read a head of keys or values; asked by device code, whose products of two
// numbers of heads leave 32 bits.
#pragma once

#include "core/types.h"

namespace fattn {

/// The head, of num_heads, that a query head reads: floor(q_head * num_heads / num_q_heads).
FATTN_HD constexpr int64 head_of_q_head(int64 q_head, int64 num_heads, int64 num_q_heads) {
    return q_head * num_heads / num_q_heads;
}

/// The first query head that reads a head; that of the next head ends those that do.
FATTN_HD constexpr int64 first_q_head_of(int64 head, int64 num_heads, int64 num_q_heads) {
    return ceil_div(head * num_q_heads, num_heads);
}

}  // namespace fattn
