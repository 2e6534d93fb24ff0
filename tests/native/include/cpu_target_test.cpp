// Which instruction set the shipped library chooses, and that every one it offers computes the same
// attention. The older processors leg runs this program under emulation and names the expected
// choice in FATTN_EXPECT_CPU_TARGET.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "fused_attention/fused_attention.h"

namespace {

constexpr const char* kTargetNames[] = {"best", "scalar", "avx2", "avx512", "avx512_bf16", "neon"};
constexpr int64_t kHeads = 2, kTokens = 70, kHeadDim = 40;
constexpr int64_t kElements = kHeads * kTokens * kHeadDim;

fattn_layout contiguous() {
    return {{1, kHeads, kTokens, kHeadDim},
            {kElements, kTokens * kHeadDim, kHeadDim, 1},
            FATTN_DTYPE_F32,
            4};
}

/// Values in [-1, 1] from a fixed sequence.
std::vector<float> random_values(uint32_t seed) {
    std::vector<float> values(kElements);
    for (float& value : values) {
        seed = seed * 1664525u + 1013904223u;
        value = static_cast<float>(seed >> 8) / static_cast<float>(1u << 23) - 1.0f;
    }
    return values;
}

/// Causal attention of every head in double precision.
std::vector<double> expected_output(const std::vector<float>& q, const std::vector<float>& k,
                                    const std::vector<float>& v) {
    std::vector<double> out(kElements, 0.0);
    for (int64_t head = 0; head < kHeads; ++head) {
        for (int64_t row = 0; row < kTokens; ++row) {
            const int64_t q_at = (head * kTokens + row) * kHeadDim;
            double sum = 0.0;
            for (int64_t key = 0; key <= row; ++key) {
                const int64_t k_at = (head * kTokens + key) * kHeadDim;
                double dot = 0.0;
                for (int64_t d = 0; d < kHeadDim; ++d) {
                    dot += double{q[q_at + d]} * double{k[k_at + d]};
                }
                const double weight = std::exp(dot / std::sqrt(double{kHeadDim}));
                sum += weight;
                for (int64_t d = 0; d < kHeadDim; ++d) {
                    out[q_at + d] += weight * double{v[k_at + d]};
                }
            }
            for (int64_t d = 0; d < kHeadDim; ++d) {
                out[q_at + d] /= sum;
            }
        }
    }
    return out;
}

fattn_device_description describe(fattn_device* device) {
    fattn_device_description description{};
    description.struct_size = sizeof description;
    EXPECT_EQ(fattn_device_info(device, &description), FATTN_STATUS_OK) << fattn_last_error();
    return description;
}

/// Runs one causal forward on the device and compares it with the double-precision result.
void expect_correct_forward(fattn_device* device) {
    fattn_dense_problem problem{};
    problem.struct_size = sizeof problem;
    problem.flags = FATTN_DENSE_CAUSAL;
    problem.q = problem.k = problem.v = contiguous();
    fattn_plan* plan = nullptr;
    ASSERT_EQ(fattn_dense_plan(device, &problem, &plan), FATTN_STATUS_OK) << fattn_last_error();

    const std::vector<float> q = random_values(1), k = random_values(2), v = random_values(3);
    std::vector<float> out(kElements);
    fattn_dense_forward_args args{};
    args.struct_size = sizeof args;
    args.q = q.data();
    args.k = k.data();
    args.v = v.data();
    args.o = out.data();
    EXPECT_EQ(fattn_dense_forward(plan, &args, nullptr), FATTN_STATUS_OK) << fattn_last_error();
    fattn_plan_release(plan);

    const std::vector<double> expected = expected_output(q, k, v);
    for (size_t i = 0; i < expected.size(); ++i) {
        ASSERT_NEAR(double{out[i]}, expected[i], 2e-5) << "element " << i;
    }
}

}  // namespace

TEST(CpuTarget, DefaultIsTheExpectedOneAndComputes) {
    fattn_device* device = nullptr;
    ASSERT_EQ(fattn_device_cpu(&device), FATTN_STATUS_OK) << fattn_last_error();
    const fattn_device_description description = describe(device);
    ASSERT_LT(description.cpu_target, std::size(kTargetNames));
    EXPECT_NE(description.cpu_targets_available & (1u << description.cpu_target), 0u);
    if (const char* expected = std::getenv("FATTN_EXPECT_CPU_TARGET")) {
        EXPECT_EQ(std::string(kTargetNames[description.cpu_target]), expected)
            << description.reason;
    }
    expect_correct_forward(device);
    fattn_device_release(device);
}

TEST(CpuTarget, EveryAvailableOneRunsWhenForced) {
    fattn_device* best = nullptr;
    ASSERT_EQ(fattn_device_cpu(&best), FATTN_STATUS_OK) << fattn_last_error();
    const uint32_t available = describe(best).cpu_targets_available;
    fattn_device_release(best);
    ASSERT_NE(available & (1u << FATTN_CPU_TARGET_SCALAR), 0u);

    for (uint32_t target = 1; target < std::size(kTargetNames); ++target) {
        fattn_device_options options{};
        options.struct_size = sizeof options;
        options.cpu_target = target;
        fattn_device* device = nullptr;
        const fattn_status status = fattn_device_open(FATTN_DEVICE_KIND_CPU, 0, &options, &device);
        if ((available & (1u << target)) == 0) {
            EXPECT_NE(status, FATTN_STATUS_OK) << kTargetNames[target] << " is not available here";
            continue;
        }
        ASSERT_EQ(status, FATTN_STATUS_OK) << fattn_last_error();
        SCOPED_TRACE(kTargetNames[target]);
        EXPECT_EQ(describe(device).cpu_target, target);
        expect_correct_forward(device);
        fattn_device_release(device);
    }
}
