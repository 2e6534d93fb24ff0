// A validated dense attention problem and the data of its runs, as plain structs; made by api/,
// consumed by backends, planners and the reference.
#pragma once

#include "core/tensor_view.h"
#include "core/types.h"

namespace fattn {

enum class Alignment : uint32 { kBottomRight = 0, kTopLeft = 1 };
enum class Weights : uint32 { kSoftmax = 0, kSigmoid = 1 };
enum class Pass : uint32 { kForward = 0, kBackward = 1 };

/// Every default is resolved: all layouts that are present have rank 4, and what is absent has rank
/// 0.
struct DenseProblem {
    TensorLayout q;  // [B, Hq, Lq, D]; varlen: [1, Hq, total_q, D]
    TensorLayout
        k;  // [B, Hk, Lk, D]; varlen: [1, Hk, total_k, D]; paged: [num_pages, page_size, Hk, D]
    TensorLayout v;     // as k with Hv, Dv
    TensorLayout o;     // [B, Hq, Lq, Dv], f32 or dtype of q
    TensorLayout bias;  // [B, Hq, Lq, Lk] with stride 0 where it broadcasts
    TensorLayout mask;  // [B, Hq, Lq, Lk] u8 or bits, stride 0 where it broadcasts
    TensorLayout d_o;   // gradients: layouts of the tensors they belong to unless given
    TensorLayout d_q;
    TensorLayout d_k;
    TensorLayout d_v;
    TensorLayout d_bias;  // [B or 1, Hq or 1, Lq, Lk] f32, extents 1 where bias broadcasts
    int64 batch;          // batch entries, or sequences when varlen
    int64 num_q_heads;
    int64 num_k_heads;
    int64 num_v_heads;
    int64 q_len;   // longest when varlen
    int64 kv_len;  // longest when varlen; the capacity when paged or kv_len comes with the run
    int64 head_dim;
    int64 head_dim_v;
    int64 window_left;      // -1: open
    int64 window_right;     // -1: open; causal is 0
    int64 attention_chunk;  // 0: off
    int64 page_size;        // paged only
    int64 num_pages;
    int64 max_pages_per_seq;
    float scale;
    float softcap;  // 0: off
    float sigmoid_bias;
    float dropout_p;  // 0: off
    Alignment alignment;
    Weights weights;
    bool has_bias;
    bool has_alibi;
    bool has_sink;
    bool has_mask;
    bool varlen;
    bool has_kv_len;
    bool paged;
    bool backward;

    /// Key head and value head of a query head: floor(h * Hk / Hq), floor(h * Hv / Hq).
    FATTN_HD constexpr int64 k_head(int64 q_head) const {
        return q_head * num_k_heads / num_q_heads;
    }
    FATTN_HD constexpr int64 v_head(int64 q_head) const {
        return q_head * num_v_heads / num_q_heads;
    }
};

/// Pointers and run-time values of one forward run; fields as in fattn_dense_forward_args.
struct DenseForwardArgs {
    const void* q;
    const void* k;
    const void* v;
    void* o;
    float* lse;  // [B, Hq, Lq]; varlen: [Hq, total_q]; may be null
    const void* bias;
    const void* mask;
    const float* alibi_slopes;  // [Hq]
    const float* sink_logits;   // [Hq]
    const int32* cu_seqlens_q;  // [batch + 1]
    const int32* cu_seqlens_k;  // [batch + 1]
    const int32* kv_len;        // [batch]
    const int32* block_table;   // [batch, max_pages_per_seq]
    uint64 dropout_seed;
    uint64 dropout_offset;
    int64 q_position_offset;
    int64 k_position_offset;
};

/// Pointers and run-time values of one backward run; any gradient may be null.
struct DenseBackwardArgs {
    const void* q;
    const void* k;
    const void* v;
    const void* o;
    const float* lse;
    const void* d_o;
    const float* d_lse;  // may be null
    const void* bias;
    const void* mask;
    const float* alibi_slopes;
    const float* sink_logits;
    const int32* cu_seqlens_q;
    const int32* cu_seqlens_k;
    const int32* kv_len;
    void* d_q;
    void* d_k;
    void* d_v;
    float* d_bias;
    float* d_sink_logits;  // [Hq]
    uint64 dropout_seed;
    uint64 dropout_offset;
    int64 q_position_offset;
    int64 k_position_offset;
};

/// One entry of a batch with its run-time lengths: where its tokens start and how many there are.
struct Sequence {
    int64 batch_idx;  // index into B of the tensors; 0 when varlen
    int64 entry;      // index of the sequence: row of block_table, batch coordinate of dropout
    int64 q_begin;    // first token of q, o, lse along the token axis
    int64 k_begin;    // first token of k, v along the token axis
    int64 q_len;
    int64 kv_len;
};

/// Sequence b of a run. Index contents were validated before.
template <class Args>
FATTN_HD constexpr Sequence sequence_of(const DenseProblem& problem, const Args& args, int64 b) {
    Sequence s{problem.varlen ? 0 : b, b, 0, 0, problem.q_len, problem.kv_len};
    if (problem.varlen) {
        s.q_begin = args.cu_seqlens_q[b];
        s.q_len = args.cu_seqlens_q[b + 1] - s.q_begin;
        // Paged keys have no cu_seqlens_k; kv_len gives their lengths.
        if (args.cu_seqlens_k != nullptr) {
            s.k_begin = args.cu_seqlens_k[b];
            s.kv_len = args.cu_seqlens_k[b + 1] - s.k_begin;
        }
    }
    if (args.kv_len != nullptr) s.kv_len = min_of<int64>(s.kv_len, args.kv_len[b]);
    return s;
}

/// Partial results to merge; fields as in fattn_merge_args with layouts resolved.
struct MergeProblem {
    TensorLayout part;
    TensorLayout o;
    int64 num_parts;
    const void* const* o_parts;
    const float* const* lse_parts;
    void* out;
    float* lse;  // may be null
};

}  // namespace fattn
