/*
 * Dense attention, for callers with all keys or a window of them: its problem, the data of its
 * runs, its functions.
 */
#ifndef FUSED_ATTENTION_DENSE_H
#define FUSED_ATTENTION_DENSE_H

#include "fused_attention/run.h"
#include "fused_attention/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Bits of fattn_dense_problem.flags. */
enum fattn_dense_flags {
    /** Keys after the query's own position are hidden (the same as a right window of 0). */
    FATTN_DENSE_CAUSAL = 1,
    /** scale was given; otherwise it is 1/sqrt(D). */
    FATTN_DENSE_HAS_SCALE = 2,
    /** window_left and window_right were given. */
    FATTN_DENSE_HAS_WINDOW = 4,
    /** softcap was given. */
    FATTN_DENSE_HAS_SOFTCAP = 8,
    /** Runs come with an additive bias of layout bias. */
    FATTN_DENSE_HAS_BIAS = 16,
    /** Runs come with ALiBi slopes. */
    FATTN_DENSE_HAS_ALIBI = 32,
    /** Runs come with sink logits. */
    FATTN_DENSE_HAS_SINK = 64,
    /** Runs come with a visibility mask of layout mask. */
    FATTN_DENSE_HAS_MASK = 128,
    /** Sequences are packed along the token axis (B = 1), cut by cu_seqlens_q and cu_seqlens_k. */
    FATTN_DENSE_VARLEN = 256,
    /** Runs come with kv_len: how many keys of each batch entry exist. */
    FATTN_DENSE_HAS_KV_LEN = 512,
    /** K and V are pages [num_pages, page_size, H, D] behind a block table; needs kv_len. */
    FATTN_DENSE_PAGED = 1024,
    /** dropout_p was given. */
    FATTN_DENSE_HAS_DROPOUT = 2048,
    /** The plan will also be run backward. */
    FATTN_DENSE_BACKWARD = 4096,
    /** Gradients must be the same bits on every run (always so on the CPU). */
    FATTN_DENSE_DETERMINISTIC = 8192,
    /** Runs come with k_scale and v_scale for quantised caches (reserved). */
    FATTN_DENSE_HAS_KV_SCALE = 16384
};

/**
 * Everything about dense attention that is known before the data: made once into a plan.
 * scores s = scale q.k, then soft-cap, then bias and ALiBi, then the predicate; O = softmax(s) V.
 */
typedef struct fattn_dense_problem {
    /** sizeof(fattn_dense_problem). */
    uint32_t struct_size;
    /** Bits of fattn_dense_flags. */
    uint32_t flags;
    /** Queries [B, Hq, Lq, D]; packed sequences: [1, Hq, total_q, D]. f32, f16 or bf16. */
    fattn_layout q;
    /** Keys [B, Hk, Lk, D]; packed: [1, Hk, total_k, D]; paged: [num_pages, page_size, Hk, D]. */
    fattn_layout k;
    /** Values [B, Hv, Lk, Dv]; packed and paged as k. Hk and Hv may differ; both at most Hq. */
    fattn_layout v;
    /** Output [B, Hq, Lq, Dv], dtype of q or f32. Rank 0: contiguous, dtype of q. */
    fattn_layout o;
    /** Additive bias [B or 1, Hq or 1, Lq, Lk], f32 or the dtype of q. Packed: indexed within each
     * sequence, [num_seqs or 1, Hq or 1, max_q_len, max_kv_len]. */
    fattn_layout bias;
    /** Visibility [B or 1, Hq or 1, Lq, Lk], u8 or bits. Packed: as bias. */
    fattn_layout mask;
    /** Gradient of o. Rank 0: the layout of o. */
    fattn_layout d_o;
    /** Gradient of q. Rank 0: the shape and strides of q. dtype of q (the default) or f32. */
    fattn_layout d_q;
    /** Gradient of k. Rank 0: the shape and strides of k. */
    fattn_layout d_k;
    /** Gradient of v. Rank 0: the shape and strides of v. */
    fattn_layout d_v;
    /** Gradient of bias, f32. Rank 0: contiguous, the shape of bias. */
    fattn_layout d_bias;
    /** Multiplies q.k; see FATTN_DENSE_HAS_SCALE. */
    float scale;
    /** cap in cap * tanh(scale q.k / cap), positive; see FATTN_DENSE_HAS_SOFTCAP. */
    float softcap;
    /** Added to the score before the sigmoid of FATTN_WEIGHTS_SIGMOID. */
    float sigmoid_bias;
    /** Probability that a weight is dropped, in [0, 1); see FATTN_DENSE_HAS_DROPOUT. */
    float dropout_p;
    /** Keys to the left of the query's position that stay visible, -1 for all; see
     * FATTN_DENSE_HAS_WINDOW. */
    int64_t window_left;
    /** Keys to the right of the query's position that stay visible, -1 for all. */
    int64_t window_right;
    /** When positive: only keys of the query's own chunk of this many positions are visible. */
    int64_t attention_chunk;
    /** Where positions are counted from. */
    fattn_alignment causal_alignment;
    /** Softmax or sigmoid. */
    fattn_weights weights;
    /** Bytes that every tensor pointer is a multiple of; 0: one element on the CPU, 16 on CUDA. */
    uint32_t pointer_alignment;
    /** Zero. */
    uint32_t reserved;
    /** FATTN_DENSE_VARLEN: number of sequences. */
    int64_t num_seqs;
    /** FATTN_DENSE_VARLEN: longest query sequence that will come; 0 for all tokens. */
    int64_t max_q_len;
    /** FATTN_DENSE_VARLEN: longest key sequence that will come; 0 for all tokens. */
    int64_t max_kv_len;
    /** FATTN_DENSE_PAGED: entries in a row of the block table; Lk is this times page_size. */
    int64_t max_pages_per_seq;
    /** Layout of the scales of quantised keys (reserved). */
    fattn_layout k_scale;
    /** Layout of the scales of quantised values (reserved). */
    fattn_layout v_scale;
    /** Score program or NULL (reserved). */
    const fattn_program* score_program;
    /** Mask program or NULL (reserved). */
    const fattn_program* mask_program;
} fattn_dense_problem;

/** Bits of fattn_dense_forward_args.flags and fattn_dense_backward_args.flags. */
enum fattn_dense_args_flags {
    /** CUDA: cu_seqlens and kv_len are device memory, and their contents are not looked at: numbers
     * that leave the tensors are cut to them. Without it they are host memory, checked as on the
     * CPU and copied into the run's workspace; they may change when the call returns. */
    FATTN_DENSE_ARGS_LENGTHS_ON_DEVICE = 1,
    /** CUDA, for debugging: cu_seqlens, kv_len and block_table in device memory are read back and
     * checked as on the CPU. The call waits for the stream, which must not be capturing. */
    FATTN_DENSE_ARGS_VALIDATE_ON_DEVICE = 2,
    /** Add to outputs instead of overwriting them (reserved). */
    FATTN_DENSE_ARGS_ACCUMULATE = 4
};

/** The data of one forward run of a dense plan. */
typedef struct fattn_dense_forward_args {
    /** sizeof(fattn_dense_forward_args). */
    uint32_t struct_size;
    /** Bits of fattn_dense_args_flags. */
    uint32_t flags;
    /** Queries, as the plan's q. */
    const void* q;
    /** Keys, as the plan's k. */
    const void* k;
    /** Values, as the plan's v. */
    const void* v;
    /** Output, as the plan's o; rows that see no key become 0. */
    void* o;
    /** [B, Hq, Lq] f32 contiguous (packed: [Hq, total_q]): log of the row sum, natural; -inf for
     * rows that see no key (the sink logit with a sink). May be NULL. */
    float* lse;
    /** Bias, as the plan's bias. */
    const void* bias;
    /** Mask, as the plan's mask. */
    const void* mask;
    /** [Hq]: bias -slope * |position of the query - key|. */
    const float* alibi_slopes;
    /** [Hq]: logit of a key that every row sees and whose value is 0. */
    const float* sink_logits;
    /** [num_seqs + 1]: first query of each packed sequence, then the total used. */
    const int32_t* cu_seqlens_q;
    /** [num_seqs + 1]: first key of each packed sequence, then the total used. */
    const int32_t* cu_seqlens_k;
    /** [B] (packed or paged: one per sequence): how many keys exist. */
    const int32_t* kv_len;
    /** [B, max_pages_per_seq]: page numbers of each sequence. */
    const int32_t* block_table;
    /** Scales of quantised keys (reserved). */
    const void* k_scale;
    /** Scales of quantised values (reserved). */
    const void* v_scale;
    /** Key of the dropout generator. */
    uint64_t dropout_seed;
    /** Its low 32 bits are the last counter word of the dropout generator. */
    uint64_t dropout_offset;
    /** Added to query indices wherever positions matter: causal, window, chunk, ALiBi, dropout. */
    int64_t q_position_offset;
    /** Added to key indices wherever positions matter. */
    int64_t k_position_offset;
    /** Values of the score program's parameters (reserved). */
    const void* program_parameters;
    /** Size of program_parameters in bytes. */
    uint64_t program_parameter_bytes;
} fattn_dense_forward_args;

/** The data of one backward run of a dense plan. Any gradient pointer may be NULL: its work is
 * skipped. */
typedef struct fattn_dense_backward_args {
    /** sizeof(fattn_dense_backward_args). */
    uint32_t struct_size;
    /** Bits of fattn_dense_args_flags. */
    uint32_t flags;
    /** Queries. */
    const void* q;
    /** Keys. */
    const void* k;
    /** Values. */
    const void* v;
    /** Output of the forward run (unused with sigmoid weights). */
    const void* o;
    /** LSE of the forward run (unused with sigmoid weights). */
    const float* lse;
    /** Gradient of o. */
    const void* d_o;
    /** Gradient of lse, [B, Hq, Lq] f32, or NULL for 0. */
    const float* d_lse;
    /** Bias, as the plan's bias. */
    const void* bias;
    /** Mask, as the plan's mask. */
    const void* mask;
    /** [Hq] ALiBi slopes. */
    const float* alibi_slopes;
    /** [Hq] sink logits. */
    const float* sink_logits;
    /** [num_seqs + 1] as in the forward run. */
    const int32_t* cu_seqlens_q;
    /** [num_seqs + 1] as in the forward run. */
    const int32_t* cu_seqlens_k;
    /** [B] as in the forward run. */
    const int32_t* kv_len;
    /** Gradient of q. */
    void* d_q;
    /** Gradient of k. */
    void* d_k;
    /** Gradient of v. */
    void* d_v;
    /** Gradient of bias, f32, summed over the dimensions that bias broadcasts. */
    float* d_bias;
    /** Gradient of sink_logits, [Hq] f32. */
    float* d_sink_logits;
    /** As in the forward run. */
    uint64_t dropout_seed;
    /** As in the forward run. */
    uint64_t dropout_offset;
    /** As in the forward run. */
    int64_t q_position_offset;
    /** As in the forward run. */
    int64_t k_position_offset;
    /** As in the forward run (reserved). */
    const void* program_parameters;
    /** As in the forward run. */
    uint64_t program_parameter_bytes;
} fattn_dense_backward_args;

/**
 * Makes a plan for dense attention, with a reference for the caller. Checks everything that does
 * not need the data.
 * Errors: INVALID_ARGUMENT for NULL, shapes, strides, types or values that fit no problem;
 * UNSUPPORTED for unknown flags, what is reserved, the backward pass of a paged cache.
 * Cost: a few microseconds and memory proportional to the heads, whatever the lengths.
 */
FATTN_API fattn_status fattn_dense_plan(fattn_device* device, const fattn_dense_problem* problem,
                                        fattn_plan** plan);

/**
 * FATTN_STATUS_OK when fattn_dense_plan would succeed; otherwise its status, the reason in
 * fattn_last_error.
 * Errors: those of fattn_dense_plan.
 */
FATTN_API fattn_status fattn_supports_dense(fattn_device* device,
                                            const fattn_dense_problem* problem);

/**
 * Dense attention, forward: O = softmax(s) V over the visible keys, LSE = log sum exp(s), with the
 * scores s of fattn_dense_problem. Tensors as the plan's layouts; outputs are overwritten, and must
 * meet neither each other nor an input. run may be NULL.
 * Errors: INVALID_ARGUMENT for NULL, a plan of another family, a missing, unexpected, misaligned or
 * overlapping tensor, index contents (cu_seqlens, kv_len, block_table) that leave the tensors;
 * UNSUPPORTED for what is reserved; WORKSPACE_TOO_SMALL; CANCELLED.
 * Bounds: error at most twice that of a plain evaluation in f32 (with weights and results stored in
 * the dtype of q) against double precision. The same bits for any number of threads and for a batch
 * entry alone. 4 D operations a visible pair; memory as fattn_plan_workspace says; allocates
 * nothing once the device's pool is warm.
 * Source: Dao et al. 2022, arXiv:2205.14135, algorithm 1, with the scores between matrix products
 * on packed tiles; Milakov and Gimelshein 2018, arXiv:1805.02867, algorithm 3, for the running
 * state.
 */
FATTN_API fattn_status fattn_dense_forward(fattn_plan* plan, const fattn_dense_forward_args* args,
                                           const fattn_run* run);

/**
 * Dense attention, backward: recomputes the weights P = exp(s - LSE) from q, k and lse; with D =
 * sum over the head dim of dO O, minus dLSE: dV = P^T dO, dS = P (dO V^T - D), dQ = scale dS K, dK
 * = scale dS^T Q. o and lse are the forward run's. A NULL gradient is skipped. run may be NULL.
 * Errors: as fattn_dense_forward; also INVALID_ARGUMENT for a plan made without
 * FATTN_DENSE_BACKWARD.
 * Bounds: error at most three times that of a plain evaluation in f32 against double precision. The
 * same bits on every run and for any number of threads. 10 D operations a visible pair.
 * Source: Dao et al. 2022, arXiv:2205.14135, algorithm 4; keys outside, queries inside, dQ summed
 * in f32 in an order that the lengths fix.
 */
FATTN_API fattn_status fattn_dense_backward(fattn_plan* plan, const fattn_dense_backward_args* args,
                                            const fattn_run* run);

#ifdef __cplusplus
}
#endif

#endif /* FUSED_ATTENTION_DENSE_H */
