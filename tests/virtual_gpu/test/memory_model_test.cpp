// Patterns of threads that work together: as they should be nothing is reported and results are
// right, whatever the seed and whenever copies arrive; with one fence, wait, arrival or barrier
// removed something is.
#include <gtest/gtest.h>

#include "test/pattern.h"

namespace fattn::vgpu::test {
namespace {

// Warp 0 fills two slots in turn, warp 1 empties them, six times; each phase has a parity.
TEST(MemoryModel, RingOfMbarriersWithParity) {
    check({"ring",
           "sm_80",
           ".shared .align 8 .b8 bars[32]; .shared .align 4 .b8 slots[256];",
           R"(
    mov.u32 %r1, bars; mov.u32 %r2, slots;
    setp.ne.u32 %p1, %t, 0;
    @%p1 bra READY;
    mbarrier.init.shared.b64 [%r1], 32; mbarrier.init.shared.b64 [%r1+8], 32;
    mbarrier.init.shared.b64 [%r1+16], 32; mbarrier.init.shared.b64 [%r1+24], 32;
READY:
    bar.sync 0;
    mov.u32 %i, 0; setp.ge.u32 %p2, %t, 32;
ROUND:
    and.b32 %r3, %i, 1; shr.u32 %r4, %i, 1; and.b32 %r4, %r4, 1;
    shl.b32 %r5, %r3, 3; add.u32 %r5, %r1, %r5;
    and.b32 %r6, %t, 31; shl.b32 %r6, %r6, 2; shl.b32 %r7, %r3, 7; add.u32 %r6, %r6, %r7;
    add.u32 %r6, %r6, %r2;
    @%p2 bra CONSUMER;
    xor.b32 %r8, %r4, 1;
EMPTY:
    mbarrier.test_wait.parity.shared.b64 %p3, [%r5+16], %r8; @!%p3 bra EMPTY;
    mad.lo.u32 %r9, %i, 100, %t;
    st.shared.b32 [%r6], %r9;
    mbarrier.arrive.shared.b64 _, [%r5];
    bra NEXT;
CONSUMER:
FULL:
    mbarrier.test_wait.parity.shared.b64 %p4, [%r5], %r4; @!%p4 bra FULL;
    ld.shared.b32 %r9, [%r6];
    mbarrier.arrive.shared.b64 _, [%r5+16];
    add.u32 %d, %d, %r9;
NEXT:
    add.u32 %i, %i, 1; setp.lt.u32 %p5, %i, 6; @%p5 bra ROUND;
)",
           {1},
           {64},
           [](uint32_t, uint32_t t) { return t < 32 ? 0 : 1500 + 6 * (t - 32); },
           {{"@!%p3 bra EMPTY;", {Kind::kRace, Kind::kLivelock}},
            {"@!%p4 bra FULL;", {Kind::kRace, Kind::kUninitialised, Kind::kLivelock}},
            {"mbarrier.arrive.shared.b64 _, [%r5];", {Kind::kLivelock, Kind::kDeadlock}},
            {"mbarrier.arrive.shared.b64 _, [%r5+16];", {Kind::kLivelock, Kind::kDeadlock}},
            {"bar.sync 0;", {Kind::kBarrier, Kind::kRace}}}});
}

// Warp 0 hands a word to warp 1 and takes it back, three times; the handing side does not wait.
TEST(MemoryModel, NamedBarriersWithArrive) {
    check({"ping-pong",
           "sm_80",
           ".shared .align 4 .b8 words[128];",
           R"(
    mov.u32 %r1, words; and.b32 %r2, %t, 31; shl.b32 %r2, %r2, 2; add.u32 %r1, %r1, %r2;
    mov.u32 %i, 0; setp.ge.u32 %p1, %t, 32;
ROUND:
    @%p1 bra OTHER;
    mad.lo.u32 %r3, %i, 7, %t; st.shared.b32 [%r1], %r3;
    bar.arrive 1, 64;
    bar.sync 2, 64;
    bra NEXT;
OTHER:
    bar.sync 1, 64;
    ld.shared.b32 %r3, [%r1]; add.u32 %d, %d, %r3;
    bar.arrive 2, 64;
NEXT:
    add.u32 %i, %i, 1; setp.lt.u32 %p2, %i, 3; @%p2 bra ROUND;
)",
           {1},
           {64},
           [](uint32_t, uint32_t t) { return t < 32 ? 0 : 21 + 3 * (t - 32); },
           {{"bar.sync 1, 64;", {Kind::kRace, Kind::kBarrier, Kind::kUninitialised}},
            {"bar.sync 2, 64;", {Kind::kRace, Kind::kBarrier}},
            {"bar.arrive 1, 64;", {Kind::kDeadlock, Kind::kBarrier}},
            {"bar.arrive 2, 64;", {Kind::kDeadlock, Kind::kBarrier, Kind::kRace}}}});
}

// Shuffles move registers and order no memory.
TEST(MemoryModel, LanesOfAWarp) {
    check({"lane 0 writes",
           "sm_80",
           ".shared .align 4 .b32 word;",
           R"(
    mov.u32 %r1, word; setp.eq.u32 %p1, %t, 0;
    @%p1 st.shared.b32 [%r1], 77;
    bar.warp.sync -1;
    ld.shared.b32 %d, [%r1];
)",
           {1},
           {32},
           [](uint32_t, uint32_t) { return 77u; },
           {{"bar.warp.sync -1;", {Kind::kRace}},
            {"bar.warp.sync -1;=>shfl.sync.idx.b32 %r2, %t, 0, 31, -1;", {Kind::kRace}},
            {"bar.warp.sync -1;=>vote.sync.any.pred %p2, %p1, -1;", {Kind::kRace}}}});
    check({"reduction by shuffles",
           "sm_80",
           "",
           R"(
    mov.u32 %d, %t;
    shfl.sync.bfly.b32 %r1, %d, 16, 31, -1; add.u32 %d, %d, %r1;
    shfl.sync.bfly.b32 %r1, %d, 8, 31, -1; add.u32 %d, %d, %r1;
    shfl.sync.bfly.b32 %r1, %d, 4, 31, -1; add.u32 %d, %d, %r1;
    shfl.sync.bfly.b32 %r1, %d, 2, 31, -1; add.u32 %d, %d, %r1;
    shfl.sync.bfly.b32 %r1, %d, 1, 31, -1; add.u32 %d, %d, %r1;
)",
           {1},
           {32},
           [](uint32_t, uint32_t) { return 496u; },
           {{"31, -1; add=>31, 0xffff; add", {Kind::kDivergence}}}});
}

// Tiles of 512 bytes arrive in two buffers while the other one is read by all threads.
TEST(MemoryModel, RingOfAsynchronousCopies) {
    check({"cp.async",
           "sm_80",
           ".shared .align 16 .b8 tiles[1024];",
           R"(
    shl.b32 %r1, %t, 4; mov.u32 %r2, tiles; add.u32 %r3, %r2, %r1; cvt.u64.u32 %u1, %r1;
    add.u64 %u2, %g, %u1; sub.u32 %r6, 496, %r1;
    setp.lt.u32 %p1, %t, 32;
    cp.async.cg.shared.global [%r3], [%u2], 16; cp.async.commit_group;
    mov.u32 %i, 0;
ROUND:
    add.u32 %r4, %i, 1; and.b32 %r4, %r4, 1; shl.b32 %r4, %r4, 9; add.u32 %r4, %r4, %r3;
    cp.async.cg.shared.global [%r4], [%u2+512], 16; cp.async.commit_group;
    cp.async.wait_group 1;
    bar.sync 0;
    and.b32 %r5, %i, 1; shl.b32 %r5, %r5, 9; add.u32 %r5, %r5, %r2; add.u32 %r5, %r5, %r6;
    ld.shared.b32 %r7, [%r5]; add.u32 %d, %d, %r7;
    bar.sync 1;
    add.u32 %i, %i, 1; setp.lt.u32 %p2, %i, 4; @%p2 bra ROUND;
    cp.async.wait_all;
)",
           {1},
           {32},
           [](uint32_t, uint32_t) { return 0u; },
           {{"cp.async.wait_group 1;", {Kind::kInFlight}},
            {"cp.async.wait_group 1;=>cp.async.wait_group 2;", {Kind::kInFlight}},
            {"bar.sync 0;", {Kind::kRace, Kind::kInFlight}},
            {"bar.sync 1;", {Kind::kRace}}}});
}

// Blocks take numbers from a counter until they are over, and tell all threads through shared
// memory.
TEST(MemoryModel, CounterOfTiles) {
    check({"counter",
           "sm_80",
           ".shared .align 4 .b32 tile;",
           R"(
    mov.u32 %r1, tile; setp.ne.u32 %p1, %t, 0;
TAKE:
    @%p1 bra TOLD;
    atom.global.add.u32 %r2, [%g], 1;
    st.shared.b32 [%r1], %r2;
TOLD:
    bar.sync 0;
    ld.shared.b32 %r3, [%r1];
    bar.sync 1;
    setp.ge.u32 %p2, %r3, 9; @%p2 bra OVER;
    mul.wide.u32 %u1, %r3, 4; add.u64 %u1, %u1, %g;
    @!%p1 red.global.add.u32 [%u1+4], 1;
    bra TAKE;
OVER:
    mov.u32 %d, 5;
)",
           {3},
           {64},
           [](uint32_t, uint32_t) { return 5u; },
           {{"bar.sync 0;", {Kind::kRace, Kind::kUninitialised}}, {"bar.sync 1;", {Kind::kRace}}}});
}

TEST(MemoryModel, StoresOfOneValue) {
    const Pattern same = {"same value",
                          "sm_80",
                          ".shared .align 4 .b32 word;",
                          R"(
    mov.u32 %r1, word; mov.u32 %r2, 6;
    st.shared.b32 [%r1], %r2;
    bar.sync 0;
    ld.shared.b32 %d, [%r1];
)",
                          {1},
                          {64},
                          [](uint32_t, uint32_t) { return 6u; },
                          {{"mov.u32 %r2, 6;=>mov.u32 %r2, %t;", {Kind::kRace}}}};
    check(same);
    LaunchOptions strict;
    strict.checks.strict = true;
    const auto fault = run(same, same.body, strict, false);
    ASSERT_TRUE(fault);
    EXPECT_EQ(fault->kind, Kind::kRace);
}

// Block 0 writes and raises a flag; the others see it and read. The fences stand between the
// barrier and the flag on both sides.
TEST(MemoryModel, FlagBetweenBlocks) {
    const auto expected = [](uint32_t block, uint32_t t) { return block == 0 ? 0 : 3 * (63 - t); };
    const std::vector<Removal> removals = {{"bar.sync 0;", {Kind::kRace, Kind::kLivelock}},
                                           {"bar.sync 1;", {Kind::kRace}}};
    const char* const body = R"(
    mul.wide.u32 %u1, %t, 4; add.u64 %u1, %u1, %g;
    setp.ne.u32 %p1, %t, 0; setp.ne.u32 %p2, %c, 0;
    @%p2 bra READER;
    mul.lo.u32 %r1, %t, 3; st.global.b32 [%u1+64], %r1;
    bar.sync 0;
    @%p1 bra DONE;
    RELEASE
    bra DONE;
READER:
    @%p1 bra SEEN;
SPIN:
    ACQUIRE
    setp.eq.u32 %p3, %r2, 0; @%p3 bra SPIN;
    AFTER
SEEN:
    bar.sync 1;
    sub.u32 %r3, 63, %t; mul.wide.u32 %u2, %r3, 4; add.u64 %u2, %u2, %g;
    ld.global.b32 %d, [%u2+64];
DONE:
)";
    const struct {
        const char* name;
        const char* release;
        const char* acquire;
        const char* after;
        std::vector<Removal> removals;
    } forms[] = {
        {"volatile and fences",
         "membar.gl; st.volatile.global.b32 [%g], 1;",
         "ld.volatile.global.b32 %r2, [%g];",
         "membar.gl ;",
         {{"membar.gl; st=>st", {Kind::kRace}},
          {"membar.gl ;", {Kind::kRace}},
          {"membar.gl ;=>membar.cta;", {Kind::kRace}}}},
        {"release and acquire",
         "st.release.gpu.global.b32 [%g], 1;",
         "ld.acquire.gpu.global.b32 %r2, [%g];",
         "",
         {{"st.release.gpu=>st.relaxed.gpu", {Kind::kRace}},
          {"ld.acquire.gpu=>ld.relaxed.gpu", {Kind::kRace}},
          {"st.release.gpu=>st.release.cta", {Kind::kRace}}}},
        {"atomics",
         "fence.acq_rel.gpu; red.relaxed.gpu.global.add.u32 [%g], 1;",
         "atom.acquire.gpu.global.or.b32 %r2, [%g], 0;",
         "",
         {{"fence.acq_rel.gpu;", {Kind::kRace}},
          {"atom.acquire.gpu=>atom.relaxed.gpu", {Kind::kRace}}}},
    };
    for (const auto& form : forms) {
        std::string text = without(body, std::string("RELEASE=>") + form.release);
        text = without(text, std::string("ACQUIRE=>") + form.acquire);
        text = without(text, std::string("AFTER=>") + form.after);
        Pattern pattern = {form.name, "sm_80", "", text.c_str(), {3}, {64}, expected, removals};
        pattern.removals.insert(pattern.removals.end(), form.removals.begin(), form.removals.end());
        check(pattern);
    }
}

// The block that comes last adds up what all have written.
TEST(MemoryModel, LastBlockByTicket) {
    check({"ticket",
           "sm_80",
           ".shared .align 4 .b32 last;",
           R"(
    mul.wide.u32 %u1, %r0, 4; add.u64 %u1, %u1, %g;
    add.u32 %r1, %r0, 1; st.global.b32 [%u1+64], %r1;
    mov.u32 %r2, last; setp.ne.u32 %p1, %t, 0;
    bar.sync 0;
    @%p1 bra TOLD;
    membar.gl;
    atom.global.add.u32 %r3, [%g], 1;
    membar.gl ;
    st.shared.b32 [%r2], %r3;
TOLD:
    bar.sync 1;
    ld.shared.b32 %r3, [%r2];
    setp.ne.u32 %p2, %r3, 2; @%p2 bra DONE;
    mov.u32 %i, 0;
NEXT:
    mad.lo.u32 %r4, %i, 32, %t; mul.wide.u32 %u1, %r4, 4; add.u64 %u1, %u1, %g;
    ld.global.b32 %r5, [%u1+64]; add.u32 %r6, %r6, %r5;
    add.u32 %i, %i, 1; setp.lt.u32 %p3, %i, 3; @%p3 bra NEXT;
DONE:
)",
           {3},
           {32},
           [](uint32_t, uint32_t) { return 0u; },
           {{"bar.sync 0;", {Kind::kRace}},
            {"membar.gl;", {Kind::kRace}},
            {"membar.gl ;", {Kind::kRace}},
            {"bar.sync 1;", {Kind::kRace, Kind::kUninitialised}}}});
}

// One lane waits for another of its warp, in shared memory.
TEST(MemoryModel, SpinOfOneLane) {
    check({"spin",
           "sm_80",
           ".shared .align 4 .b8 words[8];",
           R"(
    mov.u32 %r1, words; setp.eq.u32 %p1, %t, 0; setp.eq.u32 %p2, %t, 9;
    @%p1 st.shared.b32 [%r1], 0;
    bar.warp.sync -1;
    @%p1 bra SPIN; @%p2 bra SET; bra DONE;
SPIN:
    ld.volatile.shared.b32 %r2, [%r1];
    setp.eq.u32 %p3, %r2, 0; @%p3 bra SPIN;
    membar.cta ;
    ld.shared.b32 %d, [%r1+4];
    bra DONE;
SET:
    st.shared.b32 [%r1+4], 21;
    membar.cta;
    st.volatile.shared.b32 [%r1], 1;
DONE:
)",
           {1},
           {32},
           [](uint32_t, uint32_t t) { return t == 0 ? 21u : 0u; },
           {{"st.volatile.shared.b32 [%r1], 1;", {Kind::kLivelock, Kind::kDeadlock}},
            {"membar.cta;", {Kind::kRace}},
            {"membar.cta ;", {Kind::kRace}}}});
}

TEST(MemoryModel, AtomicsAloneOrderNothing) {
    check({"atomics order nothing",
           "sm_80",
           "",
           R"(
    setp.ne.u32 %p1, %t, 0; @%p1 bra DONE;
    setp.ne.u32 %p2, %c, 0; @%p2 bra READER;
    st.relaxed.gpu.global.b32 [%g+64], 8;
    atom.global.exch.b32 %r1, [%g], 1;
    bra DONE;
READER:
    atom.global.or.b32 %r1, [%g], 0; setp.eq.u32 %p3, %r1, 0; @%p3 bra READER;
    ld.relaxed.gpu.global.b32 %r2, [%g+64];
DONE:
)",
           {2},
           {32},
           [](uint32_t, uint32_t) { return 0u; },
           {{"st.relaxed.gpu=>st", {Kind::kRace}}, {"ld.relaxed.gpu=>ld", {Kind::kRace}}}});
}

TEST(MemoryModel, NonCoherentLoadsOfWhatTheGridWrites) {
    check({"ld.nc",
           "sm_80",
           "",
           R"(
    mul.wide.u32 %u1, %t, 4; add.u64 %u1, %u1, %g;
    st.global.b32 [%u1], %t;
    bar.sync 0;
    ld.global.b32 %d, [%u1];
)",
           {1},
           {32},
           [](uint32_t, uint32_t t) { return t; },
           {{"ld.global.b32=>ld.global.nc.b32", {Kind::kRace}}}});
}

TEST(MemoryModel, UndefinedValuesAreReportedWhereTheyAreUsed) {
    check({"undefined",
           "sm_80",
           ".shared .align 4 .b8 words[128];",
           R"(
    mov.u32 %r1, words; shl.b32 %r2, %t, 2; add.u32 %r1, %r1, %r2;
    st.shared.b32 [%r1], %t;
    ld.shared.b32 %r3, [%r1];
    add.u32 %r4, %r3, 1;
    mov.u32 %d, %r4;
)",
           {1},
           {32},
           [](uint32_t, uint32_t t) { return t + 1; },
           {{"st.shared.b32 [%r1], %t;", {Kind::kUninitialised}},
            {"mov.u32 %r1, words;", {Kind::kUninitialised}},
            {"ld.shared.b32 %r3, [%r1];", {Kind::kUninitialised}}}});
    // Copies and sums of undefined values that nobody uses are nothing.
    check({"not used",
           "sm_80",
           ".shared .align 4 .b8 words[128];",
           R"(
    mov.u32 %r1, words; ld.shared.b32 %r3, [%r1]; add.u32 %r4, %r3, %r5; mov.u32 %r6, %r4;
    mov.u32 %d, %t;
)",
           {1},
           {32},
           [](uint32_t, uint32_t t) { return t; },
           {{"mov.u32 %d, %t;=>mov.u32 %d, %r6;", {Kind::kUninitialised}},
            {"mov.u32 %d, %t;=>mov.u32 %d, %t; setp.eq.u32 %p1, %r6, 0; @%p1 bra X; X:",
             {Kind::kUninitialised}},
            {"mov.u32 %d, %t;=>ld.shared.b32 %d, [%r6];", {Kind::kUninitialised}}}});
}

TEST(MemoryModel, AccessesOutsideOrAskew) {
    check({"inside",
           "sm_80",
           ".shared .align 4 .b8 words[128];",
           R"(
    mul.wide.u32 %u1, %t, 4; add.u64 %u1, %u1, %g;
    st.global.b32 [%u1+896], %t;
    mov.u32 %r1, words; shl.b32 %r2, %t, 2; add.u32 %r1, %r1, %r2; st.shared.b32 [%r1+0], %t;
    ld.shared.b32 %d, [%r1];
)",
           {1},
           {32},
           [](uint32_t, uint32_t t) { return t; },
           {{"%u1+896=>%u1+900", {Kind::kOutOfBounds}},
            {"%u1+896=>%u1+-4", {Kind::kOutOfBounds}},
            {"%u1+896=>%u1+2", {Kind::kMisaligned}},
            {"%r1+0=>%r1+4", {Kind::kOutOfBounds}},
            {"%r1+0=>%r1+1", {Kind::kMisaligned}}}});
}

}  // namespace
}  // namespace fattn::vgpu::test
