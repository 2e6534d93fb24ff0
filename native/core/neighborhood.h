// Neighborhood attention in token coordinates: which keys a query of an axis sees, which queries
// see a key, and the problem itself as a plain struct; used by the planner, the gatherers and api/.
#pragma once

#include "core/order.h"
#include "core/predicate.h"
#include "core/problem.h"
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
};

/// A row-major token grid of one to three axes; axes that a problem lacks come first, with one
/// token.
struct NeighborhoodGrid {
    NeighborhoodAxis axis[PatchGrid::kAxes];

    FATTN_HD constexpr int64 num_tokens() const {
        return int64{axis[0].extent} * axis[1].extent * axis[2].extent;
    }
    /// The first axis that has several tokens; the last one when none has.
    FATTN_HD constexpr int first_axis() const {
        int first = 0;
        while (first + 1 < PatchGrid::kAxes && axis[first].extent == 1) ++first;
        return first;
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

/// How kernels that gather single tokens work, so that a planner can weigh patches against each
/// other. Work is counted in pairs of a row and a key.
struct GatherTiles {
    int32 most_rows;    // folded rows (tokens times heads) of one forward share at most
    int32 most_keys;    // keys that one gathering of rows serves in the backward, at most
    int32 row_tile;     // rows of a backward tile
    int32 key_tile;     // keys of a backward tile
    int32 row_group;    // rows that are computed together: over the keys that one of them sees
    int32 key_group;    // keys that are computed together
    int32 gather_rows;  // gathering a key costs as much as computing it for so many rows; the
                        // backward gathers rows at the same cost
    int32 tile_row;     // what a row costs in each backward tile it is part of, in pairs
    int32 lane_group;  // tokens of a patch whose queries are the lanes of a vector and take keys by
                       // themselves, without gathering, in the forward; 0: there is no such way
    int32 lane_run;    // keys that such a group takes together, along the last axis
    int32 lane_percent;           // what a pair of such a group costs, of other pairs
    int32 lane_backward_percent;  // the same in the backward, of each of its products
};

/// A validated neighborhood problem. Every default is resolved.
struct NeighborhoodProblem {
    /// The tensors, heads and scale, with as many queries and keys as the grid has tokens and
    /// nothing hidden; key and value heads are as many.
    DenseProblem dense;
    NeighborhoodGrid grid;
    int64 num_additional;       // E: keys that every query sees besides; 0 for none
    TensorLayout additional_k;  // [B, Hk, E, D]; rank 0 without additional keys
    TensorLayout additional_v;  // [B, Hk, E, Dv]
    TensorLayout d_additional_k;
    TensorLayout d_additional_v;

    FATTN_HD constexpr int64 num_tokens() const { return grid.num_tokens(); }
};

/// Pointers of one forward run; fields as in fattn_neighborhood_forward_args.
struct NeighborhoodForwardArgs {
    DenseForwardArgs dense;
    const void* additional_k;
    const void* additional_v;
};

/// Pointers of one backward run; any gradient may be null.
struct NeighborhoodBackwardArgs {
    DenseBackwardArgs dense;
    const void* additional_k;
    const void* additional_v;
    void* d_additional_k;
    void* d_additional_v;
};

}  // namespace fattn
