// A patch of a grid and the box of tokens around it, read from a box schedule; used by the
// gatherers of neighborhoods.
#pragma once

#include "core/order.h"
#include "core/schedule.h"

namespace fattn::cpu {

/// In-group coordinates [begin, end) along the axes of a grid.
struct GridBox {
    int64 begin[PatchGrid::kAxes];
    int64 end[PatchGrid::kAxes];

    int64 size(int axis) const { return end[axis] - begin[axis]; }
};

/// A patch and its box in one dilation group.
struct BoxPair {
    int32 group[PatchGrid::kAxes];
    GridBox patch;
    GridBox box;

    /// Shorter dilation groups have fewer patches than longer ones.
    bool empty() const {
        for (int a = 0; a < PatchGrid::kAxes; ++a) {
            if (patch.size(a) <= 0) return true;
        }
        return false;
    }
};

/// Tile number tile of a schedule whose boxes are made of single tokens.
inline BoxPair box_pair(const BoxSchedule& schedule, int64 tile) {
    int64 patch = tile % schedule.q_tiles_per_group();
    int64 group = tile / schedule.q_tiles_per_group();
    BoxPair result{};
    for (int a = PatchGrid::kAxes - 1; a >= 0; --a) {
        const BoxAxis& axis = schedule.axis[a];
        const int64 along = patch % axis.num_q_tiles;
        const int64 g = group % axis.num_groups;
        patch /= axis.num_q_tiles;
        group /= axis.num_groups;
        const TileSpan& span = axis.spans[g * axis.num_q_tiles + along];
        result.group[a] = narrow<int32>(g);
        result.patch.begin[a] = along * axis.tile_q;
        result.patch.end[a] = min_of<int64>(result.patch.begin[a] + axis.tile_q, axis.extents[g]);
        result.box.begin[a] = span.begin;
        result.box.end[a] = span.end;
    }
    return result;
}

/// Tiles of all dilation groups.
inline int64 num_box_tiles(const BoxSchedule& schedule) {
    int64 tiles = 1;
    for (const BoxAxis& axis : schedule.axis) tiles *= int64{axis.num_groups} * axis.num_q_tiles;
    return tiles;
}

/// Query heads [first_head_of(n), first_head_of(n + 1)) share key head n.
inline int64 first_head_of(int64 kv_head, int64 num_q_heads, int64 num_kv_heads) {
    return ceil_div(kv_head * num_q_heads, num_kv_heads);
}

}  // namespace fattn::cpu
