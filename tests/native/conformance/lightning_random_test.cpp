// Linear attention over random problems against the reference, on every instruction set.
#include <gtest/gtest.h>

#include "support/lightning_truth.h"
#include "support/sampling.h"

namespace fattn::test {
namespace {

constexpr int kLightningSampledProblems = 140;
constexpr int kLightningAllProblems = 5000;
constexpr int kLightningMostFailures = 20;

void run_random_problems(bool backward) {
    const Sampling seeds = sampling(kLightningSampledProblems, kLightningAllProblems);
    for (int n = 0; n < seeds.count; ++n) {
        expect_near_truth(
            random_lightning_spec(seeds.first_seed + static_cast<uint64>(n), backward));
        const testing::TestResult* result =
            testing::UnitTest::GetInstance()->current_test_info()->result();
        ASSERT_LT(result->total_part_count(), kLightningMostFailures)
            << "stopped after " << n + 1 << " problems";
    }
}

TEST(LightningConformance, RandomForwardProblemsAreNearTheReference) { run_random_problems(false); }

TEST(LightningConformance, RandomBackwardProblemsAreNearTheReference) { run_random_problems(true); }

}  // namespace
}  // namespace fattn::test
