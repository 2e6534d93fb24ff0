// One tensor at the keys of a block of runs, as an operand of a group's products: read where it
// lies, or copied as f32 a part at a time; used by the lane loops.
#pragma once

#include "core/types.h"
#include "cpu/generic/epilogue.h"
#include "cpu/generic/lane_products.h"
#include "cpu/generic/pack.h"
#include "cpu/generic/scratch.h"

namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE {
namespace {

/// Runs of a block at most.
constexpr int64 kBlockRuns = 96;
/// Bytes of rows that stay in the first cache beside the scores of a block.
constexpr int64 kPartBytes = 24 * 1024;

/// The tokens of runs: first[r] counts from origin, the keys of a run are step apart.
struct RunTokens {
    const int32* first;
    int64 num_runs;
    int64 origin;
    int64 step;
    bool sides;  // runs lie side by side, not one behind the other
};

/// Calls visit(runs, what lanes see of them) for the runs along the last axis and for those along
/// the axis before it.
template <class Visit>
inline void for_each_direction(const LaneGroup& group, const Visit& visit) {
    const int64 of_lines = group.num_line_runs;
    visit(RunTokens{group.first, of_lines, group.origin, group.step, false}, group.seen);
    visit(RunTokens{group.first + of_lines, group.num_runs - of_lines, group.origin,
                    group.side_step, true},
          group.seen + of_lines);
}

/// Where copies of the operands of one loop lie, of one operand at a time.
template <class Dot>
struct RunCopies {
    const char** rows;  // as those of an operand
    float* floats;      // [kPartBytes, one run more]
    float* panel;       // in pairs: [pairs of keys of a block][kWidePanel] vectors

    /// widest: columns of the widest operand that is copied; 0 when none is.
    static RunCopies take(int64 widest, Scratch& scratch) {
        const char** rows = scratch.take<const char*>(kBlockRuns + kRunsBeyond<Dot>);
        const int64 floats = widest == 0 ? 0 : kPartBytes / 4 + kRunKeys * padded_columns(widest);
        constexpr int64 kPanelVecs = Dot::kDepth == 1 ? 0 : kBlockRuns * kRunKeys / 2;
        return {rows, scratch.take<float>(floats),
                scratch.take<float>(kPanelVecs * kWidePanel<Dot> * kWidth)};
    }
};

template <class Dot>
class RunOperand {
  public:
    /// Words of a row that products take.
    static constexpr int64 padded_words(int64 extent) {
        return round_up<int64>(words_of<Dot>(extent), kHasHalves<Dot> ? kHalfWords : 1);
    }
    /// Whether rows are words of products with the lanes as they lie.
    static constexpr bool multiplies_in_place(DType dtype, int64 extent) {
        return Dot::kDepth == 2 ||
               (dtype == DType::kF32 && padded_words(extent) == words_of<Dot>(extent));
    }
    /// Whether rows can be added as they lie.
    static constexpr bool adds_in_place(DType dtype, int64 extent) {
        return Dot::kDepth == 2 || (dtype == DType::kF32 && extent % kWidth == 0);
    }

    RunOperand() = default;
    /// Takes the memory of the block's rows.
    RunOperand(DType dtype, int64 extent, Scratch& scratch)
        : dtype_(dtype),
          extent_(extent),
          columns_(padded_columns(extent)),
          rows_(scratch.take<const char*>(kBlockRuns + kRunsBeyond<Dot>)) {}

    int64 columns() const { return columns_; }

    /// Runs [begin, end) become the block, at most kBlockRuns of them.
    void start_block(const TokenRows& tensor, const RunTokens& runs, int64 begin, int64 end) {
        num_runs_ = end - begin;
        for (int64 r = begin; r < end; ++r) {
            rows_[r - begin] = tensor.base + (runs.origin + runs.first[r]) * tensor.stride;
        }
        repeat_last(rows_, num_runs_);
        stride_ = tensor.stride * runs.step;
        // There is as much between keys as they have: they can be in half of a cache at most.
        lie_apart_ = !runs.sides && stride_ >= 2 * extent_ * bytes_of(dtype_);
        one_after_another_ =
            rows_[num_runs_ - 1] - rows_[0] == (num_runs_ - 1) * kRunKeys * stride_;
    }

    /// Products of the block's rows with lanes, packed as pack_lanes does. kHides: as
    /// LaneScores::seen says.
    template <bool kHides>
    void multiply(const float* lanes, LaneScores out, const RunCopies<Dot>& copies) const {
        const int64 words = padded_words(extent_);
        const bool in_place = multiplies_in_place(dtype_, extent_);
        const int64 parts = in_place ? 1 : num_parts(num_runs_, bytes_of(DType::kF32));
        for (int64 part = 0; part < parts; ++part) {
            const Rows rows = rows_of_part(part, parts, in_place, copies);
            if constexpr (kHasHalves<Dot>) {
                if (in_place && !one_after_another_) {
                    half_scores<Dot, kHides, true>(lanes, rows.at, rows.num_runs, rows.stride,
                                                   words, out);
                } else {
                    half_scores<Dot, kHides, false>(lanes, rows.at, rows.num_runs, rows.stride,
                                                    words, out);
                }
            } else {
                multiply_tiles<kHides>(lanes, rows, words, out);
            }
            out.advance(rows.num_runs);
        }
    }

    /// Register tiles that rows of so many runs are added in.
    int64 num_tiles(int64 num_runs) const {
        return num_parts(num_runs, value_bytes()) *
               ceil_div<int64>(columns_, kWidePanel<Dot> * kWidth) *
               ceil_div(kGroupLanes, kPanelLanes<kWidePanel<Dot>>);
    }

    /// sums [kGroupLanes][columns] = alpha sums + P rows, some runs after others, so that their
    /// rows are read from the second cache once and not for every register tile. p: [steps of
    /// depth][kGroupLanes]; calls between() after each tile.
    template <class Between>
    void add(const float* p, LaneFactors factors, float* sums, const RunCopies<Dot>& copies,
             const Between& between) const {
        for_each_part(p, factors, copies, [&](const Weighted& part, int64) {
            add_part(part, sums, copies.panel, between);
        });
    }
    /// The same lane by lane: a row reaches the lanes that see it, so that others stay finite
    /// whatever it holds. seen: of the block's runs.
    void add_seen(const float* p, LaneFactors factors, const uint64* seen, int64 num_lanes,
                  float* sums, const RunCopies<Dot>& copies) const {
        for_each_part(p, factors, copies, [&](const Weighted& part, int64 begin) {
            add_part_seen(part, seen + begin, num_lanes, sums);
        });
    }

  private:
    /// Some consecutive runs where products read them.
    struct Rows {
        const char* const* at;
        int64 num_runs;
        int64 stride;  // bytes from key to key
    };

    static void repeat_last(const char** rows, int64 num_runs) {
        for (int64 r = 0; r < kRunsBeyond<Dot>; ++r) rows[num_runs + r] = rows[num_runs - 1];
    }
    /// Parts of so many runs that rows of elements of so many bytes stay in the first cache.
    int64 num_parts(int64 num_runs, int64 bytes) const {
        if constexpr (Dot::kDepth == 2) return 1;  // rows are read once
        return ceil_div(num_runs * kRunKeys * columns_ * bytes, kPartBytes);
    }
    /// Bytes of an element where rows are added.
    static constexpr int64 value_bytes() { return Dot::kDepth == 2 ? 2 : 4; }

    int64 first_run(int64 part, int64 parts) const { return num_runs_ * part / parts; }
    Rows rows_of_part(int64 part, int64 parts, bool in_place, const RunCopies<Dot>& copies) const {
        const int64 begin = first_run(part, parts);
        const int64 end = first_run(part + 1, parts);
        if (in_place) return {rows_ + begin, end - begin, stride_};
        return copy_rows(begin, end, copies);
    }

    /// Copies runs [begin, end) as f32, zeros up to a whole vector.
    Rows copy_rows(int64 begin, int64 end, const RunCopies<Dot>& copies) const {
        with_dtype(dtype_, [&]<DType kType>() {
            float* to = copies.floats;
            for (int64 r = begin; r < end; ++r) {
                const char* from = rows_[r];
                copies.rows[r - begin] = reinterpret_cast<const char*>(to);
                for (int j = 0; j < kRunKeys; ++j, from += stride_, to += columns_) {
                    const int64 whole = extent_ / kWidth * kWidth;
                    for (int64 c = 0; c < whole; c += kWidth) {
                        store(to + c, load_as<kType>(from + c * bytes_of(kType), kWidth));
                    }
                    if (whole == columns_) continue;
                    store(to + whole,
                          load_as<kType>(from + whole * bytes_of(kType), extent_ - whole));
                }
            }
        });
        repeat_last(copies.rows, end - begin);
        return {copies.rows, end - begin, columns_ * bytes_of(DType::kF32)};
    }

    template <bool kHides>
    static void multiply_tiles(const float* lanes, const Rows& rows, int64 words, LaneScores out) {
        for (int64 r = 0; r < rows.num_runs;) {
            const int64 left = rows.num_runs - r;
            // The last two tiles share what is left, so that none is much smaller than others.
            const int64 count = left >= 2 * kTileRuns ? kTileRuns
                                : left > kTileRuns    ? ceil_div<int64>(left, 2)
                                                      : left;
            multiply_runs<kHides, kTileRuns>(count, lanes, rows.at + r, rows.stride, words, out);
            out.advance(count);
            r += count;
        }
    }
    template <bool kHides, int kRuns>
    static void multiply_runs(int64 count, const float* lanes, const char* const* rows,
                              int64 stride, int64 words, const LaneScores& out) {
        if constexpr (kRuns > 1) {
            if (count < kRuns) {
                return multiply_runs<kHides, kRuns - 1>(count, lanes, rows, stride, words, out);
            }
        }
        lane_scores<Dot, kRuns, kHides>(lanes, rows, stride, words, out);
    }

    /// Calls add(part, its first run).
    template <class Add>
    void for_each_part(const float* p, LaneFactors factors, const RunCopies<Dot>& copies,
                       const Add& add) const {
        const bool in_place = adds_in_place(dtype_, extent_);
        const int64 spread = in_place && lie_apart_ ? 2 : 1;
        const int64 parts = num_parts(num_runs_, value_bytes() * spread);
        for (int64 part = 0; part < parts; ++part) {
            const int64 begin = first_run(part, parts);
            const Rows rows = rows_of_part(part, parts, in_place, copies);
            add(Weighted{.p = p + begin * (kRunKeys / Dot::kDepth) * kGroupLanes,
                         .rows = rows.at,
                         .num_runs = rows.num_runs,
                         .stride = rows.stride,
                         .alpha = part == 0 ? factors.alpha : factors.ones},
                begin);
        }
    }
    template <class Between>
    void add_part(const Weighted& part, float* sums, float* panel, const Between& between) const {
        for (int64 c = 0; c < columns_;) {
            const int64 left = (columns_ - c) / kWidth;
            if (left >= kWidePanel<Dot>) {
                add_panel<kWidePanel<Dot>>(part, c, sums, panel, between);
                c += kWidePanel<Dot> * kWidth;
            } else if (left >= 2) {
                add_panel<2>(part, c, sums, panel, between);
                c += 2 * kWidth;
            } else {
                // Pairs have whole panels of two.
                if constexpr (Dot::kDepth == 1) add_panel<1>(part, c, sums, panel, between);
                c += kWidth;
            }
        }
    }
    template <int kVecs, class Between>
    void add_panel(const Weighted& part, int64 c, float* sums, float* panel,
                   const Between& between) const {
        constexpr int kLanes = kPanelLanes<kVecs>;
        // Of narrower panels several share a line.
        constexpr bool kAsks = kVecs * kWidth * value_bytes() >= kLineBytes;
        // Pairs are put together once.
        constexpr Panel kFirst = Dot::kDepth == 2 ? Panel::kKeeps : Panel::kRows;
        constexpr Panel kOthers = Dot::kDepth == 2 ? Panel::kKept : Panel::kRows;
        const auto add = [&]<int kCount, bool kAsksHere, Panel kPanel>(int lane) {
            lane_values<Dot, kCount, kVecs, kAsksHere, kPanel>(
                part, lane, c * value_bytes(), panel, sums + lane * columns_ + c, columns_);
            between();
        };
        add.template operator()<kLanes, kAsks, kFirst>(0);
        int lane = kLanes;
        for (; lane + kLanes <= kGroupLanes; lane += kLanes) {
            add.template operator()<kLanes, false, kOthers>(lane);
        }
        constexpr int kRest = kGroupLanes % kLanes;
        if constexpr (kRest > 0) add.template operator()<kRest, false, kOthers>(lane);
    }

    void add_part_seen(const Weighted& part, const uint64* seen, int64 num_lanes,
                       float* sums) const {
        for (int64 l = 0; l < num_lanes; ++l) {
            for (int64 c = 0; c < columns_; c += kWidth) {
                float* sum = sums + l * columns_ + c;
                Vec acc = part.alpha == nullptr ? Vec(0.0F) : load(sum) * broadcast(part.alpha + l);
                for (int64 r = 0; r < part.num_runs; ++r) {
                    acc = add_run(seen[r] >> l, part.rows[r] + c * value_bytes(), part.stride,
                                  part.p + r * (kRunKeys / Dot::kDepth) * kGroupLanes + l, acc);
                }
                store(sum, acc);
            }
        }
    }
    /// Bit kGroupLanes * j of seen: key j counts.
    static Vec add_run(uint64 seen, const char* row, int64 stride, const float* p, Vec acc) {
        for (int j = 0; j < kRunKeys;
             j += Dot::kDepth, p += kGroupLanes, row += Dot::kDepth * stride) {
            const bool first = (seen >> (j * kGroupLanes) & 1) != 0;
            if constexpr (Dot::kDepth == 1) {
                const Vec x = load(reinterpret_cast<const float*>(row));
                if (first) acc = Dot::step(acc, broadcast(p), x);
            } else {
                const bool second = (seen >> ((j + 1) * kGroupLanes) & 1) != 0;
                if (!first && !second) continue;
                const Vec zero(0.0F);
                const Vec x0 = first ? low_bf16(low_bf16_words(row, kWidth)) : zero;
                const Vec x1 = second ? low_bf16(low_bf16_words(row + stride, kWidth)) : zero;
                // What is not seen may have a weight that is not finite.
                uint32 weights;
                __builtin_memcpy(&weights, p, sizeof(weights));
                if (!first) weights &= 0xFFFF0000U;
                if (!second) weights &= 0x0000FFFFU;
                acc = Dot::step(acc, broadcast_word(reinterpret_cast<const char*>(&weights)),
                                pair_bf16(x0, x1));
            }
        }
        return acc;
    }

    DType dtype_ = DType::kF32;
    int64 extent_ = 0;
    int64 columns_ = 0;            // padded
    const char** rows_ = nullptr;  // [kBlockRuns + kRunsBeyond] of runs, the last again and again
    int64 num_runs_ = 0;           // of the block
    int64 stride_ = 0;             // bytes between the keys of a run
    bool lie_apart_ = false;       // these
    bool one_after_another_ = false;  // runs, which processors foresee
};

/// Packs a group's rows for RunOperand::multiply: [padded_words][kGroupLanes] words in an order of
/// the products' own; lanes without a row are zero.
template <class Dot, class RowOf>
inline void pack_lanes(DType dtype, const RowOf& row, int64 num_lanes, int64 extent, float* out) {
    if constexpr (!kHasHalves<Dot>) {
        pack_transposed<Dot, kGroupLanes>(dtype, row, num_lanes, extent, out);
    } else if constexpr (Dot::kDepth == 2) {
        pack_halves<DType::kBF16, Dot>(row, num_lanes, extent, out);
    } else {
        with_dtype(dtype,
                   [&]<DType kType>() { pack_halves<kType, Dot>(row, num_lanes, extent, out); });
    }
}

/// Writes sums [kGroupLanes][padded_columns(extent)] times factor_of(lane) to the rows of the
/// lanes' tokens. Returns whether all of them were finite.
template <class FactorOf>
inline bool store_lanes(DType dtype, const TokenRows& rows, const LaneGroup& group,
                        const float* sums, int64 extent, const FactorOf& factor_of) {
    const int64 columns = padded_columns(extent);
    const int64 whole = extent / kWidth * kWidth;
    Vec finite[2] = {Vec(0.0F), Vec(0.0F)};
    with_dtype(dtype, [&]<DType kType>() {
        for (int64 l = 0; l < group.num_lanes; ++l, sums += columns) {
            char* to = const_cast<char*>(rows.base) + group.tokens[l] * rows.stride;
            const Vec factor(factor_of(l));
            const auto put = [&](int64 c, int64 count) {
                const Vec x = load(sums + c);
                finite[c / kWidth % 2] = fma(x, Vec(0.0F), finite[c / kWidth % 2]);
                store_as<kType>(to + c * bytes_of(kType), x * factor, count);
            };
            for (int64 c = 0; c < whole; c += kWidth) put(c, kWidth);
            if (whole < extent) put(whole, extent - whole);
        }
    });
    return !any_nan(finite[0] + finite[1]);
}

}  // namespace
}  // namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE
