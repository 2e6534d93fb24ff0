// A vector of four floats with the vocabulary that core's templates ask of a value type, made of
// the float forms; proves that the templates need nothing else and treat lanes alike. Called by the
// tests of core.
#pragma once

#include "core/float_ops.h"

namespace fattn::test {

struct Lanes {
    static constexpr int kWidth = 4;
    float lane[kWidth];

    Lanes() = default;
    explicit Lanes(float x) : lane{x, x, x, x} {}
    Lanes(float a, float b, float c, float d) : lane{a, b, c, d} {}
};

/// f of every lane of the arguments.
template <class F, class... Args>
Lanes each(const F& f, const Args&... args) {
    Lanes result;
    for (int i = 0; i < Lanes::kWidth; ++i) result.lane[i] = f(args.lane[i]...);
    return result;
}

inline Lanes operator+(Lanes a, Lanes b) {
    return each([](float x, float y) { return x + y; }, a, b);
}
inline Lanes operator-(Lanes a, Lanes b) {
    return each([](float x, float y) { return x - y; }, a, b);
}
inline Lanes operator*(Lanes a, Lanes b) {
    return each([](float x, float y) { return x * y; }, a, b);
}
inline Lanes operator/(Lanes a, Lanes b) {
    return each([](float x, float y) { return x / y; }, a, b);
}
inline Lanes fma(Lanes a, Lanes b, Lanes c) {
    return each([](float x, float y, float z) { return fattn::fma(x, y, z); }, a, b, c);
}
inline Lanes max(Lanes a, Lanes b) {
    return each([](float x, float y) { return fattn::max(x, y); }, a, b);
}
inline Lanes min(Lanes a, Lanes b) {
    return each([](float x, float y) { return fattn::min(x, y); }, a, b);
}
inline Lanes abs(Lanes a) {
    return each([](float x) { return fattn::abs(x); }, a);
}
inline Lanes round(Lanes a) {
    return each([](float x) { return fattn::round(x); }, a);
}
inline Lanes logb(Lanes a) {
    return each([](float x) { return fattn::logb(x); }, a);
}
inline Lanes ldexp(Lanes a, Lanes n) {
    return each([](float x, float y) { return fattn::ldexp(x, y); }, a, n);
}
inline Lanes copysign(Lanes a, Lanes s) {
    return each([](float x, float y) { return fattn::copysign(x, y); }, a, s);
}
inline Lanes select_less(Lanes a, Lanes b, Lanes yes, Lanes no) {
    return each([](float x, float y, float s, float t) { return fattn::select_less(x, y, s, t); },
                a, b, yes, no);
}
inline Lanes select_equal(Lanes a, Lanes b, Lanes yes, Lanes no) {
    return each([](float x, float y, float s, float t) { return fattn::select_equal(x, y, s, t); },
                a, b, yes, no);
}

}  // namespace fattn::test
