// Fills a target's kernel table; the last include of each target_*.cpp, after its Vec vocabulary.
#pragma once

#include "cpu/generic/backward.h"
#include "cpu/generic/backward_bias.h"
#include "cpu/generic/backward_rows.h"
#include "cpu/generic/decode.h"
#include "cpu/generic/epilogue.h"
#include "cpu/generic/forward.h"
#include "cpu/generic/gathered_backward.h"
#include "cpu/generic/lane_backward.h"
#include "cpu/generic/lanes.h"
#include "cpu/generic/linear_scan.h"
#include "cpu/generic/linear_step.h"
#include "cpu/generic/measure.h"
#include "cpu/generic/select_blocks.h"
#include "cpu/generic/select_importance.h"
#include "cpu/kernels.h"

namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE {
namespace {

/// Whether products of a problem run on bf16 pairs: the target has them and Q, K and V are all
/// bf16.
constexpr bool uses_pairs(const DenseProblem& problem) {
    return kHasBf16Dot && problem.q.dtype == DType::kBF16 && problem.k.dtype == DType::kBF16 &&
           problem.v.dtype == DType::kBF16;
}

#if defined(FATTN_CPU_TARGET_PAIRS)
using DotPairs = DotBf16;
#else
using DotPairs = DotF32;
#endif

uint64 forward_scratch(const DenseProblem& problem, int64 num_rows) {
    ForwardScratch scratch;
    return uses_pairs(problem)
               ? ForwardScratch::layout<DotPairs>(problem, num_rows, nullptr, &scratch)
               : ForwardScratch::layout<DotF32>(problem, num_rows, nullptr, &scratch);
}

void forward(const ForwardTask& task) {
    if (uses_pairs(*task.problem)) {
        ForwardLoop<DotPairs>(task).run();
    } else {
        ForwardLoop<DotF32>(task).run();
    }
}

/// Groups of lanes read K in whole words of products and V in whole vectors when they use pairs.
constexpr bool lanes_use_pairs(const DenseProblem& problem) {
    return uses_pairs(problem) && problem.head_dim % (2 * kHalfWords) == 0 &&
           problem.head_dim_v % (2 * kWidth) == 0;
}

uint64 lanes_scratch(const DenseProblem& problem, int64 num_heads) {
    Scratch scratch(nullptr);
    if (lanes_use_pairs(problem)) {
        LaneScratch<DotPairs>::take(problem, num_heads, scratch);
    } else {
        LaneScratch<DotF32>::take(problem, num_heads, scratch);
    }
    return scratch.used();
}

void lanes(const LaneTask& task) {
    Scratch scratch(task.scratch);
    if (lanes_use_pairs(*task.problem)) {
        const auto parts = LaneScratch<DotPairs>::take(*task.problem, task.num_heads, scratch);
        LaneLoop<DotPairs>(task, parts).run();
    } else {
        const auto parts = LaneScratch<DotF32>::take(*task.problem, task.num_heads, scratch);
        LaneLoop<DotF32>(task, parts).run();
    }
}

/// Whether 16-bit rows become f32 in the loops of 16 lanes; else they are copied before these.
constexpr bool lanes_convert(const DenseProblem& problem) {
    using Operand = RunOperand<DotF32>;
    return kWidth == 16 && Operand::converts(problem.k.dtype, problem.head_dim) &&
           Operand::converts(problem.v.dtype, problem.head_dim_v);
}

/// What 16-bit rows cost more than f32 in groups of lanes.
int32 lane_percent_of_16_bits(const DenseProblem& problem, bool long_rows) {
    if (lanes_convert(problem)) return 0;
    if (kWidth == 16) return long_rows ? 22 : 18;
    return kWidth < 8 ? 25 : long_rows ? 12 : 4;
}

/// Measured (native/notes/0060-lanes.md); with four lanes as with one. Boxes of long rows leave the
/// caches between groups.
int32 lane_percent(const DenseProblem& problem) {
    const bool long_rows = problem.head_dim + problem.head_dim_v > 192;
    if (lanes_use_pairs(problem)) return long_rows ? 118 : 110;
    int32 alone = kWidth == 16 ? (long_rows ? 103 : 100) : kWidth == 8 ? 118 : 195;
    if (problem.k.dtype != DType::kF32) alone += lane_percent_of_16_bits(problem, long_rows);
    // Pairs do twice the work of f32 in a time.
    return uses_pairs(problem) ? 2 * alone : alone;
}

/// What they read in the backward is added as well as multiplied: whole vectors of all of it.
constexpr bool lanes_backward_use_pairs(const DenseProblem& problem) {
    return lanes_use_pairs(problem) && problem.d_o.dtype == DType::kBF16 &&
           problem.head_dim % (2 * kWidth) == 0;
}

uint64 lanes_backward_scratch(const DenseProblem& problem) {
    const auto bytes = [&](LaneSide side) {
        Scratch scratch(nullptr);
        if (lanes_backward_use_pairs(problem)) {
            LaneBackwardScratch<DotPairs>::take(problem, side, scratch);
        } else {
            LaneBackwardScratch<DotF32>::take(problem, side, scratch);
        }
        return scratch.used();
    };
    return max_of(bytes(LaneSide::kQueries), bytes(LaneSide::kKeys));
}

template <LaneSide kSide>
void lanes_backward_of(const LaneBackwardTask& task) {
    Scratch scratch(task.scratch);
    if (lanes_backward_use_pairs(*task.problem)) {
        const auto parts = LaneBackwardScratch<DotPairs>::take(*task.problem, kSide, scratch);
        LaneBackwardLoop<DotPairs, kSide>(task, parts).run();
    } else {
        const auto parts = LaneBackwardScratch<DotF32>::take(*task.problem, kSide, scratch);
        LaneBackwardLoop<DotF32, kSide>(task, parts).run();
    }
}

void lanes_backward(const LaneBackwardTask& task, LaneSide side) {
    if (side == LaneSide::kKeys) {
        lanes_backward_of<LaneSide::kKeys>(task);
    } else {
        lanes_backward_of<LaneSide::kQueries>(task);
    }
}

/// Measured like lane_percent. Rows of 16 bits are converted or copied seven times; narrower
/// vectors never won.
int32 lane_backward_percent(const DenseProblem& problem) {
    if (lanes_backward_use_pairs(problem)) return 130;
    const int32 alone = kWidth < 16                      ? 200
                        : problem.k.dtype == DType::kF32 ? 98
                        : lanes_convert(problem)         ? 110
                                                         : 135;
    return uses_pairs(problem) ? 2 * alone : alone;
}

uint64 decode_scratch(const DenseProblem& problem) {
    DecodeScratch scratch;
    return DecodeScratch::layout(problem, nullptr, &scratch);
}

void decode(const ForwardTask& task) {
    if (uses_pairs(*task.problem)) {
        DecodeLoop<DotPairs>(task).run();
    } else {
        DecodeLoop<DotF32>(task).run();
    }
}

/// The same for the backward, whose dO is an operand of its products as well.
constexpr bool backward_uses_pairs(const DenseProblem& problem) {
    return uses_pairs(problem) && problem.d_o.dtype == DType::kBF16;
}

uint64 backward_scratch(const DenseProblem& problem) {
    Scratch scratch(nullptr);
    if (backward_uses_pairs(problem)) {
        BackwardScratch::take<DotPairs>(problem, problem.kv_len, scratch);
    } else {
        BackwardScratch::take<DotF32>(problem, problem.kv_len, scratch);
    }
    return scratch.used();
}

void backward(const BackwardTask& task) {
    Scratch scratch(task.scratch);
    const DenseProblem& problem = *task.problem;
    const int64 keys = problem.kv_len;
    if (backward_uses_pairs(problem)) {
        const auto parts = BackwardScratch::take<DotPairs>(problem, keys, scratch);
        BackwardLoop<DotPairs>(task, parts).run();
    } else {
        const auto parts = BackwardScratch::take<DotF32>(problem, keys, scratch);
        BackwardLoop<DotF32>(task, parts).run();
    }
}

uint64 gathered_backward_scratch(const DenseProblem& problem, int64 num_slots) {
    Scratch scratch(nullptr);
    if (backward_uses_pairs(problem)) {
        GatheredBackwardScratch::take<DotPairs>(problem, num_slots, scratch);
    } else {
        GatheredBackwardScratch::take<DotF32>(problem, num_slots, scratch);
    }
    return scratch.used();
}

void gathered_backward(const GatheredBackwardTask& task) {
    Scratch scratch(task.scratch);
    const DenseProblem& problem = *task.problem;
    const int64 slots = task.gathered->tile->num_slots;
    if (backward_uses_pairs(problem)) {
        const auto parts = GatheredBackwardScratch::take<DotPairs>(problem, slots, scratch);
        GatheredBackwardLoop<DotPairs>(task, parts).run();
    } else {
        const auto parts = GatheredBackwardScratch::take<DotF32>(problem, slots, scratch);
        GatheredBackwardLoop<DotF32>(task, parts).run();
    }
}

int64 backward_keys(const DenseProblem& problem) { return backward_tiles(problem) * kBackwardKeys; }

uint64 backward_bias_scratch(const DenseProblem& problem) {
    Scratch scratch(nullptr);
    if (backward_uses_pairs(problem)) {
        BackwardBiasScratch::take<DotPairs>(problem, scratch);
    } else {
        BackwardBiasScratch::take<DotF32>(problem, scratch);
    }
    return scratch.used();
}

void backward_bias(const BackwardBiasTask& task) {
    if (backward_uses_pairs(*task.problem)) {
        backward_bias<DotPairs>(task);
    } else {
        backward_bias<DotF32>(task);
    }
}

void linear_scan(const LinearScanTask& task) {
    if (scan_uses_pairs(task.heads[0])) {
        LinearScan<DotPairs>(task).run();
    } else {
        LinearScan<DotF32>(task).run();
    }
}

constexpr KernelTable make_table(const char* name) {
    return {.name = name,
            .tile_q = kTileQ,
            .tile_kv = kTileKv,
            .bf16_dot = kHasBf16Dot,
            .forward_scratch = forward_scratch,
            .forward = forward,
            .lanes_scratch = lanes_scratch,
            .lanes = lanes,
            .lane_percent = lane_percent,
            .lanes_backward_scratch = lanes_backward_scratch,
            .lanes_backward = lanes_backward,
            .lane_backward_percent = lane_backward_percent,
            .decode_rows = kDecodeRows,
            .decode_keys = kDecodeKeys,
            .decode = decode,
            .decode_scratch = decode_scratch,
            .merge_partials = merge_partials,
            .merge = merge_rows,
            .backward_tile_q = kBackwardRows,
            .backward_tile_kv = kBackwardKeys,
            .backward_keys = backward_keys,
            .backward_scratch = backward_scratch,
            .backward = backward,
            .backward_delta = backward_delta,
            .merge_d_q = merge_d_q,
            .gathered_backward_scratch = gathered_backward_scratch,
            .gathered_backward = gathered_backward,
            .write_sums = write_sums,
            .backward_bias_scratch = backward_bias_scratch,
            .backward_bias = backward_bias,
            .judge_scratch = judge_scratch,
            .judge_sums = judge_sums,
            .judge_weights = judge_weights,
            .pool_block = pool_block,
            .block_scores = block_scores,
            .linear = {.scratch = linear_scratch,
                       .state_floats = linear_state_floats,
                       .load_state = load_linear_state,
                       .store_state = store_linear_state,
                       .scan = linear_scan,
                       .step_scratch = linear_step_scratch,
                       .step = linear_step},
            .peak_f32 = measure_dot<DotF32>,
            .peak_bf16 = measure_dot<DotPairs>,
            .peak_read = measure_read};
}

}  // namespace
}  // namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE
