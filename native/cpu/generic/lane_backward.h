// The backward of a group of lanes: the query gradients of 16 queries, or the key and value
// gradients of 16 keys, in the lanes of vectors. Instantiated per CPU target by table.h.
//
// Both make the weights and score gradients of their pairs again from Q, K, V, dO and LSE, so that
// every gradient is summed by one group and nothing is added by token: seven products instead of
// five, none of which packs what it reads by runs.
#pragma once

#include "core/problem.h"
#include "core/types.h"
#include "cpu/generic/lane_ahead.h"
#include "cpu/generic/lane_products.h"
#include "cpu/generic/lane_rows.h"
#include "cpu/generic/lane_runs.h"
#include "cpu/generic/math.h"
#include "cpu/generic/pack.h"
#include "cpu/generic/rows.h"
#include "cpu/generic/scores.h"
#include "cpu/generic/scratch.h"
#include "cpu/kernels.h"

namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE {
namespace {

/// Scratch of a group. Tensors of head dim D are q and k, of Dv d_o and v; all matrices f32 or
/// words. A step of depth is a key of a run, or two in pairs.
template <class Dot>
struct LaneBackwardScratch {
    float* lanes;            // [words of D][kGroupLanes]: q or k of the lanes
    float* lanes_v;          // [words of Dv][kGroupLanes]: d_o or v
    float* scores;           // [keys of a block][kGroupLanes], then weights
    float* grads;            // [keys of a block][kGroupLanes] dO.v, then score gradients
    float* sums;             // [kGroupLanes][padded_columns(D)]: d_q or d_k
    float* sums_v;           // [kGroupLanes][padded_columns(Dv)]: d_v
    float* shift;            // [keys of a block or kGroupLanes] -lse of queries in base 2
    float* delta;            // likewise
    float* max;              // [kGroupLanes] of scores, not used
    float* ones;             // [kGroupLanes]
    uint64* seen;            // [kBlockRuns] of a block, without queries that nothing was summed for
    RunOperand<Dot> runs;    // k or q
    RunOperand<Dot> runs_v;  // v or d_o
    RunCopies<Dot> copies;

    static LaneBackwardScratch take(const DenseProblem& problem, LaneSide side, Scratch& scratch) {
        using Operand = RunOperand<Dot>;
        constexpr int64 kKeys = kBlockRuns * kRunKeys;
        const int64 extent = problem.head_dim;
        const int64 extent_v = problem.head_dim_v;
        LaneBackwardScratch s{};
        s.lanes = scratch.take<float>(Operand::padded_words(extent) * kGroupLanes);
        s.lanes_v = scratch.take<float>(Operand::padded_words(extent_v) * kGroupLanes);
        s.scores = scratch.take<float>(kKeys * kGroupLanes);
        s.grads = scratch.take<float>(kKeys * kGroupLanes);
        s.sums = scratch.take<float>(kGroupLanes * padded_columns(extent));
        s.sums_v = scratch.take<float>(kGroupLanes * padded_columns(extent_v));
        s.shift = scratch.take<float>(max_of<int64>(kKeys, kGroupLanes));
        s.delta = scratch.take<float>(max_of<int64>(kKeys, kGroupLanes));
        s.max = scratch.take<float>(kGroupLanes);
        s.ones = scratch.take<float>(kGroupLanes);
        s.seen = scratch.take<uint64>(kBlockRuns);
        const DType dtype = side == LaneSide::kKeys ? problem.q.dtype : problem.k.dtype;
        const DType dtype_v = side == LaneSide::kKeys ? problem.d_o.dtype : problem.v.dtype;
        s.runs = Operand(dtype, extent, scratch);
        s.runs_v = Operand(dtype_v, extent_v, scratch);
        // What is added in place is multiplied in place.
        const bool in_place =
            Operand::adds_in_place(dtype, extent) && Operand::adds_in_place(dtype_v, extent_v);
        s.copies = RunCopies<Dot>::take(in_place ? 0 : max_of(extent, extent_v), scratch);
        return s;
    }
};

template <class Dot, LaneSide kSide>
class LaneBackwardLoop {
  public:
    LaneBackwardLoop(const LaneBackwardTask& task, const LaneBackwardScratch<Dot>& scratch)
        : task_(task),
          problem_(*task.problem),
          args_(*task.args),
          group_(*task.group),
          rule_(score_rule(problem_)),
          s_(scratch),
          ahead_(*task.next, heads_ahead(), asks()) {}

    void run() {
        fill(s_.ones, 0, kGroupLanes, 1.0F);
        fill(s_.max, 0, kGroupLanes, 0.0F);
        if constexpr (kKeys) {
            pack(problem_.k, args_.k, k_head(), problem_.head_dim, s_.lanes);
            pack(problem_.v, args_.v, v_head(), problem_.head_dim_v, s_.lanes_v);
            sum_heads(0, task_.num_heads);
        } else {
            for (int64 h = 0; h < task_.num_heads; ++h) {
                pack(problem_.q, args_.q, q_head(h), problem_.head_dim, s_.lanes);
                pack(problem_.d_o, args_.d_o, q_head(h), problem_.head_dim_v, s_.lanes_v);
                sum_heads(h, h + 1);
            }
        }
    }

  private:
    static constexpr bool kKeys = kSide == LaneSide::kKeys;

    int64 q_head(int64 h) const { return task_.first_head + h; }
    int64 k_head() const { return problem_.k_head(task_.first_head); }
    int64 v_head() const { return problem_.v_head(task_.first_head); }
    /// Rows of a head by token.
    TokenRows rows_of(const TensorLayout& layout, const void* data, int64 head) const {
        return head_rows(layout, data, task_.sequence, head);
    }
    AheadHeads heads_ahead() const {
        if constexpr (kKeys) {
            return {{{&problem_.k, args_.k, false},
                     {&problem_.v, args_.v, false},
                     {&problem_.d_k, args_.d_k, true},
                     {&problem_.d_v, args_.d_v, true}},
                    task_.sequence,
                    k_head(),
                    1};
        }
        return {{{&problem_.q, args_.q, false},
                 {&problem_.d_o, args_.d_o, false},
                 {&problem_.d_q, args_.d_q, true}},
                task_.sequence,
                task_.first_head,
                task_.num_heads};
    }
    /// Between which rows are asked for: of a query head, or of all of them for the key head.
    int64 asks() const {
        const int64 runs = group_.num_runs;
        if constexpr (!kKeys) return weight_asks(runs) + s_.runs.num_tiles(runs);
        return task_.num_heads *
               (weight_asks(runs) + (wants_scores() ? s_.runs.num_tiles(runs) : 0) +
                (wants_values() ? s_.runs_v.num_tiles(runs) : 0));
    }
    bool wants_scores() const { return !kKeys || args_.d_k != nullptr; }
    bool wants_values() const { return kKeys && args_.d_v != nullptr; }

    void pack(const TensorLayout& layout, const void* data, int64 head, int64 extent,
              float* to) const {
        const TokenRows rows = rows_of(layout, data, head);
        pack_lanes<Dot>(
            layout.dtype, [&](int64 l) { return rows.base + group_.tokens[l] * rows.stride; },
            group_.num_lanes, extent, to);
    }

    /// The gradients of the lanes from heads [begin, end).
    void sum_heads(int64 begin, int64 end) {
        // Weights of 0 do not keep out values that are not finite: once more without these.
        bool only_seen = false;
        for (int attempt = 0; attempt < 2; ++attempt, only_seen = true) {
            fill(s_.sums, 0, kGroupLanes * s_.runs.columns(), 0.0F);
            fill(s_.sums_v, 0, kGroupLanes * s_.runs_v.columns(), 0.0F);
            for (int64 h = begin; h < end; ++h) add_head(h, only_seen);
            if (write(begin)) return;
        }
    }

    void add_head(int64 h, bool only_seen) {
        const TokenRows rows = kKeys ? rows_of(problem_.q, args_.q, q_head(h))
                                     : rows_of(problem_.k, args_.k, k_head());
        const TokenRows rows_v = kKeys ? rows_of(problem_.d_o, args_.d_o, q_head(h))
                                       : rows_of(problem_.v, args_.v, v_head());
        uint64 alive = ~uint64{0};
        if constexpr (!kKeys) alive = start_lanes(h);
        for_each_direction(group_, [&](const RunTokens& runs, const uint64* seen) {
            const int64 num_blocks = ceil_div(runs.num_runs, kBlockRuns);
            for (int64 b = 0; b < num_blocks; ++b) {
                const int64 begin = runs.num_runs * b / num_blocks;
                const int64 end = runs.num_runs * (b + 1) / num_blocks;
                for (int64 r = begin; r < end; ++r) s_.seen[r - begin] = seen[r] & alive;
                if constexpr (kKeys) start_runs(h, runs, begin, end);
                s_.runs.start_block(rows, runs, begin, end);
                s_.runs_v.start_block(rows_v, runs, begin, end);
                weigh_block(end - begin);
                add_block(only_seen);
            }
        });
    }

    /// Statistics of a head by token.
    struct Stats {
        const float* lse;
        const float* delta;  // null: zeros
    };
    Stats stats(int64 h) const {
        const int64 at =
            (task_.sequence.batch_idx * problem_.num_q_heads + q_head(h)) * problem_.q_len;
        return {args_.lse + at, task_.delta == nullptr ? nullptr : task_.delta + at};
    }
    /// -lse and delta of a query.
    void start_query(const Stats& stats, int64 token, int64 to) {
        s_.shift[to] = -stats.lse[token] * kLog2E;
        s_.delta[to] = stats.delta == nullptr ? 0.0F : stats.delta[token];
    }
    /// Whether nothing was summed for a started query, so that it has no weights.
    bool is_empty(int64 at) const { return s_.shift[at] == kInfinity; }

    /// Returns the lanes that have weights, for every key of a run.
    uint64 start_lanes(int64 h) {
        const Stats of_head = stats(h);
        uint64 alive = 0;
        for (int64 l = 0; l < kGroupLanes; ++l) {
            s_.shift[l] = s_.delta[l] = 0.0F;
            if (l >= group_.num_lanes) continue;
            start_query(of_head, group_.tokens[l], l);
            if (is_empty(l)) {
                s_.shift[l] = 0.0F;
            } else {
                alive |= uint64{1} << l;
            }
        }
        return alive * kEveryKeyOfRun;
    }
    void start_runs(int64 h, const RunTokens& runs, int64 begin, int64 end) {
        const Stats of_head = stats(h);
        for (int64 r = begin; r < end; ++r) {
            const int64 at = (r - begin) * kRunKeys;
            for (int64 j = 0; j < kRunKeys; ++j) {
                start_query(of_head, runs.origin + runs.first[r] + j * runs.step, at + j);
            }
        }
        for (int64 i = 0; i < (end - begin) * kRunKeys; ++i) {
            if (!is_empty(i)) continue;
            s_.shift[i] = 0.0F;
            s_.seen[i / kRunKeys] &= ~(kLanesOfKey << (i % kRunKeys * kGroupLanes));
        }
    }

    /// Weights and score gradients of the started block.
    void weigh_block(int64 num_runs) {
        const LaneScores scores{.seen = s_.seen,
                                .factor = rule_.plain ? 1.0F : scale_of(rule_.scale).factor,
                                .scores = s_.scores,
                                .max = s_.max};
        s_.runs.template multiply<true>(s_.lanes, scores, s_.copies);
        if (!wants_scores()) return weigh<false>(num_runs);
        const LaneScores grads{.seen = nullptr, .factor = 1.0F, .scores = s_.grads, .max = nullptr};
        s_.runs_v.template multiply<false>(s_.lanes_v, grads, s_.copies);
        weigh<true>(num_runs);
    }

    template <bool kGrads>
    void weigh(int64 num_runs) {
        const Vec scale(rule_.fast_scale);
        for (int v = 0; v < kLaneVecs; ++v) {
            const float* x = s_.scores + v * kWidth;
            const float* d = s_.grads + v * kWidth;
            float* to_p = s_.scores + v * kWidth;
            float* to_g = s_.grads + v * kWidth;
            Vec shift = load(s_.shift + v * kWidth);
            Vec delta = load(s_.delta + v * kWidth);
            for (int64 key = 0; key < num_runs * kRunKeys; key += 2) {
                if (key % kKeysPerAsk == 0) ahead_.ask();
                Vec p[2];
                Vec g[2];
#pragma GCC unroll 2
                for (int i = 0; i < 2; ++i, x += kGroupLanes, d += kGroupLanes) {
                    if constexpr (kKeys) shift = broadcast(s_.shift + key + i);
                    p[i] = exp2(fma(load(x), scale, shift));
                    if constexpr (!kGrads) continue;
                    if constexpr (kKeys) delta = broadcast(s_.delta + key + i);
                    g[i] = p[i] * (load(d) - delta);
                }
                if constexpr (kKeys) to_p = store_keys(to_p, p);
                if constexpr (kGrads) to_g = store_keys(to_g, g);
            }
        }
    }
    /// Two keys as steps of depth; returns where the next go.
    static float* store_keys(float* to, const Vec (&x)[2]) {
        if constexpr (Dot::kDepth == 2) {
            store(to, pair_bf16(x[0], x[1]));
            return to + kGroupLanes;
        } else {
            store(to, x[0]);
            store(to + kGroupLanes, x[1]);
            return to + 2 * kGroupLanes;
        }
    }

    void add_block(bool only_seen) {
        if (wants_values()) add(s_.runs_v, s_.scores, s_.sums_v, only_seen);
        if (wants_scores()) add(s_.runs, s_.grads, s_.sums, only_seen);
    }
    void add(const RunOperand<Dot>& rows, const float* p, float* sums, bool only_seen) {
        const LaneFactors factors{s_.ones, s_.ones};
        if (only_seen) {
            rows.add_seen(p, factors, s_.seen, group_.num_lanes, sums, s_.copies);
        } else {
            rows.add(p, factors, sums, s_.copies, [&] { ahead_.ask(); });
        }
    }

    /// Whether the sums were finite. h: head of the lanes' queries.
    bool write(int64 h) const {
        if constexpr (!kKeys) {
            return write(problem_.d_q, args_.d_q, q_head(h), s_.sums, problem_.head_dim,
                         problem_.scale);
        }
        bool finite = true;
        if (wants_scores()) {
            finite = write(problem_.d_k, args_.d_k, k_head(), s_.sums, problem_.head_dim,
                           problem_.scale);
        }
        if (wants_values()) {
            finite &=
                write(problem_.d_v, args_.d_v, v_head(), s_.sums_v, problem_.head_dim_v, 1.0F);
        }
        return finite;
    }
    bool write(const TensorLayout& layout, void* data, int64 head, const float* sums, int64 extent,
               float factor) const {
        return store_lanes(layout.dtype, rows_of(layout, data, head), group_, sums, extent,
                           [&](int64) { return factor; });
    }

    const LaneBackwardTask& task_;
    const DenseProblem& problem_;
    const DenseBackwardArgs& args_;
    const LaneGroup& group_;
    ScoreRule rule_;
    LaneBackwardScratch<Dot> s_;
    RowsAhead ahead_;
};

}  // namespace
}  // namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE
