// Loops that measure what the machine can do at most: multiply-adds on registers and reads of
// memory; called through the kernel table by the CPU backend.
#pragma once

#include "core/types.h"
#include "cpu/generic/micro.h"
#include "cpu/kernels.h"

namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE {
namespace {

/// Independent chains of dot steps that stay in registers. Returns floating-point operations done.
template <class Dot>
double measure_dot(MeasureTask& task) {
    constexpr int kChains = kMicroRows * kMicroVecs;
    Vec acc[kChains];
#pragma GCC unroll 32
    for (int i = 0; i < kChains; ++i) acc[i] = Vec(static_cast<float>(i));  // no two chains alike
    Vec a(0.5F);
    Vec b(0.25F);
    for (int64 n = 0; n < task.iterations; ++n) {
#pragma GCC unroll 32
        for (int i = 0; i < kChains; ++i) acc[i] = Dot::step(acc[i], a, b);
        // The operands could change, so no iteration can be left out.
        __asm__ volatile("" : "+m"(a), "+m"(b));
    }
    float kept[kChains * kWidth];
#pragma GCC unroll 32
    for (int i = 0; i < kChains; ++i) store(kept + i * kWidth, acc[i]);
    __asm__ volatile("" : : "m"(kept));  // someone reads every chain
    return static_cast<double>(task.iterations) * kChains * kWidth * 2 * Dot::kDepth;
}

/// Reads all of task.data, iterations times. Returns bytes read.
inline double measure_read(MeasureTask& task) {
    constexpr int64 kStep = 8 * kWidth;
    Vec sum[8];
    for (Vec& s : sum) s = Vec(0.0F);
    for (int64 n = 0; n < task.iterations; ++n) {
        for (int64 i = 0; i + kStep <= task.num_floats; i += kStep) {
            __builtin_prefetch(task.data + i + 4096);
#pragma GCC unroll 8
            for (int v = 0; v < 8; ++v) sum[v] = sum[v] + load(task.data + i + v * kWidth);
        }
    }
    Vec all = sum[0];
    for (int v = 1; v < 8; ++v) all = all + sum[v];
    task.sink = reduce_add(all);
    return static_cast<double>(task.iterations) *
           static_cast<double>(task.num_floats / kStep * kStep) * 4;
}

}  // namespace
}  // namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE
