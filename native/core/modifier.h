// What stands between a dot product q.k and its base-2 score: scale, soft-cap, bias and ALiBi, as
// functors over a value type V (float or a vector of floats); applied by the row pass of every
// kernel.
//
// The order is scale or soft-cap, then bias, then ALiBi, then the mask (-inf). Scores are in base
// 2: the factor log2(e) is folded into the constants here and nowhere else.
#pragma once

#include "core/float_ops.h"
#include "core/numeric.h"
#include "core/types.h"

namespace fattn {

/// score = scale * dot.
struct Scale {
    float factor;  // scale * log2(e)

    template <class V>
    FATTN_HD V operator()(V dot) const {
        return dot * V(factor);
    }
};

FATTN_HD constexpr Scale scale_of(float scale) { return {scale * kLog2E}; }

/// score = cap * tanh(scale * dot / cap).
struct SoftCap {
    float inner;  // scale / cap
    float outer;  // cap * log2(e)

    /// The score and d(score) / d(scale * dot) = 1 - tanh^2, which multiplies the gradient of the
    /// score.
    template <class V>
    struct ScoreAndSlope {
        V score;
        V slope;
    };

    template <class V>
    FATTN_HD V operator()(V dot) const {
        return tanh(dot * V(inner)) * V(outer);
    }

    template <class V>
    FATTN_HD ScoreAndSlope<V> with_slope(V dot) const {
        const V x = dot * V(inner);
        // 1 - tanh^2 as 4 e / (1 + e)^2, e = e^-2|x|: the difference would keep no digit where tanh
        // is next to 1.
        const V e = exp2(abs(x) * V(-2.0F * kLog2E));
        const V sum = V(1.0F) + e;
        return {tanh(x) * V(outer), V(4.0F) * e / (sum * sum)};
    }
};

FATTN_HD constexpr SoftCap softcap_of(float scale, float cap) {
    return {scale / cap, cap * kLog2E};
}

/// score + bias, the bias as the caller gave it; its gradient is that of the score.
struct AddBias {
    template <class V>
    FATTN_HD V operator()(V score, V bias) const {
        return fma(bias, V(kLog2E), score);
    }
};

/// score - slope * |distance|, distance = position of the query - position of the key.
struct Alibi {
    float slope;  // the head's slope * log2(e)

    template <class V>
    FATTN_HD V operator()(V score, V distance) const {
        return fma(abs(distance), V(-slope), score);
    }
};

FATTN_HD constexpr Alibi alibi_of(float slope) { return {slope * kLog2E}; }

}  // namespace fattn
