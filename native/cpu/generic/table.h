// Fills a target's kernel table; the last include of each target_*.cpp, after its Vec vocabulary.
#pragma once

#include "cpu/generic/decode.h"
#include "cpu/generic/epilogue.h"
#include "cpu/generic/forward.h"
#include "cpu/generic/measure.h"
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

constexpr KernelTable make_table(const char* name) {
    return {.name = name,
            .tile_q = kTileQ,
            .tile_kv = kTileKv,
            .bf16_dot = kHasBf16Dot,
            .forward_scratch = forward_scratch,
            .forward = forward,
            .decode_rows = kDecodeRows,
            .decode_keys = kDecodeKeys,
            .decode = decode,
            .decode_scratch = decode_scratch,
            .merge_partials = merge_partials,
            .merge = merge_rows,
            .peak_f32 = measure_dot<DotF32>,
            .peak_bf16 = measure_dot<DotPairs>,
            .peak_read = measure_read};
}

}  // namespace
}  // namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE
