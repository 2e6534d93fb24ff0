// Groups of lanes from the boxes of small patches; see gather_lanes.h.
#include "cpu/gather_lanes.h"

#include <algorithm>

namespace fattn::cpu {
namespace {

/// Groups of a share at most, and shares of a problem that are worth smaller ones.
constexpr int64 kShareGroups = 16;
constexpr int64 kWantedShares = 64;

int64 blocks_of(const BoxSchedule& schedule, int axis, int32 block) {
    return ceil_div<int64>(schedule.axis[axis].num_q_tiles, block);
}

int64 longest_span(const BoxAxis& axis) {
    int64 longest = 0;
    for (int64 n = 0; n < int64{axis.num_groups} * axis.num_q_tiles; ++n) {
        longest = max_of<int64>(longest, axis.spans[n].num_tiles());
    }
    return longest;
}

/// Runs of additional keys; when these are fewer than a run takes, each stands alone.
int64 additional_runs(int64 num_additional) {
    return num_additional < kRunKeys ? num_additional : ceil_div<int64>(num_additional, kRunKeys);
}

uint64 lanes_below(int64 count) { return (uint64{1} << count) - 1; }

}  // namespace

LaneGatherer::LaneGatherer(const NeighborhoodProblem& problem, const BoxSchedule& schedule,
                           LaneSide side)
    : problem_(problem),
      schedule_(schedule),
      side_(side),
      shapes_(problem.grid, schedule, side),
      block_{1, 1, 1} {
    step_[2] = 1;
    step_[1] = problem.grid.axis[2].extent;
    step_[0] = step_[1] * problem.grid.axis[1].extent;
    for (int a = 0; a < PatchGrid::kAxes; ++a) {
        in_group_step_[a] = step_[a] * problem.grid.axis[a].dilation;
    }
    // Shares grow along the axis along which they are shortest, so that the boxes of their groups
    // overlap much, while many are left.
    for (int64 groups = 1; groups < kShareGroups && num_shares() >= 2 * kWantedShares;
         groups *= 2) {
        int shortest = -1;
        for (int a = PatchGrid::kAxes - 1; a >= 0; --a) {
            const BoxAxis& axis = schedule_.axis[a];
            if (block_[a] >= axis.num_q_tiles) continue;
            if (shortest < 0 ||
                block_[a] * axis.tile_q < block_[shortest] * schedule_.axis[shortest].tile_q) {
                shortest = a;
            }
        }
        if (shortest < 0) break;
        block_[shortest] *= 2;
    }
    const int64 spans[PatchGrid::kAxes] = {longest_span(schedule_.axis[0]),
                                           longest_span(schedule_.axis[1]),
                                           longest_span(schedule_.axis[2])};
    const int64 runs = ceil_div<int64>(spans[2], kRunKeys);
    max_runs_ = spans[0] * spans[1] * runs + additional_runs(num_additional());
    max_axis_ = spans[0] + spans[1] + spans[2] + runs + ceil_div<int64>(spans[1], kRunKeys);
}

int64 LaneGatherer::max_heads() const {
    return ceil_div(problem_.dense.num_q_heads, max_of<int64>(problem_.dense.num_k_heads, 1));
}

int64 LaneGatherer::num_shares() const {
    int64 shares = problem_.dense.batch * problem_.dense.num_k_heads;
    for (int a = 0; a < PatchGrid::kAxes; ++a) {
        shares *= schedule_.axis[a].num_groups * blocks_of(schedule_, a, block_[a]);
    }
    return shares;
}

LaneShare LaneGatherer::share(int64 index) const {
    LaneShare share{};
    for (int a = PatchGrid::kAxes - 1; a >= 0; --a) {
        const BoxAxis& axis = schedule_.axis[a];
        const int64 blocks = blocks_of(schedule_, a, block_[a]);
        share.patches.begin[a] = index % blocks * block_[a];
        share.patches.end[a] = min_of<int64>(share.patches.begin[a] + block_[a], axis.num_q_tiles);
        index /= blocks;
    }
    for (int a = PatchGrid::kAxes - 1; a >= 0; --a) {
        const int32 groups = schedule_.axis[a].num_groups;
        share.group[a] = narrow<int32>(index % groups);
        index /= groups;
    }
    const int64 kv_heads = problem_.dense.num_k_heads;
    const int64 kv_head = index % kv_heads;
    share.entry = index / kv_heads;
    share.first_head = first_head_of(kv_head, problem_.dense.num_q_heads, kv_heads);
    share.num_heads =
        first_head_of(kv_head + 1, problem_.dense.num_q_heads, kv_heads) - share.first_head;
    return share;
}

/// Fills a buffer with the lists of one group.
class LaneGatherer::Filler {
  public:
    Filler(const LaneGatherer& gatherer, const BoxPair& at, const LaneBuffer& buffer)
        : grid_(gatherer.problem_.grid),
          side_(gatherer.side_),
          at_(at),
          buffer_(buffer),
          num_additional_(gatherer.num_additional()),
          step_(gatherer.in_group_step_) {
        for (int a = 0; a < PatchGrid::kAxes; ++a) {
            length_[a] = grid_.axis[a].group_length(at.group[a]);
        }
        line_runs_ = ceil_div<int64>(at.box.size(2), kRunKeys);
        const int64 left = at.box.size(2) % kRunKeys;
        const int64 sides = ceil_div<int64>(at.box.size(1), kRunKeys);
        if (length_[1] >= kRunKeys && left > 0 && left * sides < at.box.size(1)) {
            --line_runs_;
            left_ = left;
            sides_ = sides;
        }
        seen_[0] = buffer.axis;
        seen_[1] = seen_[0] + at.box.size(0);
        seen_[2] = seen_[1] + at.box.size(1);
        of_runs_[1] = seen_[2] + at.box.size(2);
        of_runs_[2] = of_runs_[1] + sides_;
    }

    void fill() {
        list_lanes();
        const int64 line_runs = at_.box.size(0) * at_.box.size(1) * line_runs_;
        num_runs_ = line_runs + at_.box.size(0) * left_ * sides_;
        see_axes();
        list_runs();
        list_additional();
        buffer_.lists->num_lanes = num_lanes_;
        buffer_.lists->num_runs = num_runs_;
        buffer_.lists->num_line_runs = line_runs;
    }

  private:
    /// Where the first key of a run along an axis lies in the box. The last run may begin before
    /// its turn, so that all its keys exist.
    int64 run_start(int axis, int64 run) const {
        return min_of(run * kRunKeys, length_[axis] - kRunKeys - at_.box.begin[axis]);
    }

    /// Lanes are the patch's tokens, row-major.
    void list_lanes() {
        std::fill(buffer_.places, buffer_.places + kGroupLanes, 0);
        for (int64 x0 = 0; x0 < at_.patch.size(0); ++x0) {
            for (int64 x1 = 0; x1 < at_.patch.size(1); ++x1) {
                for (int64 x2 = 0; x2 < at_.patch.size(2); ++x2) {
                    buffer_.places[num_lanes_++] =
                        narrow<int32>(x0 * step_[0] + x1 * step_[1] + x2 * step_[2]);
                }
            }
        }
    }

    /// Which lanes see a coordinate of an axis, for each of the box, and a run along an axis.
    void see_axes() {
        int64 period = num_lanes_;  // lanes after which a coordinate comes back
        for (int a = 0; a < PatchGrid::kAxes; ++a) {
            const int64 count = period / at_.patch.size(a);  // lanes of one coordinate in turn
            uint64 lanes = 0;
            for (int64 l = 0; l < num_lanes_; l += period) lanes |= lanes_below(count) << l;
            see_axis(a, lanes, count);
            period = count;
        }
        see_runs(1, sides_);
        see_runs(2, line_runs_);
    }

    void see_runs(int axis, int64 num_runs) {
        uint64* runs = of_runs_[axis];
        std::fill(runs, runs + num_runs, uint64{0});
        const int64 size = min_of<int64>(at_.box.size(axis), num_runs * kRunKeys);
        for (int64 c = 0; c < size; ++c) {
            const int64 run = c / kRunKeys;
            runs[run] |= seen_[axis][c] << ((c - run_start(axis, run)) * kGroupLanes);
        }
    }

    /// lanes: those of the patch's first coordinate along the axis; count: how far they are from
    /// those of the next. Lanes come and go at the ends of their windows.
    void see_axis(int a, uint64 lanes, int64 count) {
        const int64 first = at_.box.begin[a];
        const int64 size = at_.box.size(a);
        std::fill(seen_[a], seen_[a] + size, uint64{0});
        for (int64 x = at_.patch.begin[a]; x < at_.patch.end[a]; ++x, lanes <<= count) {
            const KeyInterval keys = window_of(grid_.axis[a], side_, x, length_[a]);
            seen_[a][keys.begin - first] ^= lanes;
            if (keys.end - first < size) seen_[a][keys.end - first] ^= lanes;
        }
        for (int64 c = 1; c < size; ++c) seen_[a][c] ^= seen_[a][c - 1];
    }

    void list_runs() {
        int64 run = 0;
        for (int64 c0 = 0; c0 < at_.box.size(0); ++c0) {
            for (int64 c1 = 0; c1 < at_.box.size(1); ++c1) {
                const uint64 of_line = (seen_[0][c0] & seen_[1][c1]) * kEveryKeyOfRun;
                const int64 line = c0 * step_[0] + c1 * step_[1];
                for (int64 r = 0; r < line_runs_; ++r, ++run) {
                    buffer_.first[run] = narrow<int32>(line + run_start(2, r) * step_[2]);
                    buffer_.seen[run] = of_runs_[2][r] & of_line;
                }
            }
        }
        for (int64 c0 = 0; c0 < at_.box.size(0); ++c0) {
            for (int64 r = 0; r < sides_; ++r) {
                const int64 side = c0 * step_[0] + run_start(1, r) * step_[1];
                for (int64 c2 = line_runs_ * kRunKeys; c2 < at_.box.size(2); ++c2, ++run) {
                    const uint64 of_side = (seen_[0][c0] & seen_[2][c2]) * kEveryKeyOfRun;
                    buffer_.first[run] = narrow<int32>(side + c2 * step_[2]);
                    buffer_.seen[run] = of_runs_[1][r] & of_side;
                }
            }
        }
    }

    /// Behind the others, seen by all lanes.
    void list_additional() const {
        const int64 runs = additional_runs(num_additional_);
        const uint64 all = lanes_below(num_lanes_);
        for (int64 r = 0; r < runs; ++r) {
            int64 start = r;
            uint64 seen = all;
            if (num_additional_ >= kRunKeys) {
                const int64 turn = r * kRunKeys;
                start = min_of(turn, num_additional_ - kRunKeys);
                seen = all * kEveryKeyOfRun << ((turn - start) * kGroupLanes);
            }
            buffer_.first[num_runs_ + r] = narrow<int32>(start);
            buffer_.seen[num_runs_ + r] = seen;
        }
    }

    const NeighborhoodGrid& grid_;
    LaneSide side_;
    const BoxPair& at_;
    const LaneBuffer& buffer_;
    int64 num_additional_;
    const int64 (&step_)[PatchGrid::kAxes];  // tokens from one in-group coordinate to the next
    int64 length_[PatchGrid::kAxes];         // of the dilation group
    int64 line_runs_;                        // runs of a line of the box
    /// Keys that these leave over at the end of a line where runs along the axis before the last
    /// take fewer of them, and these runs of a key.
    int64 left_ = 0;
    int64 sides_ = 0;
    uint64* seen_[PatchGrid::kAxes];     // by coordinate of the box
    uint64* of_runs_[PatchGrid::kAxes];  // by run along an axis, all lanes of its keys
    int64 num_lanes_ = 0;
    int64 num_runs_ = 0;
};

LaneGroup LaneGatherer::group(const LaneShare& share, int64 n, const LaneBuffer& buffer) const {
    const bool backwards = n % 2 == 1;
    int64 place[PatchGrid::kAxes];
    for (int a = PatchGrid::kAxes - 1; a >= 0; --a) {
        place[a] = share.patches.begin[a] + n % share.patches.size(a);
        n /= share.patches.size(a);
    }
    const BoxPair at = box_pair(schedule_, share.group, place);
    if (at.empty()) return {};
    LaneLists& lists = *buffer.lists;
    bool known = lists.maker == this;
    lists.maker = this;
    int64 first_token = 0;
    int64 origin = 0;
    for (int a = 0; a < PatchGrid::kAxes; ++a) {
        const int32 shape = shapes_.number(a, share.group[a], place[a]);
        known &= shape == lists.shape[a];
        lists.shape[a] = shape;
        const int64 of_group = step_[a] * share.group[a];
        first_token += of_group + at.patch.begin[a] * in_group_step_[a];
        origin += of_group + at.box.begin[a] * in_group_step_[a];
    }
    if (!known) Filler(*this, at, buffer).fill();
    for (int l = 0; l < kGroupLanes; ++l) {
        buffer.tokens[l] = narrow<int32>(first_token) + buffer.places[l];
    }
    return {.tokens = buffer.tokens,
            .num_lanes = lists.num_lanes,
            .origin = origin,
            .first = buffer.first,
            .seen = buffer.seen,
            .num_runs = lists.num_runs,
            .num_line_runs = lists.num_line_runs,
            .step = in_group_step_[2],
            .side_step = in_group_step_[1],
            .num_additional_runs = additional_runs(num_additional()),
            .additional_step = num_additional() < kRunKeys ? 0 : 1,
            .backwards = backwards};
}

}  // namespace fattn::cpu
