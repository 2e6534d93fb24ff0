// Neighborhood planner: boxes of patches from the windows of each axis, and the choice of the
// patch; called by api/.
#include "plan/neighborhood_plan.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "plan/retile.h"
#include "plan/tile_map.h"

namespace fattn {
namespace {

constexpr int kAxes = PatchGrid::kAxes;

/// The first axis that has several tokens; the last one when none has.
int first_axis(const NeighborhoodGrid& grid) {
    int axis = 0;
    while (axis + 1 < kAxes && grid.axis[axis].extent == 1) ++axis;
    return axis;
}

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

/// Keys that a patch of `rows` queries along an axis gathers, on average over patches away from the
/// ends, where windows are whole; remembered, because many candidates ask.
class AverageSpans {
  public:
    explicit AverageSpans(const NeighborhoodAxis& axis)
        : axis_(axis), length_(axis.group_length(0)) {}

    double of(int64 rows) {
        rows = std::min(rows, length_);
        if (known_.size() <= static_cast<std::size_t>(rows)) {
            known_.resize(static_cast<std::size_t>(rows) + 1, -1.0);
        }
        double& span = known_[static_cast<std::size_t>(rows)];
        if (span < 0) span = measure(rows);
        return span;
    }

  private:
    double measure(int64 rows) const {
        constexpr int64 kSamples = 16;
        const int64 patches = std::max<int64>(length_ / rows, 1);
        const int64 samples = std::min(patches, kSamples);
        const int64 first_patch = (patches - samples) / 2;
        double sum = 0;
        for (int64 n = 0; n < samples; ++n) {
            const int64 first = (first_patch + n) * rows;
            const int64 last = std::min(first + rows, length_) - 1;
            sum += static_cast<double>(axis_.keys_of(last, length_).end -
                                       axis_.keys_of(first, length_).begin);
        }
        return sum / static_cast<double>(samples);
    }

    NeighborhoodAxis axis_;
    int64 length_;
    std::vector<double> known_;  // by rows; negative: not yet
};

/// Estimates the work of a patch. Keys lie row-major in a box, so a group of rows computes the
/// interval of the box from its first to its last line along the first axis that has several
/// tokens, whole along the other axes.
class PatchCost {
  public:
    PatchCost(const NeighborhoodGrid& grid, int64 heads, int64 num_additional,
              const GatherTiles& tiles)
        : grid_(grid),
          heads_(heads),
          num_additional_(static_cast<double>(num_additional)),
          tiles_(tiles),
          first_axis_(first_axis(grid)) {}

    /// Work per token.
    double of(const Patch& patch) {
        double inner_keys = 1;
        int64 line = 1;  // tokens of the patch behind one coordinate of the first axis
        for (int a = first_axis_ + 1; a < kAxes; ++a) {
            inner_keys *= spans_[a].of(patch.extent[a]);
            line *= std::min(patch.extent[a], grid_.axis[a].group_length(0));
        }
        const int64 lines =
            std::min(patch.extent[first_axis_], grid_.axis[first_axis_].group_length(0));
        const int64 rows = lines * line;
        const double box = spans_[first_axis_].of(lines) * inner_keys + num_additional_;
        double work = box * tiles_.gather_rows + kShareWork;
        // Heads follow each other; a group that holds rows of two is rare enough to leave out.
        for (int64 row = 0; row < rows; row += tiles_.row_group) {
            const int64 last = std::min<int64>(row + tiles_.row_group, rows) - 1;
            const int64 seen_lines = last / line - row / line + 1;
            const double keys = spans_[first_axis_].of(seen_lines) * inner_keys + num_additional_;
            // On average half a group of keys is computed in vain at either end.
            const auto group_rows = static_cast<double>(heads_ == 1 ? int64{tiles_.row_group}
                                                                    : (last - row + 1) * heads_);
            work += group_rows * (keys + tiles_.key_group);
        }
        return work / static_cast<double>(lines * line);
    }

  private:
    static constexpr double kShareWork = 2000;  // setting up a share, in pairs

    const NeighborhoodGrid& grid_;
    int64 heads_;
    double num_additional_;
    GatherTiles tiles_;
    int first_axis_;
    AverageSpans spans_[kAxes] = {AverageSpans(grid_.axis[0]), AverageSpans(grid_.axis[1]),
                                  AverageSpans(grid_.axis[2])};
};

/// Extents worth trying: small numbers, and whole groups of queries that share a window.
std::vector<int32> candidates(const NeighborhoodAxis& axis, int64 most_tokens) {
    const int64 length = axis.group_length(0);
    const int64 most = std::min(length, most_tokens);
    std::vector<int32> result;
    for (int64 n = 1; n < most; n = n < 4 ? n + 1 : n % 3 == 0 ? n / 3 * 4 : n / 2 * 3) {
        result.push_back(narrow<int32>(n));
    }
    for (int64 n = axis.stride; axis.stride > 1 && n < most; n *= 2) {
        result.push_back(narrow<int32>(n));
    }
    result.push_back(narrow<int32>(most));
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

}  // namespace

BoxScheduleData neighborhood_schedule(const NeighborhoodGrid& grid, const Patch& queries,
                                      const Patch& keys) {
    BoxScheduleData schedule;
    for (int a = 0; a < kAxes; ++a) {
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
    for (int a = 0; a < kAxes; ++a) {
        const NeighborhoodAxis& axis = grid.axis[a];
        schedule.axis[a] =
            axis_schedule(axis, keys.extent[a], queries.extent[a],
                          [&](int64 j, int64 length) { return axis.queries_of(j, length); });
    }
    return schedule;
}

Patch choose_patch(const NeighborhoodGrid& grid, int64 heads, int64 num_additional, int64 most_rows,
                   const GatherTiles& tiles) {
    const int64 most_tokens = std::max<int64>(most_rows / std::max<int64>(heads, 1), 1);
    std::vector<int32> extents[kAxes];
    for (int a = 0; a < kAxes; ++a) extents[a] = candidates(grid.axis[a], most_tokens);
    PatchCost cost(grid, std::max<int64>(heads, 1), num_additional, tiles);
    Patch best{{1, 1, 1}};
    double least = cost.of(best);
    for (const int32 a : extents[0]) {
        for (const int32 b : extents[1]) {
            if (int64{a} * b > most_tokens) continue;
            for (const int32 c : extents[2]) {
                const Patch patch{{a, b, c}};
                if (patch.num_tokens() > most_tokens) continue;
                const double work = cost.of(patch);
                if (work < least) {
                    least = work;
                    best = patch;
                }
            }
        }
    }
    return best;
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

}  // namespace

NeighborhoodPlan::NeighborhoodPlan(const NeighborhoodProblem& problem, const GatherTiles& tiles)
    : grid_(problem.grid),
      patch_(choose_patch(problem.grid, heads_of_key_head(problem.dense), problem.num_additional,
                          most_rows_of(problem, tiles), tiles)),
      key_patch_(choose_patch(problem.grid, 1, 0, tiles.most_keys, tiles)),
      row_group_(tiles.row_group),
      keys_of_queries_(neighborhood_schedule(grid_, patch_, {{1, 1, 1}})),
      queries_of_keys_(problem.dense.backward
                           ? neighborhood_schedule_of_keys(grid_, key_patch_, {{1, 1, 1}})
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

/// Keys along the first axis times rows, over all its patches, when a coordinate of it holds `line`
/// tokens of a patch: what groups of neighbouring rows compute.
double NeighborhoodPlan::visited_along(const NeighborhoodAxis& axis, int32 patch,
                                       int64 line) const {
    double visited = 0;
    for (int32 g = 0; g < axis.dilation; ++g) {
        const int64 length = axis.group_length(g);
        for (int64 first = 0; first < length; first += patch) {
            const int64 rows = std::min<int64>(patch, length - first) * line;
            for (int64 row = 0; row < rows; row += row_group_) {
                const int64 count = std::min<int64>(row_group_, rows - row);
                const int64 end = axis.keys_of(first + (row + count - 1) / line, length).end;
                const int64 begin = axis.keys_of(first + row / line, length).begin;
                visited += static_cast<double>(count) * static_cast<double>(end - begin);
            }
        }
    }
    return visited;
}

double NeighborhoodPlan::visited_pairs() const {
    const int first = first_axis(grid_);
    // Patches of the other axes: how many tokens they have, and how many keys they see.
    std::map<int64, double> keys_of_lines{{1, 1.0}};
    for (int a = first + 1; a < kAxes; ++a) {
        const BoxAxisData& axis = keys_of_queries_.axis[a];
        std::map<int64, double> longer;
        for (int32 g = 0; g < grid_.axis[a].dilation; ++g) {
            const int32 length = grid_.axis[a].group_length(g);
            for (int32 q = 0; q * int64{axis.tile_q} < length; ++q) {
                const int64 rows = tile_extent(q, axis.tile_q, length);
                for (const auto& [line, keys] : keys_of_lines) {
                    longer[line * rows] += keys * span_at(axis, g, q).num_tiles();
                }
            }
        }
        keys_of_lines = std::move(longer);
    }
    double pairs = 0;
    for (const auto& [line, keys] : keys_of_lines) {
        pairs += keys * visited_along(grid_.axis[first], patch_.extent[first], line);
    }
    return pairs + static_cast<double>(grid_.num_tokens()) * static_cast<double>(num_additional_);
}

ScheduleStats NeighborhoodPlan::stats() const {
    const BoxScheduleData tiles = retile(keys_of_queries_.view(), patch_.extent, patch_.extent);
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
    return {.tile_q = patch_.num_tokens(),
            .tile_kv = patch_.num_tokens(),
            .num_q_tiles = num_q_tiles,
            .num_kv_tiles = num_kv_tiles,
            .full_tiles = full_tiles * num_heads_,
            .partial_tiles = (visited_tiles - full_tiles) * num_heads_,
            .skipped_tiles = (num_q_tiles * num_kv_tiles - visited_tiles) * num_heads_,
            .needed_pairs = needed_pairs() * heads,
            .visited_pairs = visited_pairs() * heads};
}

double NeighborhoodPlan::flops(Pass pass) const {
    const auto qk = static_cast<double>(head_dim_);
    const auto pv = static_cast<double>(head_dim_v_);
    const double depth = pass == Pass::kForward ? qk + pv : 3 * qk + 2 * pv;
    return 2 * depth * visited_pairs() * static_cast<double>(num_heads_);
}

void NeighborhoodPlan::write_tiles(uint8* tiles) const {
    const BoxScheduleData map = retile(keys_of_queries_.view(), patch_.extent, patch_.extent);
    write_tile_map(map.view(), 0, tiles);
}

}  // namespace fattn
