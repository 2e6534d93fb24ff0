// Loads, stores and conversions of every Vec vocabulary: each lane count, never a byte past it, and
// 16-bit formats as core/convert.h has them.
#include <cmath>

#include "core/convert.h"
#include "cpu/simd/vec_test_support.h"

namespace fattn::cpu {
namespace {

class VecMemoryTest : public VecTest {
  protected:
    GuardedMemory memory_;

    std::vector<float> lanes() const {
        return std::vector<float>(static_cast<std::size_t>(width()));
    }
};

INSTANTIATE_TEST_SUITE_P(Vec, VecMemoryTest, testing::ValuesIn(vec_targets()), vec_target_name);

constexpr DType kMemoryDTypes[] = {DType::kF32, DType::kF16, DType::kBF16};

std::size_t bytes_of(DType dtype) { return static_cast<std::size_t>(bits_of(dtype)) / 8; }

/// Writes small integers, which every format holds exactly, as elements of a type.
void write_element(DType dtype, std::byte* at, float value) {
    if (dtype == DType::kF32) {
        std::memcpy(at, &value, 4);
        return;
    }
    const uint16 bits = dtype == DType::kF16 ? to_f16(value).bits : to_bf16(value).bits;
    std::memcpy(at, &bits, 2);
}

float read_element(DType dtype, const std::byte* at) {
    if (dtype == DType::kF32) {
        float value = 0;
        std::memcpy(&value, at, 4);
        return value;
    }
    uint16 bits = 0;
    std::memcpy(&bits, at, 2);
    return dtype == DType::kF16 ? to_float(f16{bits}) : to_float(bf16{bits});
}

TEST_P(VecMemoryTest, LoadsReadTheFirstElementsAndNothingBehind) {
    for (const DType dtype : kMemoryDTypes) {
        for (int n = 0; n <= width(); ++n) {
            const std::size_t bytes = bytes_of(dtype) * static_cast<std::size_t>(n);
            std::byte* p = memory_.last(bytes, 0);
            for (int i = 0; i < n; ++i) {
                write_element(dtype, p + bytes_of(dtype) * static_cast<std::size_t>(i),
                              static_cast<float>(i + 1));
            }
            std::vector<float> out = lanes();
            table().load_as(dtype, p, n, out.data());
            for (int i = 0; i < width(); ++i) {
                EXPECT_EQ(out[static_cast<std::size_t>(i)], i < n ? i + 1 : 0) << "of " << n;
            }
            if (dtype != DType::kF32) continue;
            std::vector<float> plain = lanes();
            table().load_first(reinterpret_cast<const float*>(p), n, plain.data());
            EXPECT_EQ(plain, out);
        }
    }
}

TEST_P(VecMemoryTest, StoresWriteTheFirstElementsAndNothingAround) {
    std::vector<float> x = lanes();
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i + 1);
    for (const DType dtype : kMemoryDTypes) {
        const std::size_t element = bytes_of(dtype);
        for (int n = 0; n <= width(); ++n) {
            const std::size_t bytes = element * static_cast<std::size_t>(n);
            const auto expect_written = [&](const std::byte* p) {
                for (int i = 0; i < n; ++i) {
                    EXPECT_EQ(read_element(dtype, p + element * static_cast<std::size_t>(i)),
                              i + 1);
                }
            };
            // Against the end of memory, and with bytes behind that must keep their value.
            std::byte* p = memory_.last(bytes, 0xA5);
            table().store_as(dtype, p, x.data(), n);
            expect_written(p);
            p = memory_.last(bytes + 64, 0xA5);
            table().store_as(dtype, p, x.data(), n);
            expect_written(p);
            for (std::size_t i = 0; i < 64; ++i) EXPECT_EQ(p[bytes + i], std::byte{0xA5}) << n;
            if (dtype != DType::kF32) continue;
            p = memory_.last(bytes, 0xA5);
            table().store_first(reinterpret_cast<float*>(p), x.data(), n);
            expect_written(p);
            p = memory_.last(bytes + 64, 0xA5);
            table().store_first(reinterpret_cast<float*>(p), x.data(), n);
            for (std::size_t i = 0; i < 64; ++i) EXPECT_EQ(p[bytes + i], std::byte{0xA5}) << n;
        }
    }
}

TEST_P(VecMemoryTest, MaskBytesBehindTheCountAreNotReadAndCountAsZero) {
    const std::vector<float> yes(lanes().size(), 1.0F), no(lanes().size(), -1.0F);
    for (int n = 0; n <= width(); ++n) {
        const std::byte* p = memory_.last(static_cast<std::size_t>(n), 0x80);
        std::vector<float> out = lanes();
        table().select_bytes(reinterpret_cast<const uint8*>(p), n, yes.data(), no.data(),
                             out.data());
        for (int i = 0; i < width(); ++i) {
            EXPECT_EQ(out[static_cast<std::size_t>(i)], i < n ? 1.0F : -1.0F) << "of " << n;
        }
    }
}

TEST_P(VecMemoryTest, EveryF16IsReadExactly) {
    std::vector<float> out = lanes();
    const auto step = static_cast<uint32>(width());
    for (uint32 first = 0; first < 0x10000u; first += step) {
        std::vector<uint16> bits(out.size());
        for (uint32 i = 0; i < step; ++i) bits[i] = static_cast<uint16>(first + i);
        for (const DType dtype : {DType::kF16, DType::kBF16}) {
            table().load_as(dtype, bits.data(), width(), out.data());
            for (uint32 i = 0; i < step; ++i) {
                const float exact =
                    dtype == DType::kF16 ? to_float(f16{bits[i]}) : to_float(bf16{bits[i]});
                if (std::isnan(exact)) {
                    EXPECT_TRUE(std::isnan(out[i])) << bits[i];
                } else {
                    EXPECT_EQ(std::memcmp(&out[i], &exact, 4), 0) << bits[i];
                }
            }
        }
    }
}

/// Bit patterns of all kinds, and both sides of every rounding boundary of one exponent.
std::vector<float> rounding_cases() {
    std::vector<uint32> bits;
    std::mt19937 generator(11);
    for (int i = 0; i < 100000; ++i) bits.push_back(static_cast<uint32>(generator()));
    for (uint32 i = 0; i < 1u << 12; ++i) {
        for (const uint32 base :
             {0x3F800000u, 0x38000000u, 0x33000000u, 0x477FE000u, 0x7F7FF000u}) {
            for (const uint32 offset : {0u, 0xFFFu, 0x1000u, 0x1001u, 0x7FFFu, 0x8000u, 0x8001u}) {
                bits.push_back(base + (i << 13) + offset);
            }
        }
    }
    std::vector<float> values(bits.size());
    std::memcpy(values.data(), bits.data(), 4 * bits.size());
    return values;
}

TEST_P(VecMemoryTest, StoresRoundAsTheConversionsOfCore) {
    std::vector<float> x = rounding_cases();
    const std::size_t n = lanes().size();
    x.resize(x.size() / n * n);
    std::vector<uint16> out(n);
    for (std::size_t at = 0; at < x.size(); at += n) {
        for (const DType dtype : {DType::kF16, DType::kBF16}) {
            table().store_as(dtype, out.data(), x.data() + at, width());
            for (std::size_t i = 0; i < n; ++i) {
                const float value = x[at + i];
                const uint16 expected =
                    dtype == DType::kF16 ? to_f16(value).bits : to_bf16(value).bits;
                if (std::isnan(value)) {
                    EXPECT_TRUE(
                        std::isnan(read_element(dtype, reinterpret_cast<std::byte*>(&out[i]))));
                } else {
                    ASSERT_EQ(out[i], expected) << value;
                }
            }
        }
    }
}

uint32 bits_of_lane(const std::vector<float>& lanes, std::size_t lane) {
    return bits_of_float(lanes[lane]);
}

TEST_P(VecMemoryTest, WordsHoldConsecutiveOrPairedElements) {
    const auto element = [](int i) { return static_cast<uint32>(0x4000 + 3 * i); };
    for (int n = 0; n <= 2 * width(); ++n) {
        const std::size_t bytes = 2 * static_cast<std::size_t>(n);
        std::byte* p = memory_.last(bytes, 0);
        for (int i = 0; i < n; ++i) {
            const auto value = static_cast<uint16>(element(i));
            std::memcpy(p + 2 * i, &value, 2);
        }
        const auto at = [&](int i) { return i < n ? element(i) : 0u; };
        std::vector<float> words = lanes();
        table().load_words16(p, n, words.data());
        for (int i = 0; i < width(); ++i) {
            EXPECT_EQ(bits_of_lane(words, static_cast<std::size_t>(i)), at(2 * i) | at(2 * i + 1)
                                                                                        << 16);
        }
        if (n > width()) continue;
        const GuardedMemory second;
        std::byte* q = second.last(bytes, 0x3C);
        std::vector<float> low = lanes(), both = lanes();
        table().low_bf16_words(p, n, low.data());
        table().interleave16(p, q, n, both.data());
        for (int i = 0; i < width(); ++i) {
            const auto lane = static_cast<std::size_t>(i);
            EXPECT_EQ(bits_of_lane(low, lane), at(i));
            EXPECT_EQ(bits_of_lane(both, lane), at(i) | (i < n ? 0x3C3C0000u : 0u));
        }
    }
}

/// Targets with bf16 dot products round denormals to zero in their pairs, as those products do.
TEST_P(VecMemoryTest, PairsRoundAndComeApartAgain) {
    const std::vector<float> values = rounding_cases();
    const std::size_t n = lanes().size();
    std::vector<float> x;
    for (const float value : values) {
        const bool tiny = std::abs(value) < std::numeric_limits<float>::min();
        if (!std::isnan(value) && !(table().bf16_dot && tiny)) x.push_back(value);
    }
    x.resize(x.size() / (2 * n) * 2 * n);
    const std::vector<float> y(x.rbegin(), x.rend());
    const auto rounded = [](float value) { return uint32{to_bf16(value).bits}; };

    const std::vector<float> pairs = apply(VecOp::kPairBf16, x, y);
    const std::vector<float> low = apply(VecOp::kLowBf16, pairs);
    const std::vector<float> high = apply(VecOp::kHighBf16, pairs);
    const std::vector<float> rows = apply(VecOp::kConcatBf16, x, y);
    for (std::size_t i = 0; i < x.size(); ++i) {
        ASSERT_EQ(bits_of_lane(pairs, i), rounded(x[i]) | rounded(y[i]) << 16)
            << x[i] << ' ' << y[i];
        ASSERT_EQ(bits_of_lane(low, i), rounded(x[i]) << 16);
        ASSERT_EQ(bits_of_lane(high, i), rounded(y[i]) << 16);
        // Word i % n of a vector pair holds elements 2 * (i % n) and the next of x's n, then y's n.
        const auto part = [&](std::size_t k) {
            return rounded(k < n ? x[i / n * n + k] : y[i / n * n + k - n]);
        };
        ASSERT_EQ(bits_of_lane(rows, i), part(2 * (i % n)) | part(2 * (i % n) + 1) << 16);
    }
    EXPECT_TRUE(std::isnan(apply_to(VecOp::kLowBf16, apply_to(VecOp::kPairBf16, kNaN, 1))));
    EXPECT_TRUE(std::isnan(apply_to(VecOp::kHighBf16, apply_to(VecOp::kPairBf16, 1, -kNaN))));
}

}  // namespace
}  // namespace fattn::cpu
