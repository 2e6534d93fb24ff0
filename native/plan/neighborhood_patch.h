// The choice of the patches that a neighborhood problem is cut into: those of least estimated work;
// called by the neighborhood planner.
#pragma once

#include "core/neighborhood.h"

namespace fattn {

/// Tokens of a patch along each axis.
struct Patch {
    int32 extent[PatchGrid::kAxes];

    int64 num_tokens() const { return int64{extent[0]} * extent[1] * extent[2]; }
};

/// A patch, and whether its tokens are the lanes of a vector (GatherTiles::lane_group).
struct ChosenPatch {
    Patch patch;
    bool lanes;
};

/// The query patch of least estimated work per token. heads: query heads that share a key head,
/// folded into the rows of a patch, at most most_rows; num_additional: keys that every query sees
/// besides; columns: of a key and its value together.
ChosenPatch choose_patch(const NeighborhoodGrid& grid, int64 heads, int64 num_additional,
                         int64 columns, int64 most_rows, const GatherTiles& tiles);

/// The key patch of least estimated work per token in the backward, whose rows are the queries that
/// see one of its keys; at most most_keys keys. Its keys may be lanes where the queries of
/// query_patch are and there are no additional keys: the queries' gradients then come from those
/// lanes.
ChosenPatch choose_key_patch(const NeighborhoodGrid& grid, const ChosenPatch& query_patch,
                             int64 num_additional, int64 most_keys, const GatherTiles& tiles);

}  // namespace fattn
