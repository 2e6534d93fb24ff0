/*
 * Linear attention with decay, for callers whose layers have no softmax: its problem, the data of
 * its runs, its functions.
 */
#ifndef FUSED_ATTENTION_LIGHTNING_H
#define FUSED_ATTENTION_LIGHTNING_H

#include "fused_attention/run.h"
#include "fused_attention/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Bits of fattn_lightning_problem.flags. */
enum fattn_lightning_flags {
    /** scale was given; otherwise it is 1. */
    FATTN_LIGHTNING_HAS_SCALE = 1,
    /** Runs come with an initial state. */
    FATTN_LIGHTNING_HAS_INITIAL_STATE = 2,
    /** The plan will also be run backward. */
    FATTN_LIGHTNING_BACKWARD = 4,
    /** Every token sees every token: the sum runs over all u, with weight exp(-slope |t-u|). States
     * keep their meaning: what came before the first token, and what all tokens leave. */
    FATTN_LIGHTNING_NON_CAUSAL = 8,
    /** Outputs are divided by the sum of their weights, so that scale cancels; a row whose weights
     * add up to 0 (to less than the smallest normal f32) is 0, and so are its gradients. States
     * have one more column: the decayed sum of the features of the keys. A backward run then needs
     * 8 bytes of workspace for every row. */
    FATTN_LIGHTNING_NORMALIZE = 16
};

/** Feature map of linear attention; see fattn_feature_map_values. */
typedef uint32_t fattn_feature_map;
enum fattn_feature_map_values {
    /** None. */
    FATTN_FEATURE_MAP_IDENTITY = 0,
    /** elu(x) + 1. */
    FATTN_FEATURE_MAP_ELU_PLUS_ONE = 1,
    /** max(x, 0). */
    FATTN_FEATURE_MAP_RELU = 2,
    /** softmax over the head dim. */
    FATTN_FEATURE_MAP_SOFTMAX = 3,
    /** Second-order Taylor expansion of exp: 1 + D + D (D + 1) / 2 features, in this order 1;
     * x_a / D^(1/4); and row by row x_a^2 / sqrt(2 D), then x_a x_b / sqrt(D) for b > a. Their
     * inner product is 1 + s + s^2 / 2 with s = q.k / sqrt(D). D at most 128. Arora et al. 2024,
     * arXiv:2402.18668. */
    FATTN_FEATURE_MAP_TAYLOR2 = 4
};

/**
 * Linear attention with a decay per head: o_t = scale * sum over u <= t of exp(-slope (t-u))
 * (q_t.k_u) v_u, q and k after the feature map; no 1/sqrt(D), and no division unless asked for.
 *
 * A state is [F, E] f32, F features (D, or those of FATTN_FEATURE_MAP_TAYLOR2) by E = Dv columns
 * (Dv + 1 with FATTN_LIGHTNING_NORMALIZE): sum over u <= t of exp(-slope (t-u)) k_u v_u^T after
 * token t. The final state of a run is the initial state of the run over the tokens that follow,
 * and the state of fattn_lightning_step.
 */
typedef struct fattn_lightning_problem {
    /** sizeof(fattn_lightning_problem). */
    uint32_t struct_size;
    /** Bits of fattn_lightning_flags. */
    uint32_t flags;
    /** Queries [B, Hq, L, D]. */
    fattn_layout q;
    /** Keys [B, Hk, L, D]. */
    fattn_layout k;
    /** Values [B, Hk, L, Dv]. */
    fattn_layout v;
    /** Output [B, Hq, L, Dv], f32 or dtype of q; rank 0: contiguous, dtype of q. */
    fattn_layout o;
    /** Gradient of o. Rank 0: the layout of o. */
    fattn_layout d_o;
    /** Gradient of q, f32 or dtype of q. Rank 0: the layout of q. */
    fattn_layout d_q;
    /** Gradient of k, as d_q. */
    fattn_layout d_k;
    /** Gradient of v, as d_q. */
    fattn_layout d_v;
    /** Multiplies o. */
    float scale;
    /** Applied to q and k; the gradients are those of q and k before it. */
    fattn_feature_map feature_map;
    /** As in fattn_dense_problem. */
    uint32_t pointer_alignment;
    /** Zero. */
    uint32_t reserved;
} fattn_lightning_problem;

/** The data of one forward run (or one recurrent step) of a lightning plan. */
typedef struct fattn_lightning_forward_args {
    /** sizeof(fattn_lightning_forward_args). */
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
    /** [Hq] decay per token, finite and >= 0; 0 is no decay. */
    const float* slopes;
    /** [B, Hq, F, E] f32, contiguous; NULL in a plan without FATTN_LIGHTNING_HAS_INITIAL_STATE and
     * in a step. */
    const float* initial_state;
    /** [B, Hq, F, E] f32, contiguous, or NULL. In a step: the state before the token, which becomes
     * the one after it. */
    float* final_state;
} fattn_lightning_forward_args;

/** The data of one backward run of a lightning plan. */
typedef struct fattn_lightning_backward_args {
    /** sizeof(fattn_lightning_backward_args). */
    uint32_t struct_size;
    /** Zero. */
    uint32_t flags;
    /** Queries. */
    const void* q;
    /** Keys. */
    const void* k;
    /** Values. */
    const void* v;
    /** [Hq] decay per token. */
    const float* slopes;
    /** [B, Hq, F, E] f32 as in the forward run. */
    const float* initial_state;
    /** Gradient of o. */
    const void* d_o;
    /** Gradient of the final state, [B, Hq, F, E] f32, or NULL for 0. */
    const float* d_final_state;
    /** Gradient of q; like every gradient NULL where it is not wanted. */
    void* d_q;
    /** Gradient of k. */
    void* d_k;
    /** Gradient of v. */
    void* d_v;
    /** Gradient of the initial state, [B, Hq, F, E] f32. */
    float* d_initial_state;
} fattn_lightning_backward_args;

/**
 * Makes a plan for linear attention. Checks everything that does not need the data. The plan has no
 * schedule: fattn_plan_schedule_stats and _tiles are FATTN_STATUS_UNSUPPORTED.
 */
FATTN_API fattn_status fattn_lightning_plan(fattn_device* device,
                                            const fattn_lightning_problem* problem,
                                            fattn_plan** plan);

/** FATTN_STATUS_OK when fattn_lightning_plan would succeed; otherwise its status, the reason in
 * fattn_last_error. */
FATTN_API fattn_status fattn_supports_lightning(fattn_device* device,
                                                const fattn_lightning_problem* problem);

/** Linear attention, forward: time proportional to the tokens, memory independent of them, but for
 * FATTN_LIGHTNING_NON_CAUSAL, where each thread keeps the f32 results of a sixteenth of the tokens
 * (of 1024 tokens at least). run may be NULL. */
FATTN_API fattn_status fattn_lightning_forward(fattn_plan* plan,
                                               const fattn_lightning_forward_args* args,
                                               const fattn_run* run);

/** One token of a recurrence, in a causal plan of one token: updates the state in final_state and
 * writes o. run may be NULL. */
FATTN_API fattn_status fattn_lightning_step(fattn_plan* plan,
                                            const fattn_lightning_forward_args* args,
                                            const fattn_run* run);

/** Linear attention, backward: recomputes states from q, k and v. Slopes have no gradient. run may
 * be NULL. */
FATTN_API fattn_status fattn_lightning_backward(fattn_plan* plan,
                                                const fattn_lightning_backward_args* args,
                                                const fattn_run* run);

#ifdef __cplusplus
}
#endif

#endif /* FUSED_ATTENTION_LIGHTNING_H */
