// The feature maps of linear attention: their sizes, and the maps of single elements over a value
// type V; used by api/, by the reference's tests and by the linear kernels.
#pragma once

#include "core/float_ops.h"
#include "core/numeric.h"
#include "core/types.h"

namespace fattn {

/// Values are those of fattn_feature_map; api/ asserts it.
enum class FeatureMap : uint32 {
    kIdentity = 0,
    kEluPlusOne = 1,
    kRelu = 2,
    /// Softmax over the head dim.
    kSoftmax = 3,
    /// 1, then x_a D^(-1/4), then x_a^2 / sqrt(2 D) and x_a x_b / sqrt(D) for b > a, row by row:
    /// the inner product of two such vectors is 1 + s + s^2 / 2 with s = x.y / sqrt(D), the
    /// second-order Taylor expansion of exp. Arora et al. 2024 (Based), arXiv:2402.18668,
    /// section 3.1; the paper keeps x_a x_b and x_b x_a both, which doubles the state for the same
    /// products.
    kTaylor2 = 4
};

/// Largest head dim of kTaylor2, 8385 features: the state grows with its square.
constexpr int64 kMaxTaylorHeadDim = 128;

/// Features of a head dim.
FATTN_HD constexpr int64 num_features(FeatureMap map, int64 head_dim) {
    return map == FeatureMap::kTaylor2 ? 1 + head_dim + head_dim * (head_dim + 1) / 2 : head_dim;
}

/// e^x of x <= 0 in two parts, as in sigmoid: rounding x log2(e) alone would cost |x| / 2 ULP.
template <class V>
FATTN_HD inline V exp_of_negative(V x) {
    constexpr float kLog2ERest = 1.925963033500570e-8F;  // log2(e) - float(log2(e))
    const V bounded = max(V(-104.0F), x);
    const V high = bounded * V(kLog2E);
    const V low = fma(bounded, V(kLog2ERest), fma(bounded, V(kLog2E), V(0.0F) - high));
    const V power = exp2(high);
    return fma(power, low * V(kLn2), power);
}

/// elu(x) + 1: x + 1 above 0, e^x below.
template <class V>
FATTN_HD inline V elu_plus_one(V x) {
    return select_less(V(0.0F), x, x + V(1.0F), exp_of_negative(min(V(0.0F), x)));
}
/// Its derivative.
template <class V>
FATTN_HD inline V elu_slope(V x) {
    return select_less(V(0.0F), x, V(1.0F), exp_of_negative(min(V(0.0F), x)));
}

template <class V>
FATTN_HD inline V relu(V x) {
    return max(V(0.0F), x);
}

}  // namespace fattn
