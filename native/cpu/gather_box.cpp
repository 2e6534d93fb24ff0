// Lists of rows and slots from boxes of patches; see gather_box.h.
#include "cpu/gather_box.h"

#include <algorithm>

#include "cpu/gather_bits.h"

namespace fattn::cpu {
namespace {

constexpr int kAxes = PatchGrid::kAxes;
/// Queries of one tile of additional keys in the backward.
constexpr int64 kAdditionalRows = 1024;

}  // namespace

/// Fills a buffer with the rows of one box against the slots of another.
class BoxGatherer::Filler {
  public:
    Filler(const NeighborhoodProblem& problem, int lead, const int32 (&group)[kAxes],
           const GridBox& rows, const GridBox& slots, int64 num_additional,
           const GatherBuffer& buffer)
        : buffer_(buffer), num_additional_(num_additional), first_extra_(problem.num_tokens()) {
        int64 steps[kAxes];
        steps[2] = 1;
        steps[1] = problem.grid.axis[2].extent;
        steps[0] = steps[1] * problem.grid.axis[1].extent;
        // Axes that the problem lacks come last here, where they cost nothing.
        for (int n = 0; n < kAxes; ++n) {
            const int a = (lead + n) % kAxes;
            const NeighborhoodAxis& axis = problem.grid.axis[a];
            axes_[n] = {&axis,
                        axis.group_length(group[a]),
                        rows.begin[a],
                        rows.end[a],
                        slots.begin[a],
                        slots.end[a],
                        steps[a] * axis.dilation};
            origin_ += steps[a] * group[a];
        }
        line_ = axes_[1].num_slots() * axes_[2].num_slots();
        words_ = ceil_div(axes_[0].num_slots() * line_ + num_additional, kBitsOfWord);
    }

    GatheredTile fill() {
        place_additional();
        list_slots();
        draw_patterns();
        list_rows();
        return {buffer_.rows, num_rows_, buffer_.tokens, num_slots_};
    }

  private:
    struct Axis {
        const NeighborhoodAxis* axis;
        int64 length;
        int64 first_row;
        int64 end_row;
        int64 first_slot;
        int64 end_slot;
        int64 step;  // tokens from one in-group coordinate to the next

        int64 num_rows() const { return end_row - first_row; }
        int64 num_slots() const { return end_slot - first_slot; }
        /// What the query at a coordinate sees of the slots, counted from the first.
        KeyInterval seen(int64 x) const {
            const KeyInterval keys = axis->keys_of(x, length);
            return {max_of(keys.begin, first_slot) - first_slot,
                    min_of(keys.end, end_slot) - first_slot};
        }
    };

    void place_additional() {
        if (num_additional_ == 0) {
            extra_line_ = axes_[0].num_slots();
            return;
        }
        // Windows only move forward, so the lines that all rows see lie between these two.
        const int64 last_begin = axes_[0].seen(axes_[0].end_row - 1).begin;
        const int64 first_end = axes_[0].seen(axes_[0].first_row).end;
        extra_line_ = (last_begin + first_end) / 2;
    }

    /// First slot of a line, counted past the additional keys before it.
    int64 slot_of_line(int64 y) const {
        return y * line_ + (y >= extra_line_ ? num_additional_ : 0);
    }
    int64 extra_slot() const { return extra_line_ * line_; }

    void list_slots() {
        int32* to = buffer_.tokens;
        for (int64 y = 0; y <= axes_[0].num_slots(); ++y) {
            if (y == extra_line_) {
                for (int64 e = 0; e < num_additional_; ++e) *to++ = narrow<int32>(first_extra_ + e);
            }
            if (y == axes_[0].num_slots()) break;
            const int64 of_line = origin_ + (axes_[0].first_slot + y) * axes_[0].step;
            for (int64 x1 = axes_[1].first_slot; x1 < axes_[1].end_slot; ++x1) {
                int64 token = of_line + x1 * axes_[1].step + axes_[2].first_slot * axes_[2].step;
                for (int64 n = 0; n < axes_[2].num_slots(); ++n, token += axes_[2].step) {
                    *to++ = narrow<int32>(token);
                }
            }
        }
        num_slots_ = to - buffer_.tokens;
    }

    /// Calls visit(x1, x2, inner) for the rows of one line, inner counting them.
    template <class Visit>
    void for_each_inner(const Visit& visit) const {
        int64 inner = 0;
        for (int64 x1 = axes_[1].first_row; x1 < axes_[1].end_row; ++x1) {
            for (int64 x2 = axes_[2].first_row; x2 < axes_[2].end_row; ++x2) {
                visit(x1, x2, inner++);
            }
        }
    }

    /// What a row sees of a line is the same in every line: one pattern per inner coordinate serves
    /// all rows that have it.
    void draw_patterns() {
        for_each_inner([&](int64 x1, int64 x2, int64 inner) {
            const KeyInterval seen1 = axes_[1].seen(x1);
            const KeyInterval seen2 = axes_[2].seen(x2);
            if (seen1.size() * seen2.size() == line_) return;
            draw({0, axes_[0].num_slots()}, seen1, seen2, buffer_.bits + inner * words_);
        });
    }

    void list_rows() {
        uint64* next_own = buffer_.bits + axes_[1].num_rows() * axes_[2].num_rows() * words_;
        for (int64 y = axes_[0].first_row; y < axes_[0].end_row; ++y) {
            const KeyInterval lines = axes_[0].seen(y);
            // Where additional keys do not touch the row's lines, what lies between is hidden by
            // bits of the row's own.
            const bool apart =
                num_additional_ > 0 && (extra_line_ < lines.begin || extra_line_ > lines.end);
            for_each_inner([&](int64 x1, int64 x2, int64 inner) {
                const KeyInterval seen1 = axes_[1].seen(x1);
                const KeyInterval seen2 = axes_[2].seen(x2);
                GatheredRow& row = buffer_.rows[num_rows_++];
                row = interval(lines, seen1, seen2);
                row.query = origin_ + y * axes_[0].step + x1 * axes_[1].step + x2 * axes_[2].step;
                const int64 seen = lines.size() * seen1.size() * seen2.size() + num_additional_;
                if (seen == row.end - row.begin) return;
                row.bits = buffer_.bits + inner * words_;
                if (!apart) return;
                draw(lines, seen1, seen2, next_own);
                row.bits = next_own;
                next_own += words_;
            });
        }
    }

    GatheredRow interval(const KeyInterval& lines, const KeyInterval& seen1,
                         const KeyInterval& seen2) const {
        const int64 width = axes_[2].num_slots();
        GatheredRow row{0, slot_of_line(lines.begin) + seen1.begin * width + seen2.begin,
                        slot_of_line(lines.end - 1) + (seen1.end - 1) * width + seen2.end, nullptr};
        if (num_additional_ > 0) {
            row.begin = min_of(row.begin, extra_slot());
            row.end = max_of(row.end, extra_slot() + num_additional_);
        }
        return row;
    }

    void draw(const KeyInterval& lines, const KeyInterval& seen1, const KeyInterval& seen2,
              uint64* bits) const {
        std::fill(bits, bits + words_, uint64{0});
        const int64 width = axes_[2].num_slots();
        const bool whole = seen2.begin == 0 && seen2.end == width;
        for (int64 y = lines.begin; y < lines.end; ++y) {
            const int64 line = slot_of_line(y);
            if (whole) {
                set_bits(bits, line + seen1.begin * width, line + seen1.end * width);
                continue;
            }
            for (int64 x1 = seen1.begin; x1 < seen1.end; ++x1) {
                set_bits(bits, line + x1 * width + seen2.begin, line + x1 * width + seen2.end);
            }
        }
        set_bits(bits, extra_slot(), extra_slot() + num_additional_);
    }

    const GatherBuffer& buffer_;
    int64 num_additional_;
    int64 first_extra_;
    Axis axes_[kAxes];  // outermost first
    int64 origin_ = 0;  // token at the group's coordinate 0
    int64 line_ = 0;    // slots of one coordinate of the outermost axis
    int64 words_ = 0;   // of the bits of a row
    int64 extra_line_ = 0;
    int64 num_rows_ = 0;
    int64 num_slots_ = 0;
};

BoxGatherer::BoxGatherer(const NeighborhoodProblem& problem, const BoxSchedule& keys_of_queries,
                         const BoxSchedule& queries_of_keys)
    : problem_(problem),
      keys_of_queries_(keys_of_queries),
      queries_of_keys_(queries_of_keys),
      lead_(problem.grid.first_axis()) {
    forward_capacity_ = capacity(keys_of_queries_, true);
    forward_capacity_.heads =
        ceil_div(problem.dense.num_q_heads, max_of<int64>(problem.dense.num_k_heads, 1));
    backward_capacity_ =
        problem.dense.backward ? capacity(queries_of_keys_, false) : GatherCapacity{};
    if (problem.num_additional > 0) {
        backward_capacity_.rows =
            max_of(backward_capacity_.rows, min_of(problem.num_tokens(), kAdditionalRows));
        backward_capacity_.slots = max_of(backward_capacity_.slots, problem.num_additional);
    }
}

int64 BoxGatherer::first_head(int64 kv_head) const {
    return first_head_of(kv_head, problem_.dense.num_q_heads, problem_.dense.num_k_heads);
}

GatherCapacity BoxGatherer::capacity(const BoxSchedule& schedule, bool patch_is_rows) const {
    int64 patch = 1;
    int64 box = 1;
    int64 inner[2] = {1, 1};  // tokens of a patch and of a box behind one coordinate of the lead
    for (int a = 0; a < kAxes; ++a) {
        const BoxAxis& axis = schedule.axis[a];
        const int64 most_patch = min_of<int64>(axis.tile_q, axis.extents[0]);
        int64 most_box = 0;
        for (int64 n = 0; n < int64{axis.num_groups} * axis.num_q_tiles; ++n) {
            most_box = max_of<int64>(most_box, axis.spans[n].num_tiles());
        }
        patch *= most_patch;
        box *= most_box;
        if (a > lead_) {
            inner[0] *= most_patch;
            inner[1] *= most_box;
        }
    }
    const int64 rows = patch_is_rows ? patch : box;
    // The backward has tiles of their own for additional keys.
    const int64 extra = patch_is_rows ? problem_.num_additional : 0;
    const int64 slots = (patch_is_rows ? box : patch) + extra;
    const int64 patterns = (patch_is_rows ? inner[0] : inner[1]) + (extra > 0 ? rows : 0);
    return {.rows = rows,
            .heads = 1,
            .slots = slots,
            .words = patterns * ceil_div(slots, kBitsOfWord),
            .scratch = 0};
}

int64 BoxGatherer::num_forward_shares() const {
    return problem_.dense.batch * problem_.dense.num_k_heads * num_box_tiles(keys_of_queries_);
}

GatheredShare BoxGatherer::forward_share(int64 index, const GatherBuffer& buffer) const {
    const int64 tiles = num_box_tiles(keys_of_queries_);
    const int64 kv_head = index / tiles % problem_.dense.num_k_heads;
    GatheredShare share{.entry = index / tiles / problem_.dense.num_k_heads,
                        .first_head = first_head(kv_head),
                        .num_heads = first_head(kv_head + 1) - first_head(kv_head),
                        .tile = {buffer.rows, 0, buffer.tokens, 0}};
    const BoxPair at = box_pair(keys_of_queries_, index % tiles);
    // Shorter dilation groups have fewer patches.
    if (at.empty()) return share;
    share.tile =
        Filler(problem_, lead_, at.group, at.patch, at.box, problem_.num_additional, buffer).fill();
    return share;
}

int64 BoxGatherer::num_equal_heads(int64 /*entry*/, int64 head) const {
    return first_head(problem_.dense.k_head(head) + 1) - head;
}

int64 BoxGatherer::num_key_tiles(int64 /*entry*/, int64 /*head*/, KeyChunk chunk) const {
    const int64 tiles = num_box_tiles(queries_of_keys_);
    const int64 additional =
        chunk.end_of(problem_.num_additional) - chunk.first_of(problem_.num_additional);
    return chunk.end_of(tiles) - chunk.first_of(tiles) +
           (additional > 0 ? ceil_div(problem_.num_tokens(), kAdditionalRows) : 0);
}

GatheredTile BoxGatherer::key_tile(int64 /*entry*/, int64 /*head*/, KeyChunk chunk, int64 tile,
                                   const GatherBuffer& buffer) const {
    const int64 tiles = num_box_tiles(queries_of_keys_);
    const int64 own = chunk.end_of(tiles) - chunk.first_of(tiles);
    if (tile >= own) return additional_tile(chunk, tile - own, buffer);
    const BoxPair at = box_pair(queries_of_keys_, chunk.first_of(tiles) + tile);
    if (at.empty()) return {buffer.rows, 0, buffer.tokens, 0};
    return Filler(problem_, lead_, at.group, at.box, at.patch, 0, buffer).fill();
}

GatheredTile BoxGatherer::additional_tile(KeyChunk chunk, int64 part,
                                          const GatherBuffer& buffer) const {
    const int64 first = chunk.first_of(problem_.num_additional);
    const int64 count = chunk.end_of(problem_.num_additional) - first;
    for (int64 e = 0; e < count; ++e) {
        buffer.tokens[e] = narrow<int32>(problem_.num_tokens() + first + e);
    }
    const int64 first_row = part * kAdditionalRows;
    const int64 num_rows = min_of(kAdditionalRows, problem_.num_tokens() - first_row);
    for (int64 r = 0; r < num_rows; ++r) buffer.rows[r] = {first_row + r, 0, count, nullptr};
    return {buffer.rows, num_rows, buffer.tokens, count};
}

}  // namespace fattn::cpu
