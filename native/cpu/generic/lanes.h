// The forward of a group of lanes: 16 queries in the lanes of vectors against runs of keys, which
// are read where they lie where their type allows it. Instantiated per CPU target by table.h.
//
// Scores lie key by key, 16 lanes each, so that maxima and sums over keys are vertical and the
// second product reads the weights as they come out. Keys are added in the order of their runs.
#pragma once

#include "core/problem.h"
#include "core/softmax_state.h"
#include "core/types.h"
#include "cpu/generic/epilogue.h"
#include "cpu/generic/lane_ahead.h"
#include "cpu/generic/lane_products.h"
#include "cpu/generic/math.h"
#include "cpu/generic/pack.h"
#include "cpu/generic/rows.h"
#include "cpu/generic/scores.h"
#include "cpu/generic/scratch.h"
#include "cpu/kernels.h"

namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE {
namespace {

/// Runs of a block, whose scores stay in the first cache.
constexpr int64 kBlockRuns = 96;
/// Bytes of rows of K or V that stay in the first cache beside these.
constexpr int64 kPartBytes = 24 * 1024;

/// Scratch of a group. All matrices f32 or words.
struct LaneScratch {
    float* q;          // [heads][words][kGroupLanes]
    float* scores;     // [keys of a block][kGroupLanes], then weights in the same memory
    float* o;          // [heads][kGroupLanes][padded_columns(Dv)]
    float* max;        // [heads][kGroupLanes] running maximum, base 2
    float* sum;        // [heads][kGroupLanes]
    float* alpha;      // [kGroupLanes]
    float* ones;       // [kGroupLanes]
    float* block_max;  // [kGroupLanes] of the scores of a block
    RunRows* runs;     // [kBlockRuns + kRunsAhead], the last ones again and again
    RunRows* copied;   // likewise, of a part whose rows are not read where they lie
    float* copies;     // [kPartBytes, one run more]
};

template <class Dot>
class LaneLoop {
  public:
    explicit LaneLoop(const LaneTask& task)
        : task_(task),
          problem_(*task.problem),
          group_(*task.group),
          space_(row_space(problem_, *task.args, nullptr, task.sequence, task.first_head)),
          rule_(score_rule(problem_)),
          words_(padded_words(problem_)),
          columns_(padded_columns(problem_.head_dim_v)),
          ahead_(task, value_tiles(group_.num_runs)) {
        layout(problem_, task.num_heads, task.scratch, &s_);
    }

    static uint64 layout(const DenseProblem& problem, int64 num_heads, void* memory,
                         LaneScratch* out) {
        constexpr int64 kKeys = kBlockRuns * kRunKeys;
        const int64 columns = padded_columns(problem.head_dim_v);
        Scratch scratch(memory);
        out->q = scratch.take<float>(num_heads * padded_words(problem) * kGroupLanes);
        out->scores = scratch.take<float>(kKeys * kGroupLanes);
        out->o = scratch.take<float>(num_heads * kGroupLanes * columns);
        out->max = scratch.take<float>(num_heads * kGroupLanes);
        out->sum = scratch.take<float>(num_heads * kGroupLanes);
        out->alpha = scratch.take<float>(kGroupLanes);
        out->ones = scratch.take<float>(kGroupLanes);
        out->block_max = scratch.take<float>(kGroupLanes);
        out->runs = scratch.take<RunRows>(kBlockRuns + kRunsAhead<Dot>);
        out->copied = scratch.take<RunRows>(kBlockRuns + kRunsAhead<Dot>);
        const bool copies = !reads_k(problem) || !reads_v(problem);
        const int64 row = max_of(padded_columns(problem.head_dim), columns);
        out->copies = scratch.take<float>(copies ? kPartBytes / 4 + kRunKeys * row : 0);
        return scratch.used();
    }

    void run() {
        fill(s_.ones, 0, kGroupLanes, 1.0F);
        for (int64 h = 0; h < task_.num_heads; ++h) start_head(h);
        run_heads(0, task_.num_heads, false);
        for (int64 h = 0; h < task_.num_heads; ++h) {
            // Weights of 0 do not keep out values that are not finite: once more without these.
            if (write_head(h)) continue;
            start_head(h);
            run_heads(h, h + 1, true);
            write_head(h);
        }
    }

  private:
    /// Words of a row of Q or K that products take.
    static constexpr int64 padded_words(const DenseProblem& problem) {
        return round_up<int64>(words_of<Dot>(problem.head_dim), kHasQuads<Dot> ? kQuadWords : 1);
    }
    /// Whether keys and values are words of the products as they lie.
    static constexpr bool reads_k(const DenseProblem& problem) {
        return Dot::kDepth == 2 || (problem.k.dtype == DType::kF32 &&
                                    padded_words(problem) == words_of<Dot>(problem.head_dim));
    }
    static constexpr bool reads_v(const DenseProblem& problem) {
        return Dot::kDepth == 2 ||
               (problem.v.dtype == DType::kF32 && problem.head_dim_v % kWidth == 0);
    }

    float* o_of(int64 h) const { return s_.o + h * kGroupLanes * columns_; }

    void start_head(int64 h) {
        float* q = s_.q + h * words_ * kGroupLanes;
        const TokenRows rows = query_rows(task_, problem_.q, task_.args->q, h);
        const auto row = [&](int64 l) { return rows.base + group_.queries[l] * rows.stride; };
        if constexpr (!kHasQuads<Dot>) {
            pack_transposed<Dot, kGroupLanes>(problem_.q.dtype, row, group_.num_lanes,
                                              problem_.head_dim, q);
        } else if constexpr (Dot::kDepth == 2) {
            pack_quads<DType::kBF16, Dot>(row, group_.num_lanes, problem_.head_dim, q);
        } else {
            with_dtype(problem_.q.dtype, [&]<DType kType>() {
                pack_quads<kType, Dot>(row, group_.num_lanes, problem_.head_dim, q);
            });
        }
        fill(o_of(h), 0, kGroupLanes * columns_, 0.0F);
        fill(s_.max, h * kGroupLanes, (h + 1) * kGroupLanes, -kInfinity);
        fill(s_.sum, h * kGroupLanes, (h + 1) * kGroupLanes, 0.0F);
    }

    void run_heads(int64 begin, int64 end, bool only_seen) {
        const int64 k_head = problem_.k_head(task_.first_head);
        const int64 v_head = problem_.v_head(task_.first_head);
        const Sequence& seq = task_.sequence;
        const TokenRows k = evenly_spaced(problem_.k, task_.args->k,
                                          problem_.k.row(seq.batch_idx, k_head, seq.k_begin));
        const TokenRows v = evenly_spaced(problem_.v, task_.args->v,
                                          problem_.v.row(seq.batch_idx, v_head, seq.k_begin));
        run_blocks(k, v, {0, group_.num_line_runs, group_.origin, group_.step},
                   {begin, end, only_seen});
        run_blocks(k, v, {group_.num_line_runs, group_.num_runs, group_.origin, group_.side_step},
                   {begin, end, only_seen});
        if (group_.num_additional_runs == 0) return;
        const AdditionalKeys& more = *task_.additional;
        run_blocks(
            evenly_spaced(more.k, task_.additional_args->k, more.k.row(seq.batch_idx, k_head, 0)),
            evenly_spaced(more.v, task_.additional_args->v, more.v.row(seq.batch_idx, v_head, 0)),
            {group_.num_runs, group_.num_runs + group_.num_additional_runs, 0,
             group_.additional_step},
            {begin, end, only_seen});
    }

    struct RunRange {
        int64 begin;
        int64 end;
        int64 origin;  // token that the first keys of runs count from
        int64 step;    // tokens from one key of a run to the next
    };
    struct Heads {
        int64 begin;
        int64 end;
        bool only_seen;  // values reach the lanes that see their keys, one by one
    };

    /// Runs [range.begin, range.end), whose keys are rows of k and v, in blocks of nearly equal
    /// size.
    void run_blocks(const TokenRows& k, const TokenRows& v, RunRange range, Heads heads) {
        const int64 num_runs = range.end - range.begin;
        const int64 num_blocks = ceil_div(num_runs, kBlockRuns);
        for (int64 b = 0; b < num_blocks; ++b) {
            const int64 begin = range.begin + num_runs * b / num_blocks;
            const int64 end = range.begin + num_runs * (b + 1) / num_blocks;
            find_runs(k, v, begin, end, range);
            for (int64 h = heads.begin; h < heads.end; ++h) {
                multiply_keys(h, begin, end - begin);
                weigh(h, end - begin);
                accumulate(h, begin, end - begin, heads.only_seen);
            }
        }
    }

    void find_runs(const TokenRows& k, const TokenRows& v, int64 begin, int64 end,
                   const RunRange& range) {
        for (int64 r = begin; r < end; ++r) {
            const int64 key = range.origin + group_.first[r];
            s_.runs[r - begin] = {k.base + key * k.stride, v.base + key * v.stride};
        }
        k_stride_ = k.stride * range.step;
        v_stride_ = v.stride * range.step;
        for (int64 r = 0; r < kRunsAhead<Dot>; ++r)
            s_.runs[end - begin + r] = s_.runs[end - begin - 1];
    }

    /// Parts of so many runs, so that rows of so many columns stay in the first cache.
    static int64 num_parts(int64 num_runs, int64 row_bytes) {
        return ceil_div(num_runs * kRunKeys * row_bytes, kPartBytes);
    }

    /// Runs of a block with the rows of K or V that products read, stride bytes from key to key.
    struct PartRows {
        const RunRows* runs;
        int64 stride;
    };

    /// Copies the rows of runs [begin, end) of a block as f32, zeros up to a whole vector.
    PartRows copy_rows(DType dtype, int64 extent, int64 begin, int64 end, int64 stride,
                       const char* RunRows::*rows) const {
        const int64 columns = padded_columns(extent);
        with_dtype(dtype, [&]<DType kType>() {
            float* to = s_.copies;
            for (int64 r = begin; r < end; ++r) {
                const char* from = s_.runs[r].*rows;
                s_.copied[r - begin].*rows = reinterpret_cast<const char*>(to);
                for (int j = 0; j < kRunKeys; ++j, from += stride, to += columns) {
                    const int64 whole = extent / kWidth * kWidth;
                    for (int64 c = 0; c < whole; c += kWidth) {
                        store(to + c, load_as<kType>(from + c * bytes_of(kType), kWidth));
                    }
                    if (whole == columns) continue;
                    store(to + whole,
                          load_as<kType>(from + whole * bytes_of(kType), extent - whole));
                }
            }
        });
        for (int64 r = 0; r < kRunsAhead<Dot>; ++r) {
            s_.copied[end - begin + r].*rows = s_.copied[end - begin - 1].*rows;
        }
        return {s_.copied, columns * bytes_of(DType::kF32)};
    }
    PartRows key_rows(int64 begin, int64 end) const {
        if (reads_k(problem_)) return {s_.runs + begin, k_stride_};
        return copy_rows(problem_.k.dtype, problem_.head_dim, begin, end, k_stride_, &RunRows::k);
    }
    PartRows value_rows(int64 begin, int64 end) const {
        if (reads_v(problem_)) return {s_.runs + begin, v_stride_};
        return copy_rows(problem_.v.dtype, problem_.head_dim_v, begin, end, v_stride_, &RunRows::v);
    }

    /// Scores of a block; hidden ones become -inf.
    void multiply_keys(int64 h, int64 first_run, int64 num_runs) {
        const float* q = s_.q + h * words_ * kGroupLanes;
        fill(s_.block_max, 0, kGroupLanes, -kInfinity);
        const int64 parts =
            reads_k(problem_)
                ? 1
                : num_parts(num_runs, padded_columns(problem_.head_dim) * bytes_of(DType::kF32));
        for (int64 part = 0; part < parts; ++part) {
            const int64 begin = num_runs * part / parts;
            const int64 end = num_runs * (part + 1) / parts;
            const PartRows rows = key_rows(begin, end);
            const LaneScores out{.seen = group_.seen + first_run + begin,
                                 .factor = rule_.plain ? 1.0F : scale_of(rule_.scale).factor,
                                 .scores = s_.scores + begin * kRunKeys * kGroupLanes,
                                 .max = s_.block_max};
            if constexpr (kHasQuads<Dot>) {
                quad_scores<Dot>(q, rows.runs, end - begin, rows.stride, words_, out);
            } else {
                multiply_tiles(q, rows, end - begin, out);
            }
        }
    }

    void multiply_tiles(const float* q, const PartRows& rows, int64 num_runs,
                        LaneScores out) const {
        for (int64 r = 0; r < num_runs;) {
            const int64 left = num_runs - r;
            // The last two tiles share what is left, so that none is much smaller than others.
            const int64 count = left >= 2 * kTileRuns ? kTileRuns
                                : left > kTileRuns    ? ceil_div<int64>(left, 2)
                                                      : left;
            multiply_runs<kTileRuns>(count, q, {rows.runs + r, rows.stride}, out);
            out.seen += count;
            out.scores += count * kRunKeys * kGroupLanes;
            r += count;
        }
    }

    template <int kRuns>
    void multiply_runs(int64 count, const float* q, const PartRows& rows,
                       const LaneScores& out) const {
        if constexpr (kRuns > 1) {
            if (count < kRuns) return multiply_runs<kRuns - 1>(count, q, rows, out);
        }
        lane_scores<Dot, kRuns>(q, rows.runs, rows.stride, words_, out);
    }

    /// Scores of a block to weights; updates the state of the lanes and the factors of their old
    /// sums.
    void weigh(int64 h, int64 num_runs) {
        const Vec scale(rule_.fast_scale);
        for (int v = 0; v < kLaneVecs; ++v) {
            const int64 at = h * kGroupLanes + v * kWidth;
            SoftmaxState<Vec> state{load(s_.max + at), load(s_.sum + at)};
            store(s_.alpha + v * kWidth,
                  raise_max(&state, load(s_.block_max + v * kWidth) * scale));
            const Vec shift = Vec(0.0F) - guarded(state.max);
            Vec sum[2] = {Vec(0.0F), Vec(0.0F)};
            const float* x = s_.scores + v * kWidth;
            float* p = s_.scores + v * kWidth;
            for (int64 key = 0; key < num_runs * kRunKeys; key += 2) {
                const Vec p0 = exp2(fma(load(x), scale, shift));
                const Vec p1 = exp2(fma(load(x + kGroupLanes), scale, shift));
                sum[0] = sum[0] + p0;
                sum[1] = sum[1] + p1;
                x += 2 * kGroupLanes;
                if constexpr (Dot::kDepth == 2) {
                    store(p, pair_bf16(p0, p1));
                    p += kGroupLanes;
                } else {
                    store(p, p0);
                    store(p + kGroupLanes, p1);
                    p += 2 * kGroupLanes;
                }
            }
            store(s_.max + at, state.max);
            store(s_.sum + at, state.sum + (sum[0] + sum[1]));
        }
    }

    /// O = alpha O + P V, some runs after others, so that their values are read from the second
    /// cache once and not for every register tile. only_seen: values reach the lanes that see their
    /// keys, lane by lane.
    void accumulate(int64 h, int64 first_run, int64 num_runs, bool only_seen) {
        const int64 parts = value_parts(num_runs);
        for (int64 part = 0; part < parts; ++part) {
            const int64 begin = num_runs * part / parts;
            const int64 end = num_runs * (part + 1) / parts;
            const PartRows rows = value_rows(begin, end);
            const Weighted weighted{.p = s_.scores + begin * (kRunKeys / Dot::kDepth) * kGroupLanes,
                                    .runs = rows.runs,
                                    .num_runs = end - begin,
                                    .stride = rows.stride,
                                    .alpha = part == 0 ? s_.alpha : s_.ones};
            if (only_seen) {
                accumulate_seen(weighted, h, group_.seen + first_run + begin);
            } else {
                accumulate_runs(weighted, h);
            }
        }
    }
    int64 value_parts(int64 num_runs) const {
        return num_parts(num_runs, columns_ * value_bytes());
    }
    /// Register tiles of these parts.
    int64 value_tiles(int64 num_runs) const {
        return value_parts(num_runs) * ceil_div<int64>(columns_, kWidePanel<Dot> * kWidth) *
               ceil_div(kGroupLanes, kPanelLanes<kWidePanel<Dot>>);
    }
    void accumulate_runs(const Weighted& part, int64 h) {
        for (int64 c = 0; c < columns_;) {
            const int64 left = (columns_ - c) / kWidth;
            if (left >= kWidePanel<Dot>) {
                accumulate_panel<kWidePanel<Dot>>(part, h, c);
                c += kWidePanel<Dot> * kWidth;
            } else if (left >= 2) {
                accumulate_panel<2>(part, h, c);
                c += 2 * kWidth;
            } else {
                // Pairs have whole panels of two.
                if constexpr (Dot::kDepth == 1) accumulate_panel<1>(part, h, c);
                c += kWidth;
            }
        }
    }
    template <int kVecs>
    void accumulate_panel(const Weighted& part, int64 h, int64 c) {
        constexpr int kLanes = kPanelLanes<kVecs>;
        constexpr int kRest = kGroupLanes % kLanes;
        float* o = o_of(h) + c;
        // Of narrower panels several share a line.
        constexpr bool kAsks = kVecs * kWidth * value_bytes() >= kLineBytes;
        lane_values<Dot, kLanes, kVecs, kAsks>(part, 0, c * value_bytes(), o, columns_);
        ahead_.ask();
        int lane = kLanes;
        for (; lane + kLanes <= kGroupLanes; lane += kLanes) {
            lane_values<Dot, kLanes, kVecs, false>(part, lane, c * value_bytes(),
                                                   o + lane * columns_, columns_);
            ahead_.ask();
        }
        if constexpr (kRest > 0) {
            lane_values<Dot, kRest, kVecs, false>(part, lane, c * value_bytes(),
                                                  o + lane * columns_, columns_);
            ahead_.ask();
        }
    }
    /// Bytes of an element of V where it is read.
    static constexpr int64 value_bytes() { return Dot::kDepth == 2 ? 2 : 4; }

    void accumulate_seen(const Weighted& part, int64 h, const uint64* seen) const {
        for (int64 l = 0; l < group_.num_lanes; ++l) {
            for (int64 c = 0; c < columns_; c += kWidth) {
                float* o = o_of(h) + l * columns_ + c;
                Vec acc = load(o) * broadcast(part.alpha + l);
                for (int64 r = 0; r < part.num_runs; ++r) {
                    acc = add_seen(seen[r] >> l, part.runs[r].v + c * value_bytes(), part.stride,
                                   part.p + r * (kRunKeys / Dot::kDepth) * kGroupLanes + l, acc);
                }
                store(o, acc);
            }
        }
    }
    /// Bit kGroupLanes * j of seen: key j counts.
    static Vec add_seen(uint64 seen, const char* row, int64 stride, const float* p, Vec acc) {
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
                acc = Dot::step(acc, broadcast(p), pair_bf16(x0, x1));
            }
        }
        return acc;
    }

    /// Whether the sums were finite.
    bool write_head(int64 h) const {
        // All lanes, whose states compilers then finish in vectors.
        RowEnd<float> ends[kGroupLanes];
        for (int l = 0; l < kGroupLanes; ++l) {
            const int64 at = h * kGroupLanes + l;
            ends[l] = finish(SoftmaxState<float>{s_.max[at], s_.sum[at]});
        }
        const TokenRows rows = query_rows(task_, problem_.o, task_.args->o, h);
        float* lse = task_.args->lse;
        if (lse != nullptr) lse += space_.stat_index({0, task_.first_head + h, 0, 0, nullptr});
        Vec finite[4] = {Vec(0.0F), Vec(0.0F), Vec(0.0F), Vec(0.0F)};
        for (int64 l = 0; l < group_.num_lanes; ++l) {
            const int64 query = group_.queries[l];
            const float* o = o_of(h) + l * columns_;
            for (int64 c = 0; c < columns_; c += kWidth) {
                Vec& of = finite[c / kWidth % 4];
                of = fma(load(o + c), Vec(0.0F), of);
            }
            store_columns(problem_.o.dtype, const_cast<char*>(rows.base) + query * rows.stride, o,
                          problem_.head_dim_v, ends[l].o_factor);
            if (lse != nullptr) lse[query] = ends[l].lse;
        }
        return !any_nan((finite[0] + finite[1]) + (finite[2] + finite[3]));
    }

    const LaneTask& task_;
    const DenseProblem& problem_;
    const LaneGroup& group_;
    RowSpace space_;
    ScoreRule rule_;
    int64 words_;         // of a row of Q or K
    int64 columns_;       // of V and O, padded
    int64 k_stride_ = 0;  // bytes between the keys of a run
    int64 v_stride_ = 0;
    RowsAhead ahead_;
    LaneScratch s_{};
};

}  // namespace
}  // namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE
