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
/// Bytes of values that stay in the first cache beside these.
constexpr int64 kValueBytes = 24 * 1024;

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
    float* k;          // [keys of a block][padded_columns(D)] when K is not read where it lies
    float* v;          // [keys of a block][padded_columns(Dv)] likewise
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
        out->runs = scratch.take<RunRows>(kBlockRuns + kRunsAhead);
        out->k =
            scratch.take<float>(reads_k(problem) ? 0 : kKeys * padded_columns(problem.head_dim));
        out->v = scratch.take<float>(reads_v(problem) ? 0 : kKeys * columns);
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
        run_blocks(evenly_spaced(problem_.k, task_.args->k,
                                 problem_.k.row(seq.batch_idx, k_head, seq.k_begin)),
                   evenly_spaced(problem_.v, task_.args->v,
                                 problem_.v.row(seq.batch_idx, v_head, seq.k_begin)),
                   {0, group_.num_runs, group_.step}, {begin, end, only_seen});
        if (group_.num_additional_runs == 0) return;
        const AdditionalKeys& more = *task_.additional;
        run_blocks(
            evenly_spaced(more.k, task_.additional_args->k, more.k.row(seq.batch_idx, k_head, 0)),
            evenly_spaced(more.v, task_.additional_args->v, more.v.row(seq.batch_idx, v_head, 0)),
            {group_.num_runs, group_.num_runs + group_.num_additional_runs, group_.additional_step},
            {begin, end, only_seen});
    }

    struct RunRange {
        int64 begin;
        int64 end;
        int64 step;  // tokens from one key of a run to the next
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
            find_runs(k, v, begin, end, range.step);
            for (int64 h = heads.begin; h < heads.end; ++h) {
                multiply_keys(h, begin, end - begin);
                weigh(h, end - begin);
                if (heads.only_seen) {
                    accumulate_seen(h, begin, end - begin);
                } else {
                    accumulate(h, end - begin);
                }
            }
        }
    }

    void find_runs(const TokenRows& k, const TokenRows& v, int64 begin, int64 end, int64 step) {
        for (int64 r = begin; r < end; ++r) {
            const int64 key = group_.first[r];
            s_.runs[r - begin] = {k.base + key * k.stride, v.base + key * v.stride};
        }
        k_stride_ = k.stride * step;
        v_stride_ = v.stride * step;
        if (!reads_k(problem_)) {
            k_stride_ = copy_rows(problem_.k.dtype, problem_.head_dim, end - begin, k_stride_,
                                  &RunRows::k, s_.k);
        }
        if (!reads_v(problem_)) {
            v_stride_ = copy_rows(problem_.v.dtype, problem_.head_dim_v, end - begin, v_stride_,
                                  &RunRows::v, s_.v);
        }
        for (int64 r = 0; r < kRunsAhead; ++r) s_.runs[end - begin + r] = s_.runs[end - begin - 1];
    }

    /// Copies the rows of a block as f32, zeros up to a whole vector; returns their stride.
    int64 copy_rows(DType dtype, int64 extent, int64 num_runs, int64 stride,
                    const char* RunRows::*rows, float* to) {
        const int64 columns = padded_columns(extent);
        with_dtype(dtype, [&]<DType kType>() {
            for (int64 r = 0; r < num_runs; ++r) {
                const char* from = s_.runs[r].*rows;
                s_.runs[r].*rows = reinterpret_cast<const char*>(to);
                for (int j = 0; j < kRunKeys; ++j, from += stride, to += columns) {
                    for (int64 c = 0; c < columns; c += kWidth) {
                        store(to + c, load_as<kType>(from + c * bytes_of(kType),
                                                     min_of<int64>(kWidth, extent - c)));
                    }
                }
            }
        });
        return columns * bytes_of(DType::kF32);
    }

    /// Scores of a block; hidden ones become -inf.
    void multiply_keys(int64 h, int64 first_run, int64 num_runs) {
        const float* q = s_.q + h * words_ * kGroupLanes;
        LaneScores out{.seen = group_.seen + first_run,
                       .factor = rule_.plain ? 1.0F : scale_of(rule_.scale).factor,
                       .scores = s_.scores,
                       .max = s_.block_max};
        fill(s_.block_max, 0, kGroupLanes, -kInfinity);
        if constexpr (kHasQuads<Dot>) {
            quad_scores<Dot>(q, s_.runs, num_runs, k_stride_, words_, out);
        } else {
            multiply_tiles(q, num_runs, out);
        }
    }

    void multiply_tiles(const float* q, int64 num_runs, LaneScores out) const {
        for (int64 r = 0; r < num_runs;) {
            const int64 left = num_runs - r;
            // The last two tiles share what is left, so that none is much smaller than others.
            const int64 count = left >= 2 * kTileRuns ? kTileRuns
                                : left > kTileRuns    ? ceil_div<int64>(left, 2)
                                                      : left;
            multiply_runs<kTileRuns>(count, q, s_.runs + r, out);
            out.seen += count;
            out.scores += count * kRunKeys * kGroupLanes;
            r += count;
        }
    }

    template <int kRuns>
    void multiply_runs(int64 count, const float* q, const RunRows* runs,
                       const LaneScores& out) const {
        if constexpr (kRuns > 1) {
            if (count < kRuns) return multiply_runs<kRuns - 1>(count, q, runs, out);
        }
        lane_scores<Dot, kRuns>(q, runs, k_stride_, words_, out);
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
    /// cache once and not for every register tile.
    void accumulate(int64 h, int64 num_runs) {
        const int64 num_parts = value_parts(num_runs);
        for (int64 part = 0; part < num_parts; ++part) {
            const int64 begin = num_runs * part / num_parts;
            const int64 end = num_runs * (part + 1) / num_parts;
            accumulate_runs({s_.scores + begin * (kRunKeys / Dot::kDepth) * kGroupLanes,
                             s_.runs + begin, end - begin, part == 0 ? s_.alpha : s_.ones},
                            h);
        }
    }
    int64 value_parts(int64 num_runs) const {
        return ceil_div(num_runs * kRunKeys * columns_ * value_bytes(), kValueBytes);
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
        lane_values<Dot, kLanes, kVecs, true>(part, 0, c * value_bytes(), v_stride_, o, columns_);
        ahead_.ask();
        int lane = kLanes;
        for (; lane + kLanes <= kGroupLanes; lane += kLanes) {
            lane_values<Dot, kLanes, kVecs, false>(part, lane, c * value_bytes(), v_stride_,
                                                   o + lane * columns_, columns_);
            ahead_.ask();
        }
        if constexpr (kRest > 0) {
            lane_values<Dot, kRest, kVecs, false>(part, lane, c * value_bytes(), v_stride_,
                                                  o + lane * columns_, columns_);
            ahead_.ask();
        }
    }
    /// Bytes of an element of V where it is read.
    static constexpr int64 value_bytes() { return Dot::kDepth == 2 ? 2 : 4; }

    /// As accumulate, lane by lane, leaving out values of keys that the lane does not see.
    void accumulate_seen(int64 h, int64 first_run, int64 num_runs) const {
        for (int64 l = 0; l < group_.num_lanes; ++l) {
            for (int64 c = 0; c < columns_; c += kWidth) {
                float* o = o_of(h) + l * columns_ + c;
                Vec acc = load(o) * broadcast(s_.alpha + l);
                for (int64 r = 0; r < num_runs; ++r) {
                    acc = add_seen(group_.seen[first_run + r] >> l, s_.runs[r].v, c,
                                   s_.scores + r * (kRunKeys / Dot::kDepth) * kGroupLanes + l, acc);
                }
                store(o, acc);
            }
        }
    }
    /// Bit kGroupLanes * j of seen: key j counts.
    Vec add_seen(uint64 seen, const char* rows, int64 c, const float* p, Vec acc) const {
        for (int j = 0; j < kRunKeys; j += Dot::kDepth, p += kGroupLanes) {
            const char* row = rows + j * v_stride_ + c * value_bytes();
            const bool first = (seen >> (j * kGroupLanes) & 1) != 0;
            if constexpr (Dot::kDepth == 1) {
                const Vec x = load(reinterpret_cast<const float*>(row));
                if (first) acc = Dot::step(acc, broadcast(p), x);
            } else {
                const bool second = (seen >> ((j + 1) * kGroupLanes) & 1) != 0;
                if (!first && !second) continue;
                const Vec zero(0.0F);
                const Vec x0 = first ? low_bf16(low_bf16_words(row, kWidth)) : zero;
                const Vec x1 = second ? low_bf16(low_bf16_words(row + v_stride_, kWidth)) : zero;
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
