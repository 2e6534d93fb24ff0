/*
 * S2 attention, for callers whose heads share the context out in shards: its problem, the data of
 * its runs, its functions, what its heads cover.
 */
#ifndef FUSED_ATTENTION_S2_H
#define FUSED_ATTENTION_S2_H

#include "fused_attention/run.h"
#include "fused_attention/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Bits of fattn_s2_problem.flags. */
enum fattn_s2_flags {
    /** scale was given; otherwise it is 1/sqrt(D). */
    FATTN_S2_HAS_SCALE = 1,
    /** The relative two-sided pattern instead of the causal one. */
    FATTN_S2_NON_CAUSAL = 2,
    /** One pattern per query head instead of per KV head. */
    FATTN_S2_PATTERN_PER_QUERY_HEAD = 4,
    /** All heads use the pattern of head 0. */
    FATTN_S2_HOMOGENEOUS = 8,
    /** The plan will also be run backward. */
    FATTN_S2_BACKWARD = 16,
    /** Gradients must be the same bits on every run. */
    FATTN_S2_DETERMINISTIC = 32
};

/**
 * Sharded attention: each head sees a local band and its own share of the distant blocks. Query
 * i has position p = i + Lk - Lq and block qb = floor(p / block_size) (runs may move queries and
 * keys by whole blocks). It sees key j of block kb when j <= p and (qb - kb < local_blocks or block
 * kb is of the head's shard, see head_offset); with FATTN_S2_NON_CAUSAL when max(0, qb - kb -
 * local_blocks + 1) + max(0, kb - qb - local_blocks
 * + 1) is a multiple of vertical_stride.
 */
typedef struct fattn_s2_problem {
    /** sizeof(fattn_s2_problem). */
    uint32_t struct_size;
    /** Bits of fattn_s2_flags. */
    uint32_t flags;
    /** Queries [B, Hq, Lq, D]; with Lq < Lk the last Lq positions. Hq is at most 65536. */
    fattn_layout q;
    /** Keys [B, Hk, Lk, D]. */
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
    /** Tokens in a block, at least 1. */
    int64_t block_size;
    /** Blocks of the local band on one side, the current one included, at least 1. */
    int64_t local_blocks;
    /** Every vertical_stride-th distant block is seen, at least 1. */
    int64_t vertical_stride;
    /** Added to the block number before the stride is taken: head h sees distant block kb when
     * (kb + h * step + head_offset) mod vertical_stride = 0, with step = max(1, floor(
     * vertical_stride / Hq)). Not used by FATTN_S2_NON_CAUSAL. */
    int64_t head_offset;
    /** The last dense_heads pattern heads see everything. Not used by FATTN_S2_HOMOGENEOUS. */
    int64_t dense_heads;
    /** Multiplies q.k. */
    float scale;
    /** As in fattn_dense_problem. */
    uint32_t pointer_alignment;
} fattn_s2_problem;

/** The data of one forward run of an S2 plan. */
typedef struct fattn_s2_forward_args {
    /** sizeof(fattn_s2_forward_args). */
    uint32_t struct_size;
    /** Zero. */
    uint32_t flags;
    /** Queries. */
    const void* q;
    /** Keys. */
    const void* k;
    /** Values. */
    const void* v;
    /** Output. */
    void* o;
    /** [B, Hq, Lq] f32 or NULL. */
    float* lse;
    /** Added to the positions of queries, for a shard of a longer sequence; a multiple of
     * block_size. The pattern counts blocks of these positions. */
    int64_t q_position_offset;
    /** Added to the positions of keys: key j stands at position j + k_position_offset; a multiple
     * of block_size. Runs over the shards of the keys of a sequence, merged (fattn_merge), are the
     * run over all of them. */
    int64_t k_position_offset;
} fattn_s2_forward_args;

/** The data of one backward run of an S2 plan. */
typedef struct fattn_s2_backward_args {
    /** sizeof(fattn_s2_backward_args). */
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
    /** Gradient of q. */
    void* d_q;
    /** Gradient of k. */
    void* d_k;
    /** Gradient of v. */
    void* d_v;
    /** As in the forward run. */
    int64_t q_position_offset;
    /** As in the forward run. */
    int64_t k_position_offset;
} fattn_s2_backward_args;

/** How much of the context the heads of an S2 plan see together. Written by fattn_s2_coverage_of.
 */
typedef struct fattn_s2_coverage {
    /** In: sizeof(fattn_s2_coverage). Out: bytes written. */
    uint32_t struct_size;
    /** Zero. */
    uint32_t flags;
    /** Pairs of a query block and a key block that dense attention would see. */
    int64_t allowed_blocks;
    /** Those of them that no head sees. More than 0 is worth a warning. */
    int64_t unseen_blocks;
    /** Shards of the distant blocks: vertical_stride, or 1 for FATTN_S2_NON_CAUSAL. */
    int64_t num_shards;
    /** Shards that no head sees at a distance; 0 for FATTN_S2_NON_CAUSAL. */
    int64_t unseen_shards;
} fattn_s2_coverage;

/** Makes a plan for S2 attention. Checks everything that does not need the data. */
FATTN_API fattn_status fattn_s2_plan(fattn_device* device, const fattn_s2_problem* problem,
                                     fattn_plan** plan);

/** FATTN_STATUS_OK when fattn_s2_plan would succeed; otherwise its status, the reason in
 * fattn_last_error. */
FATTN_API fattn_status fattn_supports_s2(fattn_device* device, const fattn_s2_problem* problem);

/** S2 attention, forward. run may be NULL. */
FATTN_API fattn_status fattn_s2_forward(fattn_plan* plan, const fattn_s2_forward_args* args,
                                        const fattn_run* run);

/** S2 attention, backward: recomputes the weights from q, k and lse. run may be NULL. */
FATTN_API fattn_status fattn_s2_backward(fattn_plan* plan, const fattn_s2_backward_args* args,
                                         const fattn_run* run);

/** Which part of the context the heads of an S2 plan see together. */
FATTN_API fattn_status fattn_s2_coverage_of(fattn_plan* plan, fattn_s2_coverage* coverage);

/**
 * Which key blocks of a key head some query at position first_position or later may see, also past
 * the plan's last query (FATTN_S2_NON_CAUSAL: up to the last key): what a cache has to keep once
 * all earlier queries are done. needed has ceil(Lk / block_size) bytes, 1 for a needed block, else
 * 0; num_bytes is its size.
 */
FATTN_API fattn_status fattn_s2_needed_blocks(fattn_plan* plan, int64_t k_head,
                                              int64_t first_position, uint8_t* needed,
                                              uint64_t num_bytes);

#ifdef __cplusplus
}
#endif

#endif /* FUSED_ATTENTION_S2_H */
