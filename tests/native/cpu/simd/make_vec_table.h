// Wraps the Vec vocabulary that was included before into a table of functions over arrays; the last
// include of each vec_table_for_*.cpp.
#pragma once

#include "cpu/generic/math.h"
#include "cpu/simd/vec_table.h"

namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE {
namespace {

FATTN_HD inline Vec apply_one(VecOp op, Vec a, Vec b, Vec c, Vec d) {
    switch (op) {
        case VecOp::kAdd:
            return a + b;
        case VecOp::kSubtract:
            return a - b;
        case VecOp::kMultiply:
            return a * b;
        case VecOp::kDivide:
            return a / b;
        case VecOp::kFma:
            return fma(a, b, c);
        case VecOp::kMax:
            return max(a, b);
        case VecOp::kMin:
            return min(a, b);
        case VecOp::kAbs:
            return abs(a);
        case VecOp::kFraction:
            return fraction(a);
        case VecOp::kLdexpFloor:
            return ldexp_floor(a, b);
        case VecOp::kSelectLess:
            return select_less(a, b, c, d);
        case VecOp::kSelectEqual:
            return select_equal(a, b, c, d);
        case VecOp::kCopysign:
            return copysign(a, b);
        case VecOp::kDotF32:
            return DotF32::step(c, a, b);
        case VecOp::kDotBf16:
#if defined(FATTN_CPU_TARGET_PAIRS)
            return DotBf16::step(c, a, b);
#else
            break;
#endif
        case VecOp::kLowBf16:
            return low_bf16(a);
        case VecOp::kHighBf16:
            return high_bf16(a);
        case VecOp::kPairBf16:
            return pair_bf16(a, b);
        case VecOp::kConcatBf16:
            return concat_bf16(a, b);
        case VecOp::kExp2:
            return exp2(a);
        case VecOp::kTanh:
            return tanh(a);
        case VecOp::kSigmoid:
            return sigmoid(a);
    }
    return a;
}

void apply(VecOp op, const float* const (&in)[4], float* out, int64 count) {
    for (int64 i = 0; i < count; i += kWidth) {
        Vec operand[4];
        for (int n = 0; n < 4; ++n) operand[n] = in[n] == nullptr ? Vec(0.0F) : load(in[n] + i);
        store(out + i, apply_one(op, operand[0], operand[1], operand[2], operand[3]));
    }
}

void transpose_square(float* square) {
    Vec rows[kWidth];
    for (int r = 0; r < kWidth; ++r) rows[r] = load(square + r * kWidth);
    transpose(rows);
    for (int r = 0; r < kWidth; ++r) store(square + r * kWidth, rows[r]);
}

void load_type(DType dtype, const void* p, int64 n, float* out) {
    if (dtype == DType::kF16) {
        store(out, load_as<DType::kF16>(p, n));
    } else if (dtype == DType::kBF16) {
        store(out, load_as<DType::kBF16>(p, n));
    } else {
        store(out, load_as<DType::kF32>(p, n));
    }
}

void store_type(DType dtype, void* p, const float* x, int64 n) {
    if (dtype == DType::kF16) {
        store_as<DType::kF16>(p, load(x), n);
    } else if (dtype == DType::kBF16) {
        store_as<DType::kBF16>(p, load(x), n);
    } else {
        store_as<DType::kF32>(p, load(x), n);
    }
}

constexpr VecTable make_vec_table() {
    return {
        .width = kWidth,
        .bf16_dot = kHasBf16Dot,
        .apply = apply,
        .reduce_add = [](const float* a) { return reduce_add(load(a)); },
        .reduce_max = [](const float* a) { return reduce_max(load(a)); },
        .any_nan = [](const float* a) { return any_nan(load(a)); },
        .store_sums =
            [](float* p, const float* a) {
                store_sums(p, load(a), load(a + kWidth), load(a + 2 * kWidth),
                           load(a + 3 * kWidth));
            },
        .store_maxima =
            [](float* p, const float* a) {
                store_maxima(p, load(a), load(a + kWidth), load(a + 2 * kWidth),
                             load(a + 3 * kWidth));
            },
        .iota = [](float* out) { store(out, iota()); },
        .broadcast = [](const float* p, float* out) { store(out, broadcast(p)); },
        .blend_first = [](const float* a, const float* b, int64 n,
                          float* out) { store(out, blend_first(load(a), load(b), n)); },
        .load_first = [](const float* p, int64 n, float* out) { store(out, load_first(p, n)); },
        .store_first = [](float* p, const float* x, int64 n) { store_first(p, load(x), n); },
        .load_as = load_type,
        .store_as = store_type,
        .select_bytes = [](const uint8* mask, int64 n, const float* yes, const float* no,
                           float* out) { store(out, select_bytes(mask, n, load(yes), load(no))); },
        .select_bits = [](uint32 bits, const float* yes, const float* no,
                          float* out) { store(out, select_bits(bits, load(yes), load(no))); },
        .load_words16 = [](const void* p, int64 n, float* out) { store(out, load_words16(p, n)); },
        .low_bf16_words = [](const void* p, int64 n,
                             float* out) { store(out, low_bf16_words(p, n)); },
        .interleave16 = [](const void* low, const void* high, int64 n,
                           float* out) { store(out, interleave16(low, high, n)); },
        .transpose = transpose_square,
    };
}

}  // namespace
}  // namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE
