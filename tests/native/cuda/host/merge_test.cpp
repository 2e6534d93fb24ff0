// Merging partial results and measuring peaks on the virtual GPU through the C interface.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "core/float_ops.h"
#include "cuda/host/dense_on_device.h"

namespace fattn::cuda {
namespace {

constexpr int64 kParts = 3;
constexpr int64 kRows = 2 * 2 * 5;
constexpr int64 kDim = 40;  // more than a warp has lanes

/// Parts of shape [2, 2, 5, 40]; some rows are absent from some parts, row 4 from all.
struct MergeCase {
    std::vector<float> o[kParts];
    std::vector<float> lse[kParts];
    std::vector<float> out = std::vector<float>(kRows * kDim);
    std::vector<float> out_lse = std::vector<float>(kRows);

    MergeCase() {
        std::mt19937 random(3);
        std::normal_distribution<float> normal;
        for (int64 part = 0; part < kParts; ++part) {
            for (int64 n = 0; n < kRows * kDim; ++n) o[part].push_back(normal(random));
            for (int64 row = 0; row < kRows; ++row) {
                const bool absent = row == 4 || (row + part) % 5 == 0;
                lse[part].push_back(absent ? -kInfinity : 20 * normal(random));
            }
        }
    }
};

class MergeOnCuda : public DensePlanOnCuda {
  protected:
    fattn_status merge(fattn_device* device_of_run, int64 num_parts, const void* const* o_parts,
                       const float* const* lse_parts, void* out, float* lse) {
        fattn_merge_args args{};
        args.struct_size = sizeof(args);
        args.part.rank = 4;
        args.part.dtype = FATTN_DTYPE_F32;
        const int64 shape[] = {2, 2, 5, kDim};
        for (int axis = 0; axis < 4; ++axis) args.part.shape[axis] = shape[axis];
        args.part.strides[0] = 2 * 5 * kDim;
        args.part.strides[1] = 5 * kDim;
        args.part.strides[2] = kDim;
        args.part.strides[3] = 1;
        args.num_parts = num_parts;
        args.o_parts = o_parts;
        args.lse_parts = lse_parts;
        args.o = out;
        args.lse = lse;
        return fattn_merge(device_of_run, &args, nullptr);
    }
};

TEST_F(MergeOnCuda, GivesWhatTheCpuGives) {
    MergeCase c;
    const void* o_parts[kParts];
    const float* lse_parts[kParts];
    for (int64 part = 0; part < kParts; ++part) {
        o_parts[part] = c.o[part].data();
        lse_parts[part] = c.lse[part].data();
    }
    fattn_device* cpu = nullptr;
    ASSERT_TRUE(test::ok(fattn_device_cpu(&cpu)));
    const test::DeviceHandle held(cpu);
    ASSERT_TRUE(test::ok(merge(cpu, kParts, o_parts, lse_parts, c.out.data(), c.out_lse.data())));
    OnDevice memory(device);
    for (int64 part = 0; part < kParts; ++part) {
        o_parts[part] = memory.put_numbers(c.o[part]);
        lse_parts[part] = memory.put_numbers(c.lse[part]);
    }
    // In place: the first part's memory takes the results.
    auto* out = const_cast<void*>(o_parts[0]);
    auto* lse = const_cast<float*>(lse_parts[0]);
    ASSERT_TRUE(test::ok(merge(handle.get(), kParts, o_parts, lse_parts, out, lse)));
    std::vector<float> result(kRows * kDim), result_lse(kRows);
    memory.get_numbers(static_cast<const float*>(out), result);
    memory.get_numbers(lse, result_lse);
    for (std::size_t n = 0; n < result.size(); ++n) EXPECT_NEAR(result[n], c.out[n], 2e-6) << n;
    for (std::size_t n = 0; n < result_lse.size(); ++n) {
        if (std::isinf(c.out_lse[n])) {
            EXPECT_EQ(result_lse[n], c.out_lse[n]) << n;
        } else {
            EXPECT_NEAR(result_lse[n], c.out_lse[n], 1e-5) << n;
        }
    }
}

TEST_F(MergeOnCuda, RefusesMorePartsThanALaunchNames) {
    OnDevice memory(device);
    float* numbers = static_cast<float*>(memory.reserve(kRows * kDim * sizeof(float)));
    float* out = static_cast<float*>(memory.reserve(kRows * kDim * sizeof(float)));
    const std::vector<const void*> o_parts(225, numbers);
    const std::vector<const float*> lse_parts(225, numbers);
    EXPECT_EQ(merge(handle.get(), 225, o_parts.data(), lse_parts.data(), out, nullptr),
              FATTN_STATUS_UNSUPPORTED);
    EXPECT_NE(
        std::strstr(fattn_last_error(), "num_parts is 225; on CUDA one call merges up to 224"),
        nullptr)
        << fattn_last_error();
}

TEST_F(MergeOnCuda, PeaksAreMeasured) {
    for (const fattn_peak peak : {FATTN_PEAK_F32, FATTN_PEAK_BF16}) {
        double rate = 0;
        ASSERT_TRUE(test::ok(fattn_device_measure(handle.get(), peak, 0, 1e-6, &rate)));
        EXPECT_GT(rate, 0) << peak;
    }
}

}  // namespace
}  // namespace fattn::cuda
