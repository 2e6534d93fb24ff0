// The Vec vocabulary of AVX-512 (16 lanes, 32 registers), with bf16 dot products where the target
// has them; included by target_avx512.cpp, target_avx512_bf16.cpp and the tests of the vocabulary.
// The contracts here hold for every vec_*.h.
#pragma once

#include <immintrin.h>

#include "core/tensor_view.h"
#include "core/types.h"

namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE {
namespace {

constexpr int kWidth = 16;      // lanes of a Vec
constexpr int kMicroRows = 12;  // register tile: 12 rows x 2 vectors = 24 accumulators
constexpr int kMicroVecs = 2;
constexpr int kTileQ = 192;
constexpr int kTileKv = 256;
#if defined(__AVX512BF16__)
constexpr bool kHasBf16Dot = true;
#else
constexpr bool kHasBf16Dot = false;
#endif

/// 16 lanes of f32, or of 32-bit words that hold pairs of bf16.
struct Vec {
    __m512 v;
    Vec() = default;
    FATTN_HD Vec(__m512 x) : v(x) {}
    FATTN_HD explicit Vec(float x) : v(_mm512_set1_ps(x)) {}
};

FATTN_HD inline Vec operator+(Vec a, Vec b) { return _mm512_add_ps(a.v, b.v); }
FATTN_HD inline Vec operator-(Vec a, Vec b) { return _mm512_sub_ps(a.v, b.v); }
FATTN_HD inline Vec operator*(Vec a, Vec b) { return _mm512_mul_ps(a.v, b.v); }
FATTN_HD inline Vec operator/(Vec a, Vec b) { return _mm512_div_ps(a.v, b.v); }
/// a * b + c with one rounding; with two in the scalar target where the processor has no such
/// instruction.
FATTN_HD inline Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a.v, b.v, c.v); }
/// The larger of a and b; b when either is NaN.
FATTN_HD inline Vec max(Vec a, Vec b) { return _mm512_max_ps(a.v, b.v); }
/// The smaller of a and b; b when either is NaN.
FATTN_HD inline Vec min(Vec a, Vec b) { return _mm512_min_ps(a.v, b.v); }
FATTN_HD inline Vec abs(Vec a) { return _mm512_abs_ps(a.v); }
/// x - floor(x), in [0, 1]; 0 for -inf.
FATTN_HD inline Vec fraction(Vec x) {
    return _mm512_reduce_ps(x.v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
}
/// x * 2^floor(n); 0 for n = -inf and whatever else is below the smallest denormal.
FATTN_HD inline Vec ldexp_floor(Vec x, Vec n) { return _mm512_scalef_ps(x.v, n.v); }
/// Lanes of yes where a < b, of no elsewhere (also where either is NaN).
FATTN_HD inline Vec select_less(Vec a, Vec b, Vec yes, Vec no) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ), no.v, yes.v);
}
/// Lanes of yes where a == b, of no elsewhere.
FATTN_HD inline Vec select_equal(Vec a, Vec b, Vec yes, Vec no) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ), no.v, yes.v);
}
/// magnitude with the sign bit of sign.
FATTN_HD inline Vec copysign(Vec magnitude, Vec sign) {
    const __m512i bit = _mm512_set1_epi32(static_cast<int>(0x80000000u));
    return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(bit, _mm512_castps_si512(sign.v),
                                                         _mm512_castps_si512(magnitude.v), 0xCA));
}
FATTN_HD inline float reduce_add(Vec a) { return _mm512_reduce_add_ps(a.v); }
FATTN_HD inline float reduce_max(Vec a) { return _mm512_reduce_max_ps(a.v); }
/// Lane 4 m + i: sum of lanes 4 m to 4 m + 3 of the i-th vector.
FATTN_HD inline Vec sum_quads(Vec a, Vec b, Vec c, Vec d) {
    const __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(a.v, b.v), _mm512_unpackhi_ps(a.v, b.v));
    const __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(c.v, d.v), _mm512_unpackhi_ps(c.v, d.v));
    return _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xEE));
}
/// p[i] = sum of the lanes of the i-th vector.
FATTN_HD inline void store_sums(float* p, Vec a, Vec b, Vec c, Vec d) {
    const __m512 all = sum_quads(a, b, c, d).v;
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
    _mm_storeu_ps(p, _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)));
}
/// p[i] = largest lane of the i-th vector.
FATTN_HD inline void store_maxima(float* p, Vec a, Vec b, Vec c, Vec d) {
    const __m512 ab = _mm512_max_ps(_mm512_unpacklo_ps(a.v, b.v), _mm512_unpackhi_ps(a.v, b.v));
    const __m512 cd = _mm512_max_ps(_mm512_unpacklo_ps(c.v, d.v), _mm512_unpackhi_ps(c.v, d.v));
    const __m512 all =
        _mm512_max_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xEE));
    const __m256 half = _mm256_max_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
    _mm_storeu_ps(p, _mm_max_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)));
}
FATTN_HD inline bool any_nan(Vec a) { return _mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q) != 0; }

FATTN_HD inline Vec iota() {
    return _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}

FATTN_HD inline __mmask16 first_lanes(int64 n) {
    return static_cast<__mmask16>(_bzhi_u32(0xFFFFu, static_cast<uint32>(n)));
}

/// x, kept in a register: compilers else read it from memory again for every use.
FATTN_HD inline Vec held(Vec x) {
    __asm__("" : "+v"(x.v));
    return x;
}
FATTN_HD inline Vec load(const float* p) { return _mm512_loadu_ps(p); }
FATTN_HD inline void store(float* p, Vec x) { _mm512_storeu_ps(p, x.v); }
/// First n lanes (0 <= n <= kWidth), zeros after.
FATTN_HD inline Vec load_first(const float* p, int64 n) {
    return _mm512_maskz_loadu_ps(first_lanes(n), p);
}
FATTN_HD inline void store_first(float* p, Vec x, int64 n) {
    _mm512_mask_storeu_ps(p, first_lanes(n), x.v);
}
/// One 32-bit word in every lane.
FATTN_HD inline Vec broadcast(const float* p) { return _mm512_set1_ps(*p); }
/// The first n lanes of a, then lanes of b.
FATTN_HD inline Vec blend_first(Vec a, Vec b, int64 n) {
    return _mm512_mask_blend_ps(first_lanes(n), b.v, a.v);
}

/// First n of 16 elements of type kType as f32, zeros after.
template <DType kType>
FATTN_HD inline Vec load_as(const void* p, int64 n) {
    const __mmask16 m = first_lanes(n);
    if constexpr (kType == DType::kF32) {
        return _mm512_maskz_loadu_ps(m, p);
    } else if constexpr (kType == DType::kF16) {
        return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(m, p));
    } else {
        return _mm512_castsi512_ps(
            _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, p)), 16));
    }
}

/// 16 f32 to bf16, round to nearest even, NaN stays NaN, denormals kept.
FATTN_HD inline __m256i to_bf16(Vec x) {
    const __m512i bits = _mm512_castps_si512(x.v);
    const __m512i lsb = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded =
        _mm512_add_epi32(bits, _mm512_add_epi32(lsb, _mm512_set1_epi32(0x7FFF)));
    const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x00400000));
    const __mmask16 nan = _mm512_cmp_ps_mask(x.v, x.v, _CMP_UNORD_Q);
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_mask_mov_epi32(rounded, nan, quiet), 16));
}

/// Stores the first n lanes as kType, round to nearest even.
template <DType kType>
FATTN_HD inline void store_as(void* p, Vec x, int64 n) {
    const __mmask16 m = first_lanes(n);
    if constexpr (kType == DType::kF32) {
        _mm512_mask_storeu_ps(p, m, x.v);
    } else if constexpr (kType == DType::kF16) {
        _mm256_mask_storeu_epi16(
            p, m, _mm512_cvtps_ph(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    } else {
        _mm256_mask_storeu_epi16(p, m, to_bf16(x));
    }
}

/// Lanes of yes where the mask byte is nonzero, of no elsewhere; bytes past n are not read and
/// count as zero.
FATTN_HD inline Vec select_bytes(const uint8* mask, int64 n, Vec yes, Vec no) {
    const __m128i bytes = _mm_maskz_loadu_epi8(first_lanes(n), mask);
    return _mm512_mask_blend_ps(_mm_test_epi8_mask(bytes, bytes), no.v, yes.v);
}
/// Lanes of yes where the bit is 1, of no elsewhere.
FATTN_HD inline Vec select_bits(uint32 bits, Vec yes, Vec no) {
    return _mm512_mask_blend_ps(static_cast<__mmask16>(bits), no.v, yes.v);
}

/// First n pairs of 16-bit elements as words: the elements of a row lie in consecutive halves. Half
/// an element past the end (n counts elements) reads as zero.
FATTN_HD inline Vec load_words16(const void* p, int64 n) {
    const auto m = static_cast<__mmask32>(_bzhi_u32(0xFFFFFFFFu, static_cast<uint32>(n)));
    return _mm512_castsi512_ps(_mm512_maskz_loadu_epi16(m, p));
}
/// Words whose low halves are the first n 16-bit elements at low, high halves those at high.
FATTN_HD inline Vec interleave16(const void* low, const void* high, int64 n) {
    const __mmask16 m = first_lanes(n);
    const __m512i a = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, low));
    const __m512i b = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, high));
    return _mm512_castsi512_ps(_mm512_or_si512(a, _mm512_slli_epi32(b, 16)));
}
/// Words whose low halves are the first n 16-bit elements at p, high halves zero.
FATTN_HD inline Vec low_bf16_words(const void* p, int64 n) {
    return _mm512_castsi512_ps(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(first_lanes(n), p)));
}
/// Low (even) and high (odd) bf16 halves of words as f32.
FATTN_HD inline Vec low_bf16(Vec words) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(words.v), 16));
}
FATTN_HD inline Vec high_bf16(Vec words) {
    return _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(words.v),
                                                _mm512_set1_epi32(static_cast<int>(0xFFFF0000u))));
}
/// Words from f32: low halves from low, high halves from high, rounded to bf16.
FATTN_HD inline Vec pair_bf16(Vec low, Vec high) {
#if defined(__AVX512BF16__)
    // The conversion puts all of low before all of high; the permutation takes them in turn.
    const __m512i packed = __builtin_bit_cast(__m512i, _mm512_cvtne2ps_pbh(high.v, low.v));
    const __m512i turns =
        _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                         21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_castsi512_ps(_mm512_permutexvar_epi16(turns, packed));
#else
    const __m512i a = _mm512_cvtepu16_epi32(to_bf16(low));
    const __m512i b = _mm512_cvtepu16_epi32(to_bf16(high));
    return _mm512_castsi512_ps(_mm512_or_si512(a, _mm512_slli_epi32(b, 16)));
#endif
}
/// 32 f32 rounded to 32 consecutive bf16 (16 words).
FATTN_HD inline Vec concat_bf16(Vec first, Vec second) {
#if defined(__AVX512BF16__)
    return _mm512_castsi512_ps(__builtin_bit_cast(__m512i, _mm512_cvtne2ps_pbh(second.v, first.v)));
#else
    return _mm512_castsi512_ps(
        _mm512_inserti64x4(_mm512_castsi256_si512(to_bf16(first)), to_bf16(second), 1));
#endif
}

/// Products of two words of depth side by side.
struct Halves {
    /// Two words at any address, repeated.
    FATTN_HD static Vec broadcast_pair(const void* p) {
        double pair;
        __builtin_memcpy(&pair, p, sizeof(pair));
        return _mm512_castpd_ps(_mm512_set1_pd(pair));
    }
    /// Lanes 4 m and 4 m + 1: sums of the two pairs of quad m of a; the two after them: of b.
    FATTN_HD static Vec sum_halves(Vec a, Vec b) {
        return _mm512_add_ps(_mm512_shuffle_ps(a.v, b.v, 0x88), _mm512_shuffle_ps(a.v, b.v, 0xDD));
    }
    /// Transposes 8 x 8 pairs of words: pair j of r[i] becomes pair i of r[j].
    FATTN_HD static void transpose_pairs(Vec (&r)[8]) {
        Vec even[4];
        Vec odd[4];
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) {
            const __m512d a = _mm512_castps_pd(r[2 * i].v);
            const __m512d b = _mm512_castps_pd(r[2 * i + 1].v);
            even[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
            odd[i] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
        }
        transpose_quads(even);
        transpose_quads(odd);
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) {
            r[2 * i] = even[i];
            r[2 * i + 1] = odd[i];
        }
    }

  private:
    /// Transposes 4 x 4 quads: quad j of r[i] becomes quad i of r[j].
    FATTN_HD static void transpose_quads(Vec (&r)[4]) {
        const __m512 a = _mm512_shuffle_f32x4(r[0].v, r[1].v, 0x44);  // quads 0 1 | 0 1
        const __m512 b = _mm512_shuffle_f32x4(r[2].v, r[3].v, 0x44);
        const __m512 c = _mm512_shuffle_f32x4(r[0].v, r[1].v, 0xEE);  // quads 2 3 | 2 3
        const __m512 d = _mm512_shuffle_f32x4(r[2].v, r[3].v, 0xEE);
        r[0] = _mm512_shuffle_f32x4(a, b, 0x88);
        r[1] = _mm512_shuffle_f32x4(a, b, 0xDD);
        r[2] = _mm512_shuffle_f32x4(c, d, 0x88);
        r[3] = _mm512_shuffle_f32x4(c, d, 0xDD);
    }
};

/// acc + a * b over f32 lanes.
struct DotF32 : Halves {
    static constexpr int kDepth = 1;  // depth of one word
    FATTN_HD static Vec step(Vec acc, Vec a, Vec b) { return fma(a, b, acc); }
};

#if defined(__AVX512BF16__)
/// acc + a.low * b.low + a.high * b.high over pairs of bf16.
struct DotBf16 : Halves {
    static constexpr int kDepth = 2;
    FATTN_HD static Vec step(Vec acc, Vec a, Vec b) {
        return _mm512_dpbf16_ps(acc.v, __builtin_bit_cast(__m512bh, a.v),
                                __builtin_bit_cast(__m512bh, b.v));
    }
    /// 32 elements of two rows as words: low halves from the first row, columns in order.
    FATTN_HD static void interleave(const void* low, const void* high, Vec* first, Vec* second) {
        const __m512i a = _mm512_loadu_si512(low);
        const __m512i b = _mm512_loadu_si512(high);
        const __m512i turns =
            _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7,
                             38, 6, 37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
        const __m512i next = _mm512_add_epi16(turns, _mm512_set1_epi16(16));
        *first = _mm512_castsi512_ps(_mm512_permutex2var_epi16(a, turns, b));
        *second = _mm512_castsi512_ps(_mm512_permutex2var_epi16(a, next, b));
    }
};
#endif

/// Transposes 16 x 16 words: lane j of r[i] becomes lane i of r[j].
FATTN_HD inline void transpose(Vec (&r)[kWidth]) {
    __m512 t[16];
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
        t[2 * i] = _mm512_unpacklo_ps(r[2 * i].v, r[2 * i + 1].v);
        t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i].v, r[2 * i + 1].v);
    }
    __m512 u[16];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
        u[4 * i + 0] = _mm512_shuffle_ps(t[4 * i], t[4 * i + 2], 0x44);
        u[4 * i + 1] = _mm512_shuffle_ps(t[4 * i], t[4 * i + 2], 0xEE);
        u[4 * i + 2] = _mm512_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
        u[4 * i + 3] = _mm512_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xEE);
    }
    // u[4 * i + c] holds columns c, c + 4, c + 8, c + 12 (one a 128-bit lane) of rows 4 * i .. 4 *
    // i + 3.
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) {
        const __m512 a = _mm512_shuffle_f32x4(u[c], u[4 + c], 0x88);  // lanes 0 2 | 0 2
        const __m512 b = _mm512_shuffle_f32x4(u[8 + c], u[12 + c], 0x88);
        const __m512 d = _mm512_shuffle_f32x4(u[c], u[4 + c], 0xDD);  // lanes 1 3 | 1 3
        const __m512 e = _mm512_shuffle_f32x4(u[8 + c], u[12 + c], 0xDD);
        r[c] = _mm512_shuffle_f32x4(a, b, 0x88);
        r[c + 8] = _mm512_shuffle_f32x4(a, b, 0xDD);
        r[c + 4] = _mm512_shuffle_f32x4(d, e, 0x88);
        r[c + 12] = _mm512_shuffle_f32x4(d, e, 0xDD);
    }
}

}  // namespace
}  // namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE
