// Random S2 problems over the product of all features, on every CPU target, against the
// double-precision reference.
#include <gtest/gtest.h>

#include "support/s2_case.h"
#include "support/sampling.h"

namespace fattn::test {
namespace {

constexpr int kS2SampledProblems = 100;
constexpr int kS2AllProblems = 5000;
constexpr int kS2MostFailures = 20;
constexpr int kS2Parts = 8;

/// Problems are dealt out to parts, which a runner may run side by side.
class S2Conformance : public testing::TestWithParam<int> {
  protected:
    void run_random_problems(bool backward) {
        const Sampling seeds = sampling(kS2SampledProblems, kS2AllProblems);
        for (int n = GetParam(); n < seeds.count; n += kS2Parts) {
            expect_near_truth(random_s2_spec(seeds.first_seed + static_cast<uint64>(n), backward));
            if (HasFatalFailure()) return;
            const testing::TestResult* result =
                testing::UnitTest::GetInstance()->current_test_info()->result();
            ASSERT_LT(result->total_part_count(), kS2MostFailures) << "stopped after problem " << n;
        }
    }
};

TEST_P(S2Conformance, RandomForwardProblemsAreNearTheReference) { run_random_problems(false); }

TEST_P(S2Conformance, RandomBackwardProblemsAreNearTheReference) { run_random_problems(true); }

INSTANTIATE_TEST_SUITE_P(Part, S2Conformance, testing::Range(0, kS2Parts));

}  // namespace
}  // namespace fattn::test
