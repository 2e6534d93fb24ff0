// The Vec vocabulary of NEON on 64-bit Arm (4 lanes, 32 registers); included by target_neon.cpp and
// by the tests of the vocabulary. Contracts are those of vec_avx512.h.
#pragma once

#include <arm_neon.h>

#include "core/tensor_view.h"
#include "core/types.h"

namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE {
namespace {

constexpr int kWidth = 4;  // lanes of a Vec
// Register tile: 6 rows x 4 vectors = 24 accumulators, 4 + 1 operands. A step of depth takes 36
// instructions, 24 of them products; 12 x 2 takes 41, with twice the row addresses.
constexpr int kMicroRows = 6;
constexpr int kMicroVecs = 4;
constexpr int kTileQ = 96;
constexpr int kTileKv = 256;
constexpr bool kHasBf16Dot = false;

/// 4 lanes of f32, or of 32-bit words that hold pairs of bf16.
struct Vec {
    float32x4_t v;
    Vec() = default;
    FATTN_HD Vec(float32x4_t x) : v(x) {}
    FATTN_HD explicit Vec(uint32x4_t x) : v(vreinterpretq_f32_u32(x)) {}
    FATTN_HD explicit Vec(float x) : v(vdupq_n_f32(x)) {}
    FATTN_HD uint32x4_t bits() const { return vreinterpretq_u32_f32(v); }
};

FATTN_HD inline Vec operator+(Vec a, Vec b) { return vaddq_f32(a.v, b.v); }
FATTN_HD inline Vec operator-(Vec a, Vec b) { return vsubq_f32(a.v, b.v); }
FATTN_HD inline Vec operator*(Vec a, Vec b) { return vmulq_f32(a.v, b.v); }
FATTN_HD inline Vec operator/(Vec a, Vec b) { return vdivq_f32(a.v, b.v); }
FATTN_HD inline Vec fma(Vec a, Vec b, Vec c) { return vfmaq_f32(c.v, a.v, b.v); }
/// Compare and select: the instruction of that name would return a NaN of either side.
FATTN_HD inline Vec max(Vec a, Vec b) { return vbslq_f32(vcgtq_f32(a.v, b.v), a.v, b.v); }
FATTN_HD inline Vec min(Vec a, Vec b) { return vbslq_f32(vcltq_f32(a.v, b.v), a.v, b.v); }
FATTN_HD inline Vec abs(Vec a) { return vabsq_f32(a.v); }
/// floor(x), at least -127, below which powers of two are taken as 0.
FATTN_HD inline Vec exponent_of(Vec x) { return vrndmq_f32(max(Vec(-127.0F), x).v); }
FATTN_HD inline Vec fraction(Vec x) { return max(Vec(-127.0F), x) - exponent_of(x); }
/// The factor 2^floor(n) is put together from bits, as in vec_avx2.h; below -126 it is 0.
FATTN_HD inline Vec ldexp_floor(Vec x, Vec n) {
    const Vec biased = exponent_of(n) + Vec(0x1.8p23F + 127.0F);
    return x * Vec(vshlq_n_u32(biased.bits(), 23));
}
FATTN_HD inline Vec select_less(Vec a, Vec b, Vec yes, Vec no) {
    return vbslq_f32(vcltq_f32(a.v, b.v), yes.v, no.v);
}
FATTN_HD inline Vec select_equal(Vec a, Vec b, Vec yes, Vec no) {
    return vbslq_f32(vceqq_f32(a.v, b.v), yes.v, no.v);
}
FATTN_HD inline Vec copysign(Vec magnitude, Vec sign) {
    return vbslq_f32(vdupq_n_u32(0x80000000u), sign.v, magnitude.v);
}
/// Neighbours are added, then the two sums.
FATTN_HD inline float reduce_add(Vec a) { return vaddvq_f32(a.v); }
FATTN_HD inline float reduce_max(Vec a) { return vmaxvq_f32(a.v); }
FATTN_HD inline void store_sums(float* p, Vec a, Vec b, Vec c, Vec d) {
    vst1q_f32(p, vpaddq_f32(vpaddq_f32(a.v, b.v), vpaddq_f32(c.v, d.v)));
}
FATTN_HD inline void store_maxima(float* p, Vec a, Vec b, Vec c, Vec d) {
    vst1q_f32(p, vpmaxq_f32(vpmaxq_f32(a.v, b.v), vpmaxq_f32(c.v, d.v)));
}
FATTN_HD inline bool any_nan(Vec a) { return vminvq_u32(vceqq_f32(a.v, a.v)) == 0; }

FATTN_HD inline uint32x4_t lane_numbers() {
    return vcombine_u32(vcreate_u32(0x0000000100000000u), vcreate_u32(0x0000000300000002u));
}
FATTN_HD inline Vec iota() { return vcvtq_f32_u32(lane_numbers()); }

/// All ones in the first n lanes.
FATTN_HD inline uint32x4_t first_lanes(int64 n) {
    return vcltq_u32(lane_numbers(), vdupq_n_u32(static_cast<uint32>(n)));
}

FATTN_HD inline Vec held(Vec x) {
    __asm__("" : "+w"(x.v));
    return x;
}
FATTN_HD inline Vec load(const float* p) { return vld1q_f32(p); }
FATTN_HD inline void store(float* p, Vec x) { vst1q_f32(p, x.v); }
/// There are no masked loads and stores: two lanes, then one.
FATTN_HD inline Vec load_first(const float* p, int64 n) {
    if (n >= kWidth) return load(p);
    const float32x2_t zero = vdup_n_f32(0.0F);
    if (n >= 2) return vcombine_f32(vld1_f32(p), n == 3 ? vld1_lane_f32(p + 2, zero, 0) : zero);
    return vcombine_f32(n == 1 ? vld1_lane_f32(p, zero, 0) : zero, zero);
}
FATTN_HD inline void store_first(float* p, Vec x, int64 n) {
    if (n >= kWidth) {
        store(p, x);
        return;
    }
    float32x2_t rest = vget_low_f32(x.v);
    if ((n & 2) != 0) {
        vst1_f32(p, rest);
        p += 2;
        rest = vget_high_f32(x.v);
    }
    if ((n & 1) != 0) vst1_lane_f32(p, rest, 0);
}
FATTN_HD inline Vec broadcast(const float* p) { return vld1q_dup_f32(p); }
FATTN_HD inline Vec blend_first(Vec a, Vec b, int64 n) {
    return vbslq_f32(first_lanes(n), a.v, b.v);
}

/// The first n of 4 16-bit elements, zeros after.
FATTN_HD inline uint16x4_t load16_first(const void* from, int64 n) {
    const auto* p = static_cast<const unsigned char*>(from);
    uint64 bits = 0;
    if (n >= kWidth) {
        __builtin_memcpy(&bits, p, 8);
    } else {
        if (n >= 2) __builtin_memcpy(&bits, p, 4);
        uint16 last = 0;
        if (n == 1 || n == 3) __builtin_memcpy(&last, p + 2 * (n - 1), 2);
        bits |= uint64{last} << (n == 3 ? 32 : 0);
    }
    return vcreate_u16(bits);
}
/// Writes the first n of 4 16-bit elements and nothing else.
FATTN_HD inline void store16_first(void* to, uint16x4_t x, int64 n) {
    auto* p = static_cast<unsigned char*>(to);
    uint64 bits = vget_lane_u64(vreinterpret_u64_u16(x), 0);
    if (n >= kWidth) {
        __builtin_memcpy(p, &bits, 8);
        return;
    }
    if ((n & 2) != 0) {
        __builtin_memcpy(p, &bits, 4);
        bits >>= 32;
        p += 4;
    }
    if ((n & 1) != 0) __builtin_memcpy(p, &bits, 2);
}

template <DType kType>
FATTN_HD inline Vec load_as(const void* p, int64 n) {
    if constexpr (kType == DType::kF32) {
        return load_first(static_cast<const float*>(p), n);
    } else if constexpr (kType == DType::kF16) {
        return vcvt_f32_f16(vreinterpret_f16_u16(load16_first(p, n)));
    } else {
        return Vec(vshll_n_u16(load16_first(p, n), 16));
    }
}

/// 4 f32 to bf16 in the upper halves of words, lower halves undefined; round to nearest even, NaN
/// stays NaN, denormals kept.
FATTN_HD inline uint32x4_t round_bf16(Vec x) {
    const uint32x4_t lsb = vandq_u32(vshrq_n_u32(x.bits(), 16), vdupq_n_u32(1));
    const uint32x4_t rounded = vaddq_u32(x.bits(), vaddq_u32(lsb, vdupq_n_u32(0x7FFF)));
    const uint32x4_t quiet = vorrq_u32(x.bits(), vdupq_n_u32(0x00400000));
    return vbslq_u32(vceqq_f32(x.v, x.v), rounded, quiet);
}
FATTN_HD inline uint16x4_t to_bf16(Vec x) { return vshrn_n_u32(round_bf16(x), 16); }

template <DType kType>
FATTN_HD inline void store_as(void* p, Vec x, int64 n) {
    if constexpr (kType == DType::kF32) {
        store_first(static_cast<float*>(p), x, n);
    } else if constexpr (kType == DType::kF16) {
        store16_first(p, vreinterpret_u16_f16(vcvt_f16_f32(x.v)), n);
    } else {
        store16_first(p, to_bf16(x), n);
    }
}

FATTN_HD inline Vec select_bytes(const uint8* mask, int64 n, Vec yes, Vec no) {
    uint32 bytes = 0;
    if (n >= kWidth) {
        __builtin_memcpy(&bytes, mask, 4);
    } else {
        for (int64 i = 0; i < n; ++i) bytes |= uint32{mask[i]} << (8 * i);
    }
    const uint16x8_t halves = vmovl_u8(vcreate_u8(bytes));
    const uint32x4_t words = vmovl_u16(vget_low_u16(halves));
    return vbslq_f32(vtstq_u32(words, words), yes.v, no.v);
}
FATTN_HD inline Vec select_bits(uint32 bits, Vec yes, Vec no) {
    const uint32x4_t lane_bit = vshlq_u32(vdupq_n_u32(1), vreinterpretq_s32_u32(lane_numbers()));
    return vbslq_f32(vtstq_u32(vdupq_n_u32(bits), lane_bit), yes.v, no.v);
}

FATTN_HD inline Vec load_words16(const void* p, int64 n) {
    const int64 rest = max_of<int64>(n - kWidth, 0);
    const void* high = static_cast<const char*>(p) + 2 * (n - rest);
    return Vec(vreinterpretq_u32_u16(vcombine_u16(load16_first(p, n), load16_first(high, rest))));
}
FATTN_HD inline Vec low_bf16_words(const void* p, int64 n) {
    return Vec(vmovl_u16(load16_first(p, n)));
}
FATTN_HD inline Vec interleave16(const void* low, const void* high, int64 n) {
    return Vec(vorrq_u32(vmovl_u16(load16_first(low, n)), vshll_n_u16(load16_first(high, n), 16)));
}
FATTN_HD inline Vec low_bf16(Vec words) { return Vec(vshlq_n_u32(words.bits(), 16)); }
FATTN_HD inline Vec high_bf16(Vec words) {
    return Vec(vandq_u32(words.bits(), vdupq_n_u32(0xFFFF0000u)));
}
FATTN_HD inline Vec pair_bf16(Vec low, Vec high) {
    return Vec(vsriq_n_u32(round_bf16(high), round_bf16(low), 16));
}
FATTN_HD inline Vec concat_bf16(Vec first, Vec second) {
    return Vec(vreinterpretq_u32_u16(vcombine_u16(to_bf16(first), to_bf16(second))));
}

/// acc + a * b over f32 lanes.
struct DotF32 {
    static constexpr int kDepth = 1;  // depth of one word
    FATTN_HD static Vec step(Vec acc, Vec a, Vec b) { return fma(a, b, acc); }
};

/// Transposes 4 x 4 words: lane j of r[i] becomes lane i of r[j].
FATTN_HD inline void transpose(Vec (&r)[kWidth]) {
    const float32x4_t even01 = vtrn1q_f32(r[0].v, r[1].v);  // lanes 0 and 2 of both rows
    const float32x4_t odd01 = vtrn2q_f32(r[0].v, r[1].v);   // lanes 1 and 3
    const float32x4_t even23 = vtrn1q_f32(r[2].v, r[3].v);
    const float32x4_t odd23 = vtrn2q_f32(r[2].v, r[3].v);
    r[0] = vcombine_f32(vget_low_f32(even01), vget_low_f32(even23));
    r[1] = vcombine_f32(vget_low_f32(odd01), vget_low_f32(odd23));
    r[2] = vcombine_f32(vget_high_f32(even01), vget_high_f32(even23));
    r[3] = vcombine_f32(vget_high_f32(odd01), vget_high_f32(odd23));
}

}  // namespace
}  // namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE
