// The Vec vocabulary of AVX2 with FMA and F16C (8 lanes, 16 registers); included by target_avx2.cpp
// and by the tests of the vocabulary. Contracts are those of vec_avx512.h.
#pragma once

#include <immintrin.h>

#include "core/tensor_view.h"
#include "core/types.h"

namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE {
namespace {

constexpr int kWidth = 8;      // lanes of a Vec
constexpr int kMicroRows = 6;  // register tile: 6 rows x 2 vectors = 12 accumulators, 3 operands
constexpr int kMicroVecs = 2;
constexpr int kTileQ = 192;
constexpr int kTileKv = 256;
constexpr bool kHasBf16Dot = false;

/// 8 lanes of f32, or of 32-bit words that hold pairs of bf16.
struct Vec {
    __m256 v;
    Vec() = default;
    FATTN_HD Vec(__m256 x) : v(x) {}
    FATTN_HD explicit Vec(__m256i x) : v(_mm256_castsi256_ps(x)) {}
    FATTN_HD explicit Vec(float x) : v(_mm256_set1_ps(x)) {}
    FATTN_HD __m256i bits() const { return _mm256_castps_si256(v); }
};

FATTN_HD inline Vec operator+(Vec a, Vec b) { return _mm256_add_ps(a.v, b.v); }
FATTN_HD inline Vec operator-(Vec a, Vec b) { return _mm256_sub_ps(a.v, b.v); }
FATTN_HD inline Vec operator*(Vec a, Vec b) { return _mm256_mul_ps(a.v, b.v); }
FATTN_HD inline Vec operator/(Vec a, Vec b) { return _mm256_div_ps(a.v, b.v); }
FATTN_HD inline Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a.v, b.v, c.v); }
FATTN_HD inline Vec max(Vec a, Vec b) { return _mm256_max_ps(a.v, b.v); }
FATTN_HD inline Vec min(Vec a, Vec b) { return _mm256_min_ps(a.v, b.v); }
FATTN_HD inline Vec abs(Vec a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0F), a.v); }
/// floor(x), at least -127, below which powers of two are taken as 0.
FATTN_HD inline Vec exponent_of(Vec x) {
    return _mm256_round_ps(max(Vec(-127.0F), x).v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
}
FATTN_HD inline Vec fraction(Vec x) { return max(Vec(-127.0F), x) - exponent_of(x); }
/// The factor 2^floor(n) is put together from bits: floor(n) + 127 lands in the low mantissa bits
/// of a large number and moves to the exponent from there. Below -126 the factor is 0, so that
/// hidden keys never cost the slow path of denormal results.
FATTN_HD inline Vec ldexp_floor(Vec x, Vec n) {
    const Vec biased = exponent_of(n) + Vec(0x1.8p23F + 127.0F);
    return x * Vec(_mm256_slli_epi32(biased.bits(), 23));
}
FATTN_HD inline Vec select_less(Vec a, Vec b, Vec yes, Vec no) {
    return _mm256_blendv_ps(no.v, yes.v, _mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ));
}
FATTN_HD inline Vec select_equal(Vec a, Vec b, Vec yes, Vec no) {
    return _mm256_blendv_ps(no.v, yes.v, _mm256_cmp_ps(a.v, b.v, _CMP_EQ_OQ));
}
FATTN_HD inline Vec copysign(Vec magnitude, Vec sign) {
    return _mm256_or_ps(abs(magnitude).v, _mm256_and_ps(_mm256_set1_ps(-0.0F), sign.v));
}
/// Lanes 0..3 and 4..7 are added, then neighbours at distance 2, then 1.
FATTN_HD inline float reduce_add(Vec a) {
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}
FATTN_HD inline float reduce_max(Vec a) {
    __m128 x = _mm_max_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
    x = _mm_max_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
}
FATTN_HD inline void store_sums(float* p, Vec a, Vec b, Vec c, Vec d) {
    const __m256 ab = _mm256_hadd_ps(a.v, b.v);
    const __m256 cd = _mm256_hadd_ps(c.v, d.v);
    const __m256 all = _mm256_hadd_ps(ab, cd);
    _mm_storeu_ps(p, _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1)));
}
FATTN_HD inline void store_maxima(float* p, Vec a, Vec b, Vec c, Vec d) {
    const Vec ab = max(Vec(_mm256_unpacklo_ps(a.v, b.v)), Vec(_mm256_unpackhi_ps(a.v, b.v)));
    const Vec cd = max(Vec(_mm256_unpacklo_ps(c.v, d.v)), Vec(_mm256_unpackhi_ps(c.v, d.v)));
    const Vec all =
        max(Vec(_mm256_shuffle_ps(ab.v, cd.v, 0x44)), Vec(_mm256_shuffle_ps(ab.v, cd.v, 0xEE)));
    _mm_storeu_ps(p, _mm_max_ps(_mm256_castps256_ps128(all.v), _mm256_extractf128_ps(all.v, 1)));
}
FATTN_HD inline bool any_nan(Vec a) {
    return _mm256_movemask_ps(_mm256_cmp_ps(a.v, a.v, _CMP_UNORD_Q)) != 0;
}

FATTN_HD inline Vec iota() { return _mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7); }

/// All ones in the first n lanes.
FATTN_HD inline __m256i first_lanes(int64 n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)),
                              _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

FATTN_HD inline Vec held(Vec x) {
    __asm__("" : "+x"(x.v));
    return x;
}
FATTN_HD inline Vec load(const float* p) { return _mm256_loadu_ps(p); }
FATTN_HD inline void store(float* p, Vec x) { _mm256_storeu_ps(p, x.v); }
/// Whole vectors go around the masked forms: a masked store takes about 20 cycles on AMD.
FATTN_HD inline Vec load_first(const float* p, int64 n) {
    return n >= kWidth ? load(p) : Vec(_mm256_maskload_ps(p, first_lanes(n)));
}
FATTN_HD inline void store_first(float* p, Vec x, int64 n) {
    if (n >= kWidth) {
        store(p, x);
    } else {
        _mm256_maskstore_ps(p, first_lanes(n), x.v);
    }
}
FATTN_HD inline Vec broadcast(const float* p) { return _mm256_broadcast_ss(p); }
FATTN_HD inline Vec blend_first(Vec a, Vec b, int64 n) {
    return _mm256_blendv_ps(b.v, a.v, _mm256_castsi256_ps(first_lanes(n)));
}

/// sizeof(T) bytes at any address.
template <class T>
FATTN_HD inline T load_bytes(const char* p) {
    T value;
    __builtin_memcpy(&value, p, sizeof(T));
    return value;
}

/// The first n < 4 16-bit elements, zeros after.
FATTN_HD inline uint64 load16_tail(const char* p, int64 n) {
    uint64 bits = 0;
    if ((n & 2) != 0) bits = load_bytes<uint32>(p);
    if ((n & 1) != 0) bits |= uint64{load_bytes<uint16>(p + (n & 2) * 2)} << ((n & 2) * 16);
    return bits;
}
/// The first n of 8 16-bit elements, zeros after; there is no masked load of them.
FATTN_HD inline __m128i load16_first(const void* from, int64 n) {
    const char* p = static_cast<const char*>(from);
    if (n >= kWidth) return _mm_loadu_si128(static_cast<const __m128i*>(from));
    const uint64 low = n >= 4 ? load_bytes<uint64>(p) : load16_tail(p, n);
    const uint64 high = n >= 4 ? load16_tail(p + 8, n - 4) : 0;
    return _mm_set_epi64x(static_cast<int64>(high), static_cast<int64>(low));
}
/// Writes the first n of 8 16-bit elements and nothing else.
FATTN_HD inline void store16_first(void* to, __m128i x, int64 n) {
    char* p = static_cast<char*>(to);
    if (n >= kWidth) {
        _mm_storeu_si128(static_cast<__m128i*>(to), x);
        return;
    }
    auto bits = static_cast<uint64>(_mm_cvtsi128_si64(x));
    if ((n & 4) != 0) {
        __builtin_memcpy(p, &bits, 8);
        bits = static_cast<uint64>(_mm_extract_epi64(x, 1));
        p += 8;
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
        return _mm256_cvtph_ps(load16_first(p, n));
    } else {
        return Vec(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load16_first(p, n)), 16));
    }
}

/// 8 f32 to bf16 in the upper halves of words, lower halves undefined; round to nearest even, NaN
/// stays NaN, denormals kept.
FATTN_HD inline __m256i round_bf16(Vec x) {
    const __m256i lsb = _mm256_and_si256(_mm256_srli_epi32(x.bits(), 16), _mm256_set1_epi32(1));
    const __m256i rounded =
        _mm256_add_epi32(x.bits(), _mm256_add_epi32(lsb, _mm256_set1_epi32(0x7FFF)));
    const __m256i quiet = _mm256_or_si256(x.bits(), _mm256_set1_epi32(0x00400000));
    return _mm256_blendv_epi8(rounded, quiet,
                              _mm256_castps_si256(_mm256_cmp_ps(x.v, x.v, _CMP_UNORD_Q)));
}
FATTN_HD inline __m128i to_bf16(Vec x) {
    const __m256i words = _mm256_srli_epi32(round_bf16(x), 16);
    return _mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
}

template <DType kType>
FATTN_HD inline void store_as(void* p, Vec x, int64 n) {
    if constexpr (kType == DType::kF32) {
        store_first(static_cast<float*>(p), x, n);
    } else if constexpr (kType == DType::kF16) {
        store16_first(p, _mm256_cvtps_ph(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), n);
    } else {
        store16_first(p, to_bf16(x), n);
    }
}

FATTN_HD inline Vec select_bytes(const uint8* mask, int64 n, Vec yes, Vec no) {
    uint64 bytes = 0;
    if (n >= kWidth) {
        __builtin_memcpy(&bytes, mask, 8);
    } else {
        for (int64 i = 0; i < n; ++i) bytes |= uint64{mask[i]} << (8 * i);
    }
    const __m256i words = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<int64>(bytes)));
    const __m256i zero = _mm256_cmpeq_epi32(words, _mm256_setzero_si256());
    return _mm256_blendv_ps(yes.v, no.v, _mm256_castsi256_ps(zero));
}
FATTN_HD inline Vec select_bits(uint32 bits, Vec yes, Vec no) {
    const __m256i lane_bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const __m256i words = _mm256_and_si256(_mm256_set1_epi32(static_cast<int>(bits)), lane_bit);
    return _mm256_blendv_ps(no.v, yes.v, _mm256_castsi256_ps(_mm256_cmpeq_epi32(words, lane_bit)));
}

FATTN_HD inline Vec load_words16(const void* p, int64 n) {
    const int64 rest = max_of<int64>(n - kWidth, 0);
    return Vec(_mm256_set_m128i(load16_first(static_cast<const char*>(p) + 2 * (n - rest), rest),
                                load16_first(p, n)));
}
FATTN_HD inline Vec low_bf16_words(const void* p, int64 n) {
    return Vec(_mm256_cvtepu16_epi32(load16_first(p, n)));
}
FATTN_HD inline Vec interleave16(const void* low, const void* high, int64 n) {
    const __m256i b = _mm256_cvtepu16_epi32(load16_first(high, n));
    return Vec(_mm256_or_si256(low_bf16_words(low, n).bits(), _mm256_slli_epi32(b, 16)));
}
FATTN_HD inline Vec low_bf16(Vec words) { return Vec(_mm256_slli_epi32(words.bits(), 16)); }
FATTN_HD inline Vec high_bf16(Vec words) {
    return Vec(_mm256_blend_epi16(_mm256_setzero_si256(), words.bits(), 0xAA));
}
FATTN_HD inline Vec pair_bf16(Vec low, Vec high) {
    return Vec(_mm256_blend_epi16(_mm256_srli_epi32(round_bf16(low), 16), round_bf16(high), 0xAA));
}
FATTN_HD inline Vec concat_bf16(Vec first, Vec second) {
    return Vec(_mm256_set_m128i(to_bf16(second), to_bf16(first)));
}

/// acc + a * b over f32 lanes.
struct DotF32 {
    static constexpr int kDepth = 1;  // depth of one word
    FATTN_HD static Vec step(Vec acc, Vec a, Vec b) { return fma(a, b, acc); }
};

/// Transposes 8 x 8 words: lane j of r[i] becomes lane i of r[j].
FATTN_HD inline void transpose(Vec (&r)[kWidth]) {
    __m256 t[8];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
        t[2 * i] = _mm256_unpacklo_ps(r[2 * i].v, r[2 * i + 1].v);
        t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i].v, r[2 * i + 1].v);
    }
    __m256 u[8];
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
        u[4 * i + 0] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0x44);
        u[4 * i + 1] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0xEE);
        u[4 * i + 2] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
        u[4 * i + 3] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xEE);
    }
    // u[4 * i + c] holds columns c and c + 4 (one a 128-bit lane) of rows 4 * i .. 4 * i + 3.
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) {
        r[c] = _mm256_permute2f128_ps(u[c], u[4 + c], 0x20);
        r[c + 4] = _mm256_permute2f128_ps(u[c], u[4 + c], 0x31);
    }
}

}  // namespace
}  // namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE
