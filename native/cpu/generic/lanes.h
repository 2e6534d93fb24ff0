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

/// Scratch of a group. All matrices f32 or words.
template <class Dot>
struct LaneScratch {
    float* q;          // [heads][words][kGroupLanes]
    float* scores;     // [keys of a block][kGroupLanes], then weights in the same memory
    float* o;          // [heads][kGroupLanes][padded_columns(Dv)]
    float* max;        // [heads][kGroupLanes] running maximum, base 2
    float* sum;        // [heads][kGroupLanes]
    float* alpha;      // [kGroupLanes]
    float* ones;       // [kGroupLanes]
    float* block_max;  // [kGroupLanes] of the scores of a block
    RunOperand<Dot> k;
    RunOperand<Dot> v;
    RunCopies<Dot> copies;

    static LaneScratch take(const DenseProblem& problem, int64 num_heads, Scratch& scratch) {
        using Operand = RunOperand<Dot>;
        const int64 lanes = num_heads * kGroupLanes;
        LaneScratch s{};
        s.q = scratch.take<float>(lanes * Operand::padded_words(problem.head_dim));
        s.scores = scratch.take<float>(kBlockRuns * kRunKeys * kGroupLanes);
        s.o = scratch.take<float>(lanes * padded_columns(problem.head_dim_v));
        s.max = scratch.take<float>(lanes);
        s.sum = scratch.take<float>(lanes);
        s.alpha = scratch.take<float>(kGroupLanes);
        s.ones = scratch.take<float>(kGroupLanes);
        s.block_max = scratch.take<float>(kGroupLanes);
        s.k = Operand(problem.k.dtype, problem.head_dim, scratch);
        s.v = Operand(problem.v.dtype, problem.head_dim_v, scratch);
        const bool copies = !Operand::multiplies_in_place(problem.k.dtype, problem.head_dim) ||
                            !Operand::adds_in_place(problem.v.dtype, problem.head_dim_v);
        s.copies = RunCopies<Dot>::take(copies ? max_of(problem.head_dim, problem.head_dim_v) : 0,
                                        scratch);
        return s;
    }
};

template <class Dot>
class LaneLoop {
  public:
    LaneLoop(const LaneTask& task, const LaneScratch<Dot>& scratch)
        : task_(task),
          problem_(*task.problem),
          group_(*task.group),
          space_(row_space(problem_, *task.args, nullptr, task.sequence, task.first_head)),
          rule_(score_rule(problem_)),
          words_(RunOperand<Dot>::padded_words(problem_.head_dim)),
          columns_(padded_columns(problem_.head_dim_v)),
          s_(scratch),
          ahead_(*task.next,
                 {{{&problem_.q, task.args->q, false}, {&problem_.o, task.args->o, true}},
                  task.sequence,
                  task.first_head,
                  task.num_heads},
                 s_.v.num_tiles(group_.num_runs) + weight_asks(group_.num_runs)) {}

    void run() {
        fill(s_.ones, 0, kGroupLanes, 1.0F);
        for (int64 h = 0; h < task_.num_heads; ++h) start_head(h);
        run_heads({0, task_.num_heads, false});
        for (int64 h = 0; h < task_.num_heads; ++h) {
            // Weights of 0 do not keep out values that are not finite: once more without these.
            if (write_head(h)) continue;
            start_head(h);
            run_heads({h, h + 1, true});
            write_head(h);
        }
    }

  private:
    TokenRows query_rows(const TensorLayout& layout, const void* data, int64 h) const {
        return head_rows(layout, data, task_.sequence, task_.first_head + h);
    }
    float* o_of(int64 h) const { return s_.o + h * kGroupLanes * columns_; }

    void start_head(int64 h) {
        float* q = s_.q + h * words_ * kGroupLanes;
        const TokenRows rows = query_rows(problem_.q, task_.args->q, h);
        const auto row = [&](int64 l) { return rows.base + group_.tokens[l] * rows.stride; };
        pack_lanes<Dot>(problem_.q.dtype, row, group_.num_lanes, problem_.head_dim, q);
        fill(s_.max, h * kGroupLanes, (h + 1) * kGroupLanes, -kInfinity);
        fill(s_.sum, h * kGroupLanes, (h + 1) * kGroupLanes, 0.0F);
    }

    struct Heads {
        int64 begin;
        int64 end;
        bool only_seen;  // values reach the lanes that see their keys, one by one
    };

    void run_heads(Heads heads) {
        begun_ = false;
        const int64 k_head = problem_.k_head(task_.first_head);
        const int64 v_head = problem_.v_head(task_.first_head);
        const Sequence& seq = task_.sequence;
        const TokenRows k = head_rows(problem_.k, task_.args->k, seq, k_head);
        const TokenRows v = head_rows(problem_.v, task_.args->v, seq, v_head);
        for_each_direction(group_, [&](const RunTokens& runs, const uint64* seen) {
            run_blocks(k, v, runs, seen, heads);
        });
        if (group_.num_additional_runs == 0) return;
        const AdditionalKeys& more = *task_.additional;
        run_blocks(head_rows(more.k, task_.additional_args->k, seq, k_head),
                   head_rows(more.v, task_.additional_args->v, seq, v_head),
                   {group_.first + group_.num_runs, group_.num_additional_runs, 0,
                    group_.additional_step, false},
                   group_.seen + group_.num_runs, heads);
    }

    /// Runs whose keys are rows of k and v, in blocks of nearly equal size.
    void run_blocks(const TokenRows& k, const TokenRows& v, const RunTokens& runs,
                    const uint64* seen, Heads heads) {
        const int64 num_blocks = ceil_div(runs.num_runs, kBlockRuns);
        for (int64 n = 0; n < num_blocks; ++n) {
            const int64 b = group_.backwards ? num_blocks - 1 - n : n;
            const int64 begin = runs.num_runs * b / num_blocks;
            const int64 end = runs.num_runs * (b + 1) / num_blocks;
            s_.k.start_block(k, runs, begin, end);
            s_.v.start_block(v, runs, begin, end);
            for (int64 h = heads.begin; h < heads.end; ++h) {
                fill(s_.block_max, 0, kGroupLanes, -kInfinity);
                s_.k.template multiply<true>(s_.q + h * words_ * kGroupLanes, scores(seen + begin),
                                             s_.copies);
                weigh(h, end - begin);
                accumulate(h, seen + begin, heads.only_seen);
            }
            begun_ = true;
        }
    }

    LaneScores scores(const uint64* seen) const {
        return {.seen = seen,
                .factor = rule_.plain ? 1.0F : scale_of(rule_.scale).factor,
                .scores = s_.scores,
                .max = s_.block_max};
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
                if (key % kKeysPerAsk == 0) ahead_.ask();
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

    /// O = alpha O + P V.
    void accumulate(int64 h, const uint64* seen, bool only_seen) {
        const LaneFactors factors{begun_ ? s_.alpha : nullptr, s_.ones};
        if (only_seen) {
            s_.v.add_seen(s_.scores, factors, seen, group_.num_lanes, o_of(h), s_.copies);
        } else {
            s_.v.add(s_.scores, factors, o_of(h), s_.copies, [&] { ahead_.ask(); });
        }
    }

    /// Whether the sums were finite.
    bool write_head(int64 h) const {
        // All lanes, whose states compilers then finish in vectors.
        RowEnd<float> ends[kGroupLanes];
        for (int l = 0; l < kGroupLanes; ++l) {
            const int64 at = h * kGroupLanes + l;
            ends[l] = finish(SoftmaxState<float>{s_.max[at], s_.sum[at]});
        }
        const TokenRows rows = query_rows(problem_.o, task_.args->o, h);
        float* lse = task_.args->lse;
        if (lse != nullptr) lse += space_.stat_index({0, task_.first_head + h, 0, 0, nullptr});
        if (lse != nullptr) {
            for (int64 l = 0; l < group_.num_lanes; ++l) lse[group_.tokens[l]] = ends[l].lse;
        }
        return store_lanes(problem_.o.dtype, rows, group_, o_of(h), problem_.head_dim_v,
                           [&](int64 l) { return ends[l].o_factor; });
    }

    const LaneTask& task_;
    const DenseProblem& problem_;
    const LaneGroup& group_;
    RowSpace space_;
    ScoreRule rule_;
    int64 words_;    // of a row of Q or K
    int64 columns_;  // of V and O, padded
    LaneScratch<Dot> s_;
    RowsAhead ahead_;
    bool begun_ = false;  // the sums of the heads that run
};

}  // namespace
}  // namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE
