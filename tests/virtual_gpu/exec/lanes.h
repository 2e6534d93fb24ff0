// Loops over the 32 lanes that every handler is made of.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#include "exec/warp.h"

namespace fattn::vgpu {

inline constexpr uint32_t kAllLanes = 0xffffffff;

// d[i] = f(i) for the lanes of `mask`. All 32 are computed, so f has no effect and is defined for
// any operands.
template <class T, class F>
inline void write_lanes(T* d, uint32_t mask, F f) {
    alignas(64) T made[32];
    for (uint32_t i = 0; i < 32; ++i) made[i] = f(i);
    if (mask == kAllLanes) {
        std::memcpy(d, made, sizeof made);
        return;
    }
    for (uint32_t i = 0; i < 32; ++i) d[i] = (mask >> i & 1) ? made[i] : d[i];
}

// A predicate's 32 lanes from f(i).
template <class F>
inline uint32_t gather_bits(F f) {
    uint32_t bits = 0;
    for (uint32_t i = 0; i < 32; ++i) bits |= uint32_t{f(i)} << i;
    return bits;
}

inline void write_predicate(uint32_t* d, uint32_t mask, uint32_t bits) {
    *d = (*d & ~mask) | (bits & mask);
}

template <class F>
inline void each_lane(uint32_t mask, F f) {
    for (; mask != 0; mask &= mask - 1) f(static_cast<uint32_t>(std::countr_zero(mask)));
}

template <class F, class T>
Step unary(Warp& w, const Op& op, uint32_t mask) {
    const T* a = w.src<T>(op, 0);
    write_lanes(w.dst<T>(op), mask, [&](uint32_t i) { return F::f(a[i]); });
    return Step::kNext;
}

template <class F, class T>
Step binary(Warp& w, const Op& op, uint32_t mask) {
    const T* a = w.src<T>(op, 0);
    const T* b = w.src<T>(op, 1);
    write_lanes(w.dst<T>(op), mask, [&](uint32_t i) { return F::f(a[i], b[i]); });
    return Step::kNext;
}

template <class F, class T>
Step ternary(Warp& w, const Op& op, uint32_t mask) {
    const T* a = w.src<T>(op, 0);
    const T* b = w.src<T>(op, 1);
    const T* c = w.src<T>(op, 2);
    write_lanes(w.dst<T>(op), mask, [&](uint32_t i) { return F::f(a[i], b[i], c[i]); });
    return Step::kNext;
}

}  // namespace fattn::vgpu
