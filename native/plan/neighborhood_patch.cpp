// Weighs patches of neighborhood problems; see neighborhood_patch.h.
#include "plan/neighborhood_patch.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace fattn {
namespace {

constexpr int kAxes = PatchGrid::kAxes;

/// What a stretch of an axis sees or is seen by, on average over stretches away from the ends,
/// where windows are whole; remembered, because many candidates ask.
class AverageSpans {
  public:
    using Seen = KeyInterval (NeighborhoodAxis::*)(int64 i, int64 length) const;

    AverageSpans(const NeighborhoodAxis& axis, Seen seen)
        : axis_(axis), seen_(seen), length_(axis.group_length(0)) {}

    double of(int64 extent) {
        extent = std::min(extent, length_);
        if (known_.size() <= static_cast<std::size_t>(extent)) {
            known_.resize(static_cast<std::size_t>(extent) + 1, -1.0);
        }
        double& span = known_[static_cast<std::size_t>(extent)];
        if (span < 0) span = measure(extent);
        return span;
    }

  private:
    double measure(int64 extent) const {
        constexpr int64 kSamples = 16;
        const int64 patches = std::max<int64>(length_ / extent, 1);
        const int64 samples = std::min(patches, kSamples);
        const int64 first_patch = (patches - samples) / 2;
        double sum = 0;
        for (int64 n = 0; n < samples; ++n) {
            const int64 first = (first_patch + n) * extent;
            const int64 last = std::min(first + extent, length_) - 1;
            sum += static_cast<double>((axis_.*seen_)(last, length_).end -
                                       (axis_.*seen_)(first, length_).begin);
        }
        return sum / static_cast<double>(samples);
    }

    NeighborhoodAxis axis_;
    Seen seen_;
    int64 length_;
    std::vector<double> known_;  // by extent; negative: not yet
};

/// The same along every axis.
struct GridSpans {
    GridSpans(const NeighborhoodGrid& grid, AverageSpans::Seen seen)
        : axis{{grid.axis[0], seen}, {grid.axis[1], seen}, {grid.axis[2], seen}} {}

    AverageSpans axis[kAxes];
};

/// A patch from its first axis: lines, and what stands behind one of them.
struct PatchLines {
    PatchLines(const NeighborhoodGrid& grid, const Patch& patch, GridSpans& spans) {
        const int first = grid.first_axis();
        for (int a = first + 1; a < kAxes; ++a) {
            box_line *= spans.axis[a].of(patch.extent[a]);
            line *= std::min(patch.extent[a], grid.axis[a].group_length(0));
        }
        lines = std::min(patch.extent[first], grid.axis[first].group_length(0));
    }

    int64 lines;
    int64 line = 1;       // tokens of the patch
    double box_line = 1;  // tokens of its box
};

constexpr double kShareWork = 2000;  // setting up a tile, in pairs

/// Estimates the forward's work. Keys lie row-major in a box, so a group of rows computes the
/// interval of the box from its first to its last line along the first axis that has several
/// tokens, whole along the other axes.
class QueryPatchCost {
  public:
    QueryPatchCost(const NeighborhoodGrid& grid, int64 heads, int64 num_additional,
                   const GatherTiles& tiles)
        : grid_(grid),
          heads_(heads),
          num_additional_(static_cast<double>(num_additional)),
          tiles_(tiles),
          keys_(grid, &NeighborhoodAxis::keys_of) {}

    /// Work per token.
    double of(const Patch& patch) {
        const PatchLines p(grid_, patch, keys_);
        AverageSpans& along = keys_.axis[grid_.first_axis()];
        const int64 rows = p.lines * p.line;
        const double box = along.of(p.lines) * p.box_line + num_additional_;
        double work = box * tiles_.gather_rows + kShareWork;
        // Heads follow each other; a group that holds rows of two is rare enough to leave out.
        for (int64 row = 0; row < rows; row += tiles_.row_group) {
            const int64 last = std::min<int64>(row + tiles_.row_group, rows) - 1;
            const int64 seen_lines = last / p.line - row / p.line + 1;
            const double keys = along.of(seen_lines) * p.box_line + num_additional_;
            // On average half a group of keys is computed in vain at either end.
            const auto group_rows = static_cast<double>(heads_ == 1 ? int64{tiles_.row_group}
                                                                    : (last - row + 1) * heads_);
            work += group_rows * (keys + tiles_.key_group);
        }
        return work / static_cast<double>(rows);
    }

  private:
    const NeighborhoodGrid& grid_;
    int64 heads_;
    double num_additional_;
    GatherTiles tiles_;
    GridSpans keys_;
};

/// Estimates the work of patches that are groups of lanes, which take what they see, or what sees
/// them, in runs along the last axis. percent: what one of their pairs costs; apart: added to it
/// where the keys of a run lie apart, because processors fetch what is between them as well.
class LanePatchCost {
  public:
    LanePatchCost(const NeighborhoodGrid& grid, AverageSpans::Seen seen, int64 heads,
                  int64 num_additional, int32 percent, int32 apart, const GatherTiles& tiles)
        : heads_(static_cast<double>(heads)),
          additional_(static_cast<double>(round_up<int64>(num_additional, tiles.lane_run))),
          percent_(percent + (grid.axis[kAxes - 1].dilation > 1 ? apart : 0)),
          tiles_(tiles),
          keys_(grid, seen) {
        for (int a = 0; a < kAxes; ++a) length_[a] = grid.axis[a].group_length(0);
    }

