// Neighborhood attention in token coordinates: which keys a query of an axis sees, which queries
// see a key, and the problem itself as a plain struct; used by the planner, the gatherers and api/.
#pragma once

#include "core/order.h"
#include "core/predicate.h"
#include "core/tensor_view.h"
#include "core/types.h"

namespace fattn {

/// One axis of a token grid with its window. Token x belongs to dilation group x mod dilation and
/// has in-group coordinate x / dilation; it sees keys of its own group only, and everything below
/// counts in in-group coordinates of a group with `length` tokens, window <= length.
struct NeighborhoodAxis {
    int32 extent;    // tokens along the axis, at least 1
    int32 dilation;  // at least 1
    int32 window;    // keys a query sees; window * dilation <= extent
    int32 stride;    // queries that share a window, 1 to window
    bool causal;     // keys after the query are hidden

    /// Tokens of dilation group g.
    FATTN_HD constexpr int32 group_length(int32 g) const { return ceil_div(extent - g, dilation); }

    /// Keys that the query with in-group coordinate i sees. Both bounds never decrease with i.
    FATTN_HD constexpr KeyInterval keys_of(int64 i, int64 length) const {
        const int64 first = i / stride * stride;  // of the queries that share the window
        if (causal) {
            const int64 leader = min_of<int64>(first + stride - 1, length - 1);
            return {max_of<int64>(leader - (window - 1), 0), min_of(i + 1, length)};
        }
        const int64 leader = min_of<int64>(first + stride / 2, length - 1);
        // At the ends the window is shifted, not cut: the nearest whole window that fits.
        const int64 begin = clamp_to<int64>(leader - window / 2, 0, length - window);
        return {begin, begin + window};
    }

    /// Queries that see the key with in-group coordinate j: exactly these, without a gap.
    FATTN_HD constexpr KeyInterval queries_of(int64 j, int64 length) const {
        if (causal) {
            const int64 groups = (j + window) / stride + (j + window >= length ? 1 : 0);
            return {j, min_of<int64>(groups * stride, length)};
        }
        const int64 left = window / 2;
        const int64 right = left + window % 2 - 1;
        const int64 offset = stride - stride / 2 - 1;
        const int64 begin = j >= window ? (j - right + offset) / stride * stride : 0;
        const int64 end = j >= length - window ? length : (j + left + offset + 1) / stride * stride;
        return {begin, end};
    }

    /// Whether every query sees every key of its group.
    FATTN_HD constexpr bool sees_all() const { return !causal && window == extent; }
};

/// A row-major token grid of one to three axes; axes that a problem lacks come first, with one
/// token.
struct NeighborhoodGrid {
    NeighborhoodAxis axis[PatchGrid::kAxes];

    FATTN_HD constexpr int64 num_tokens() const {
        return int64{axis[0].extent} * axis[1].extent * axis[2].extent;
    }
    FATTN_HD constexpr int64 num_groups() const {
        return int64{axis[0].dilation} * axis[1].dilation * axis[2].dilation;
    }
    FATTN_HD constexpr PatchGrid patches(const int32 (&patch)[PatchGrid::kAxes]) const {
        PatchGrid grid{};
        for (int a = 0; a < PatchGrid::kAxes; ++a) {
            grid.extent[a] = axis[a].extent;
            grid.dilation[a] = axis[a].dilation;
            grid.patch[a] = patch[a];
        }
        return grid;
    }
};

/// An axis that a problem lacks.
FATTN_HD constexpr NeighborhoodAxis single_token_axis() { return {1, 1, 1, 1, false}; }

/// A validated neighborhood problem. Every default is resolved: layouts that are present have rank
/// 4, absent ones rank 0.
struct NeighborhoodProblem {
    TensorLayout q;             // [B, Hq, L, D], L = grid.num_tokens()
    TensorLayout k;             // [B, Hk, L, D]
    TensorLayout v;             // [B, Hk, L, Dv]
    TensorLayout o;             // [B, Hq, L, Dv], f32 or dtype of q
    TensorLayout additional_k;  // [B, Hk, E, D]: keys that every query sees
    TensorLayout additional_v;  // [B, Hk, E, Dv]
    TensorLayout d_o;
    TensorLayout d_q;
    TensorLayout d_k;
    TensorLayout d_v;
    TensorLayout d_additional_k;
    TensorLayout d_additional_v;
    NeighborhoodGrid grid;
    int64 batch;
    int64 num_q_heads;
    int64 num_kv_heads;
    int64 num_additional;  // E; 0 without additional keys
    int64 head_dim;
    int64 head_dim_v;
    float scale;
    bool backward;

    FATTN_HD constexpr int64 num_tokens() const { return grid.num_tokens(); }
    FATTN_HD constexpr int64 kv_head(int64 q_head) const {
        return q_head * num_kv_heads / num_q_heads;
    }
};

/// Pointers of one forward run; fields as in fattn_neighborhood_forward_args.
struct NeighborhoodForwardArgs {
    const void* q;
    const void* k;
    const void* v;
    void* o;
    float* lse;  // [B, Hq, L]; may be null
    const void* additional_k;
    const void* additional_v;
};

/// Pointers of one backward run; any gradient may be null.
struct NeighborhoodBackwardArgs {
    const void* q;
    const void* k;
    const void* v;
    const void* o;
    const float* lse;
    const void* d_o;
    const float* d_lse;  // may be null
    const void* additional_k;
    const void* additional_v;
    void* d_q;
    void* d_k;
    void* d_v;
    void* d_additional_k;
    void* d_additional_v;
};

}  // namespace fattn
