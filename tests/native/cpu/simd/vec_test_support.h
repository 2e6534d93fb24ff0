// What the tests of the Vec vocabularies share: the fixture that runs every test once a target, and
// memory that ends where nothing may be touched. Included by the tests beside it.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "cpu/dispatch.h"
#include "cpu/simd/vec_table.h"

namespace fattn::cpu {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

struct VecTarget {
    Target target;
    const VecTable* table;
};

/// The vocabularies that this build holds.
inline std::vector<VecTarget> vec_targets() {
    return {
#if defined(FATTN_HAS_TARGET_SCALAR)
        {Target::kScalar, &kScalarVec},
#endif
#if defined(FATTN_HAS_TARGET_AVX2)
            {Target::kAvx2, &kAvx2Vec},
#endif
#if defined(FATTN_HAS_TARGET_AVX512)
            {Target::kAvx512, &kAvx512Vec},
#endif
#if defined(FATTN_HAS_TARGET_AVX512_BF16)
            {Target::kAvx512Bf16, &kAvx512Bf16Vec},
#endif
#if defined(FATTN_HAS_TARGET_NEON)
            {Target::kNeon, &kNeonVec},
#endif
    };
}

inline std::string vec_target_name(const testing::TestParamInfo<VecTarget>& info) {
    return target_name(info.param.target);
}

class VecTest : public testing::TestWithParam<VecTarget> {
  protected:
    void SetUp() override {
        const Target target = GetParam().target;
        if ((targets_available() >> static_cast<uint32>(target) & 1u) == 0) {
            GTEST_SKIP() << "this processor does not run " << target_name(target);
        }
    }

    const VecTable& table() const { return *GetParam().table; }
    int width() const { return table().width; }

    /// Results of one operation on any number of lanes; absent operands are zero.
    std::vector<float> apply(VecOp op, std::vector<float> a, std::vector<float> b = {},
                             std::vector<float> c = {}, std::vector<float> d = {}) const {
        const std::size_t count = a.size();
        const auto lanes = static_cast<std::size_t>(width());
        const std::size_t padded = (count + lanes - 1) / lanes * lanes;
        std::vector<float>* operands[] = {&a, &b, &c, &d};
        const float* in[4];
        for (int i = 0; i < 4; ++i) {
            operands[i]->resize(padded);
            in[i] = operands[i]->data();
        }
        std::vector<float> out(padded);
        table().apply(op, in, out.data(), static_cast<int64>(padded));
        out.resize(count);
        return out;
    }
    /// One operation on the same numbers in every lane.
    float apply_to(VecOp op, float a, float b = 0, float c = 0, float d = 0) const {
        const auto n = static_cast<std::size_t>(width());
        const std::vector<float> out = apply(op, std::vector<float>(n, a), std::vector<float>(n, b),
                                             std::vector<float>(n, c), std::vector<float>(n, d));
        for (const float lane : out) EXPECT_EQ(std::memcmp(&lane, &out[0], 4), 0);
        return out[0];
    }
};

/// Memory that ends at a page which may be neither read nor written.
class GuardedMemory {
  public:
    GuardedMemory()
        : page_(static_cast<std::size_t>(sysconf(_SC_PAGESIZE))),
          memory_(mmap(nullptr, 2 * page_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                       0)) {
        if (memory_ == MAP_FAILED || mprotect(end(), page_, PROT_NONE) != 0) {
            throw std::runtime_error("no guarded memory");
        }
    }
    ~GuardedMemory() { munmap(memory_, 2 * page_); }
    GuardedMemory(const GuardedMemory&) = delete;
    GuardedMemory& operator=(const GuardedMemory&) = delete;

    std::byte* end() const { return static_cast<std::byte*>(memory_) + page_; }

    /// The last count bytes, each set to the value.
    std::byte* last(std::size_t count, unsigned char value) const {
        std::memset(end() - count, value, count);
        return end() - count;
    }

  private:
    std::size_t page_;
    void* memory_;
};

/// Normal numbers of all signs and of magnitudes 2^low to 2^high.
inline std::vector<float> random_floats(std::size_t count, int low, int high, uint32 seed) {
    std::mt19937 generator(seed);
    std::uniform_real_distribution<float> exponent(static_cast<float>(low),
                                                   static_cast<float>(high));
    std::vector<float> values(count);
    for (float& value : values) {
        value = std::exp2(exponent(generator)) * ((generator() & 1u) != 0 ? -1.0F : 1.0F);
    }
    return values;
}

}  // namespace fattn::cpu
