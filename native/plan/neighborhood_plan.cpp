// Neighborhood planner: boxes of patches from the windows of each axis, and sums over them; called
// by api/.
#include "plan/neighborhood_plan.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "plan/retile.h"
#include "plan/tile_map.h"

namespace fattn {
namespace {

/// Span of one patch [first, last] of a group from the windows of its ends, whose bounds never
/// decrease.
TileSpan span_of(const KeyInterval& top, const KeyInterval& bottom, bool ragged, int32 tile) {
    TileSpan span{narrow<int32>(top.begin / tile), 0, 0,
                  narrow<int32>(ceil_div<int64>(bottom.end, tile))};
    span.full_begin = narrow<int32>(ceil_div<int64>(bottom.begin, tile));
    span.full_end = narrow<int32>(top.end / tile);
    if (ragged || span.full_end <= span.full_begin) span.full_begin = span.full_end = span.begin;
    return span;
}

/// One axis; seen(i, length) gives what coordinate i of a group sees or is seen by.
template <class Seen>
BoxAxisData axis_schedule(const NeighborhoodAxis& axis, int32 patch, int32 tile, const Seen& seen) {
    BoxAxisData result;
    result.num_q_tiles = ceil_div(axis.group_length(0), patch);
    result.num_kv_tiles = ceil_div(axis.group_length(0), tile);
    result.tile_q = patch;
    result.tile_kv = tile;
    for (int32 g = 0; g < axis.dilation; ++g) {
        const int32 length = axis.group_length(g);
        result.extents.push_back(length);
        for (int32 q = 0; q < result.num_q_tiles; ++q) {
            const int64 first = int64{q} * patch;
            const int64 rows = tile_extent(q, patch, length);
            result.spans.push_back(rows <= 0 ? TileSpan{0, 0, 0, 0}
                                             : span_of(seen(first, length),
                                                       seen(first + rows - 1, length), rows < patch,
                                                       tile));
        }
    }
    return result;
}

double sum_over_patches(const BoxAxisData& axis,
                        double (*value)(const BoxAxisData&, int32 group, int32 patch)) {
    double sum = 0;
    for (int32 g = 0; g < narrow<int32>(axis.extents.size()); ++g) {
        for (int32 q = 0; q < axis.num_q_tiles; ++q) sum += value(axis, g, q);
    }
    return sum;
}

const TileSpan& span_at(const BoxAxisData& axis, int32 group, int32 patch) {
    return axis.spans[static_cast<std::size_t>(int64{group} * axis.num_q_tiles + patch)];
}

/// Tokens of patches times those of their boxes.
double pairs_of_patches(const BoxScheduleData& schedule) {
    double pairs = 1;
    for (const BoxAxisData& axis : schedule.axis) {
        pairs *= sum_over_patches(axis, [](const BoxAxisData& along, int32 g, int32 q) {
            const int64 tokens = std::min<int64>(
                along.tile_q, along.extents[static_cast<std::size_t>(g)] - int64{q} * along.tile_q);
            return static_cast<double>(std::max<int64>(tokens, 0)) *
                   static_cast<double>(span_at(along, g, q).num_tiles());
        });
    }
    return pairs;
}

/// Counts what a pass computes over the tiles of its schedule, of one head.
class VisitedPairs {
  public:
    /// forward: rows are patches and slots boxes, which is the other way round in the backward.
    VisitedPairs(const NeighborhoodGrid& grid, int64 row_group, bool forward)
        : grid_(grid), row_group_(row_group), forward_(forward), first_(grid.first_axis()) {}

    double of(const BoxScheduleData& schedule) const {
        // What stands behind one line of a tile: how often so many rows, with how many slots.
        std::map<int64, double> slots_of_rows{{1, 1.0}};
        for (int a = first_ + 1; a < PatchGrid::kAxes; ++a) {
            std::map<int64, double> longer;
            for_each_patch(a, schedule.axis[a], [&](int32, KeyInterval patch, KeyInterval box) {
                const int64 rows = forward_ ? patch.size() : box.size();
                const auto slots = static_cast<double>(forward_ ? box.size() : patch.size());
                for (const auto& [line, sum] : slots_of_rows) longer[line * rows] += sum * slots;
            });
            slots_of_rows = std::move(longer);
        }
        double pairs = 0;
        for (const auto& entry : slots_of_rows) {
            const int64 line = entry.first;
            const double slots = entry.second;
            for_each_patch(first_, schedule.axis[first_],
                           [&](int32 group, KeyInterval patch, KeyInterval box) {
                               pairs += slots * along_first(grid_.axis[first_].group_length(group),
                                                            forward_ ? patch : box,
                                                            forward_ ? box : patch, line);
                           });
        }
        return pairs;
    }

