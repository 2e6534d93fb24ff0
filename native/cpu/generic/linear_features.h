// Rows of q, k, v and d_o as f32 features, and gradients of features back to rows; called by the
// scan and the step of linear attention.
#pragma once

#include "core/feature_map.h"
#include "core/types.h"
#include "cpu/generic/epilogue.h"
#include "cpu/generic/math.h"
#include "cpu/generic/pack.h"
#include "cpu/linear_kernels.h"

namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE {
namespace {

/// Floats that a row of features takes: whole vectors.
FATTN_HD constexpr int64 padded_row(int64 size) { return round_up<int64>(size, 16) + 16; }

/// Calls f(column, count) for the vectors that cover [0, size).
template <class F>
FATTN_HD inline void for_vectors(int64 size, const F& f) {
    for (int64 c = 0; c < size; c += kWidth) f(c, min_of<int64>(kWidth, size - c));
}

/// The elements of a row as they lie, times factor.
FATTN_HD inline void load_elements(const LinearRows& rows, int64 row, float factor, float* to) {
    const char* from = rows.data + row * rows.stride;
    with_dtype(rows.dtype, [&]<DType kType>() {
        for_vectors(rows.extent, [&](int64 c, int64 n) {
            store_first(to + c, load_as<kType>(from + c * bytes_of(kType), n) * Vec(factor), n);
        });
    });
}

/// Softmax of x in place. A row with a value that is not finite becomes NaN where the definition
/// does.
FATTN_HD inline void softmax_row(float* x, int64 size) {
    float most = x[0];
    for (int64 c = 1; c < size; ++c) most = x[c] > most || x[c] != x[c] ? x[c] : most;
    Vec sums(0.0F);
    for_vectors(size, [&](int64 c, int64 n) {
        const Vec e = exp_of_negative(load_first(x + c, n) - Vec(most));
        store_first(x + c, e, n);
        sums = sums + blend_first(e, Vec(0.0F), n);
    });
    const Vec inverse(1.0F / reduce_add(sums));
    for_vectors(size,
                [&](int64 c, int64 n) { store_first(x + c, load_first(x + c, n) * inverse, n); });
}

struct TaylorFactors {
    float first;   // D^(-1/4)
    float mixed;   // D^(-1/2)
    float square;  // (2 D)^(-1/2)
};

FATTN_HD inline TaylorFactors taylor_factors(int64 head_dim) {
    const auto dim = static_cast<float>(head_dim);
    const float root = __builtin_sqrtf(dim);
    return {1.0F / __builtin_sqrtf(root), 1.0F / root, 1.0F / __builtin_sqrtf(2.0F * dim)};
}

/// x [size] to the features that FeatureMap::kTaylor2 lists; x is not part of y.
inline void taylor_row(const float* x, int64 size, float* y) {
    const TaylorFactors factors = taylor_factors(size);
    *y++ = 1.0F;
    for_vectors(size, [&](int64 c, int64 n) {
        store_first(y + c, load_first(x + c, n) * Vec(factors.first), n);
    });
    y += size;
    for (int64 a = 0; a < size; ++a) {
        const Vec left(x[a] * factors.mixed);
        for_vectors(size - a, [&](int64 c, int64 n) {
            store_first(y + c, load_first(x + a + c, n) * left, n);
        });
        y[0] = x[a] * x[a] * factors.square;
        y += size - a;
    }
}

/// Row `row` as features. elements: room for a row before its map.
inline void load_features(const LinearRows& rows, int64 row, float* elements, float* to) {
    const float* factors =
        rows.factors == nullptr ? nullptr : rows.factors + row * rows.factor_stride;
    const bool taylor = rows.map == FeatureMap::kTaylor2;
    load_elements(rows, row, factors == nullptr ? 1.0F : factors[0], taylor ? elements : to);
    const auto map_each = [&](const auto& f) {
        for_vectors(rows.extent,
                    [&](int64 c, int64 n) { store_first(to + c, f(load_first(to + c, n)), n); });
    };
    switch (rows.map) {
        case FeatureMap::kIdentity:
            break;
        case FeatureMap::kEluPlusOne:
            map_each([](Vec x) { return elu_plus_one(x); });
            break;
        case FeatureMap::kRelu:
            map_each([](Vec x) { return relu(x); });
            break;
        case FeatureMap::kSoftmax:
            softmax_row(to, rows.extent);
            break;
        case FeatureMap::kTaylor2:
            taylor_row(elements, rows.extent, to);
            break;
    }
    if (rows.extra) to[rows.size() - 1] = factors == nullptr ? 1.0F : factors[1];
}

/// Gradient of the elements of a row from that of its features, both f32. x: the elements; y: room
/// for another row.
inline void features_backward(const LinearRows& rows, int64 row, const float* d_features, float* x,
                              float* y, float* d_x) {
    const int64 size = rows.extent;
    load_elements(rows, row, 1.0F, x);
    const auto map_each = [&](const auto& f) {
        for_vectors(size, [&](int64 c, int64 n) {
            store_first(d_x + c, f(load_first(x + c, n)) * load_first(d_features + c, n), n);
        });
    };
    switch (rows.map) {
        case FeatureMap::kIdentity:
            map_each([](Vec) { return Vec(1.0F); });
            break;
        case FeatureMap::kEluPlusOne:
            map_each([](Vec e) { return elu_slope(e); });
            break;
        case FeatureMap::kRelu:
            for_vectors(size, [&](int64 c, int64 n) {
                // Chosen, not multiplied: where the map is flat nothing passes, whatever comes.
                const Vec d = load_first(d_features + c, n);
                store_first(d_x + c, select_less(Vec(0.0F), load_first(x + c, n), d, Vec(0.0F)), n);
            });
            break;
        case FeatureMap::kSoftmax: {
            for_vectors(size,
                        [&](int64 c, int64 n) { store_first(y + c, load_first(x + c, n), n); });
            softmax_row(y, size);
            Vec sums(0.0F);
            for_vectors(size, [&](int64 c, int64 n) {
                sums = fma(load_first(y + c, n), load_first(d_features + c, n), sums);
            });
            const Vec mean(reduce_add(sums));
            for_vectors(size, [&](int64 c, int64 n) {
                store_first(d_x + c, load_first(y + c, n) * (load_first(d_features + c, n) - mean),
                            n);
            });
            break;
        }
        case FeatureMap::kTaylor2: {
            const TaylorFactors factors = taylor_factors(size);
            const float* d = d_features + 1;
            for_vectors(size, [&](int64 c, int64 n) {
                store_first(d_x + c, load_first(d + c, n) * Vec(factors.first), n);
            });
            d += size;
            for (int64 a = 0; a < size; ++a) {
                // d[0] belongs to x_a^2, d[b] to x_a x_(a+b).
                const float left = x[a] * factors.mixed;
                Vec sums(0.0F);
                for_vectors(size - a - 1, [&](int64 c, int64 n) {
                    const Vec pair = load_first(d + 1 + c, n);
                    sums = fma(pair, load_first(x + a + 1 + c, n), sums);
                    float* to = d_x + a + 1 + c;
                    store_first(to, fma(pair, Vec(left), load_first(to, n)), n);
                });
                d_x[a] += reduce_add(sums) * factors.mixed + d[0] * 2.0F * x[a] * factors.square;
                d += size - a;
            }
            break;
        }
    }
}

}  // namespace
}  // namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE
