// Published block patterns as masks of kept blocks, the form in which the permuted block family
// takes any pattern; called by api/.
#pragma once

#include "core/types.h"

namespace fattn {

/// Values are those of fattn_block_pattern_kind; api/ asserts it.
enum class BlockPatternKind : uint32 {
    kSinkWindow = 0,
    kStrided = 1,
    kFixed = 2,
    kRandomGlobal = 3,
    kPowerOfTwo = 4,
    kHeadWindows = 5,
    kHeadClasses = 6
};

/// Every kind sees the first sink_blocks and the blocks less than window_blocks away, and adds to
/// them. Fields as in fattn_block_pattern.
struct BlockPattern {
    BlockPatternKind kind;
    bool causal;
    int64 num_heads;
    int64 q_len;  // the last positions; kv_len - q_len is a multiple of block_size, not negative
    int64 kv_len;
    int64 block_size;
    int64 sink_blocks;
    int64 window_blocks;
    int64 stride_blocks;        // kStrided, kFixed
    int64 summary_blocks;       // kFixed
    int64 random_blocks;        // kRandomGlobal
    uint64 seed;                // kRandomGlobal
    const int64* head_windows;  // kHeadWindows: [num_heads]
    const uint8* streaming;     // kHeadClasses: [num_heads]

    int64 num_q_blocks() const { return ceil_div(q_len, block_size); }
    int64 num_kv_blocks() const { return ceil_div(kv_len, block_size); }
    int64 first_query_block() const { return (kv_len - q_len) / block_size; }
};

/// [num_heads, num_q_blocks, num_kv_blocks] of 0 and 1.
void write_block_mask(const BlockPattern& pattern, uint8* mask);

}  // namespace fattn