    double of(const Patch& patch) {
        double keys = 1;
        double tokens = 1;
        for (int a = 0; a < kAxes; ++a) {
            const int64 extent = std::min<int64>(patch.extent[a], length_[a]);
            const double span = keys_.axis[a].of(extent);
            keys *= a + 1 < kAxes ? span : keys_of_line(patch, span);
            // Patches at the end of an axis have fewer tokens and as many lanes.
            const int64 patches = ceil_div(length_[a], extent);
            tokens *= static_cast<double>(length_[a]) / static_cast<double>(patches);
        }
        const double pairs = (keys + additional_) * tiles_.lane_group * heads_;
        return (pairs * percent_ / 100 + kGroupWork * heads_) / tokens;
    }

  private:
    /// Keys that a group takes for a line of its box of so many: whole runs, or for what these
    /// leave over runs along the axis before the last, where that is less.
    double keys_of_line(const Patch& patch, double span) {
        const auto whole = [&](double keys) {
            return std::ceil(keys / tiles_.lane_run) * tiles_.lane_run;
        };
        if (length_[kAxes - 2] < tiles_.lane_run) return whole(span);
        const double lines = keys_.axis[kAxes - 2].of(patch.extent[kAxes - 2]);
        const double in_runs = std::floor(span / tiles_.lane_run) * tiles_.lane_run;
        return std::min(whole(span), in_runs + (span - in_runs) * whole(lines) / lines);
    }

    static constexpr double kGroupWork = 200;  // setting up a group, in pairs

    double heads_;
    double additional_;
    double percent_;
    GatherTiles tiles_;
    GridSpans keys_;
    int64 length_[kAxes];
};

/// Estimates the backward's work. The rows of a key patch are the box of queries that see one of
/// its keys; a group of them computes the lines of the patch that one of them sees. Pairs are five
/// products here, not two.
class KeyPatchCost {
  public:
    KeyPatchCost(const NeighborhoodGrid& grid, const GatherTiles& tiles)
        : grid_(grid),
          tiles_(tiles),
          queries_(grid, &NeighborhoodAxis::queries_of),
          queries_of_one_(queries_.axis[grid.first_axis()].of(1)) {}

    double of(const Patch& patch) {
        const PatchLines p(grid_, patch, queries_);
        const double box_lines = queries_.axis[grid_.first_axis()].of(p.lines);
        const auto line = static_cast<double>(p.line);
        const double tokens = static_cast<double>(p.lines) * line;
        // Keys of the patch that rows on consecutive lines see between them: on average, over all
        // places of such rows in the box, since each of its keys is seen from as many places.
        const auto keys_seen = [&](int64 rows) {
            const double lines = static_cast<double>(rows - 1) / p.box_line;  // after the first
            return std::min(tokens, tokens * (queries_of_one_ + lines) / (box_lines + lines));
        };
        // Of the key tiles of the patch a row tile meets those that one of its rows sees.
        const double met = std::min(tokens, keys_seen(tiles_.row_tile) + tiles_.key_tile / 2.0);
        const double of_row = tiles_.gather_rows + met / tiles_.key_tile * tiles_.tile_row +
                              keys_seen(tiles_.row_group) + tiles_.key_group;
        return (box_lines * p.box_line * of_row + kShareWork) / tokens + tiles_.gather_rows;
    }

  private:
    const NeighborhoodGrid& grid_;
    GatherTiles tiles_;
    GridSpans queries_;
    double queries_of_one_;  // along the first axis
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

struct Weighed {
    Patch patch;
    double work;
};

/// The candidate of least cost with at most most_tokens tokens.
template <class Cost>
Weighed cheapest(const NeighborhoodGrid& grid, int64 most_tokens, Cost cost) {
    std::vector<int32> extents[kAxes];
    for (int a = 0; a < kAxes; ++a) extents[a] = candidates(grid.axis[a], most_tokens);
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
    return {best, least};
}

}  // namespace

ChosenPatch choose_patch(const NeighborhoodGrid& grid, int64 heads, int64 num_additional,
                         int64 columns, int64 most_rows, const GatherTiles& tiles) {
    const int64 folded = std::max<int64>(heads, 1);
    const Weighed rows = cheapest(grid, std::max<int64>(most_rows / folded, 1),
                                  QueryPatchCost(grid, folded, num_additional, tiles));
    const NeighborhoodAxis& last = grid.axis[kAxes - 1];
    if (tiles.lane_group == 0 || last.group_length(last.dilation - 1) < tiles.lane_run) {
        return {rows.patch, false};
    }
    // Boxes of long rows that lie apart leave the second cache.
    const int32 apart = columns > 192 ? 8 : 4;
    const Weighed lanes = cheapest(grid, tiles.lane_group,
                                   LanePatchCost(grid, &NeighborhoodAxis::keys_of, folded,
                                                 num_additional, tiles.lane_percent, apart, tiles));
    return lanes.work < rows.work ? ChosenPatch{lanes.patch, true} : ChosenPatch{rows.patch, false};
}

ChosenPatch choose_key_patch(const NeighborhoodGrid& grid, const ChosenPatch& query_patch,
                             int64 num_additional, int64 most_keys, const GatherTiles& tiles) {
    const Weighed rows = cheapest(grid, std::max<int64>(most_keys, 1), KeyPatchCost(grid, tiles));
    if (!query_patch.lanes || num_additional > 0) return {rows.patch, false};
    const auto cost = [&](AverageSpans::Seen seen) {
        return LanePatchCost(grid, seen, 1, 0, tiles.lane_backward_percent, 8, tiles);
    };
    const Weighed lanes = cheapest(grid, tiles.lane_group, cost(&NeighborhoodAxis::queries_of));
    // A pair is five products; lanes do three of them from the queries and four from the keys.
    const double work =
        (3 * cost(&NeighborhoodAxis::keys_of).of(query_patch.patch) + 4 * lanes.work) / 5;
    return work < rows.work ? ChosenPatch{lanes.patch, true} : ChosenPatch{rows.patch, false};
}

}  // namespace fattn
