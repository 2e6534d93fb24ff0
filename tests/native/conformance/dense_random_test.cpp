// Random dense problems over the product of all features, on every CPU target, against the
// double-precision reference.
#include <gtest/gtest.h>

#include "support/dense_truth.h"
#include "support/random_dense.h"
#include "support/sampling.h"

namespace fattn::test {
namespace {

constexpr int kSampledProblems = 140;
constexpr int kAllProblems = 5000;
constexpr int kMostFailures = 20;
constexpr int kParts = 8;

/// Problems are dealt out to parts, which a runner may run side by side.
class DenseConformance : public testing::TestWithParam<int> {
  protected:
    void run_random_problems(bool backward) {
        const Sampling seeds = sampling(kSampledProblems, kAllProblems);
        for (int n = GetParam(); n < seeds.count; n += kParts) {
            expect_near_truth(
                random_dense_spec(seeds.first_seed + static_cast<uint64>(n), backward));
            if (HasFatalFailure()) return;
            const testing::TestResult* result =
                testing::UnitTest::GetInstance()->current_test_info()->result();
            ASSERT_LT(result->total_part_count(), kMostFailures) << "stopped after problem " << n;
        }
    }
};

TEST_P(DenseConformance, RandomForwardProblemsAreNearTheReference) { run_random_problems(false); }

TEST_P(DenseConformance, RandomBackwardProblemsAreNearTheReference) { run_random_problems(true); }

INSTANTIATE_TEST_SUITE_P(Part, DenseConformance, testing::Range(0, kParts));

}  // namespace
}  // namespace fattn::test
