/*
 * The public C interface of FusedAttention: every caller (the C# bindings, C and C++ programs,
 * tests) includes this file and nothing else.
 *
 * Conventions that hold for every function:
 *  - Functions return a fattn_status. When it is not FATTN_STATUS_OK, fattn_last_error() gives a
 *    sentence that says what was asked, what was found and what is allowed.
 *  - Tensors are described in the logical order [B, H, L, D] (batch, heads, tokens, head dim)
 *    whatever their order in memory; strides say where things lie. Strides count elements.
 *  - Growing structs begin with struct_size and flags. Set struct_size to sizeof the struct; zero
 *    every other field you do not use. Zero is the default of every field; where zero is also a
 *    value, a flag bit says that the field was given. (fattn_abi_description alone has the version
 *    in the place of flags: it takes no choice, and a caller of any version must find it there.)
 *  - A plan is immutable and thread-safe, holds no tensor pointers, and may be run many times,
 *    concurrently, with distinct outputs. Handles are reference-counted.
 *  - Every function may be called on any thread, beside any other call, as long as the handles it
 *    is given are held until it returns. A call that fails because of its arguments has written
 *    nothing but the text of fattn_last_error and, where it makes a handle, NULL.
 *  - Any call may end in FATTN_STATUS_OUT_OF_MEMORY, and a defect shows as FATTN_STATUS_INTERNAL;
 *    "Errors" of a function names what it may answer beside these two.
 */
#ifndef FUSED_ATTENTION_H
#define FUSED_ATTENTION_H

#include <stdint.h>

#if defined(_WIN32)
#if defined(FATTN_BUILDING_LIBRARY)
#define FATTN_API __declspec(dllexport)
#else
#define FATTN_API __declspec(dllimport)
#endif
#else
#define FATTN_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/** Version of this interface; fattn_abi_describe reports the one the library was built with. */
#define FATTN_ABI_VERSION 1

/* --------------------------------------------------------------------------- basic values ----- */

/** Result of a call; see fattn_status_values. */
typedef uint32_t fattn_status;
enum fattn_status_values {
    /** The call did what was asked. */
    FATTN_STATUS_OK = 0,
    /** An argument is wrong; nothing was written. */
    FATTN_STATUS_INVALID_ARGUMENT = 1,
    /** The request is well-formed, but this library version or device cannot do it. */
    FATTN_STATUS_UNSUPPORTED = 2,
    /** Memory could not be had. */
    FATTN_STATUS_OUT_OF_MEMORY = 3,
    /** The caller's cancel flag was seen; outputs are undefined. */
    FATTN_STATUS_CANCELLED = 4,
    /** The device or its driver is absent. */
    FATTN_STATUS_DEVICE_UNAVAILABLE = 5,
    /** The device reported a fault, possibly of an earlier asynchronous call. */
    FATTN_STATUS_DEVICE_FAULT = 6,
    /** The workspace given is smaller than the plan asks for, or misaligned. */
    FATTN_STATUS_WORKSPACE_TOO_SMALL = 7,
    /** A defect of the library. */
    FATTN_STATUS_INTERNAL = 8
};

/** Element type; see fattn_dtype_values. Zero means "the default of that place". */
typedef uint32_t fattn_dtype;
enum fattn_dtype_values {
    /** Not given. */
    FATTN_DTYPE_DEFAULT = 0,
    /** IEEE binary32. */
    FATTN_DTYPE_F32 = 1,
    /** IEEE binary16. */
    FATTN_DTYPE_F16 = 2,
    /** bfloat16: the upper half of a binary32. */
    FATTN_DTYPE_BF16 = 3,
    /** 32-bit signed integer. */
    FATTN_DTYPE_I32 = 4,
    /** Unsigned byte; in masks zero means hidden, anything else visible. */
    FATTN_DTYPE_U8 = 5,
    /** One bit an element, lowest bit of a byte first; 1 means visible. Strides count bits. */
    FATTN_DTYPE_BIT = 6,
    /** 8-bit float with 4 exponent bits (reserved for quantised caches). */
    FATTN_DTYPE_F8_E4M3 = 7,
    /** 8-bit float with 5 exponent bits (reserved for quantised caches). */
    FATTN_DTYPE_F8_E5M2 = 8,
    /** 8-bit signed integer (reserved for quantised caches). */
    FATTN_DTYPE_I8 = 9
};

/** Kind of device; see fattn_device_kind_values. */
typedef uint32_t fattn_device_kind;
enum fattn_device_kind_values {
    /** The host processor. */
    FATTN_DEVICE_KIND_CPU = 0,
    /** An NVIDIA GPU. */
    FATTN_DEVICE_KIND_CUDA = 1
};

/** Instruction set of the CPU kernels; see fattn_cpu_target_values. */
typedef uint32_t fattn_cpu_target;
enum fattn_cpu_target_values {
    /** The best one this processor can run. */
    FATTN_CPU_TARGET_BEST = 0,
    /** Portable C++ without vector instructions of its own. */
    FATTN_CPU_TARGET_SCALAR = 1,
    /** x86-64 with AVX2, FMA and F16C. */
    FATTN_CPU_TARGET_AVX2 = 2,
    /** x86-64 with AVX-512 F, BW, DQ and VL. */
    FATTN_CPU_TARGET_AVX512 = 3,
    /** AVX-512 with bfloat16 dot products. */
    FATTN_CPU_TARGET_AVX512_BF16 = 4,
    /** 64-bit Arm with NEON. */
    FATTN_CPU_TARGET_NEON = 5
};

/** Attention family of a plan; see fattn_family_values. */
typedef uint32_t fattn_family;
enum fattn_family_values {
    /** Softmax (or sigmoid) attention over all keys that the predicate shows. */
    FATTN_FAMILY_DENSE = 0,
    /** Neighborhood attention in one to three dimensions. */
    FATTN_FAMILY_NEIGHBORHOOD = 1,
    /** Linear attention with per-head decay. */
    FATTN_FAMILY_LIGHTNING = 2,
    /** Block-sparse attention with keys permuted inside segments. */
    FATTN_FAMILY_PERMUTED_BLOCK = 3,
    /** Sharded local-stride attention. */
    FATTN_FAMILY_S2 = 4
};

/** Direction of a run; see fattn_pass_values. */
typedef uint32_t fattn_pass;
enum fattn_pass_values {
    /** Outputs from inputs. */
    FATTN_PASS_FORWARD = 0,
    /** Gradients from outputs and their gradients. */
    FATTN_PASS_BACKWARD = 1
};

/** Where query 0 stands relative to key 0; see fattn_alignment_values. */
typedef uint32_t fattn_alignment;
enum fattn_alignment_values {
    /** The last query stands at the last key: query i has position i + Lk - Lq. */
    FATTN_ALIGNMENT_BOTTOM_RIGHT = 0,
    /** The first query stands at the first key: query i has position i. */
    FATTN_ALIGNMENT_TOP_LEFT = 1
};

/** How scores become weights; see fattn_weights_values. */
typedef uint32_t fattn_weights;
enum fattn_weights_values {
    /** exp(s) over the row's sum. */
    FATTN_WEIGHTS_SOFTMAX = 0,
    /** sigmoid(s + sigmoid_bias), no normaliser; there is no LSE. */
    FATTN_WEIGHTS_SIGMOID = 1
};

/** Reference-counted handle of a device. */
typedef struct fattn_device fattn_device;
/** Reference-counted handle of a plan. */
typedef struct fattn_plan fattn_plan;
/** Reference-counted handle of a score or mask program (reserved). */
typedef struct fattn_program fattn_program;

/**
 * Shape and place of a tensor, in the logical order [B, H, L, D]. Frozen: never grows.
 * Rank 0 means "not given". strides count elements; the last one is 1 unless its extent is 1.
 */
typedef struct fattn_layout {
    /** Extents; entries past rank are ignored. */
    int64_t shape[4];
    /** Distance between neighbours, in elements. Inputs may use 0 to broadcast. */
    int64_t strides[4];
    /** Element type. */
    fattn_dtype dtype;
    /** Number of dimensions, 0 to 4. */
    uint32_t rank;
} fattn_layout;

/* ---------------------------------------------------------------------------------- a run ----- */

/** How one run is carried out. NULL in place of a pointer to it means all defaults. */
typedef struct fattn_run {
    /** sizeof(fattn_run). */
    uint32_t struct_size;
    /** None defined; zero. */
    uint32_t flags;
    /** Most threads the run may use, 0 for the device's own number; above 1024 it counts as 1024.
     * Never changes results. */
    int32_t max_threads;
    /** Zero. */
    uint32_t reserved;
    /** CUDA stream; must be NULL on the CPU, where the call returns when the work is done. */
    void* stream;
    /** Memory of at least the plan's workspace size, 64-byte aligned, or NULL for the device's own
     * pool. */
    void* workspace;
    /** Size of workspace in bytes. */
    uint64_t workspace_bytes;
    /** CPU: polled between tiles, by all threads of the run, so write it atomically; a nonzero
     * value ends the run with FATTN_STATUS_CANCELLED and outputs undefined. 4-byte aligned. May be
     * NULL.
     */
    const int32_t* cancel;
} fattn_run;

/* ---------------------------------------------------------------------------------- dense ----- */

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
    /** CUDA: cu_seqlens and kv_len are device memory. */
    FATTN_DENSE_ARGS_LENGTHS_ON_DEVICE = 1,
    /** CUDA: check index contents on the device. */
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

/* --------------------------------------------------------------------------- neighborhood ----- */

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

/* ------------------------------------------------------------------------------ lightning ----- */

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

/* ------------------------------------------------------------------------- permuted block ----- */

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
    /** [B, Hq, Lk] as in a run; NULL: each token in its own slot. */
    const int32_t* permutation;
    /** [B, Hq, nQ, nK] as in a run; NULL: every block is kept. */
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

/* ------------------------------------------------------------------------------------- s2 ----- */

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

/* ----------------------------------------------------------------------- block patterns ----- */

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

/* ---------------------------------------------------------------------- devices and plans ----- */

/** How a device is opened. NULL in place of a pointer to it means all defaults. */
typedef struct fattn_device_options {
    /** sizeof(fattn_device_options). */
    uint32_t struct_size;
    /** Zero. */
    uint32_t flags;
    /** Instruction set to use; one that the processor lacks is an error. */
    fattn_cpu_target cpu_target;
    /** Threads of a run that does not say; 0 for one per processor this process may use. */
    int32_t num_threads;
} fattn_device_options;

/** What a device is. Written by fattn_device_info. */
typedef struct fattn_device_description {
    /** In: sizeof(fattn_device_description). Out: bytes written. */
    uint32_t struct_size;
    /** Zero. */
    uint32_t flags;
    /** CPU or CUDA. */
    fattn_device_kind kind;
    /** CUDA ordinal; 0 for the CPU. */
    int32_t index;
    /** Instruction set in use (CPU). */
    fattn_cpu_target cpu_target;
    /** Instruction sets this build holds and this processor runs: bit n for value n of
     * fattn_cpu_target (CPU). */
    uint32_t cpu_targets_available;
    /** Instruction sets this build holds: bit n for value n of fattn_cpu_target (CPU). */
    uint32_t cpu_targets_built;
    /** Threads of a run that does not say. */
    int32_t num_threads;
    /** Name of the processor or GPU, zero-terminated UTF-8. */
    char name[128];
    /** Why this instruction set was chosen, a sentence. */
    char reason[256];
} fattn_device_description;

/** What fattn_device_measure measures; see fattn_peak_values. */
typedef uint32_t fattn_peak;
enum fattn_peak_values {
    /** Multiply-adds in f32 on registers, in 1e9 floating-point operations per second. */
    FATTN_PEAK_F32 = 0,
    /** Multiply-adds of bfloat16 pairs on registers (the f32 rate where the target has none). */
    FATTN_PEAK_BF16 = 1,
    /** Reading memory that no cache holds, in 1e9 bytes per second. */
    FATTN_PEAK_READ = 2
};

/** What a plan is. Written by fattn_plan_info. */
typedef struct fattn_plan_description {
    /** In: sizeof(fattn_plan_description). Out: bytes written. */
    uint32_t struct_size;
    /** Zero. */
    uint32_t flags;
    /** Family of the plan. */
    fattn_family family;
    /** Device kind. */
    fattn_device_kind device_kind;
    /** Bytes of workspace of a forward run with the device's own number of threads. */
    uint64_t forward_workspace_bytes;
    /** Bytes of workspace of a backward run; 0 when the plan was made without FATTN_*_BACKWARD. */
    uint64_t backward_workspace_bytes;
    /** Floating-point operations of a forward run over the visited tiles (capacities where lengths
     * come later). */
    double forward_flops;
    /** Floating-point operations of a backward run. */
    double backward_flops;
    /** Kernel that forward runs use, zero-terminated. */
    char forward_kernel[64];
    /** Kernel that backward runs use, zero-terminated. */
    char backward_kernel[64];
} fattn_plan_description;

/** Sums over the schedule of a plan. Written by fattn_plan_schedule_stats. */
typedef struct fattn_schedule_stats {
    /** In: sizeof(fattn_schedule_stats). Out: bytes written. */
    uint32_t struct_size;
    /** Zero. */
    uint32_t flags;
    /** Rows of a tile. */
    int64_t tile_q;
    /** Keys of a tile. */
    int64_t tile_kv;
    /** Tiles along the queries. */
    int64_t num_q_tiles;
    /** Tiles along the keys. */
    int64_t num_kv_tiles;
    /** Tiles whose every pair is visible, over all batch entries and heads. */
    int64_t full_tiles;
    /** Tiles with some visible pair that are not full. */
    int64_t partial_tiles;
    /** Tiles that are not visited. */
    int64_t skipped_tiles;
    /** Visible (query, key) pairs. */
    double needed_pairs;
    /** Pairs of all visited tiles; in families that gather single keys (neighborhood), those that
     * groups of neighbouring rows compute in a forward run. A backward run of such a family visits
     * other pairs; fattn_plan_description.backward_flops counts them. */
    double visited_pairs;
} fattn_schedule_stats;

/** State of a tile in the map of fattn_plan_schedule_tiles; see fattn_tile_values. */
typedef uint32_t fattn_tile;
enum fattn_tile_values {
    /** Not visited. */
    FATTN_TILE_SKIPPED = 0,
    /** Visited, the predicate decides pair by pair. */
    FATTN_TILE_PARTIAL = 1,
    /** Visited, every pair is visible. */
    FATTN_TILE_FULL = 2
};

/**
 * Text of the calling thread's last failing call, UTF-8, at most 1023 bytes; empty when none
 * failed. Never NULL. Valid until that thread's next failing call.
 * Threads: each has its own text.
 */
FATTN_API const char* fattn_last_error(void);

/** Name of a status, for example "invalid argument", static; "unknown status" for other values.
 * Never NULL. */
FATTN_API const char* fattn_status_name(fattn_status status);

/** Place of one field (or, with field NULL, size of a whole struct) as the library was built. */
typedef struct fattn_abi_entry {
    /** Struct name. */
    const char* structure;
    /** Field name or NULL. */
    const char* field;
    /** Bytes from the start of the struct. */
    uint32_t offset;
    /** Size in bytes. */
    uint32_t size;
} fattn_abi_entry;

/** The library's own view of this header. Written by fattn_abi_describe. */
typedef struct fattn_abi_description {
    /** In: sizeof(fattn_abi_description). Out: bytes written. */
    uint32_t struct_size;
    /** FATTN_ABI_VERSION of the library. In the place that other growing structs give to flags. */
    uint32_t abi_version;
    /** Version of the library, for example "0.1.0". */
    const char* library_version;
    /** Table of all structs and fields, static. */
    const fattn_abi_entry* entries;
    /** Length of entries. */
    uint64_t num_entries;
} fattn_abi_description;

/**
 * Reports version and struct layout, so that a caller can refuse a library that does not match its
 * header. The texts and the table live as long as the library.
 * Errors: INVALID_ARGUMENT for NULL or a struct_size that no version has.
 */
FATTN_API fattn_status fattn_abi_describe(fattn_abi_description* description);

/**
 * The process-wide CPU device with default options (environment FATTN_CPU_TARGET is honoured), with
 * a reference for the caller. All calls give the same device, also at the same time.
 * Errors: INVALID_ARGUMENT for NULL or a FATTN_CPU_TARGET that names no target; UNSUPPORTED for one
 * that this build or this processor lacks.
 * Cost: the first call asks the processor what it is; later ones take a lock.
 */
FATTN_API fattn_status fattn_device_cpu(fattn_device** device);

/**
 * Opens a device, with a reference for the caller. options may be NULL.
 * Errors: INVALID_ARGUMENT for NULL, an unknown kind or options out of range; UNSUPPORTED for flags
 * or an instruction set that this build or this processor lacks; DEVICE_UNAVAILABLE with the reason
 * for a device that is not there.
 * Cost: threads are started by runs, not here, and shared by all CPU devices.
 */
FATTN_API fattn_status fattn_device_open(fattn_device_kind kind, int32_t index,
                                         const fattn_device_options* options,
                                         fattn_device** device);

/** Adds a reference. Errors: INVALID_ARGUMENT for NULL. */
FATTN_API fattn_status fattn_device_retain(fattn_device* device);

/** Drops a reference; NULL is allowed. Plans hold references of their own, so the order in which
 * handles are released does not matter. */
FATTN_API void fattn_device_release(fattn_device* device);

/** Describes a device. Errors: INVALID_ARGUMENT for NULL or a struct_size that no version has. */
FATTN_API fattn_status fattn_device_info(fattn_device* device,
                                         fattn_device_description* description);

/**
 * Returns idle workspace memory to the system; runs under way keep theirs.
 * Errors: INVALID_ARGUMENT for NULL.
 */
FATTN_API fattn_status fattn_device_trim(fattn_device* device);

/**
 * Measures a machine peak with num_threads threads (0: the device's own number) for about the given
 * seconds, so that a benchmark can state what share of the machine it reached in the same run.
 * Errors: INVALID_ARGUMENT for NULL, an unknown peak, num_threads outside 0 to 1024, seconds that
 * are not above 0 and at most 60.
 * Cost: the seconds, on every thread; FATTN_PEAK_READ also takes 256 MiB.
 */
FATTN_API fattn_status fattn_device_measure(fattn_device* device, fattn_peak peak,
                                            int32_t num_threads, double seconds, double* result);

/** Adds a reference. Errors: INVALID_ARGUMENT for NULL. */
FATTN_API fattn_status fattn_plan_retain(fattn_plan* plan);

/** Drops a reference; NULL is allowed. Safe while a run of the plan is under way on the CPU. */
FATTN_API void fattn_plan_release(fattn_plan* plan);

/**
 * Describes a plan.
 * Errors: INVALID_ARGUMENT for NULL or a struct_size that no version has.
 * Cost: the operations are counted over the schedule.
 */
FATTN_API fattn_status fattn_plan_info(fattn_plan* plan, fattn_plan_description* description);

/**
 * Bytes that a run needs at most: in host memory, and in device memory (0 on the CPU). max_threads
 * as in fattn_run; either result may be NULL.
 * Errors: INVALID_ARGUMENT for a NULL plan, an unknown pass, a backward pass that the plan was made
 * without, a negative max_threads.
 * Bounds: dense, forward: independent of the lengths for many queries, linear in the keys for few;
 * dense, backward: linear in queries plus keys. Proportional to the threads at most.
 */
FATTN_API fattn_status fattn_plan_workspace(fattn_plan* plan, fattn_pass pass, int32_t max_threads,
                                            uint64_t* host_bytes, uint64_t* device_bytes);

/**
 * Sums over the schedule, at capacity where lengths come with the run.
 * Errors: INVALID_ARGUMENT for NULL or a struct_size that no version has; UNSUPPORTED for a family
 * without a schedule (lightning).
 * Cost: walks the tiles of the schedule; nothing is kept.
 */
FATTN_API fattn_status fattn_plan_schedule_stats(fattn_plan* plan, fattn_schedule_stats* stats);

/**
 * Tile map of one batch entry and query head, [num_q_tiles, num_kv_tiles] bytes of
 * fattn_tile_values, row-major. num_bytes is the size of tiles and must be at least num_q_tiles *
 * num_kv_tiles of the stats.
 * Errors: INVALID_ARGUMENT for NULL, a batch or head that the plan lacks, too small a num_bytes;
 * UNSUPPORTED for a family without a schedule (lightning).
 * Cost: proportional to the map.
 */
FATTN_API fattn_status fattn_plan_schedule_tiles(fattn_plan* plan, int64_t batch, int64_t head,
                                                 uint8_t* tiles, uint64_t num_bytes);

/* ----------------------------------------------------------------------------- operations ----- */

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

/**
 * Writes a published pattern as a mask of kept blocks, [H, nQ, nK] of 0 and 1 with nQ = ceil(q_len
 * / block_size) and nK = ceil(kv_len / block_size): the form that permuted block attention takes.
 * num_bytes is the size of mask and must be at least that many.
 */
FATTN_API fattn_status fattn_block_pattern_mask(const fattn_block_pattern* pattern, uint8_t* mask,
                                                uint64_t num_bytes);
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

/** Attention over a selection, forward. The index contents are checked first. run may be NULL. */
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

/** Partial results over disjoint sets of keys, to be merged by fattn_merge. */
typedef struct fattn_merge_args {
    /** sizeof(fattn_merge_args). */
    uint32_t struct_size;
    /** Zero. */
    uint32_t flags;
    /** Layout of every part's output, [B, H, L, Dv]. */
    fattn_layout part;
    /** Layout of the merged output. Rank 0: contiguous, dtype of the parts. */
    fattn_layout o_layout;
    /** Number of parts, at least 1. */
    int64_t num_parts;
    /** [num_parts] pointers to outputs. */
    const void* const* o_parts;
    /** [num_parts] pointers to [B, H, L] f32 contiguous. */
    const float* const* lse_parts;
    /** Merged output. */
    void* o;
    /** Merged LSE, [B, H, L] f32, or NULL. */
    float* lse;
} fattn_merge_args;

/**
 * Merges partial results: LSE = log sum_r exp(LSE_r), O = sum_r exp(LSE_r - LSE) O_r. Parts with
 * LSE -inf count as absent; a row absent everywhere is O = 0, LSE = -inf. Backward: run each part's
 * own backward with the merged O and LSE and the same d_o. Outputs may be the same memory as one
 * part when the layouts are equal. run may be NULL.
 * Errors: INVALID_ARGUMENT for NULL, num_parts outside 1 to 65536, layouts that do not fit,
 * missing, misaligned or overlapping tensors; UNSUPPORTED for flags; CANCELLED.
 * Bounds: error at most twice that of the sum above in f32 against double precision. Parts are
 * taken in their order, so the same bits for any number of threads. Needs no workspace.
 * Source: the merge of softmax states of Milakov and Gimelshein 2018, arXiv:1805.02867, section
 * 3.1.
 */
FATTN_API fattn_status fattn_merge(fattn_device* device, const fattn_merge_args* args,
                                   const fattn_run* run);

#ifdef __cplusplus
}
#endif

#endif /* FUSED_ATTENTION_H */
