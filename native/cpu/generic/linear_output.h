// What becomes of the f32 results of linear attention: stored, divided by their weights, passed
// back through a feature map, or kept for another scan; called by the scan and the step.
#pragma once

#include "core/types.h"
#include "cpu/generic/epilogue.h"
#include "cpu/generic/linear_features.h"
#include "cpu/linear_kernels.h"

namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE {
namespace {

/// Room for rows on their way back through a feature map.
struct ThroughRows {
    float* elements;
    float* features;
    float* gradient;
};

/// 1 / weights, 0 where a row has no weight that a normal number can hold: its inverse could be
/// infinite.
FATTN_HD inline float quotient_factor(float weights) {
    constexpr float kSmallestNormal = 1.17549435082228750797e-38F;
    return fattn::abs(weights) < kSmallestNormal ? 0.0F : 1.0F / weights;
}

/// Row `row` of the scan; result has `columns` columns.
inline void write_result(const LinearOutput& out, int64 row, float* result, int64 columns,
                         const ThroughRows& room) {
    char* to = out.data + row * out.stride;
    switch (out.kind) {
        case LinearResult::kNone:
            break;
        case LinearResult::kStore:
            store_columns(out.dtype, to, result, out.extent, out.factor);
            break;
        case LinearResult::kStoreQuotient:
            store_columns(out.dtype, to, result, out.extent, quotient_factor(result[columns - 1]));
            break;
        case LinearResult::kStoreThrough:
            features_backward(out.through, row, result, room.elements, room.features,
                              room.gradient);
            store_columns(out.dtype, to, room.gradient, out.extent, out.factor);
            break;
        case LinearResult::kQuotientFactors: {
            load_elements(out.through, row, 1.0F, room.elements);
            const float inverse = quotient_factor(result[columns - 1]);
            Vec sums(0.0F);
            for_vectors(columns - 1, [&](int64 c, int64 n) {
                sums = fma(load_first(room.elements + c, n),
                           load_first(result + c, n) * Vec(inverse), sums);
            });
            float* factors = out.factors + row * out.factor_stride;
            factors[0] = inverse;
            factors[1] = -reduce_add(sums) * inverse;
            break;
        }
        case LinearResult::kPartial: {
            float* partial = out.partial + row * out.partial_stride;
            for_vectors(columns, [&](int64 c, int64 n) {
                store_first(partial + c, load_first(result + c, n), n);
            });
            break;
        }
    }
}

}  // namespace
}  // namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE
