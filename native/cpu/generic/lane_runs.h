// One tensor at the keys of a block of runs, as an operand of a group's products: read where it
// lies, or copied as f32 a part at a time; used by the lane loops.
#pragma once

#include "core/types.h"
#include "cpu/generic/lane_halves.h"
#include "cpu/generic/lane_products.h"
#include "cpu/generic/pack.h"
#include "cpu/generic/scratch.h"

namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE {
namespace {

/// Runs of a block at most.
constexpr int64 kBlockRuns = 96;
/// Bytes of rows that stay in the first cache beside the scores of a block.
constexpr int64 kPartBytes = 24 * 1024;
/// Bytes of rows whose boxes leave the second cache where they lie apart.
constexpr int64 kFarRowBytes = 512;

/// The tokens of runs: first[r] counts from origin, the keys of a run are step apart.
struct RunTokens {
    const int32* first;
    int64 num_runs;
    int64 origin;
    int64 step;
    bool sides;  // runs lie side by side, not one behind the other
};

/// Runs beyond those there are that loops ask for, or look at where they end.
template <class Dot>
constexpr int64 kRunsBeyond = max_of(kRunsAhead<Dot>, kRunsConverted + kHalfRunsAhead + 1);

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
    /// Rows: a part and one run more, or kRunsKept runs. A panel: in pairs [pairs of keys of a
    /// block][kNarrowPanel] vectors, else of a part and one run more.
    float* floats;

    /// widest: columns of the widest operand that is copied or made f32; 0 when none is.
    static RunCopies take(int64 widest, Scratch& scratch) {
        const char** rows = scratch.take<const char*>(kBlockRuns + kRunsBeyond<Dot>);
        return {rows, scratch.take<float>(num_floats(padded_columns(widest)))};
    }

  private:
    static int64 num_floats(int64 columns) {
        constexpr int64 kPanelColumns = kNarrowPanel * kWidth;
        if (Dot::kDepth == 2) return kBlockRuns * kRunKeys / 2 * kPanelColumns;
        if (columns == 0) return 0;
        const int64 run = kRunKeys * max_of(columns, kPanelColumns);
        return max_of(kPartBytes / 4 + run, kRunsKept * run);
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
    /// Whether rows of whole vectors become f32 in the loops that read them first.
    static constexpr bool converts(DType dtype, int64 extent) {
        return Dot::kDepth == 1 && dtype != DType::kF32 && extent % kWidth == 0;
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
        if constexpr (kHasHalves<Dot> && Dot::kDepth == 1) {
            if (converts(dtype_, extent_)) {
                return multiply_converted<kHides>(lanes, words, copies, out);
            }
        }
        const bool in_place = multiplies_in_place(dtype_, extent_);
        const int64 parts = in_place ? 1 : num_parts(num_runs_, bytes_of(DType::kF32));
        for (int64 part = 0; part < parts; ++part) {
            const Rows rows = rows_of_part(part, parts, in_place, copies);
            if constexpr (kHasHalves<Dot>) {
                const auto add = [&](const auto& ahead) {
                    half_scores<Dot, kHides>(lanes, rows.at, rows.num_runs, rows.stride, words,
                                             ahead, out);
                };
                if (in_place && !one_after_another_) {
                    add(AsksAhead{});
                } else {
                    add(NothingAhead{});
                }
            } else {
                multiply_tiles<kHides>(lanes, rows, words, out);
            }
            out.advance(rows.num_runs);
        }
    }

    /// Register tiles that rows of so many runs are added in.
    int64 num_tiles(int64 num_runs) const {
        const auto tiles = [&]<int kVecs>() {
            return ceil_div<int64>(columns_, kVecs * kWidth) *
                   ceil_div(kGroupLanes, kPanelLanes<kVecs>);
        };
        return num_value_parts(num_runs) * (has_narrow_panels()
                                                ? tiles.template operator()<kNarrowPanel>()
                                                : tiles.template operator()<kWidePanel<Dot>>());
    }

    /// sums [kGroupLanes][columns] = alpha sums + P rows, some runs after others, so that their
    /// rows are read from the second cache once and not for every register tile. p: [steps of
    /// depth][kGroupLanes]; calls between() after each tile.
    template <class Between>
    void add(const float* p, LaneFactors factors, float* sums, const RunCopies<Dot>& copies,
             const Between& between) const {
        for_each_part(p, factors, copies, [&](const Weighted& part, int64) {
            add_part(part, sums, copies.floats, between);
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
        return ceil_div(num_runs * kRunKeys * columns_ * bytes, kPartBytes);
    }
    /// Type of rows where they are added.
    DType value_type() const {
        return Dot::kDepth == 2 || converts(dtype_, extent_) ? dtype_ : DType::kF32;
    }
    bool has_narrow_panels() const {
        const bool from_afar = lie_apart_ && extent_ * bytes_of(dtype_) >= kFarRowBytes;
        return Dot::kDepth == 2 || converts(dtype_, extent_) ||
               (adds_in_place(dtype_, extent_) && from_afar);
    }
    /// Parts that values are added in: of narrow panels their columns stay in the first cache.
    int64 num_value_parts(int64 num_runs) const {
        if constexpr (Dot::kDepth == 2) return 1;  // rows are read once
        if (has_narrow_panels()) {
            const int64 columns = min_of<int64>(columns_, kNarrowPanel * kWidth);
            return ceil_div(num_runs * kRunKeys * columns * bytes_of(DType::kF32), kPartBytes);
        }
        const int64 spread = adds_in_place(dtype_, extent_) && lie_apart_ ? 2 : 1;
        return num_parts(num_runs, bytes_of(DType::kF32) * spread);
    }

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

    /// Rows become f32 shortly before their products.
    template <bool kHides>
    void multiply_converted(const float* lanes, int64 words, const RunCopies<Dot>& copies,
                            const LaneScores& out) const {
        const int64 run = kRunKeys * columns_;
        for (int64 r = 0; r < num_runs_; ++r) {
            copies.rows[r] = reinterpret_cast<const char*>(copies.floats + r % kRunsKept * run);
        }
        const int64 stride = columns_ * bytes_of(DType::kF32);
        const auto multiply_from = [&]<DType kType>() {
            const ConvertsAhead<kType> ahead{rows_, stride_, words / kWidth, copies.floats};
            ahead.begin();
            half_scores<Dot, kHides>(lanes, copies.rows, num_runs_, stride, words, ahead, out);
        };
        if (dtype_ == DType::kF16) {
            multiply_from.template operator()<DType::kF16>();
        } else {
            multiply_from.template operator()<DType::kBF16>();
        }
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
        const bool in_place = adds_in_place(dtype_, extent_) || converts(dtype_, extent_);
        const int64 parts = num_value_parts(num_runs_);
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
        const bool narrow = has_narrow_panels();
        for (int64 c = 0; c < columns_;) {
            const int64 left = (columns_ - c) / kWidth;
            if (left >= kWidePanel<Dot> && !narrow) {
                add_panel<kWidePanel<Dot>>(part, c, sums, panel, between);
                c += kWidePanel<Dot> * kWidth;
            } else if (left >= kNarrowPanel) {
                add_panel<kNarrowPanel>(part, c, sums, panel, between);
                c += kNarrowPanel * kWidth;
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
        constexpr bool kPairs = Dot::kDepth == 2;
        const auto add = [&]<int kCount, bool kAsks, Panel kPanel, DType kType>(int lane) {
            lane_values<Dot, kCount, kVecs, kAsks, kPanel, kType>(
                part, lane, c * bytes_of(kType), panel, sums + lane * columns_ + c, columns_);
            between();
        };
        const auto add_others = [&]<Panel kPanel>() {
            constexpr DType kType = kPairs ? DType::kBF16 : DType::kF32;
            int lane = kLanes;
            for (; lane + kLanes <= kGroupLanes; lane += kLanes) {
                add.template operator()<kLanes, false, kPanel, kType>(lane);
            }
            constexpr int kRest = kGroupLanes % kLanes;
            if constexpr (kRest > 0) add.template operator()<kRest, false, kPanel, kType>(lane);
        };
        const auto add_all = [&]<DType kType>() {
            // Of narrower panels several share a line.
            constexpr bool kAsks = kVecs * kWidth * bytes_of(kType) >= kLineBytes;
            // Pairs are put together once, f32 is made once.
            constexpr bool kKeeps = kPairs || kType != DType::kF32;
            add.template operator()<kLanes, kAsks, kKeeps ? Panel::kKeeps : Panel::kRows, kType>(0);
            add_others.template operator()<kKeeps ? Panel::kKept : Panel::kRows>();
        };
        // What is converted has narrow panels.
        if constexpr (kVecs > kNarrowPanel) {
            add_all.template operator()<DType::kF32>();
        } else {
            with_value_type(add_all);
        }
    }
    template <class Visit>
    void with_value_type(const Visit& visit) const {
        if constexpr (Dot::kDepth == 2) {
            visit.template operator()<DType::kBF16>();
        } else {
            with_dtype(value_type(), visit);
        }
    }

    void add_part_seen(const Weighted& part, const uint64* seen, int64 num_lanes,
                       float* sums) const {
        with_value_type([&]<DType kType>() {
            for (int64 l = 0; l < num_lanes; ++l) {
                for (int64 c = 0; c < columns_; c += kWidth) {
                    float* sum = sums + l * columns_ + c;
                    Vec acc =
                        part.alpha == nullptr ? Vec(0.0F) : load(sum) * broadcast(part.alpha + l);
                    for (int64 r = 0; r < part.num_runs; ++r) {
                        acc = add_run<kType>(
                            seen[r] >> l, part.rows[r] + c * bytes_of(kType), part.stride,
                            part.p + r * (kRunKeys / Dot::kDepth) * kGroupLanes + l, acc);
                    }
                    store(sum, acc);
                }
            }
        });
    }
    /// Bit kGroupLanes * j of seen: key j counts.
    template <DType kType>
    static Vec add_run(uint64 seen, const char* row, int64 stride, const float* p, Vec acc) {
        for (int j = 0; j < kRunKeys;
             j += Dot::kDepth, p += kGroupLanes, row += Dot::kDepth * stride) {
            const bool first = (seen >> (j * kGroupLanes) & 1) != 0;
            if constexpr (Dot::kDepth == 1) {
                const Vec x = load_as<kType>(row, kWidth);
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

}  // namespace
}  // namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE
