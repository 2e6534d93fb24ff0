// The choice of an instruction set: the best one, a forced one, and what is said when there is none
// such.
#include "cpu/dispatch.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

namespace fattn::cpu {
namespace {

constexpr Target kTargets[] = {Target::kScalar, Target::kAvx2, Target::kAvx512, Target::kAvx512Bf16,
                               Target::kNeon};

bool is_available(Target target) {
    return (targets_available() >> static_cast<uint32>(target) & 1u) != 0;
}

/// Sets FATTN_CPU_TARGET for the length of a scope.
class ScopedEnvironment {
  public:
    explicit ScopedEnvironment(const char* value) {
        const char* before = std::getenv(kName);
        had_ = before != nullptr;
        if (had_) before_ = before;
        setenv(kName, value, 1);
    }
    ~ScopedEnvironment() {
        if (had_) {
            setenv(kName, before_.c_str(), 1);
        } else {
            unsetenv(kName);
        }
    }

  private:
    static constexpr const char* kName = "FATTN_CPU_TARGET";
    bool had_;
    std::string before_;
};

TEST(Dispatch, AvailableTargetsAreBuiltOnes) {
    EXPECT_NE(targets_built(), 0u);
    EXPECT_EQ(targets_available() & ~targets_built(), 0u);
    EXPECT_TRUE(is_available(Target::kScalar));
}

TEST(Dispatch, DetectionAgreesWithTheCompilersOwn) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
    const bool avx512 =
        __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
        __builtin_cpu_supports("avx512dq") != 0 && __builtin_cpu_supports("avx512vl") != 0;
    const auto is_built = [](Target target) {
        return (targets_built() >> static_cast<uint32>(target) & 1u) != 0;
    };
    EXPECT_EQ(is_available(Target::kAvx2), avx2 && is_built(Target::kAvx2));
    EXPECT_EQ(is_available(Target::kAvx512), avx2 && avx512 && is_built(Target::kAvx512));
    EXPECT_EQ(is_available(Target::kAvx512Bf16), avx2 && avx512 &&
                                                     __builtin_cpu_supports("avx512bf16") != 0 &&
                                                     is_built(Target::kAvx512Bf16));
#else
    GTEST_SKIP() << "the compiler detects nothing on this processor architecture";
#endif
}

TEST(Dispatch, TheBestIsTheWidestAvailable) {
    const ScopedEnvironment environment("");
    Choice choice;
    ASSERT_TRUE(choose_target(Target::kBest, &choice).ok());
    EXPECT_TRUE(is_available(choice.target));
    for (const Target target : kTargets) {
        if (is_available(target)) {
            EXPECT_LE(target, choice.target);
        }
    }
    EXPECT_NE(choice.reason.find("widest instruction set"), std::string::npos) << choice.reason;
}

TEST(Dispatch, TheForcedTargetIsTheRunningOne) {
    for (const Target target : kTargets) {
        Choice asked;
        const Status by_option = choose_target(target, &asked);
        const ScopedEnvironment environment(target_name(target));
        Choice named;
        const Status by_environment = choose_target(Target::kBest, &named);
        if (!is_available(target)) {
            EXPECT_EQ(by_option.code(), StatusCode::kUnsupported);
            EXPECT_EQ(by_environment.code(), StatusCode::kUnsupported);
            EXPECT_NE(by_option.message().find(target_name(target)), std::string::npos);
            EXPECT_NE(by_option.message().find("allowed here: scalar"), std::string::npos)
                << by_option.message();
            EXPECT_NE(by_environment.message().find("FATTN_CPU_TARGET"), std::string::npos)
                << by_environment.message();
            continue;
        }
        ASSERT_TRUE(by_option.ok()) << by_option.message();
        ASSERT_TRUE(by_environment.ok()) << by_environment.message();
        EXPECT_EQ(asked.target, target);
        EXPECT_EQ(named.target, target);
        EXPECT_STREQ(asked.kernels->name, target_name(target));
        EXPECT_STREQ(named.kernels->name, target_name(target));
        EXPECT_EQ(asked.reason,
                  std::string(target_name(target)) + " was asked for by the device options");
        EXPECT_EQ(named.reason,
                  std::string(target_name(target)) + " was asked for by FATTN_CPU_TARGET");
    }
}

TEST(Dispatch, OptionsWinOverTheEnvironment) {
    const ScopedEnvironment environment("no such target");
    Choice choice;
    ASSERT_TRUE(choose_target(Target::kScalar, &choice).ok());
    EXPECT_EQ(choice.target, Target::kScalar);
}

TEST(Dispatch, AnUnknownNameIsAnErrorThatListsTheKnownOnes) {
    const ScopedEnvironment environment("sse9");
    Choice choice;
    const Status status = choose_target(Target::kBest, &choice);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(status.message().find(
                  "FATTN_CPU_TARGET is \"sse9\"; this machine and build allow best, scalar"),
              0u)
        << status.message();
}

TEST(Dispatch, TheProcessorHasAName) {
    const std::string name = processor_name();
    EXPECT_FALSE(name.empty());
    EXPECT_NE(name.front(), ' ');
    EXPECT_NE(name.back(), ' ');
}

}  // namespace
}  // namespace fattn::cpu
