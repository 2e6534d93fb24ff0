// Rules of the memory model one by one: each as a pattern that stays silent and, with a part of it
// removed or replaced, does not.
#include <gtest/gtest.h>

#include "test/pattern.h"

namespace fattn::vgpu::test {
namespace {

// Strong accesses of two blocks need scopes that hold both.
TEST(Rules, ScopesThatIncludeEachOther) {
    check({"atomics of two blocks",
           "sm_90",
           "",
           "red.relaxed.gpu.global.add.u32 [%g], 1;",
           {2},
           {1},
           [](uint32_t, uint32_t) { return 0u; },
           {{"relaxed.gpu=>relaxed.cta", {Kind::kRace}}}});
    check({"atomics of a cluster",
           "sm_90",
           "",
           "red.relaxed.cluster.global.add.u32 [%g], 1;",
           {2},
           {1},
           [](uint32_t, uint32_t) { return 0u; },
           {{"relaxed.cluster=>relaxed.cta", {Kind::kRace}}},
           {2}});
    check({"atomics of two warps",
           "sm_90",
           "",
           "red.relaxed.cta.global.add.u32 [%g], 1;",
           {1},
           {64},
           [](uint32_t, uint32_t) { return 0u; },
           {{"red.relaxed.cta.global.add.u32 [%g], 1;=>st.global.b32 [%g], %t;", {Kind::kRace}}}});
    check({"a strong load and a strong store of two blocks",
           "sm_90",
           "",
           "setp.eq.u32 %p1, %c, 0; @%p1 st.relaxed.gpu.global.b32 [%g], 1; @!%p1 "
           "ld.relaxed.gpu.global.b32 %r1, [%g];",
           {2},
           {1},
           [](uint32_t, uint32_t) { return 0u; },
           {{"st.relaxed.gpu=>st.relaxed.cta", {Kind::kRace}},
            {"ld.relaxed.gpu=>ld.relaxed.cta", {Kind::kRace}}}});
}

TEST(Rules, BulkReductionsOfOneOperationMayMeet) {
    check({"bulk reductions",
           "sm_90",
           ".shared .align 16 .b8 row[128];",
           R"(
    mov.u32 %r1, row; shl.b32 %r2, %t, 2; add.u32 %r2, %r2, %r1; setp.ne.u32 %p1, %t, 0;
    setp.eq.u32 %p2, %c, 0;
    add.u32 %r3, %t, %c; st.shared.b32 [%r2], %r3; fence.proxy.async.shared::cta;
    bar.sync 0;
    @%p1 bra END;
    @%p2 cp.reduce.async.bulk.global.shared::cta.bulk_group.add.u32 [%g], [%r1], 128;
    @!%p2 cp.reduce.async.bulk.global.shared::cta.bulk_group.add.u32 [%g], [%r1], 128;
    cp.async.bulk.commit_group; cp.async.bulk.wait_group 0;
END:
)",
           {2},
           {32},
           [](uint32_t, uint32_t) { return 0u; },
           {{"@!%p2 cp.reduce.async.bulk.global.shared::cta.bulk_group.add=>@!%p2 "
             "cp.reduce.async.bulk.global.shared::cta.bulk_group.max",
             {Kind::kRace, Kind::kInFlight}}}});
    check({"a bulk reduction and a red",
           "sm_90",
           ".shared .align 16 .b8 row[128];",
           R"(
    mov.u32 %r1, row; shl.b32 %r2, %t, 2; add.u32 %r2, %r2, %r1; setp.ne.u32 %p1, %t, 0;
    setp.eq.u32 %p2, %c, 0;
    add.u32 %r3, %t, %c; st.shared.b32 [%r2], %r3; fence.proxy.async.shared::cta;
    bar.sync 0;
    @%p1 bra END;
    @%p2 cp.reduce.async.bulk.global.shared::cta.bulk_group.add.u32 [%g], [%r1], 128;
    @!%p2 red.global.add.u32 [%g], 1;
    cp.async.bulk.commit_group; cp.async.bulk.wait_group 0;
END:
)",
           {2},
           {32},
           [](uint32_t, uint32_t) { return 0u; },
           {{"@!%p2 red.global.add.u32 [%g], 1;=>@!%p2 red.global.max.u32 [%g], 1;",
             {Kind::kRace, Kind::kInFlight}},
            {"@!%p2 red.global.add.u32 [%g], 1;=>@!%p2 st.global.u32 [%g], 1;",
             {Kind::kRace, Kind::kInFlight}}}});
}

