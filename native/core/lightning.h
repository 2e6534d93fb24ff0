// A validated linear attention problem and the data of its runs, as plain structs; made by api/,
// consumed by backends and the reference.
#pragma once

#include "core/feature_map.h"
#include "core/tensor_view.h"
#include "core/types.h"

namespace fattn {

/// Every default is resolved: all layouts have rank 4, those of gradients only with backward.
struct LightningProblem {
    TensorLayout q;    // [B, Hq, L, D]
    TensorLayout k;    // [B, Hk, L, D]
    TensorLayout v;    // [B, Hk, L, Dv]
    TensorLayout o;    // [B, Hq, L, Dv], f32 or dtype of q
    TensorLayout d_o;  // gradients: layouts of the tensors they belong to unless given
    TensorLayout d_q;
    TensorLayout d_k;
    TensorLayout d_v;
    int64 batch;
    int64 num_q_heads;
    int64 num_kv_heads;
    int64 len;
    int64 head_dim;
    int64 head_dim_v;
    float scale;
    FeatureMap map;
    bool causal;
    bool normalize;
    bool has_initial_state;
    bool backward;

    /// floor(h * Hk / Hq).
    FATTN_HD constexpr int64 kv_head(int64 q_head) const {
        return q_head * num_kv_heads / num_q_heads;
    }
    /// Rows of a state.
    FATTN_HD constexpr int64 state_rows() const { return num_features(map, head_dim); }
    /// Columns of a state: those of v, and the accumulated weight of each feature when results are
    /// divided by it.
    FATTN_HD constexpr int64 state_columns() const { return head_dim_v + (normalize ? 1 : 0); }
    /// Factor of results: the weights' own scale cancels when they are divided by their sum.
    FATTN_HD constexpr float result_scale() const { return normalize ? 1.0F : scale; }
};

/// Pointers of one forward run; fields as in fattn_lightning_forward_args.
struct LightningForwardArgs {
    const void* q;
    const void* k;
    const void* v;
    void* o;
    const float* slopes;         // [Hq]
    const float* initial_state;  // [B, Hq, state_rows, state_columns] or null
    float* final_state;          // the same or null
};

/// Pointers of one backward run; any gradient may be null.
struct LightningBackwardArgs {
    const void* q;
    const void* k;
    const void* v;
    const float* slopes;
    const float* initial_state;
    const void* d_o;
    const float* d_final_state;  // may be null
    void* d_q;
    void* d_k;
    void* d_v;
    float* d_initial_state;
};

}  // namespace fattn
