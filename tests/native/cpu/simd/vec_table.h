// One target's Vec vocabulary over plain arrays, so that a test compiled for any processor can ask
// what a target's instructions do; filled by vec_table_for_*.cpp, called by the tests beside it.
#pragma once

#include "core/tensor_view.h"
#include "core/types.h"

namespace fattn::cpu {

/// Operations of up to four vectors, lane by lane.
enum class VecOp {
    kAdd,
    kSubtract,
    kMultiply,
    kDivide,
    kFma,
    kMax,
    kMin,
    kAbs,
    kFraction,
    kLdexpFloor,
    kSelectLess,
    kSelectEqual,
    kCopysign,
    kDotF32,
    kDotBf16,  // where bf16_dot
    kLowBf16,
    kHighBf16,
    kPairBf16,
    kConcatBf16,
    kExp2,
    kTanh,
    kSigmoid
};

/// Arrays of vectors hold width floats a vector.
struct VecTable {
    int width;
    bool bf16_dot;
    /// out[i] = op(in[0][i], in[1][i], ...) over count elements, a multiple of width.
    void (*apply)(VecOp op, const float* const (&in)[4], float* out, int64 count);
    float (*reduce_add)(const float* a);
    float (*reduce_max)(const float* a);
    bool (*any_nan)(const float* a);
    void (*store_sums)(float* p, const float* four_vectors);
    void (*store_maxima)(float* p, const float* four_vectors);
    void (*iota)(float* out);
    void (*broadcast)(const float* p, float* out);
    void (*blend_first)(const float* a, const float* b, int64 n, float* out);
    /// load_first and store_first; load_as and store_as follow with the element type.
    void (*load_first)(const float* p, int64 n, float* out);
    void (*store_first)(float* p, const float* x, int64 n);
    void (*load_as)(DType dtype, const void* p, int64 n, float* out);
    void (*store_as)(DType dtype, void* p, const float* x, int64 n);
    void (*select_bytes)(const uint8* mask, int64 n, const float* yes, const float* no, float* out);
    void (*select_bits)(uint32 bits, const float* yes, const float* no, float* out);
    void (*load_words16)(const void* p, int64 n, float* out);
    void (*low_bf16_words)(const void* p, int64 n, float* out);
    void (*interleave16)(const void* low, const void* high, int64 n, float* out);
    void (*transpose)(float* square);  // [width][width], in place
};

#if defined(FATTN_HAS_TARGET_SCALAR)
extern const VecTable kScalarVec;
#endif
#if defined(FATTN_HAS_TARGET_AVX2)
extern const VecTable kAvx2Vec;
#endif
#if defined(FATTN_HAS_TARGET_AVX512)
extern const VecTable kAvx512Vec;
#endif
#if defined(FATTN_HAS_TARGET_AVX512_BF16)
extern const VecTable kAvx512Bf16Vec;
#endif
#if defined(FATTN_HAS_TARGET_NEON)
extern const VecTable kNeonVec;
#endif

}  // namespace fattn::cpu
