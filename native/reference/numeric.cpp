// Reads, rounds and encodes stored element types for the reference.
#include "reference/numeric.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace fattn::reference {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kLargestF16 = 65504.0F;
constexpr float kSmallestNormalF16 = 0x1p-14F;
constexpr float kStepOfSubnormalF16 = 0x1p-24F;

/// Keeps the leading bits of the mantissa of a finite x, ties to even; a carry moves into the
/// exponent as it should.
float drop_mantissa_bits(float x, uint32 dropped) {
    const uint32 bits = std::bit_cast<uint32>(x);
    const uint32 last_kept = (bits >> dropped) & 1U;
    const uint32 half = 1U << (dropped - 1U);
    const uint32 rounded = bits + (half - 1U) + last_kept;
    return std::bit_cast<float>((rounded >> dropped) << dropped);
}

float round_to_f16(float x) {
    if (std::abs(x) < kSmallestNormalF16)
        return std::nearbyint(x / kStepOfSubnormalF16) * kStepOfSubnormalF16;
    const float y = drop_mantissa_bits(x, 13);
    return std::abs(y) > kLargestF16 ? std::copysign(kInfinity, x) : y;
}

uint16 encode_f16(float x) {
    const float y = round_to(DType::kF16, x);
    const uint16 sign = std::signbit(y) ? 0x8000 : 0;
    if (std::isnan(y)) return static_cast<uint16>(sign | 0x7e00);
    if (std::isinf(y)) return static_cast<uint16>(sign | 0x7c00);
    const float size = std::abs(y);
    if (size < kSmallestNormalF16)
        return static_cast<uint16>(sign | static_cast<uint16>(size / kStepOfSubnormalF16));
    const uint32 bits = std::bit_cast<uint32>(size);
    const uint32 exponent = (bits >> 23) - 127 + 15;
    return static_cast<uint16>(sign | (exponent << 10) | ((bits >> 13) & 0x3ff));
}

float decode_f16(uint16 bits) {
    const uint32 exponent = (bits >> 10) & 0x1f, mantissa = bits & 0x3ff;
    const float sign = (bits & 0x8000) != 0 ? -1.0F : 1.0F;
    if (exponent == 0x1f)
        return mantissa != 0 ? std::numeric_limits<float>::quiet_NaN() : sign * kInfinity;
    if (exponent == 0) return sign * static_cast<float>(mantissa) * kStepOfSubnormalF16;
    return sign * std::bit_cast<float>((exponent + 127 - 15) << 23 | mantissa << 13);
}

template <class T>
T read(const void* data, int64 idx) {
    T x;
    std::memcpy(&x, static_cast<const char*>(data) + idx * static_cast<int64>(sizeof(T)),
                sizeof(T));
    return x;
}

template <class T>
void write(void* data, int64 idx, T x) {
    std::memcpy(static_cast<char*>(data) + idx * static_cast<int64>(sizeof(T)), &x, sizeof(T));
}

}  // namespace

float round_to(DType dtype, float x) {
    if (!std::isfinite(x)) return x;
    if (dtype == DType::kF16) return round_to_f16(x);
    if (dtype == DType::kBF16) return drop_mantissa_bits(x, 16);
    return x;
}

double round_to(DType dtype, double x) { return round_to(dtype, static_cast<float>(x)); }

double load(DType dtype, const void* data, int64 idx) {
    switch (dtype) {
        case DType::kF32:
            return read<float>(data, idx);
        case DType::kF16:
            return decode_f16(read<uint16>(data, idx));
        case DType::kBF16:
            return std::bit_cast<float>(static_cast<uint32>(read<uint16>(data, idx)) << 16);
        case DType::kU8:
            return read<uint8>(data, idx);
        case DType::kBit:
            return (read<uint8>(data, idx / 8) >> (idx % 8)) & 1;
        default:
            return std::numeric_limits<double>::quiet_NaN();
    }
}

template <class Real>
void load_row(DType dtype, const void* data, int64 idx, int64 count, Real* to, int64 step) {
    const auto each = [&](const auto& element) {
        for (int64 n = 0; n < count; ++n) to[n * step] = static_cast<Real>(element(idx + n));
    };
    if (dtype == DType::kF32) {
        each([&](int64 at) { return read<float>(data, at); });
    } else if (dtype == DType::kF16) {
        each([&](int64 at) { return decode_f16(read<uint16>(data, at)); });
    } else {
        each([&](int64 at) { return load(dtype, data, at); });
    }
}

template void load_row(DType, const void*, int64, int64, double*, int64);
template void load_row(DType, const void*, int64, int64, float*, int64);

void store(DType dtype, void* data, int64 idx, double x) {
    const float narrow = static_cast<float>(x);
    switch (dtype) {
        case DType::kF32:
            write(data, idx, narrow);
            break;
        case DType::kF16:
            write(data, idx, encode_f16(narrow));
            break;
        case DType::kBF16:
            write(data, idx,
                  static_cast<uint16>(std::bit_cast<uint32>(round_to(DType::kBF16, narrow)) >> 16));
            break;
        case DType::kU8:
            write(data, idx, static_cast<uint8>(x));
            break;
        case DType::kBit: {
            const int byte = read<uint8>(data, idx / 8);
            const int bit = 1 << (idx % 8);
            write(data, idx / 8, static_cast<uint8>(x != 0.0 ? byte | bit : byte & ~bit));
            break;
        }
        default:
            break;
    }
}

double unit_roundoff(DType dtype) {
    return dtype == DType::kF16 ? 0x1p-11 : dtype == DType::kBF16 ? 0x1p-8 : 0x1p-24;
}

}  // namespace fattn::reference
