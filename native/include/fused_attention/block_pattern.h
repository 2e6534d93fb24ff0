/*
 * Published patterns of kept blocks, for callers that want one as the mask of permuted block
 * attention.
 */
#ifndef FUSED_ATTENTION_BLOCK_PATTERN_H
#define FUSED_ATTENTION_BLOCK_PATTERN_H

#include "fused_attention/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Published block pattern; see fattn_block_pattern_kind_values. */
typedef uint32_t fattn_block_pattern_kind;

/** Every kind sees the first sink_blocks and the blocks less than window_blocks away; d is the
 * distance of a query block qb and a key block kb. */
enum fattn_block_pattern_kind_values {
    /** Nothing else (StreamingLLM, arXiv:2309.17453). */
    FATTN_BLOCK_PATTERN_SINK_WINDOW = 0,
    /** d mod stride_blocks = 0 (Sparse Transformer, arXiv:1904.10509). */
    FATTN_BLOCK_PATTERN_STRIDED = 1,
    /** The query's own group of stride_blocks, and the last summary_blocks of every group (Sparse
     * Transformer). */
    FATTN_BLOCK_PATTERN_FIXED = 2,
    /** random_blocks others, drawn with seed for each head and query block; without causality the
     * first sink_blocks also see everything (BigBird, arXiv:2007.14062). */
    FATTN_BLOCK_PATTERN_RANDOM_GLOBAL = 3,
    /** d a power of two (PowerAttention, arXiv:2503.03588). */
    FATTN_BLOCK_PATTERN_POWER_OF_TWO = 4,
    /** head_windows in place of window_blocks (MoA, arXiv:2406.14909). */
    FATTN_BLOCK_PATTERN_HEAD_WINDOWS = 5,
    /** Everything, for heads that head_streaming does not name (DuoAttention, arXiv:2410.10819). */
    FATTN_BLOCK_PATTERN_HEAD_CLASSES = 6
};

/** Bits of fattn_block_pattern.flags. */
enum fattn_block_pattern_flags {
    /** Key blocks after the query's are allowed. */
    FATTN_BLOCK_PATTERN_NON_CAUSAL = 1
};

/** A published pattern over blocks of tokens. */
typedef struct fattn_block_pattern {
    /** sizeof(fattn_block_pattern). */
    uint32_t struct_size;
    /** Bits of fattn_block_pattern_flags. */
    uint32_t flags;
    /** Which pattern. */
    fattn_block_pattern_kind kind;
    /** Zero. */
    uint32_t reserved;
    /** Heads, H. */
    int64_t num_heads;
    /** Queries, the last of kv_len positions. */
    int64_t q_len;
    /** Keys; kv_len - q_len is a multiple of block_size, 0 or more. */
    int64_t kv_len;
    /** Tokens in a block, at least 1. */
    int64_t block_size;
    /** First blocks that every query sees, 0 or more. */
    int64_t sink_blocks;
    /** Blocks of the window on one side, the query's own included, 0 or more. */
    int64_t window_blocks;
    /** STRIDED, FIXED: at least 1. */
    int64_t stride_blocks;
    /** FIXED: 0 to stride_blocks. */
    int64_t summary_blocks;
    /** RANDOM_GLOBAL: 0 or more. */
    int64_t random_blocks;
    /** RANDOM_GLOBAL: key of the generator. */
    uint64_t seed;
    /** HEAD_WINDOWS: [H] blocks, each 0 or more. */
    const int64_t* head_windows;
    /** HEAD_CLASSES: [H], nonzero for heads that see only sinks and window. */
    const uint8_t* head_streaming;
} fattn_block_pattern;

/**
 * Writes a published pattern as a mask of kept blocks, [H, nQ, nK] of 0 and 1 with nQ = ceil(q_len
 * / block_size) and nK = ceil(kv_len / block_size): the form that permuted block attention takes.
 * num_bytes is the size of mask and must be at least that many.
 */
FATTN_API fattn_status fattn_block_pattern_mask(const fattn_block_pattern* pattern, uint8_t* mask,
                                                uint64_t num_bytes);

#ifdef __cplusplus
}
#endif

#endif /* FUSED_ATTENTION_BLOCK_PATTERN_H */
