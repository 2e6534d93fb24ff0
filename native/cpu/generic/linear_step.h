// The recurrent step of linear attention: one token of one head, the state read and written once.
// Called through table.h.
#pragma once

#include "core/linear_state.h"
#include "core/types.h"
#include "cpu/generic/linear_features.h"
#include "cpu/generic/linear_output.h"
#include "cpu/generic/scratch.h"
#include "cpu/linear_kernels.h"

namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE {
namespace {

/// Vectors of a row of the state that are worked on at once: a cache line or more of every row.
constexpr int kStepVecs = 4;

struct StepScratch {
    float* q;
    float* k;
    float* v;
    float* o;
    ThroughRows through;

    static StepScratch take(int64 num_rows, int64 num_columns, Scratch& scratch) {
        StepScratch s;
        const int64 longest = padded_row(max_of<int64>(num_rows, num_columns));
        s.q = scratch.take<float>(padded_row(num_rows));
        s.k = scratch.take<float>(padded_row(num_rows));
        s.v = scratch.take<float>(padded_row(num_columns) + kStepVecs * kWidth);
        s.o = scratch.take<float>(padded_row(num_columns) + kStepVecs * kWidth);
        s.through.elements = scratch.take<float>(longest);
        s.through.features = scratch.take<float>(longest);
        s.through.gradient = scratch.take<float>(longest);
        return s;
    }
};

inline uint64 linear_step_scratch(int64 num_rows, int64 num_columns) {
    Scratch scratch(nullptr);
    StepScratch::take(num_rows, num_columns, scratch);
    return scratch.used();
}

/// Columns [column, column + kVecs vectors) of the state and of o, count of which exist.
template <int kVecs, bool kWhole>
FATTN_HD inline void step_columns(const LinearStepTask& task, const StepScratch& s, int64 column,
                                  int64 count, int64 num_rows, int64 num_columns) {
    const auto left = [&](int v) { return clamp_to<int64>(count - v * kWidth, 0, kWidth); };
    const Vec remaining(decay(task.slope, 1));
    Vec value[kVecs];
    Vec acc[kVecs];
#pragma GCC unroll 4
    for (int v = 0; v < kVecs; ++v) {
        value[v] = load(s.v + column + v * kWidth);
        acc[v] = Vec(0.0F);
    }
    for (int64 f = 0; f < num_rows; ++f) {
        const int64 at = f * num_columns + column;
        const Vec key = broadcast(s.k + f);
        const Vec query = broadcast(s.q + f);
#pragma GCC unroll 4
        for (int v = 0; v < kVecs; ++v) {
            Vec x = value[v] * key;
            if (task.state != nullptr) {
                const float* from = task.state + at + v * kWidth;
                x = fma(kWhole ? load(from) : load_first(from, left(v)), remaining, x);
            }
            if (task.new_state != nullptr) {
                float* to = task.new_state + at + v * kWidth;
                if constexpr (kWhole) {
                    store(to, x);
                } else {
                    store_first(to, x, left(v));
                }
            }
            acc[v] = fma(query, x, acc[v]);
        }
    }
#pragma GCC unroll 4
    for (int v = 0; v < kVecs; ++v) store(s.o + column + v * kWidth, acc[v]);
}

inline void linear_step(const LinearStepTask& task) {
    const int64 num_rows = task.k.size();
    const int64 num_columns = task.v.size();
    Scratch scratch(task.scratch);
    const StepScratch s = StepScratch::take(num_rows, num_columns, scratch);
    load_features(task.q, 0, s.through.elements, s.q);
    load_features(task.k, 0, s.through.elements, s.k);
    fill(s.v, 0, padded_row(num_columns), 0.0F);
    load_features(task.v, 0, s.through.elements, s.v);
    constexpr int64 kBlock = kStepVecs * kWidth;
    for (int64 c = 0; c < num_columns; c += kBlock) {
        const int64 count = min_of<int64>(kBlock, num_columns - c);
        if (count == kBlock) {
            step_columns<kStepVecs, true>(task, s, c, count, num_rows, num_columns);
        } else {
            step_columns<kStepVecs, false>(task, s, c, count, num_rows, num_columns);
        }
    }
    write_result(task.out, 0, s.o, num_columns, s.through);
}

}  // namespace
}  // namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE
