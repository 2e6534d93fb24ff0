// The Vec vocabulary of the scalar target: one lane, plain C++ that every processor runs; included
// by target_scalar.cpp and by the tests of the vocabulary. Contracts are those of vec_avx512.h.
#pragma once

#include "core/convert.h"
#include "core/tensor_view.h"
#include "core/types.h"

namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE {
namespace {

constexpr int kWidth = 1;  // lanes of a Vec
constexpr int kMicroRows =
    4;  // register tile: rows of four numbers, which compilers turn into vectors
constexpr int kMicroVecs = 4;
constexpr int kTileQ = 96;
constexpr int kTileKv = 256;
constexpr bool kHasBf16Dot = false;

/// One f32, or one 32-bit word that holds a pair of bf16.
struct Vec {
    float v;
    Vec() = default;
    FATTN_HD explicit Vec(float x) : v(x) {}
    FATTN_HD explicit Vec(uint32 bits) : v(__builtin_bit_cast(float, bits)) {}
    FATTN_HD uint32 bits() const { return __builtin_bit_cast(uint32, v); }
};

FATTN_HD inline Vec operator+(Vec a, Vec b) { return Vec(a.v + b.v); }
FATTN_HD inline Vec operator-(Vec a, Vec b) { return Vec(a.v - b.v); }
FATTN_HD inline Vec operator*(Vec a, Vec b) { return Vec(a.v * b.v); }
FATTN_HD inline Vec operator/(Vec a, Vec b) { return Vec(a.v / b.v); }
/// Two roundings where the processor has no such instruction: the library routine that rounds once
/// would be many times slower than all else.
FATTN_HD inline Vec fma(Vec a, Vec b, Vec c) {
#if defined(__FP_FAST_FMAF)
    return Vec(__builtin_fmaf(a.v, b.v, c.v));
#else
    return Vec(a.v * b.v + c.v);
#endif
}
FATTN_HD inline Vec max(Vec a, Vec b) { return Vec(a.v > b.v ? a.v : b.v); }
FATTN_HD inline Vec min(Vec a, Vec b) { return Vec(a.v < b.v ? a.v : b.v); }
FATTN_HD inline Vec abs(Vec a) { return Vec(__builtin_fabsf(a.v)); }
/// floor(x), at least -127, below which powers of two are taken as 0, of x < 2^22: beside 1.5 *
/// 2^23 no fraction bits are left. Without a branch, so that compilers turn the row pass into
/// vectors.
FATTN_HD inline Vec exponent_of(Vec x) {
    constexpr float kShift = 0x1.8p23F;
    const float a = max(Vec(-127.0F), x).v;
    const float nearest = a + kShift - kShift;
    return Vec(nearest - (nearest > a ? 1.0F : 0.0F));
}
FATTN_HD inline Vec fraction(Vec x) { return max(Vec(-127.0F), x) - exponent_of(x); }
/// The factor 2^floor(n) is put together from bits, as in vec_avx2.h; below -126 it is 0.
FATTN_HD inline Vec ldexp_floor(Vec x, Vec n) {
    const Vec biased = exponent_of(n) + Vec(0x1.8p23F + 127.0F);
    return x * Vec(biased.bits() << 23);
}
FATTN_HD inline Vec select_less(Vec a, Vec b, Vec yes, Vec no) { return a.v < b.v ? yes : no; }
FATTN_HD inline Vec select_equal(Vec a, Vec b, Vec yes, Vec no) { return a.v == b.v ? yes : no; }
FATTN_HD inline Vec copysign(Vec magnitude, Vec sign) {
    return Vec(__builtin_copysignf(magnitude.v, sign.v));
}
FATTN_HD inline float reduce_add(Vec a) { return a.v; }
FATTN_HD inline float reduce_max(Vec a) { return a.v; }
FATTN_HD inline void store_sums(float* p, Vec a, Vec b, Vec c, Vec d) {
    p[0] = a.v;
    p[1] = b.v;
    p[2] = c.v;
    p[3] = d.v;
}
FATTN_HD inline void store_maxima(float* p, Vec a, Vec b, Vec c, Vec d) {
    store_sums(p, a, b, c, d);
}
FATTN_HD inline bool any_nan(Vec a) { return a.v != a.v; }

FATTN_HD inline Vec iota() { return Vec(0.0F); }

FATTN_HD inline Vec held(Vec x) { return x; }
FATTN_HD inline Vec load(const float* p) { return Vec(*p); }
FATTN_HD inline void store(float* p, Vec x) { *p = x.v; }
FATTN_HD inline Vec load_first(const float* p, int64 n) { return n > 0 ? Vec(*p) : Vec(0.0F); }
FATTN_HD inline void store_first(float* p, Vec x, int64 n) {
    if (n > 0) *p = x.v;
}
FATTN_HD inline Vec broadcast(const float* p) { return Vec(*p); }
FATTN_HD inline Vec blend_first(Vec a, Vec b, int64 n) { return n > 0 ? a : b; }

/// The 16-bit element at p, zero when n is 0.
FATTN_HD inline uint16 load16_first(const void* p, int64 n) {
    uint16 bits = 0;
    if (n > 0) __builtin_memcpy(&bits, p, 2);
    return bits;
}

template <DType kType>
FATTN_HD inline Vec load_as(const void* p, int64 n) {
    if constexpr (kType == DType::kF32) {
        return load_first(static_cast<const float*>(p), n);
    } else if constexpr (kType == DType::kF16) {
        return Vec(to_float(f16{load16_first(p, n)}));
    } else {
        return Vec(uint32{load16_first(p, n)} << 16);
    }
}

template <DType kType>
FATTN_HD inline void store_as(void* p, Vec x, int64 n) {
    if constexpr (kType == DType::kF32) {
        store_first(static_cast<float*>(p), x, n);
    } else if (n > 0) {
        const uint16 bits = kType == DType::kF16 ? to_f16(x.v).bits : to_bf16(x.v).bits;
        __builtin_memcpy(p, &bits, 2);
    }
}

FATTN_HD inline Vec select_bytes(const uint8* mask, int64 n, Vec yes, Vec no) {
    return n > 0 && *mask != 0 ? yes : no;
}
FATTN_HD inline Vec select_bits(uint32 bits, Vec yes, Vec no) {
    return (bits & 1u) != 0 ? yes : no;
}

FATTN_HD inline Vec interleave16(const void* low, const void* high, int64 n) {
    return Vec(uint32{load16_first(low, n)} | uint32{load16_first(high, n)} << 16);
}
FATTN_HD inline Vec load_words16(const void* p, int64 n) {
    return Vec(uint32{load16_first(p, n)} |
               uint32{load16_first(static_cast<const char*>(p) + 2, n - 1)} << 16);
}
FATTN_HD inline Vec low_bf16_words(const void* p, int64 n) {
    return Vec(uint32{load16_first(p, n)});
}
FATTN_HD inline Vec low_bf16(Vec words) { return Vec(words.bits() << 16); }
FATTN_HD inline Vec high_bf16(Vec words) {
    uint32 bits = words.bits();
    // GCC 12 for x86-64 forgets the mask where it sees a float masked to a float.
    __asm__("" : "+r"(bits));
    return Vec(bits & 0xFFFF0000u);
}
FATTN_HD inline Vec pair_bf16(Vec low, Vec high) {
    return Vec(uint32{to_bf16(low.v).bits} | uint32{to_bf16(high.v).bits} << 16);
}
FATTN_HD inline Vec concat_bf16(Vec first, Vec second) { return pair_bf16(first, second); }

/// acc + a * b over f32 lanes.
struct DotF32 {
    static constexpr int kDepth = 1;  // depth of one word
    FATTN_HD static Vec step(Vec acc, Vec a, Vec b) { return fma(a, b, acc); }
};

/// A 1 x 1 matrix is its own transpose.
FATTN_HD inline void transpose(Vec (&)[kWidth]) {}

}  // namespace
}  // namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE
