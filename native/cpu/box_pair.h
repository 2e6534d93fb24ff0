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

/// The patch at a place of a dilation group, both along each axis, of a schedule whose boxes are
/// made of single tokens.
inline BoxPair box_pair(const BoxSchedule& schedule, const int32 (&group)[PatchGrid::kAxes],
                        const int64 (&place)[PatchGrid::kAxes]) {
    BoxPair result{};
    for (int a = 0; a < PatchGrid::kAxes; ++a) {
        const BoxAxis& axis = schedule.axis[a];
        const TileSpan& span = axis.spans[int64{group[a]} * axis.num_q_tiles + place[a]];
        result.group[a] = group[a];
        result.patch.begin[a] = place[a] * axis.tile_q;
        result.patch.end[a] =
            min_of<int64>(result.patch.begin[a] + axis.tile_q, axis.extents[group[a]]);
        result.box.begin[a] = span.begin;
        result.box.end[a] = span.end;
    }
    return result;
}

/// Tile number tile of such a schedule.
inline BoxPair box_pair(const BoxSchedule& schedule, int64 tile) {
    int64 patch = tile % schedule.q_tiles_per_group();
    int64 rest = tile / schedule.q_tiles_per_group();
    int32 group[PatchGrid::kAxes];
    int64 place[PatchGrid::kAxes];
    for (int a = PatchGrid::kAxes - 1; a >= 0; --a) {
        const BoxAxis& axis = schedule.axis[a];
        place[a] = patch % axis.num_q_tiles;
        group[a] = narrow<int32>(rest % axis.num_groups);
        patch /= axis.num_q_tiles;
        rest /= axis.num_groups;
    }
    return box_pair(schedule, group, place);
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
