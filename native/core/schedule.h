// Which KV tiles each Q tile visits, in one of three carriers that share one contract; built by
// planners, read by tile maps, by sums over tiles and by kernels that work tile by tile.
//
// On the CPU the box schedule alone reaches a kernel: the gatherer of neighborhoods reads its
// spans. Dense loops ask the predicate, and the other gatherers the pattern, for every row.
//
// The contract. Planners promise it, whoever walks a schedule relies on it,
// tests/native/support/schedule_checks.h states it in code:
//   - units are tiles; every Q tile has exactly one row, also when it visits nothing;
//   - a row is one run of full tiles and then one run of partial tiles, each ascending;
//   - every pair of a full tile is visible, and every visible pair lies in a full or a partial
//   tile;
//   - the ends of the sequences belong to the predicate: a tile that reaches past an end is
//   partial.
// Every carrier gives row(head, q_tile); every row gives num_full(), num_tiles(), tile(n) in
// visiting order, and state(t).
#pragma once

#include "core/predicate.h"
#include "core/problem.h"
#include "core/types.h"

namespace fattn {

/// Values are those of fattn_tile; api/ asserts it.
enum class TileState : uint8 { kSkipped = 0, kPartial = 1, kFull = 2 };

/// One interval of tiles with an interval of full ones inside: begin <= full_begin <= full_end <=
/// end.
struct TileSpan {
    int32 begin;
    int32 full_begin;
    int32 full_end;
    int32 end;

    FATTN_HD constexpr int32 num_full() const { return full_end - full_begin; }
    FATTN_HD constexpr int32 num_tiles() const { return end - begin; }
    /// n-th tile in visiting order: full ones, partial ones before them, partial ones after them.
    FATTN_HD constexpr int32 tile(int32 n) const {
        if (n < num_full()) return full_begin + n;
        const int32 partial = n - num_full();
        const int32 before = full_begin - begin;
        return partial < before ? begin + partial : full_end + (partial - before);
    }
    FATTN_HD constexpr TileState state(int32 t) const {
        if (t < begin || t >= end) return TileState::kSkipped;
        return t >= full_begin && t < full_end ? TileState::kFull : TileState::kPartial;
    }
    /// One of `count` parts of nearly equal length that make up the span.
    FATTN_HD constexpr TileSpan part(int32 idx, int32 count) const {
        const auto cut = [&](int64 n) { return narrow<int32>(begin + num_tiles() * n / count); };
        const int32 from = cut(idx);
        const int32 to = cut(int64{idx} + 1);
        return {from, clamp_to(full_begin, from, to), clamp_to(full_end, from, to), to};
    }
};

/// Calls visit(kv_tile, is_full) for the tiles of a row, in visiting order.
template <class Row, class Visit>
FATTN_HD constexpr void for_each_tile(const Row& row, Visit&& visit) {
    const int32 num_full = row.num_full();
    const int32 num_tiles = row.num_tiles();
    for (int32 n = 0; n < num_full; ++n) visit(row.tile(n), true);
    for (int32 n = num_full; n < num_tiles; ++n) visit(row.tile(n), false);
}

/// Tokens of tile t when num_tokens are cut into tiles of the given size; less than the size in a
/// ragged last tile.
FATTN_HD constexpr int64 tile_extent(int32 t, int32 size, int64 num_tokens) {
    return min_of<int64>(size, num_tokens - int64{t} * size);
}

// ------------------------------------------------------------------------------------------------
// range -----

/// Closed form: an interval of KV tiles per Q tile, evaluated when asked. Heads and batch entries
/// share it.
struct RangeSchedule {
    RangePredicate predicate;
    int64 q_len;
    int32 tile_q;
    int32 tile_kv;
    bool all_partial;  // a mask decides pair by pair, so no tile is full

    FATTN_HD constexpr int64 kv_len() const { return predicate.kv_len; }
    FATTN_HD constexpr int32 num_q_tiles() const {
        return narrow<int32>(ceil_div<int64>(q_len, tile_q));
    }
    FATTN_HD constexpr int32 num_kv_tiles() const {
        return narrow<int32>(ceil_div<int64>(kv_len(), tile_kv));
    }

    FATTN_HD constexpr TileSpan row(int64 /*head*/, int32 q_tile) const {
        const int64 first = int64{q_tile} * tile_q;
        const int64 num_rows = tile_extent(q_tile, tile_q, q_len);
        // Both bounds of the predicate never decrease, so the first and the last query speak for
        // all of them.
        const KeyInterval top = predicate.visible(first);
        const KeyInterval bottom = predicate.visible(first + num_rows - 1);
        if (bottom.end <= top.begin) return {0, 0, 0, 0};
        const auto begin = narrow<int32>(top.begin / tile_kv);
        const auto end = narrow<int32>(ceil_div<int64>(bottom.end, tile_kv));
        const auto full_begin = narrow<int32>(ceil_div<int64>(bottom.begin, tile_kv));
        const auto full_end = narrow<int32>(top.end / tile_kv);
        const bool none_full = all_partial || num_rows < tile_q || full_end <= full_begin;
        return none_full ? TileSpan{begin, begin, begin, end}
                         : TileSpan{begin, full_begin, full_end, end};
    }
};

/// Schedule of one sequence of dense attention. The lengths may be capacities or those of a run.
FATTN_HD constexpr RangeSchedule range_schedule(const DenseProblem& problem,
                                                const RangePredicate& predicate, int64 q_len,
                                                int32 tile_q, int32 tile_kv) {
    return {predicate, q_len, tile_q, tile_kv, problem.has_mask};
}

/// The same pairs in tiles of another size. Exact.
FATTN_HD constexpr RangeSchedule retile(const RangeSchedule& schedule, int32 tile_q,
                                        int32 tile_kv) {
    return {schedule.predicate, schedule.q_len, tile_q, tile_kv, schedule.all_partial};
}

/// Per KV tile the Q tiles that visit it: queries and keys change places. Twice is the identity.
FATTN_HD constexpr RangeSchedule transpose(const RangeSchedule& schedule) {
    return {transpose(schedule.predicate, schedule.q_len), schedule.kv_len(), schedule.tile_kv,
            schedule.tile_q, schedule.all_partial};
}

// --------------------------------------------------------------------------------------------------
// box -----

/// One axis of a box schedule: a span of KV patches per Q patch and dilation group. Queries and
/// keys are the same tokens.
struct BoxAxis {
    const TileSpan* spans;  // [num_groups, num_q_tiles]; bounds never decrease along q; empty past
                            // a group's end
    const int32* extents;   // [num_groups] tokens of each group along the axis
    int32 num_groups;
    int32 num_q_tiles;  // of the longest group
    int32 num_kv_tiles;
    int32 tile_q;  // tokens of a patch along the axis
    int32 tile_kv;
};

/// Row of a box schedule: the product of three spans, full where all three are.
struct BoxRow {
    TileSpan span[3];
    int32 num_kv_tiles[3];  // of the grid, to number tiles row-major
    int32 group_begin;      // first tile of the dilation group

    FATTN_HD constexpr int32 num_full() const {
        return span[0].num_full() * span[1].num_full() * span[2].num_full();
    }
    FATTN_HD constexpr int32 num_tiles() const {
        return span[0].num_tiles() * span[1].num_tiles() * span[2].num_tiles();
    }

    FATTN_HD constexpr int32 tile(int32 n) const {
        const int32 full = num_full();
        int32 x[3] = {};
        if (n < full) {
            for (int a = 2; a >= 0; --a) {
                x[a] = span[a].full_begin + n % span[a].num_full();
                n /= span[a].num_full();
            }
        } else {
            nth_partial(n - full, full > 0, x);
        }
        return group_begin + (x[0] * num_kv_tiles[1] + x[1]) * num_kv_tiles[2] + x[2];
    }

    FATTN_HD constexpr TileState state(int32 t) const {
        int32 rest = t - group_begin;
        if (rest < 0 || rest >= num_kv_tiles[0] * num_kv_tiles[1] * num_kv_tiles[2]) {
            return TileState::kSkipped;
        }
        TileState worst = TileState::kFull;
        for (int a = 2; a >= 0; --a) {
            worst = min_of(worst, span[a].state(rest % num_kv_tiles[a]));
            rest /= num_kv_tiles[a];
        }
        return worst;
    }

  private:
    /// Coordinates of the n-th tile, row-major, of the visited box without the full box inside it.
    FATTN_HD constexpr void nth_partial(int32 n, bool has_full, int32 (&x)[3]) const {
        bool beside_full = has_full;  // the coordinates chosen so far cut through the full box
        for (int a = 0; a < 3; ++a) {
            int32 slab = 1;       // visited tiles behind one coordinate of this axis
            int32 full_slab = 1;  // full ones among them
            for (int b = a + 1; b < 3; ++b) {
                slab *= span[b].num_tiles();
                full_slab *= span[b].num_full();
            }
            if (!beside_full) {
                x[a] = span[a].begin + n / slab;
                n %= slab;
                continue;
            }
            const int32 before = (span[a].full_begin - span[a].begin) * slab;
            const int32 ring = slab - full_slab;
            const int32 middle = span[a].num_full() * ring;
            if (n < before) {
                x[a] = span[a].begin + n / slab;
                n %= slab;
                beside_full = false;
            } else if (n < before + middle) {
                x[a] = span[a].full_begin + (n - before) / ring;
                n = (n - before) % ring;
            } else {
                x[a] = span[a].full_end + (n - before - middle) / slab;
                n = (n - before - middle) % slab;
                beside_full = false;
            }
        }
    }
};

/// A box of KV patches per Q patch. Tiles count dilation groups, then patches inside a group, both
/// row-major, like the slots of PatchGrid. Axes that a problem lacks come first, with one group and
/// one tile. Heads share it.
struct BoxSchedule {
    BoxAxis axis[3];

    FATTN_HD constexpr int32 num_groups() const {
        return axis[0].num_groups * axis[1].num_groups * axis[2].num_groups;
    }
    FATTN_HD constexpr int32 q_tiles_per_group() const {
        return axis[0].num_q_tiles * axis[1].num_q_tiles * axis[2].num_q_tiles;
    }
    FATTN_HD constexpr int32 kv_tiles_per_group() const {
        return axis[0].num_kv_tiles * axis[1].num_kv_tiles * axis[2].num_kv_tiles;
    }
    FATTN_HD constexpr int32 num_q_tiles() const { return num_groups() * q_tiles_per_group(); }
    FATTN_HD constexpr int32 num_kv_tiles() const { return num_groups() * kv_tiles_per_group(); }

    FATTN_HD constexpr BoxRow row(int64 /*head*/, int32 q_tile) const {
        int32 group = q_tile / q_tiles_per_group();
        int32 rest = q_tile % q_tiles_per_group();
        BoxRow row{};
        row.group_begin = group * kv_tiles_per_group();
        for (int a = 2; a >= 0; --a) {
            const BoxAxis& along = axis[a];
            const int32 group_idx = group % along.num_groups;
            row.span[a] = along.spans[group_idx * along.num_q_tiles + rest % along.num_q_tiles];
            row.num_kv_tiles[a] = along.num_kv_tiles;
            group /= along.num_groups;
            rest /= along.num_q_tiles;
        }
        return row;
    }
};

// -------------------------------------------------------------------------------------------------
// list -----

/// Row of a list schedule.
struct ListRow {
    const int32* tiles;  // [num_visited]: full ones ascending, then partial ones ascending
    int32 full;
    int32 visited;

    FATTN_HD constexpr int32 num_full() const { return full; }
    FATTN_HD constexpr int32 num_tiles() const { return visited; }
    FATTN_HD constexpr int32 tile(int32 n) const { return tiles[n]; }
    FATTN_HD constexpr TileState state(int32 t) const {
        for (int32 n = 0; n < visited; ++n) {
            if (tiles[n] == t) return n < full ? TileState::kFull : TileState::kPartial;
        }
        return TileState::kSkipped;
    }
};

/// Compressed rows per pattern. Heads point to patterns, so that many heads may share few.
struct ListSchedule {
    const int64* row_begin;        // [num_patterns * num_q_tiles + 1] into tiles
    const int32* num_full;         // [num_patterns * num_q_tiles]
    const int32* tiles;            // rows as in ListRow
    const int32* pattern_of_head;  // [num_heads], each in [0, num_patterns)
    int64 q_len;
    int64 kv_len;
    int32 tile_q;
    int32 tile_kv;
    int32 num_patterns;
    int32 num_heads;

    FATTN_HD constexpr int32 num_q_tiles() const {
        return narrow<int32>(ceil_div<int64>(q_len, tile_q));
    }
    FATTN_HD constexpr int32 num_kv_tiles() const {
        return narrow<int32>(ceil_div<int64>(kv_len, tile_kv));
    }
    FATTN_HD constexpr ListRow pattern_row(int32 pattern, int32 q_tile) const {
        const int64 at = int64{pattern} * num_q_tiles() + q_tile;
        return {tiles + row_begin[at], num_full[at],
                narrow<int32>(row_begin[at + 1] - row_begin[at])};
    }
    FATTN_HD constexpr ListRow row(int64 head, int32 q_tile) const {
        return pattern_row(pattern_of_head[head], q_tile);
    }
};

}  // namespace fattn
