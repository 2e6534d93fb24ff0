// The CPU backend: merging in blocks of rows, measuring, and the choice it was made with.
#include "cpu/backend.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

namespace fattn::cpu {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

Choice best_choice() {
    Choice choice;
    EXPECT_TRUE(choose_target(Target::kBest, &choice).ok());
    return choice;
}

TEST(Backend, MergeCoversEveryRowForAnyNumberOfThreads) {
    constexpr int64 kRows = 3 * 300 + 5;  // not a multiple of a block
    constexpr int64 kDim = 5;
    CpuBackend backend(best_choice(), 2);
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    std::vector<float> o[2], lse[2];
    for (int part = 0; part < 2; ++part) {
        for (int64 i = 0; i < kRows * kDim; ++i) o[part].push_back(normal(random));
        for (int64 i = 0; i < kRows; ++i) {
            lse[part].push_back((i + part) % 7 == 0 ? kMinusInfinity : 3 * normal(random));
        }
    }
    const void* o_parts[2] = {o[0].data(), o[1].data()};
    const float* lse_parts[2] = {lse[0].data(), lse[1].data()};
    std::vector<float> first;
    for (const int threads : {1, 2, 5}) {
        std::vector<float> out(kRows * kDim, NAN);
        std::vector<float> out_lse(kRows, NAN);
        MergeProblem problem{};
        problem.part = contiguous(1, 1, kRows, kDim, DType::kF32);
        problem.o = problem.part;
        problem.num_parts = 2;
        problem.o_parts = o_parts;
        problem.lse_parts = lse_parts;
        problem.out = out.data();
        problem.lse = out_lse.data();
        ASSERT_TRUE(backend.merge(problem, {.max_threads = threads}).ok());
        for (int64 row = 0; row < kRows; ++row) {
            const double a = lse[0][static_cast<std::size_t>(row)];
            const double b = lse[1][static_cast<std::size_t>(row)];
            const double expected = std::log(std::exp(a) + std::exp(b));
            EXPECT_NEAR(out_lse[static_cast<std::size_t>(row)], expected, 1e-5) << row;
            for (int64 d = 0; d < kDim; ++d) {
                const std::size_t i = static_cast<std::size_t>(row * kDim + d);
                EXPECT_NEAR(out[i],
                            std::exp(a - expected) * o[0][i] + std::exp(b - expected) * o[1][i],
                            1e-5);
            }
        }
        if (first.empty()) first = out;
        EXPECT_EQ(out, first) << threads;
    }
}

TEST(Backend, MeasuredPeaksArePlausible) {
    CpuBackend backend(best_choice(), 1);
    for (const Peak peak : {Peak::kF32, Peak::kBF16, Peak::kRead}) {
        double rate = 0;
        ASSERT_TRUE(backend.measure(peak, 1, 0.01, &rate).ok());
        EXPECT_GT(rate, 0.01) << static_cast<int>(peak);
        EXPECT_LT(rate, 1e5) << static_cast<int>(peak);
    }
}

}  // namespace
}  // namespace fattn::cpu