// Who arrives and does not wait learns nothing.
TEST(Rules, AnArrivalGivesAndTakesNothingBack) {
    check({"arrive",
           "sm_80",
           ".shared .align 4 .b32 word;",
           R"(
    mov.u32 %r1, word; setp.lt.u32 %p1, %t, 32; setp.eq.u32 %p2, %t, 32;
    @%p1 bra READER;
    @%p2 st.shared.b32 [%r1], 9;
    bar.arrive 1, 64;
    bra END;
READER:
    bar.sync 1, 64;
    ld.shared.b32 %d, [%r1];
END:
)",
           {1},
           {64},
           [](uint32_t, uint32_t t) { return t < 32 ? 9u : 0u; },
           {{"bar.sync 1, 64;=>bar.arrive 1, 64;", {Kind::kRace, Kind::kUninitialised}}}});
}

// A barrier of some lanes orders those, and no instruction that only brings lanes together any.
TEST(Rules, LanesThatMeetOrderNoMemory) {
    const char* const body = R"(
    mov.u32 %r1, word; setp.eq.u32 %p1, %t, 0; setp.lt.u32 %p3, %t, 8; mov.u32 %r3, 0; mov.u32 %r4, 0; mov.u32 %r5, 0; mov.u32 %r6, 0;
    mov.u32 %r7, 0; mov.u32 %r8, 0;
    .reg .f32 %f<4>; mov.f32 %f0, 0f00000000; mov.f32 %f1, %f0; mov.f32 %f2, %f0; mov.f32 %f3, %f0;
    mov.u32 %r9, other; 
    @%p1 st.shared.b32 [%r1], 77;
    bar.warp.sync -1;
    ld.shared.b32 %d, [%r1];
)";
    Pattern one = {"meeting",
                   "sm_90",
                   ".shared .align 4 .b32 word; .shared .align 16 .b8 other[128];",
                   body,
                   {1},
                   {32},
                   [](uint32_t, uint32_t) { return 77u; },
                   {}};
    std::vector<std::string> texts;
    for (const char* meets :
         {"match.any.sync.b32 %r2, %t, -1;", "match.all.sync.b32 %r2, %r3, -1;",
          "elect.sync %r2|%p2, -1;", "activemask.b32 %r2;", "redux.sync.add.u32 %r2, %t, -1;",
          "vote.sync.ballot.b32 %r2, %p1, -1;", "shfl.sync.idx.b32 %r2, %t, 0, 31, -1;",
          "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%f0, %f1, %f2, %f3}, {%r3, %r4}, "
          "{%r5}, {%f0, %f1, %f2, %f3};",
          "movmatrix.sync.aligned.m8n8.trans.b16 %r2, %r3;",
          "stmatrix.sync.aligned.m8n8.x1.shared.b16 [%r9], {%r3};"})
        texts.push_back(std::string("bar.warp.sync -1;=>") + meets);
    for (const std::string& text : texts) one.removals.push_back({text.c_str(), {Kind::kRace}});
    check(one);
    check({"some lanes",
           "sm_80",
           ".shared .align 4 .b32 word;",
           R"(
    mov.u32 %r1, word; setp.eq.u32 %p1, %t, 0; setp.lt.u32 %p3, %t, 8; setp.eq.u32 %p4, %t, 5;
    @!%p3 bra END;
    @%p1 st.shared.b32 [%r1], 77;
    bar.warp.sync 0xff;
    @%p4 ld.shared.b32 %d, [%r1];
END:
    setp.eq.u32 %p5, %t, 99; @%p5 ld.shared.b32 %d, [%r1];
)",
           {1},
           {32},
           [](uint32_t, uint32_t t) { return t == 5 ? 77u : 0u; },
           {{"setp.eq.u32 %p5, %t, 99;=>setp.eq.u32 %p5, %t, 9;", {Kind::kRace}}}});
}

// cp.async on an mbarrier.
TEST(Rules, CopiesThatArriveOnAnMbarrier) {
    check(
        {"cp.async.mbarrier.arrive.noinc",
         "sm_80",
         ".shared .align 16 .b8 tile[512]; .shared .align 8 .b64 full;",
         R"(
    mov.u32 %r1, tile; mov.u32 %r2, full; shl.b32 %r3, %t, 4; add.u32 %r3, %r3, %r1; cvt.u64.u32 %u1, %t; shl.b64 %u1, %u1, 4; add.u64 %u1, %u1, %g;
    setp.eq.u32 %p1, %t, 0; setp.lt.u32 %p2, %t, 32;
    @%p1 mbarrier.init.shared.b64 [%r2], 32;
    bar.sync 0;
    @!%p2 bra READER;
    cp.async.ca.shared.global [%r3], [%u1], 16;
    cp.async.mbarrier.arrive.noinc.shared.b64 [%r2];
    bra END;
READER:
WAIT:
    mbarrier.test_wait.parity.shared.b64 %p3, [%r2], 0; @!%p3 bra WAIT;
    sub.u32 %r4, 63, %t; shl.b32 %r4, %r4, 4; add.u32 %r4, %r4, %r1;
    ld.shared.b32 %d, [%r4];
END:
)",
         {1},
         {64},
         [](uint32_t, uint32_t) { return 0u; },
         {{"mbarrier.test_wait.parity.shared.b64 %p3, [%r2], 0; @!%p3 bra WAIT;",
           {Kind::kRace, Kind::kInFlight, Kind::kUninitialised}},
          {"cp.async.mbarrier.arrive.noinc.shared.b64 [%r2];", {Kind::kLivelock, Kind::kDeadlock}},
          {"cp.async.mbarrier.arrive.noinc.shared.b64 [%r2];=>mbarrier.arrive.shared.b64 _, [%r2];",
           {Kind::kInFlight}},
          {"cp.async.mbarrier.arrive.noinc=>cp.async.mbarrier.arrive",
           {Kind::kLivelock, Kind::kDeadlock}}}});
    check({"own copies",
           "sm_80",
           ".shared .align 16 .b8 tile[512]; .shared .align 8 .b64 full;",
           R"(
    mov.u32 %r1, tile; mov.u32 %r2, full; shl.b32 %r3, %t, 4; add.u32 %r3, %r3, %r1; cvt.u64.u32 %u1, %t; shl.b64 %u1, %u1, 4; add.u64 %u1, %u1, %g;
    setp.eq.u32 %p1, %t, 0; setp.lt.u32 %p2, %t, 32;
    @%p1 mbarrier.init.shared.b64 [%r2], 32;
    bar.sync 0;
    cp.async.ca.shared.global [%r3], [%u1], 16;
    cp.async.mbarrier.arrive.noinc.shared.b64 [%r2];
WAIT:
    mbarrier.test_wait.parity.shared.b64 %p3, [%r2], 0; @!%p3 bra WAIT;
    ld.shared.b32 %d, [%r3];
)",
           {1},
           {32},
           [](uint32_t, uint32_t) { return 0u; },
           {{"mbarrier.test_wait.parity.shared.b64 %p3, [%r2], 0; @!%p3 bra WAIT;",
             {Kind::kRace, Kind::kInFlight}},
            {"cp.async.mbarrier.arrive.noinc.shared.b64 "
             "[%r2];=>cp.async.mbarrier.arrive.noinc.shared.b64 [%r2]; mbarrier.inval.shared.b64 "
             "[%r2];",
             {Kind::kRace, Kind::kBarrier}}}});
    check({"waited for twice",
           "sm_80",
           ".shared .align 16 .b8 tile[512]; .shared .align 8 .b64 full;",
           R"(
    mov.u32 %r1, tile; mov.u32 %r2, full; shl.b32 %r3, %t, 4; add.u32 %r3, %r3, %r1; cvt.u64.u32 %u1, %t; shl.b64 %u1, %u1, 4; add.u64 %u1, %u1, %g;
    setp.eq.u32 %p1, %t, 0;
    @%p1 mbarrier.init.shared.b64 [%r2], 33;
    bar.sync 0;
    cp.async.ca.shared.global [%r3], [%u1], 16;
    cp.async.mbarrier.arrive.noinc.shared.b64 [%r2];
    cp.async.wait_all;
    ld.shared.b32 %d, [%r3];
)",
           {1},
           {32},
           [](uint32_t, uint32_t) { return 0u; },
           {{"cp.async.wait_all;", {Kind::kInFlight}}}});
    check({"counted copies",
           "sm_80",
           ".shared .align 16 .b8 tile[512]; .shared .align 8 .b64 full;",
           R"(
    mov.u32 %r1, tile; mov.u32 %r2, full; shl.b32 %r3, %t, 4; add.u32 %r3, %r3, %r1; cvt.u64.u32 %u1, %t; shl.b64 %u1, %u1, 4; add.u64 %u1, %u1, %g;
    setp.eq.u32 %p1, %t, 0; setp.lt.u32 %p2, %t, 32;
    @%p1 mbarrier.init.shared.b64 [%r2], 32;
    bar.sync 0;
    cp.async.ca.shared.global [%r3], [%u1], 16;
    cp.async.mbarrier.arrive.shared.b64 [%r2];
    mbarrier.arrive.shared.b64 _, [%r2];
WAIT:
    mbarrier.test_wait.parity.shared.b64 %p3, [%r2], 0; @!%p3 bra WAIT;
    ld.shared.b32 %d, [%r3];
)",
           {1},
           {32},
           [](uint32_t, uint32_t) { return 0u; },
           {{"mbarrier.test_wait.parity.shared.b64 %p3, [%r2], 0; @!%p3 bra WAIT;",
             {Kind::kRace, Kind::kInFlight}},
            {"cp.async.mbarrier.arrive.shared.b64 [%r2];", {Kind::kInFlight}},
            {"cp.async.mbarrier.arrive.shared.b64 [%r2];\n    mbarrier.arrive.shared.b64 _, "
             "[%r2];=>mbarrier.arrive.shared.b64 _, [%r2]; cp.async.mbarrier.arrive.shared.b64 "
             "[%r2];",
             {Kind::kInFlight}}}});
}

// Bytes of cp.async are written through the generic proxy.
TEST(Rules, CopiesThatABulkStoreReads) {
    check({"cp.async then TMA",
           "sm_90",
           ".shared .align 16 .b8 tile[512];",
           R"(
    mov.u32 %r1, tile; shl.b32 %r3, %t, 4; add.u32 %r3, %r3, %r1; cvt.u64.u32 %u1, %t; shl.b64 %u1, %u1, 4; add.u64 %u1, %u1, %g;
    setp.eq.u32 %p1, %t, 0; 
    cp.async.ca.shared.global [%r3], [%u1], 16;
    cp.async.wait_all;
    fence.proxy.async.shared::cta;
    bar.sync 0;
    @!%p1 bra END;
    cp.async.bulk.global.shared::cta.bulk_group [%g+512], [%r1], 512;
    cp.async.bulk.commit_group; cp.async.bulk.wait_group.read 0;
END:
)",
           {1},
           {32},
           [](uint32_t, uint32_t) { return 0u; },
           {{"cp.async.wait_all;", {Kind::kInFlight}},
            {"fence.proxy.async.shared::cta;", {Kind::kMissingProxyFence}},
            {"bar.sync 0;", {Kind::kRace, Kind::kMissingProxyFence, Kind::kInFlight}},
            {"cp.async.wait_all;\n    "
             "fence.proxy.async.shared::cta;=>fence.proxy.async.shared::cta; cp.async.wait_all;",
             {Kind::kMissingProxyFence}},
            {"cp.async.bulk.commit_group;", {Kind::kInFlight}},
            {"cp.async.bulk.wait_group.read 0;", {Kind::kInFlight}}}});
}

// The proxy fence may stand on either side of the barrier.
TEST(Rules, TheProxyFenceOfTheIssuer) {
    const Pattern pattern{"issuer fences",
                          "sm_90",
                          ".shared .align 16 .b8 tile[128];",
                          R"(
    mov.u32 %r1, tile; shl.b32 %r3, %t, 2; add.u32 %r3, %r3, %r1;
    setp.eq.u32 %p1, %t, 0; 
    st.shared.b32 [%r3], %t;
    bar.sync 0;
    @!%p1 bra END;
    fence.proxy.async.shared::cta;
    cp.async.bulk.global.shared::cta.bulk_group [%g+512], [%r1], 128;
    cp.async.bulk.commit_group; cp.async.bulk.wait_group.read 0;
END:
)",
                          {1},
                          {32},
                          [](uint32_t, uint32_t) { return 0u; },
                          {{"fence.proxy.async.shared::cta;", {Kind::kMissingProxyFence}}}};
    check(pattern);
    LaunchOptions strict;
    strict.checks.strict = true;
    const auto found = run(pattern, pattern.body, strict, false);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->kind, Kind::kMissingProxyFence);
    const std::string writers = without(without(pattern.body, "fence.proxy.async.shared::cta;"),
                                        "bar.sync 0;=>fence.proxy.async.shared::cta; bar.sync 0;");
    EXPECT_FALSE(run(pattern, writers, strict, false));
}

// fence.mbarrier_init is for mbarriers alone.
TEST(Rules, TheFenceOfInitialisationsFencesNothingElse) {
    check({"initialisation",
           "sm_90",
           ".shared .align 16 .b8 tile[128]; .shared .align 8 .b64 full;",
           R"(
    mov.u32 %r1, tile; mov.u32 %r2, full; shl.b32 %r3, %t, 2; add.u32 %r3, %r3, %r1; setp.eq.u32 %p1, %t, 0;
    @%p1 mbarrier.init.shared.b64 [%r2], 1;
    st.shared.b32 [%r3], %t;
    fence.proxy.async.shared::cta;
    bar.sync 0;
    @!%p1 bra END;
    cp.async.bulk.global.shared::cta.bulk_group [%g+512], [%r1], 128;
    cp.async.bulk.commit_group; cp.async.bulk.wait_group.read 0;
END:
)",
           {1},
           {32},
           [](uint32_t, uint32_t) { return 0u; },
           {{"fence.proxy.async.shared::cta;=>fence.mbarrier_init.release.cluster;",
             {Kind::kMissingProxyFence}}}});
}

// A relaxed arrival at a cluster's barrier tells what was fenced before it.
TEST(Rules, RelaxedArrivalsTellWhatWasFenced) {
    check(
        {"remote arrival",
         "sm_90",
         ".shared .align 8 .b64 full;",
         R"(
    mov.u32 %r2, full; mov.u32 %r3, %cluster_ctarank; xor.b32 %r3, %r3, 1; mapa.shared::cluster.u32 %r4, %r2, %r3;
    setp.eq.u32 %p1, %t, 0;
    @%p1 mbarrier.init.shared.b64 [%r2], 1;
    @%p1 fence.mbarrier_init.release.cluster;
    barrier.cluster.arrive.relaxed; barrier.cluster.wait;
    @%p1 mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%r4];
    @!%p1 bra WAIT;
WAIT:
    mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 %p2, [%r2], 0; @!%p2 bra WAIT;
    barrier.cluster.arrive; barrier.cluster.wait;
)",
         {2},
         {32},
         [](uint32_t, uint32_t) { return 0u; },
         {{"@%p1 fence.mbarrier_init.release.cluster;", {Kind::kRace}},
          {"barrier.cluster.arrive.relaxed; barrier.cluster.wait;", {Kind::kRace, Kind::kBarrier}}},
         {2}});
    check({"fenced words",
           "sm_90",
           ".shared .align 4 .b32 word;",
           R"(
    mov.u32 %r1, word; mov.u32 %r3, %cluster_ctarank; xor.b32 %r2, %r3, 1; mapa.shared::cluster.u32 %r4, %r1, %r2;
    st.shared.b32 [%r1], %r3;
    fence.acq_rel.cluster;
    barrier.cluster.arrive.relaxed; barrier.cluster.wait;
    ld.shared::cluster.b32 %d, [%r4];
    barrier.cluster.arrive; barrier.cluster.wait;
)",
           {2},
           {1},
           [](uint32_t c, uint32_t) { return c ^ 1; },
           {{"fence.acq_rel.cluster;", {Kind::kRace}},
            {"fence.acq_rel.cluster;=>fence.acq_rel.cta;", {Kind::kRace}}},
           {2}});
}

