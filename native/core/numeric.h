// Elementary functions over a value type V (float or a vector of floats) with their error bounds;
// called by modifiers, the softmax state and the epilogue. A vector type may bring a faster
// function of the same name, which is then taken.
//
// Bounds are in units in the last place of the exact result rounded to float, measured by
// tests/native/core/numeric_test.cpp for V = float, and hold where the result is normal.
#pragma once

#include "core/float_ops.h"
#include "core/types.h"

namespace fattn {

/// 2^x. Error at most 1 ULP; below -126 at most 1 ULP of the smallest normal's spacing. Exact at
/// integers; 0 from -160 down and at -inf, +inf from 128 up, NaN stays NaN.
template <class V>
FATTN_HD inline V exp2(V x) {
    // The constant comes first: both keep their second operand when it is NaN.
    x = min(V(129.0F), max(V(-160.0F), x));
    const V n = round(x);
    const V f = x - n;
    // Minimax of 2^f on [-1/2, 1/2] with p(0) = 1, relative error 3.7e-9.
    V p =
        fma(V(1.52412845636717975139617919921875e-4F), f, V(1.339130220003426074981689453125e-3F));
    p = fma(p, f, V(9.61883366107940673828125e-3F));
    p = fma(p, f, V(5.55035881698131561279296875e-2F));
    p = fma(p, f, V(0.240226447582244873046875F));
    p = fma(p, f, V(0.693147182464599609375F));
    p = fma(p, f, V(1.0F));
    return ldexp(p, n);
}

/// log2(x). Error at most 3 ULP, denormals included. -inf at 0, NaN below, +inf at +inf.
template <class V>
FATTN_HD inline V log2(V x) {
    constexpr float kSmallestNormal = 1.17549435082228750797e-38F;
    constexpr float kSqrt2 = 1.41421356237309504880F;
    const V raised = select_less(x, V(kSmallestNormal), x * V(16777216.0F), x);
    const V exponent = logb(raised);
    V m = ldexp(raised, V(0.0F) - exponent);  // in [1, 2)
    const V above = select_less(V(kSqrt2), m, V(1.0F), V(0.0F));
    m = select_less(V(kSqrt2), m, m * V(0.5F), m);
    const V e = exponent + above - select_less(x, V(kSmallestNormal), V(24.0F), V(0.0F));
    // log2(m) = s * q(s^2) with s = (m - 1) / (m + 1), |s| <= 0.172; relative error of q 1.4e-8.
    const V s = (m - V(1.0F)) / (m + V(1.0F));
    const V z = s * s;
    V q = fma(V(-1.1261641979217529296875F), z, V(0.508770763874053955078125F));
    q = fma(q, z, V(0.574941694736480712890625F));
    q = fma(q, z, V(0.9618141651153564453125F));
    q = fma(q, z, V(2.8853900432586669921875F));
    V result = fma(s, q, e);
    result = select_equal(x, V(kInfinity), x, result);
    result = select_equal(x, V(0.0F), V(-kInfinity), result);
    return select_less(x, V(0.0F), V(float_of_bits(0x7FC00000u)), result);
}

/// tanh(x). Error at most 2 ULP everywhere; odd exactly; -1 and 1 at the infinities.
template <class V>
FATTN_HD inline V tanh(V x) {
    // Near 0: x + x z p(z), z = x^2, relative error 1.8e-8 up to 0.625.
    const V z = x * x;
    V p = fma(V(-6.1026513576507568359375e-3F), z, V(2.1000802516937255859375e-2F));
    p = fma(p, z, V(-5.3851343691349029541015625e-2F));
    p = fma(p, z, V(0.13332764804363250732421875F));
    p = fma(p, z, V(-0.3333332836627960205078125F));
    const V inside = fma(p * z, x, x);
    // Elsewhere (1 - t) / (1 + t), t = e^-2|x|.
    const V a = abs(x);
    const V t = exp2(a * V(-2.0F * kLog2E));
    const V outside = (V(1.0F) - t) / (V(1.0F) + t);
    return copysign(select_less(a, V(0.625F), inside, outside), x);
}

/// 1 / (1 + e^-x). Error at most 3 ULP for x >= -87; exactly 0 below and at -inf, so that hidden
/// scores weigh nothing.
template <class V>
FATTN_HD inline V sigmoid(V x) {
    constexpr float kLog2ERest = 1.925963033500570e-8F;  // log2(e) - float(log2(e))
    const V bounded = min(V(87.0F), max(V(-87.0F), x));
    // -x log2(e) in two parts: rounding the product alone would cost 60 ULP near -87.
    const V high = bounded * V(-kLog2E);
    const V low = fma(bounded, V(-kLog2ERest), fma(bounded, V(-kLog2E), V(0.0F) - high));
    const V power = exp2(high);
    // The low part joins the one: beside the power it would cost a rounding of its own.
    const V sum = power + fma(power, low * V(kLn2), V(1.0F));
    return select_less(x, V(-87.0F), V(0.0F), V(1.0F) / sum);
}

}  // namespace fattn
