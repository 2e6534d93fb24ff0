// Each check can be named off: the mistake that it finds passes without it, and no other check
// takes its place.
#include <gtest/gtest.h>

#include <stdexcept>

#include "test/pattern.h"

namespace fattn::vgpu::test {
namespace {

struct Mistake {
    const char* check;
    const char* body;
    Kind kind;
};

// Thread 0 of each makes its mistake; the result is the thread's number.
constexpr Mistake kMistakes[] = {
    {"bounds",
     "mov.u32 %d, %t; ld.global.b32 %r1, [%g+4096]; st.global.b32 [%g+4096], %t; "
     "ld.shared.b32 %r1, [word+400];",
     Kind::kOutOfBounds},
    {"alignment", "mov.u32 %d, %t; st.global.b32 [%g+2], 9; ld.global.b32 %r1, [%g+10];",
     Kind::kMisaligned},
    {"uninitialised",
     "mov.u32 %d, %t; setp.eq.u32 %p1, %r9, 0; @%p1 bra X; X:", Kind::kUninitialised},
    {"races", "mov.u32 %d, %t; mov.u32 %r1, word; st.shared.b32 [%r1], %t;", Kind::kRace},
    {"convergence",
     "mov.u32 %d, %t; setp.lt.u32 %p1, %t, 32; @!%p1 bra X; shfl.sync.idx.b32 %r1, %t, 0, 31, 1; "
     "X:",
     Kind::kDivergence},
    {"barriers",
     "mov.u32 %d, %t; mov.u32 %r1, word; setp.ne.u32 %p1, %t, 0; @%p1 bra X; "
     "mbarrier.init.shared.b64 [%r1], 1; mbarrier.init.shared.b64 [%r1], 2; X:",
     Kind::kBarrier},
    {"livelock",
     "mov.u32 %d, %t; mov.u32 %r1, 0; X: add.u32 %r1, %r1, 1; setp.lt.u32 %p1, %r1, 40000; "
     "@%p1 bra X;",
     Kind::kLivelock},
};

std::optional<Fault> make(const Mistake& mistake, const std::string& checks, bool compare) {
    const Pattern pattern = {
        mistake.check, "sm_80", ".shared .align 8 .b8 word[16];",       mistake.body,
        {1},           {64},    [](uint32_t, uint32_t t) { return t; }, {}};
    LaunchOptions options;
    options.checks = parse_checks(checks);
    options.livelock_instructions = 2'000;
    return run(pattern, mistake.body, options, compare);
}

TEST(Checks, EachIsNamedOff) {
    for (const Mistake& mistake : kMistakes) {
        const auto found = make(mistake, "all", false);
        ASSERT_TRUE(found) << mistake.check;
        EXPECT_EQ(found->kind, mistake.kind) << mistake.check << ": " << found->text();
        const auto passed = make(mistake, std::string("-") + mistake.check, true);
        EXPECT_FALSE(passed) << mistake.check << ": " << passed->text();
        const auto alone = make(mistake, mistake.check, false);
        ASSERT_TRUE(alone) << mistake.check;
        EXPECT_EQ(alone->kind, mistake.kind) << mistake.check << ": " << alone->text();
    }
}

TEST(Checks, LimitsOfABlockAreNamedOff) {
    Memory memory;
    const Pattern pattern = {"limits", "sm_80", "", "", {1}, {32}, nullptr, {}};
    Kernel kernel(memory, text_of(pattern, "mov.u32 %d, %t;"));
    const uint64_t out = memory.allocate(32 * 4);
    const Arguments arguments = Arguments().add(uint64_t{0}).add(out);
    LaunchOptions options;
    const auto refused = kernel.run(memory, {1}, {32}, arguments, 400'000, options);
    ASSERT_TRUE(refused.fault);
    EXPECT_EQ(refused.fault->kind, Kind::kLaunch);
    options.checks = parse_checks("-limits");
    const auto ran = kernel.run(memory, {1}, {32}, arguments, 400'000, options);
    EXPECT_FALSE(ran.fault) << ran.fault->text();
}

TEST(Checks, AreListedByName) {
    const Checks none = parse_checks("none");
    EXPECT_FALSE(none.bounds || none.alignment || none.uninitialised || none.races || none.wgmma ||
                 none.convergence || none.barriers || none.livelock || none.limits || none.strict);
    const Checks two = parse_checks("races,wgmma");
    EXPECT_TRUE(two.races && two.wgmma);
    EXPECT_FALSE(two.bounds || two.livelock);
    const Checks strict = parse_checks("-races,strict");
    EXPECT_TRUE(strict.strict && strict.bounds && !strict.races);
    EXPECT_THROW(parse_checks("speed"), std::invalid_argument);
}

}  // namespace
}  // namespace fattn::vgpu::test
