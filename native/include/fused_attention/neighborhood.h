/*
 * Neighborhood attention, for callers whose tokens lie on a grid: its problem, the data of its
 * runs, its functions.
 */
#ifndef FUSED_ATTENTION_NEIGHBORHOOD_H
#define FUSED_ATTENTION_NEIGHBORHOOD_H

#include "fused_attention/run.h"
#include "fused_attention/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Bits of fattn_neighborhood_problem.flags. */
enum fattn_neighborhood_flags {
    /** scale was given; otherwise it is 1/sqrt(D). */
    FATTN_NEIGHBORHOOD_HAS_SCALE = 1,
    /** Runs come with additional keys and values that every query sees. */
    FATTN_NEIGHBORHOOD_HAS_ADDITIONAL_KV = 2,
    /** The plan will also be run backward. */
    FATTN_NEIGHBORHOOD_BACKWARD = 4,
    /** Gradients must be the same bits on every run. */
    FATTN_NEIGHBORHOOD_DETERMINISTIC = 8
};

/** Neighborhood attention over a token grid of one to three dimensions, tokens row-major. */
typedef struct fattn_neighborhood_problem {
    /** sizeof(fattn_neighborhood_problem). */
    uint32_t struct_size;
    /** Bits of fattn_neighborhood_flags. */
    uint32_t flags;
    /** Queries [B, Hq, prod(grid), D]. */
    fattn_layout q;
    /** Keys [B, Hk, prod(grid), D]. */
    fattn_layout k;
    /** Values [B, Hk, prod(grid), Dv]. */
    fattn_layout v;
    /** Output; rank 0: contiguous, dtype of q. */
    fattn_layout o;
    /** Additional keys [B, Hk, E, D]. */
    fattn_layout additional_k;
    /** Additional values [B, Hk, E, Dv]. */
    fattn_layout additional_v;
    /** Gradient of o. Rank 0: the layout of o. */
    fattn_layout d_o;
    /** Gradients; rank 0: shape and strides of the tensor they belong to. */
    fattn_layout d_q;
    /** Gradient of k. */
    fattn_layout d_k;
    /** Gradient of v. */
    fattn_layout d_v;
    /** Grid extents; entries past num_axes are ignored. */
    int64_t grid[3];
    /** Keys a query sees along each axis. */
    int64_t kernel_size[3];
    /** Queries that share a window along each axis; 0 means 1. */
    int64_t stride[3];
    /** Distance between neighbouring keys of a window; 0 means 1. */
    int64_t dilation[3];
    /** Nonzero: keys after the query along this axis are hidden. */
    uint32_t causal[3];
    /** Number of axes, 1 to 3. */
    uint32_t num_axes;
    /** Multiplies q.k. */
    float scale;
    /** As in fattn_dense_problem. */
    uint32_t pointer_alignment;
    /** Gradient of additional_k; rank 0: shape and strides of additional_k. */
    fattn_layout d_additional_k;
    /** Gradient of additional_v. */
    fattn_layout d_additional_v;
} fattn_neighborhood_problem;

/** The data of one forward run of a neighborhood plan. */
typedef struct fattn_neighborhood_forward_args {
    /** sizeof(fattn_neighborhood_forward_args). */
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
    /** Additional keys. */
    const void* additional_k;
    /** Additional values. */
    const void* additional_v;
} fattn_neighborhood_forward_args;

/** The data of one backward run of a neighborhood plan. */
typedef struct fattn_neighborhood_backward_args {
    /** sizeof(fattn_neighborhood_backward_args). */
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
    /** Additional keys. */
    const void* additional_k;
    /** Additional values. */
    const void* additional_v;
    /** Gradient of q. */
    void* d_q;
    /** Gradient of k. */
    void* d_k;
    /** Gradient of v. */
    void* d_v;
    /** Gradient of additional_k. */
    void* d_additional_k;
    /** Gradient of additional_v. */
    void* d_additional_v;
} fattn_neighborhood_backward_args;

/**
 * Makes a plan for neighborhood attention. A token x of an axis with dilation d sees keys y of its
 * own group, y mod d = x mod d, in a window of kernel_size tokens of the group around x. stride
 * queries share the window of their middle one (their last one on a causal axis). An even window
 * has one more key before the query than behind it. At the ends of an axis the window is shifted so
 * that it keeps its size; on a causal axis it ends with the query and is cut at the start. A key is
 * seen when every axis sees it. Needed: 1 <= stride <= kernel_size and
 * kernel_size * dilation <= grid.
 */
FATTN_API fattn_status fattn_neighborhood_plan(fattn_device* device,
                                               const fattn_neighborhood_problem* problem,
                                               fattn_plan** plan);

/** FATTN_STATUS_OK when fattn_neighborhood_plan would succeed; otherwise its status, the reason in
 * fattn_last_error. */
FATTN_API fattn_status fattn_supports_neighborhood(fattn_device* device,
                                                   const fattn_neighborhood_problem* problem);

/** Neighborhood attention, forward. run may be NULL. */
FATTN_API fattn_status fattn_neighborhood_forward(fattn_plan* plan,
                                                  const fattn_neighborhood_forward_args* args,
                                                  const fattn_run* run);

/** Neighborhood attention, backward: recomputes the weights from q, k and lse. run may be NULL. */
FATTN_API fattn_status fattn_neighborhood_backward(fattn_plan* plan,
                                                   const fattn_neighborhood_backward_args* args,
                                                   const fattn_run* run);

#ifdef __cplusplus
}
#endif

#endif /* FUSED_ATTENTION_NEIGHBORHOOD_H */