  private:
    /// Calls visit(group, patch, box) with the coordinates of every patch that has some.
    template <class Visit>
    void for_each_patch(int axis, const BoxAxisData& schedule, const Visit& visit) const {
        for (int32 g = 0; g < grid_.axis[axis].dilation; ++g) {
            const int64 length = grid_.axis[axis].group_length(g);
            for (int32 q = 0; q * int64{schedule.tile_q} < length; ++q) {
                const int64 begin = q * int64{schedule.tile_q};
                const TileSpan& span = span_at(schedule, g, q);
                visit(g, KeyInterval{begin, std::min(begin + schedule.tile_q, length)},
                      KeyInterval{span.begin, span.end});
            }
        }
    }

    /// Rows times slots along the first axis, when a coordinate of it holds `line` rows.
    double along_first(int64 length, KeyInterval rows, KeyInterval slots, int64 line) const {
        const NeighborhoodAxis& axis = grid_.axis[first_];
        const int64 num_rows = rows.size() * line;
        double visited = 0;
        for (int64 row = 0; row < num_rows; row += row_group_) {
            const int64 count = std::min(row_group_, num_rows - row);
            const int64 begin = axis.keys_of(rows.begin + row / line, length).begin;
            const int64 end = axis.keys_of(rows.begin + (row + count - 1) / line, length).end;
            visited += static_cast<double>(count) *
                       static_cast<double>(std::min(end, slots.end) - std::max(begin, slots.begin));
        }
        return visited;
    }

    const NeighborhoodGrid& grid_;
    int64 row_group_;
    bool forward_;
    int first_;
};

}  // namespace

BoxScheduleData neighborhood_schedule(const NeighborhoodGrid& grid, const Patch& queries,
                                      const Patch& keys) {
    BoxScheduleData schedule;
    for (int a = 0; a < PatchGrid::kAxes; ++a) {
        const NeighborhoodAxis& axis = grid.axis[a];
        schedule.axis[a] =
            axis_schedule(axis, queries.extent[a], keys.extent[a],
                          [&](int64 i, int64 length) { return axis.keys_of(i, length); });
    }
    return schedule;
}

BoxScheduleData neighborhood_schedule_of_keys(const NeighborhoodGrid& grid, const Patch& keys,
                                              const Patch& queries) {
    BoxScheduleData schedule;
    for (int a = 0; a < PatchGrid::kAxes; ++a) {
        const NeighborhoodAxis& axis = grid.axis[a];
        schedule.axis[a] =
            axis_schedule(axis, keys.extent[a], queries.extent[a],
                          [&](int64 j, int64 length) { return axis.queries_of(j, length); });
    }
    return schedule;
}

namespace {

/// Query heads that share a key head.
int64 heads_of_key_head(const DenseProblem& dense) {
    return ceil_div(dense.num_q_heads, max_of<int64>(dense.num_k_heads, 1));
}

/// Rows of a share at most: fewer where the problem has few, so that many threads find work.
int64 most_rows_of(const NeighborhoodProblem& problem, const GatherTiles& tiles) {
    constexpr int64 kShares = 64;
    constexpr int64 kLeastGroups = 8;
    const int64 rows = problem.dense.batch * problem.dense.num_q_heads * problem.num_tokens();
    return clamp_to<int64>(rows / kShares, kLeastGroups * tiles.row_group, tiles.most_rows);
}

/// Keys of a backward tile at most: fewer where the problem has few, so that chunks of keys have
/// about as many each.
int64 most_keys_of(const NeighborhoodProblem& problem, const GatherTiles& tiles) {
    constexpr int64 kTiles = 32;
    return clamp_to<int64>(problem.num_tokens() / kTiles, tiles.key_tile, tiles.most_keys);
}

}  // namespace

NeighborhoodPlan::NeighborhoodPlan(const NeighborhoodProblem& problem, const GatherTiles& tiles)
    : grid_(problem.grid),
      patch_(choose_patch(problem.grid, heads_of_key_head(problem.dense), problem.num_additional,
                          problem.dense.head_dim + problem.dense.head_dim_v,
                          most_rows_of(problem, tiles), tiles)),
      key_patch_(choose_key_patch(problem.grid, patch_, problem.num_additional,
                                  most_keys_of(problem, tiles), tiles)),
      row_group_(tiles.row_group),
      query_group_(patch_.lanes ? tiles.lane_group : tiles.row_group),
      keys_of_queries_(neighborhood_schedule(grid_, patch_.patch, {{1, 1, 1}})),
      queries_of_keys_(problem.dense.backward
                           ? neighborhood_schedule_of_keys(grid_, key_patch_.patch, {{1, 1, 1}})
                           : BoxScheduleData{}),
      num_heads_(problem.dense.batch * problem.dense.num_q_heads),
      num_additional_(problem.num_additional),
      head_dim_(problem.dense.head_dim),
      head_dim_v_(problem.dense.head_dim_v) {}

double NeighborhoodPlan::needed_pairs() const {
    double pairs = 1;
    for (const NeighborhoodAxis& axis : grid_.axis) {
        double along = 0;
        for (int32 g = 0; g < axis.dilation; ++g) {
            const int32 length = axis.group_length(g);
            for (int32 i = 0; i < length; ++i) {
                along += static_cast<double>(axis.keys_of(i, length).size());
            }
        }
        pairs *= along;
    }
    return pairs + static_cast<double>(grid_.num_tokens()) * static_cast<double>(num_additional_);
}

double NeighborhoodPlan::pairs_of_head(Pass pass) const {
    const bool forward = pass == Pass::kForward;
    if (!forward && key_patch_.lanes) return pairs_of_patches(queries_of_keys_);
    const VisitedPairs visited(grid_, forward ? query_group_ : row_group_, forward);
    return visited.of(forward ? keys_of_queries_ : queries_of_keys_);
}

double NeighborhoodPlan::visited_pairs(Pass pass) const {
    const double additional =
        static_cast<double>(grid_.num_tokens()) * static_cast<double>(num_additional_);
    return (pairs_of_head(pass) + additional) * static_cast<double>(num_heads_);
}

ScheduleStats NeighborhoodPlan::stats() const {
    const BoxScheduleData tiles =
        retile(keys_of_queries_.view(), patch_.patch.extent, patch_.patch.extent);
    double full = 1;
    double visited = 1;
    int64 num_q_tiles = grid_.num_groups();
    int64 num_kv_tiles = grid_.num_groups();
    for (const BoxAxisData& axis : tiles.axis) {
        full *= sum_over_patches(axis, [](const BoxAxisData& along, int32 g, int32 q) {
            return static_cast<double>(span_at(along, g, q).num_full());
        });
        visited *= sum_over_patches(axis, [](const BoxAxisData& along, int32 g, int32 q) {
            return static_cast<double>(span_at(along, g, q).num_tiles());
        });
        num_q_tiles *= axis.num_q_tiles;
        num_kv_tiles *= axis.num_kv_tiles;
    }
    const auto full_tiles = static_cast<int64>(full);
    const auto visited_tiles = static_cast<int64>(visited);
    const auto heads = static_cast<double>(num_heads_);
    return {.tile_q = patch_.patch.num_tokens(),
            .tile_kv = patch_.patch.num_tokens(),
            .num_q_tiles = num_q_tiles,
            .num_kv_tiles = num_kv_tiles,
            .full_tiles = full_tiles * num_heads_,
            .partial_tiles = (visited_tiles - full_tiles) * num_heads_,
            .skipped_tiles = (num_q_tiles * num_kv_tiles - visited_tiles) * num_heads_,
            .needed_pairs = needed_pairs() * heads,
            .visited_pairs = visited_pairs(Pass::kForward)};
}

double NeighborhoodPlan::flops(Pass pass) const {
    const auto qk = static_cast<double>(head_dim_);
    const auto pv = static_cast<double>(head_dim_v_);
    const double depth = pass == Pass::kForward ? qk + pv : 3 * qk + 2 * pv;
    return 2 * depth * visited_pairs(pass);
}

void NeighborhoodPlan::write_tiles(uint8* tiles) const {
    const BoxScheduleData map =
        retile(keys_of_queries_.view(), patch_.patch.extent, patch_.patch.extent);
    write_tile_map(map.view(), 0, tiles);
}

}  // namespace fattn
