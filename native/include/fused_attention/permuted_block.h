/*
 * Permuted block-sparse attention, for callers that let the data, a gate or a mask choose blocks:
 * its problem, the choice of blocks, the data of its runs, its functions.
 */
#ifndef FUSED_ATTENTION_PERMUTED_BLOCK_H
#define FUSED_ATTENTION_PERMUTED_BLOCK_H

#include "fused_attention/plan.h"
#include "fused_attention/run.h"
#include "fused_attention/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Bits of fattn_permuted_block_problem.flags. */
enum fattn_permuted_block_flags {
    /** scale was given; otherwise it is 1/sqrt(D). */
    FATTN_PERMUTED_BLOCK_HAS_SCALE = 1,
    /** coverage was given; otherwise it is 0.9. */
    FATTN_PERMUTED_BLOCK_HAS_COVERAGE = 2,
    /** Blocks of other segments after the query's are allowed, and no index mask is applied. */
    FATTN_PERMUTED_BLOCK_NON_CAUSAL = 4,
    /** The plan will also be run backward. */
    FATTN_PERMUTED_BLOCK_BACKWARD = 8,
    /** One permutation and one block mask per KV head: selection takes the mean over the query
     * heads of a KV head of their importances and of their block weights, and runs take equal ones
     * for them, which lets them read keys and values together. */
    FATTN_PERMUTED_BLOCK_SHARE_PERMUTATION = 16,
    /** Block scores from the maximum of a block instead of its mean. */
    FATTN_PERMUTED_BLOCK_MAX_POOL = 32,
    /** Gradients must be the same bits on every run. */
    FATTN_PERMUTED_BLOCK_DETERMINISTIC = 64
};

/**
 * Block-sparse attention whose keys are permuted inside segments so that few blocks matter.
 * nQ = ceil(Lq / query_block), nK = ceil(Lk / block_size). Query i stands at position i + Lk - Lq.
 * It sees a token when its query block keeps the block of the token's slot and, with causality,
 * the token is not past the query's position.
 */
typedef struct fattn_permuted_block_problem {
    /** sizeof(fattn_permuted_block_problem). */
    uint32_t struct_size;
    /** Bits of fattn_permuted_block_flags. */
    uint32_t flags;
    /** Queries [B, Hq, Lq, D]; with Lq < Lk the last Lq positions, Lk - Lq a multiple of
     * query_block. */
    fattn_layout q;
    /** Keys [B, Hk, Lk, D], Lk at least Lq. */
    fattn_layout k;
    /** Values [B, Hv, Lk, Dv]. */
    fattn_layout v;
    /** Output; rank 0: contiguous, dtype of q. */
    fattn_layout o;
    /** Gradient of o. Rank 0: the layout of o. */
    fattn_layout d_o;
    /** Gradient of q. */
    fattn_layout d_q;
    /** Gradient of k. */
    fattn_layout d_k;
    /** Gradient of v. */
    fattn_layout d_v;
    /** Key slots in a block; 0 means 128. */
    int64_t block_size;
    /** Key slots in a segment, a multiple of block_size; 0 means 256. */
    int64_t segment_size;
    /** Most blocks a row may keep, 0 for the worst case: room that a GPU sets aside. The CPU needs
     * none. Never changes results. */
    int64_t max_blocks;
    /** Share of the block weights that a row keeps, in (0, 1]; see
     * FATTN_PERMUTED_BLOCK_HAS_COVERAGE. */
    float coverage;
    /** Multiplies q.k, also in importances and block scores. */
    float scale;
    /** As in fattn_dense_problem. */
    uint32_t pointer_alignment;
    /** Zero. */
    uint32_t reserved;
    /** Queries that share a row of the block mask, a divisor of block_size; 0 means block_size, 1
     * gives every query a row of its own. */
    int64_t query_block;
} fattn_permuted_block_problem;

/** The data of one selection by importance and coverage. */
typedef struct fattn_permuted_block_select_args {
    /** sizeof(fattn_permuted_block_select_args). */
    uint32_t struct_size;
    /** Zero. */
    uint32_t flags;
    /** Queries, as the plan's q. */
    const void* q;
    /** Keys, as the plan's k. */
    const void* k;
    /** Written, [B, Hq, Lk]: the token of each slot. Inside complete segments by descending
     * importance, equal ones by ascending token; the identity elsewhere, and everywhere when Lk is
     * at most one segment. */
    int32_t* permutation;
    /** Written, [B, Hq, nQ, nK]: 1 for blocks that are kept, all blocks of the query block's own
     * segment and the block that holds token 0 among them. */
    uint8_t* block_mask;
    /** Written, [B, Hq, nQ]: share of the block weights that is kept, 1 where there was no block to
     * choose. May be NULL. */
    float* coverage;
} fattn_permuted_block_select_args;

/** How a gate chooses blocks; see fattn_block_gate_values. */
typedef uint32_t fattn_block_gate;
enum fattn_block_gate_values {
    /** The top_k highest scores, the query block's own block being always one of them. */
    FATTN_BLOCK_GATE_MOBA = 0,
    /** The top_k highest scores, and the own block. */
    FATTN_BLOCK_GATE_TOP_K = 1,
    /** Blocks whose softmax over all blocks that may be seen is at least threshold, and the own
     * block. */
    FATTN_BLOCK_GATE_THRESHOLD = 2
};

/**
 * The data of one selection by a gate. Blocks are those of tokens in their own order: the mask goes
 * with a run whose permutation is NULL. With causality blocks after the own one are never kept.
 */
typedef struct fattn_permuted_block_gate_args {
    /** sizeof(fattn_permuted_block_gate_args). */
    uint32_t struct_size;
    /** Zero. */
    uint32_t flags;
    /** Queries, as the plan's q; NULL with scores. */
    const void* q;
    /** Keys, as the plan's k; NULL with scores. */
    const void* k;
    /** [B, Hq, nQ, nK] scores, or NULL: the mean query of a query block times the mean key of a
     * block, unscaled. Query heads that share a mask take the mean of theirs. */
    const float* scores;
    /** Written, [B, Hq, nQ, nK]: 1 for blocks that are kept. */
    uint8_t* block_mask;
    /** MOBA and TOP_K: how many blocks, at least 1. */
    int64_t top_k;
    /** THRESHOLD: least weight, in [0, 1]. */
    float threshold;
    /** One of fattn_block_gate_values. */
    fattn_block_gate gate;
} fattn_permuted_block_gate_args;

/** What a run visits, to be asked about. */
typedef struct fattn_permuted_block_selection {
    /** sizeof(fattn_permuted_block_selection). */
    uint32_t struct_size;
    /** Zero. */
    uint32_t flags;
    /** [B, Hq, Lk] in host memory; NULL: each token in its own slot. */
    const int32_t* permutation;
    /** [B, Hq, nQ, nK] in host memory; NULL: every block is kept. */
    const uint8_t* block_mask;
} fattn_permuted_block_selection;

/** The data of one forward run of a permuted block plan. */
typedef struct fattn_permuted_block_forward_args {
    /** sizeof(fattn_permuted_block_forward_args). */
    uint32_t struct_size;
    /** Zero. */
    uint32_t flags;
    /** Queries. */
    const void* q;
    /** Keys. */
    const void* k;
    /** Values. */
    const void* v;
    /** Output; rows that see no key become 0. */
    void* o;
    /** [B, Hq, Lq] f32 or NULL; -inf for rows that see no key. */
    float* lse;
    /** [B, Hq, Lk]: the token of each slot, a permutation inside every segment. NULL: each token in
     * its own slot. */
    const int32_t* permutation;
    /** [B, Hq, nQ, nK] u8: blocks that are kept, anything but 0. NULL: all of them. */
    const uint8_t* block_mask;
} fattn_permuted_block_forward_args;

/** The data of one backward run of a permuted block plan. */
typedef struct fattn_permuted_block_backward_args {
    /** sizeof(fattn_permuted_block_backward_args). */
    uint32_t struct_size;
    /** Zero. */
    uint32_t flags;
    /** Queries. */
    const void* q;
    /** Keys. */
    const void* k;
    /** Values. */
    const void* v;
    /** Output of the forward run. */
    const void* o;
    /** LSE of the forward run. */
    const float* lse;
    /** Gradient of o. */
    const void* d_o;
    /** Gradient of lse or NULL. */
    const float* d_lse;
    /** [B, Hq, Lk] as in the forward run, or NULL. */
    const int32_t* permutation;
    /** [B, Hq, nQ, nK] as in the forward run, or NULL. */
    const uint8_t* block_mask;
    /** Gradient of q. */
    void* d_q;
    /** Gradient of k. */
    void* d_k;
    /** Gradient of v. */
    void* d_v;
} fattn_permuted_block_backward_args;

/** Makes a plan for permuted block-sparse attention. */
FATTN_API fattn_status fattn_permuted_block_plan(fattn_device* device,
                                                 const fattn_permuted_block_problem* problem,
                                                 fattn_plan** plan);

/** FATTN_STATUS_OK when fattn_permuted_block_plan would succeed; otherwise its status, the reason
 * in fattn_last_error. */
FATTN_API fattn_status fattn_supports_permuted_block(fattn_device* device,
                                                     const fattn_permuted_block_problem* problem);

/**
 * Chooses slots and blocks from the data: the last min(block_size, Lq) queries say how important
 * each key is, keys are sorted inside segments, pooled queries meet pooled keys of other (with
 * causality: earlier) segments, and each row keeps the shortest run of highest weights that reaches
 * coverage. Takes the workspace of a forward run. run may be NULL.
 */
FATTN_API fattn_status fattn_permuted_block_select(fattn_plan* plan,
                                                   const fattn_permuted_block_select_args* args,
                                                   const fattn_run* run);

/** Chooses blocks by a gate. Takes the workspace of a forward run. run may be NULL. */
FATTN_API fattn_status fattn_permuted_block_gate(fattn_plan* plan,
                                                 const fattn_permuted_block_gate_args* args,
                                                 const fattn_run* run);

/** Attention over a selection, forward. Index contents are checked on a CPU. run may be NULL. */
FATTN_API fattn_status fattn_permuted_block_forward(fattn_plan* plan,
                                                    const fattn_permuted_block_forward_args* args,
                                                    const fattn_run* run);

/** The gradient of fattn_permuted_block_forward, the selection being held fixed. run may be NULL.
 */
FATTN_API fattn_status fattn_permuted_block_backward(fattn_plan* plan,
                                                     const fattn_permuted_block_backward_args* args,
                                                     const fattn_run* run);

/**
 * Sums over what a run with this selection visits, in tiles of query_block queries and block_size
 * slots; of its own segment a tile visits the tokens up to its last query's position. (With
 * query_block 1 that is what the query sees, although a run computes neighbouring queries
 * together.) fattn_plan_schedule_stats counts for every block kept, and so does selection NULL.
 */
FATTN_API fattn_status fattn_permuted_block_stats(fattn_plan* plan,
                                                  const fattn_permuted_block_selection* selection,
                                                  fattn_schedule_stats* stats);

/** Tile map of one batch entry and query head for this selection, [nQ, nK] bytes of
 * fattn_tile_values; see fattn_permuted_block_stats and fattn_plan_schedule_tiles. */
FATTN_API fattn_status fattn_permuted_block_tiles(fattn_plan* plan,
                                                  const fattn_permuted_block_selection* selection,
                                                  int64_t batch, int64_t head, uint8_t* tiles,
                                                  uint64_t num_bytes);

#ifdef __cplusplus
}
#endif

#endif /* FUSED_ATTENTION_PERMUTED_BLOCK_H */