// Fences before the barrier by the writers do not make the flag's writer publish.
TEST(Rules, FencesOfWritersBeforeABarrier) {
    const std::string body = R"(
    mul.wide.u32 %u1, %t, 4; add.u64 %u1, %u1, %g;
    setp.ne.u32 %p1, %t, 0; setp.ne.u32 %p2, %c, 0;
    @%p2 bra READER;
    st.global.b32 [%u1+64], %t;
    bar.sync 0;
    @%p1 bra DONE;
    membar.gl;
    atom.global.add.u32 %r2, [%g], 1;
    bra DONE;
READER:
    @%p1 bra DONE;
SPIN:
    ld.volatile.global.b32 %r2, [%g]; setp.eq.u32 %p3, %r2, 0; @%p3 bra SPIN;
    membar.gl ;
    ld.global.b32 %d, [%g+68];
DONE:
)";
    check(
        {"fence",
         "sm_80",
         "",
         body.c_str(),
         {2},
         {64},
         [](uint32_t b, uint32_t t) { return b == 1 && t == 0 ? 1u : 0u; },
         {{"bar.sync 0;\n    @%p1 bra DONE;\n    membar.gl;=>membar.gl; bar.sync 0; @%p1 bra DONE;",
           {Kind::kRace}},
          {"membar.gl ;", {Kind::kRace}},
          {"membar.gl;", {Kind::kRace}}}});
}

// A chain of read-modify-writes keeps what was released at its head.
TEST(Rules, ReleasesPassThroughChains) {
    check({"chain",
           "sm_80",
           "",
           R"(
    setp.ne.u32 %p1, %c, 0; setp.ne.u32 %p2, %c, 1;
    @%p1 bra MIDDLE;
    st.global.b32 [%g+64], 3;
    atom.release.gpu.global.add.u32 %r1, [%g], 1;
    bra DONE;
MIDDLE:
    @%p2 bra LAST;
M:  atom.relaxed.gpu.global.cas.b32 %r1, [%g], 1, 2; setp.ne.u32 %p3, %r1, 1; @%p3 bra M;
    bra DONE;
LAST:
    ld.acquire.gpu.global.b32 %r1, [%g]; setp.ne.u32 %p3, %r1, 2; @%p3 bra LAST;
    ld.global.b32 %d, [%g+64];
DONE:
)",
           {3},
           {1},
           [](uint32_t b, uint32_t) { return b == 2 ? 3u : 0u; },
           {{"atom.release=>atom.relaxed", {Kind::kRace}},
            {"ld.acquire=>ld.relaxed", {Kind::kRace}},
            {"M:  atom.relaxed.gpu.global.cas.b32 %r1, [%g], 1, 2; setp.ne.u32 %p3, %r1, 1; @%p3 "
             "bra M;=>M: ld.relaxed.gpu.global.b32 %r1, [%g]; setp.ne.u32 %p3, %r1, 1; @%p3 bra M; "
             "st.relaxed.gpu.global.b32 [%g], 2;",
             {Kind::kRace}}}});
}

// DSMEM before the other block is known to have started.
TEST(Rules, ABlockIsReachedOnceItIsKnownToHaveStarted) {
    check({"remote store",
           "sm_90",
           ".shared .align 4 .b32 word;",
           R"(
    mov.u32 %r1, word; mov.u32 %r2, %cluster_ctarank; xor.b32 %r3, %r2, 1; mapa.shared::cluster.u32 %r4, %r1, %r3;
    barrier.cluster.arrive; barrier.cluster.wait;
    st.shared::cluster.b32 [%r4], %r2;
    barrier.cluster.arrive.release; barrier.cluster.wait.acquire;
    ld.shared.b32 %d, [%r1];
)",
           {2},
           {1},
           [](uint32_t b, uint32_t) { return b ^ 1; },
           {{"barrier.cluster.arrive; barrier.cluster.wait;",
             {Kind::kRace, Kind::kUseAfterFree, Kind::kOutOfBounds, Kind::kBarrier}},
            {"barrier.cluster.arrive.release; barrier.cluster.wait.acquire;",
             {Kind::kRace, Kind::kUninitialised, Kind::kUseAfterFree}},
            {"arrive.release=>arrive.relaxed", {Kind::kRace, Kind::kUninitialised}},
            {"barrier.cluster.arrive; barrier.cluster.wait;=>barrier.cluster.arrive;",
             {Kind::kRace, Kind::kBarrier}}},
           {2}});
}

// A report names both accesses: kernel, lines of PTX and source, block and thread.
TEST(Rules, AReportNamesBothAccesses) {
    for (const bool in_shared : {false, true}) {
        const Pattern pattern = {"two accesses",
                                 "sm_80",
                                 ".file 1 \"kernel.cu\"\n.shared .align 4 .b32 word;",
                                 in_shared ? R"(
    mov.u32 %r1, word; setp.eq.u32 %p1, %t, 3; setp.eq.u32 %p2, %t, 37;
    .loc 1 21 3
    @%p1 st.shared.b32 [%r1], 1;
    .loc 1 22 5
    @%p2 st.shared.b32 [%r1], 2;
)"
                                           : R"(
    setp.eq.u32 %p1, %r0, 3; setp.eq.u32 %p2, %r0, 37;
    .loc 1 21 3
    @%p1 st.global.b32 [%g], 1;
    .loc 1 22 5
    @%p2 st.global.b32 [%g], 2;
)",
                                 {in_shared ? 1u : 2u},
                                 {in_shared ? 64u : 32u},
                                 nullptr,
                                 {}};
        const auto fault = run(pattern, pattern.body, {}, false);
        ASSERT_TRUE(fault);
        // Either may come first.
        const bool first_is_later = fault->source_line == 21;
        const char* const space = in_shared ? "shared" : "global";
        const auto store = [&](bool first) {
            return std::string(first ? "@%p1" : "@%p2") + " st." + space + ".b32 [" +
                   (in_shared ? "%r1" : "%g") + "], " + (first ? "1" : "2");
        };
        const auto place = [&](bool first) {
            const std::string thread = first ? "3" : in_shared ? "37" : "5";
            return "thread (" + thread + ",0,0) of block (" + (first || in_shared ? "0" : "1") +
                   ",0,0)";
        };
        EXPECT_EQ(fault->kernel, "run");
        EXPECT_EQ(fault->instruction, store(first_is_later));
        EXPECT_EQ(fault->source_file, "kernel.cu");
        EXPECT_NE(fault->message.find(place(!first_is_later)), std::string::npos) << fault->text();
        EXPECT_NE(fault->earlier.find(store(!first_is_later)), std::string::npos) << fault->text();
        EXPECT_NE(fault->earlier.find(first_is_later ? "kernel.cu:22" : "kernel.cu:21"),
                  std::string::npos)
            << fault->text();
        EXPECT_NE(fault->earlier.find("PTX line "), std::string::npos) << fault->text();
        EXPECT_NE(fault->text().find("block (" + std::to_string(fault->block.x) +
                                     ",0,0), thread (" + std::to_string(fault->thread.x)),
                  std::string::npos)
            << fault->text();
    }
}

}  // namespace
}  // namespace fattn::vgpu::test
