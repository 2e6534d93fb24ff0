// Which token sits in which slot: identity, a permutation, or patches of a 1-3-D grid; the
// definition of what a tile number of a box schedule means, and what a kernel that walks a schedule
// tile by tile loads its rows through.
//
// The CPU's loops over gathered tokens number no slots: PatchGrid serves neighborhood plans and
// their checks here, and Order is for device code, where the cuda_core leg compiles a kernel that
// uses it (tests/native/device/schedule_walk.cu).
#pragma once

#include "core/types.h"

namespace fattn {

/// A row-major grid of tokens cut into dilation groups and each group into patches, so that a patch
/// is a run of consecutive slots. An axis with dilation d has d groups: group g holds the tokens x
/// with x mod d = g, at in-group coordinate x / d. Axes that a problem lacks come first, with
/// extent, dilation and patch 1.
///
/// Slots count groups, then patches inside a group, then tokens inside a patch, all row-major. All
/// groups have the same number of patches; slots that stand past the end of their group hold no
/// token.
struct PatchGrid {
    static constexpr int kAxes = 3;
    int32 extent[kAxes];    // tokens along the axis, at least 1
    int32 dilation[kAxes];  // 1 to extent
    int32 patch[kAxes];     // in-group coordinates of a patch, at least 1

    /// Tokens of dilation group g along an axis.
    FATTN_HD constexpr int32 group_extent(int axis, int32 g) const {
        return ceil_div(extent[axis] - g, dilation[axis]);
    }
    /// Patches of every group along an axis.
    FATTN_HD constexpr int32 num_patches(int axis) const {
        return ceil_div(group_extent(axis, 0), patch[axis]);
    }
    FATTN_HD constexpr int64 num_tokens() const { return product(extent); }
    FATTN_HD constexpr int64 num_slots() const {
        int64 slots = product(dilation) * product(patch);
        for (int a = 0; a < kAxes; ++a) slots *= num_patches(a);
        return slots;
    }

    /// Token in a slot, or -1 when the slot is padding.
    FATTN_HD constexpr int64 token_of(int64 slot) const {
        int32 inside[kAxes] = {};
        int32 patch_idx[kAxes] = {};
        for (int a = kAxes - 1; a >= 0; --a) inside[a] = take(&slot, patch[a]);
        for (int a = kAxes - 1; a >= 0; --a) patch_idx[a] = take(&slot, num_patches(a));
        int32 group[kAxes] = {};
        for (int a = kAxes - 1; a >= 0; --a) group[a] = take(&slot, dilation[a]);
        int64 token = 0;
        for (int a = 0; a < kAxes; ++a) {
            const int64 in_group = int64{patch_idx[a]} * patch[a] + inside[a];
            const int64 x = in_group * dilation[a] + group[a];
            if (x >= extent[a]) return -1;
            token = token * extent[a] + x;
        }
        return token;
    }

    /// Slot of a token; token_of(slot_of(token)) is the token.
    FATTN_HD constexpr int64 slot_of(int64 token) const {
        int32 x[kAxes] = {};
        for (int a = kAxes - 1; a >= 0; --a) x[a] = take(&token, extent[a]);
        int64 slot = 0;
        for (int a = 0; a < kAxes; ++a) slot = slot * dilation[a] + x[a] % dilation[a];
        for (int a = 0; a < kAxes; ++a) {
            slot = slot * num_patches(a) + x[a] / dilation[a] / patch[a];
        }
        for (int a = 0; a < kAxes; ++a) slot = slot * patch[a] + x[a] / dilation[a] % patch[a];
        return slot;
    }

  private:
    FATTN_HD static constexpr int64 product(const int32 (&factors)[kAxes]) {
        return int64{factors[0]} * factors[1] * factors[2];
    }
    /// Splits the last coordinate, of the given extent, off a row-major index.
    FATTN_HD static constexpr int32 take(int64* index, int32 extent_of_axis) {
        const auto coordinate = static_cast<int32>(*index % extent_of_axis);
        *index /= extent_of_axis;
        return coordinate;
    }
};

enum class OrderKind : uint32 { kIdentity = 0, kPermutation = 1, kPatches = 2 };

/// Plain data; only the fields of its kind are read.
struct Order {
    OrderKind kind;
    int64 num_tokens;
    const int32* token_of_slot;  // kPermutation: [num_tokens]
    PatchGrid grid;              // kPatches

    FATTN_HD constexpr int64 num_slots() const {
        return kind == OrderKind::kPatches ? grid.num_slots() : num_tokens;
    }

    /// Token in a slot, or -1 when the slot is padding.
    FATTN_HD constexpr int64 token(int64 slot) const {
        switch (kind) {
            case OrderKind::kPermutation:
                return token_of_slot[slot];
            case OrderKind::kPatches:
                return grid.token_of(slot);
            case OrderKind::kIdentity:
                break;
        }
        return slot;
    }
};

FATTN_HD constexpr Order identity_order(int64 num_tokens) {
    return {OrderKind::kIdentity, num_tokens, nullptr, PatchGrid{{1, 1, 1}, {1, 1, 1}, {1, 1, 1}}};
}

FATTN_HD constexpr Order permuted_order(const int32* token_of_slot, int64 num_tokens) {
    return {OrderKind::kPermutation, num_tokens, token_of_slot,
            PatchGrid{{1, 1, 1}, {1, 1, 1}, {1, 1, 1}}};
}

FATTN_HD constexpr Order patch_order(const PatchGrid& grid) {
    return {OrderKind::kPatches, grid.num_tokens(), nullptr, grid};
}

}  // namespace fattn
