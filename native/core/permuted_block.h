// A validated permuted block-sparse problem, the data of its runs and its geometry (segments, key
// blocks, query blocks), as plain structs; made by api/, consumed by backends, planners and the
// reference.
//
// Query i stands at position i + Lk - Lq. Keys lie in slots; a permutation that never leaves a
// segment says which token a slot holds. A block mask keeps or drops, for each block of queries,
// each block of key slots. A query sees a token when the block of the token's slot is kept and,
// with causality, the token's index is not past the query's position.
#pragma once

#include "core/problem.h"
#include "core/types.h"

namespace fattn {

/// A dense problem without features (no windows, no mask, no bias, ...) and the pattern. Every
/// default is resolved; q_len is at most kv_len.
struct PermutedBlockProblem : DenseProblem {
    int64 block;        // key slots of a block
    int64 segment;      // key slots of a segment, a multiple of block
    int64 query_block;  // queries of a row of the block mask, a divisor of block and of Lk - Lq
    float coverage;     // share of the block scores that selection keeps, in (0, 1]
    bool causal;
    bool max_pool;  // blocks are scored by their maximum instead of their mean
    bool shared;    // query heads of a key head have one permutation and one block mask

    /// First query head of a key head; that of the next one ends the group.
    FATTN_HD constexpr int64 first_q_head(int64 k_head) const {
        return num_k_heads == 0 ? 0 : ceil_div(k_head * num_q_heads, num_k_heads);
    }

    FATTN_HD constexpr int64 num_key_blocks() const { return ceil_div(kv_len, block); }
    FATTN_HD constexpr int64 num_query_blocks() const { return ceil_div(q_len, query_block); }
    FATTN_HD constexpr int64 position(int64 query) const { return query + kv_len - q_len; }
    /// Segment of a slot or a position; a permutation does not change a token's segment.
    FATTN_HD constexpr int64 segment_of(int64 slot) const { return slot / segment; }
    FATTN_HD constexpr int64 segment_of_key_block(int64 key_block) const {
        return key_block * block / segment;
    }
    FATTN_HD constexpr int64 segment_of_query_block(int64 query_block_idx) const {
        return position(query_block_idx * query_block) / segment;
    }
    /// Key block that holds the positions of a query block, if no permutation moves them.
    FATTN_HD constexpr int64 own_block(int64 query_block_idx) const {
        return position(query_block_idx * query_block) / block;
    }
    /// Slots that a permutation may move: those of complete segments. None when one segment holds
    /// everything, because then no block is chosen.
    FATTN_HD constexpr int64 num_sorted() const {
        return kv_len <= segment ? 0 : kv_len / segment * segment;
    }
    /// The last queries, whose weights say how important a key is.
    FATTN_HD constexpr int64 num_judges() const { return min_of(block, q_len); }
    /// Whether the coverage of a query block's scores may choose a key block.
    FATTN_HD constexpr bool is_candidate(int64 query_block_idx, int64 key_block) const {
        const int64 own = segment_of_query_block(query_block_idx);
        const int64 of_key = segment_of_key_block(key_block);
        return causal ? of_key < own : of_key != own;
    }
};

/// What a selection by importance and coverage reads and writes.
struct PermutedBlockSelectArgs {
    const void* q;
    const void* k;
    int32* permutation;  // [B, Hq, Lk] token of each slot
    uint8* block_mask;   // [B, Hq, nQ, nK] 1: kept
    float* coverage;     // [B, Hq, nQ] share of the block scores that is kept; may be null
};

/// How a gate turns block scores into kept blocks. A query block's own key block is always kept.
enum class BlockGate : uint32 {
    kMoba = 0,      // the highest top_k, the own block counting as one of them
    kTopK = 1,      // the highest top_k
    kThreshold = 2  // those whose softmax over the blocks that may be seen is at least threshold
};

struct BlockGateArgs {
    BlockGate gate;
    const void* q;        // without scores
    const void* k;        // without scores
    const float* scores;  // [B, Hq, nQ, nK] given scores, or null: mean query times mean key
    uint8* block_mask;    // [B, Hq, nQ, nK]
    int64 top_k;
    float threshold;
};

/// Pointers of one forward run.
struct PermutedBlockForwardArgs {
    const void* q;
    const void* k;
    const void* v;
    void* o;
    float* lse;                // [B, Hq, Lq]; may be null
    const int32* permutation;  // [B, Hq, Lk]; null: every token in its own slot
    const uint8* block_mask;   // [B, Hq, nQ, nK]; null: every block is kept
};

/// Pointers of one backward run; any gradient may be null.
struct PermutedBlockBackwardArgs {
    const void* q;
    const void* k;
    const void* v;
    const void* o;
    const float* lse;
    const void* d_o;
    const float* d_lse;  // may be null
    const int32* permutation;
    const uint8* block_mask;
    void* d_q;
    void* d_k;
    void* d_v;
};

}  // namespace fattn
