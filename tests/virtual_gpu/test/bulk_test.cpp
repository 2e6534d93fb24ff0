// Bulk copies: what mbarriers, groups and proxy fences order, and what is reported without them.
#include <gtest/gtest.h>

#include "test/pattern.h"

namespace fattn::vgpu::test {
namespace {

// A row of 64 words comes in, is changed, and goes out to two rows behind it, one after the other,
// from the same place.
TEST(BulkCopies, RowsComeInOnAnMbarrierAndGoOutInAGroup) {
    check({"rows in and out",
           "sm_90",
           ".shared .align 16 .b8 row[256]; .shared .align 8 .b64 full;",
           R"(
    mov.u32 %r1, row; mov.u32 %r2, full; shl.b32 %r3, %t, 2; add.u32 %r3, %r3, %r1;
    setp.ne.u32 %p1, %t, 0;
    mul.wide.u32 %u1, %t, 4; add.u64 %u1, %u1, %g; add.u32 %r4, %t, 7;
    @%p1 bra READY;
    mbarrier.init.shared.b64 [%r2], 1;
    fence.mbarrier_init.release.cluster;
READY:
    bar.sync 0;
    mov.u32 %i, 0;
ROUND:
    @%p1 bra WAIT;
    mbarrier.arrive.expect_tx.shared.b64 _, [%r2], 256;
    cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%g], 256, [%r2];
WAIT:
    mbarrier.test_wait.parity.shared.b64 %p2, [%r2], %i; @!%p2 bra WAIT;
    ld.shared.b32 %r5, [%r3]; add.u32 %d, %d, %r5;
    add.u32 %r6, %t, %i; st.shared.b32 [%r3], %r6;
    fence.proxy.async.shared::cta;
    bar.sync 1;
    @%p1 bra NEXT;
    add.u32 %r8, %i, 1; mul.wide.u32 %u2, %r8, 256; add.u64 %u2, %u2, %g;
    cp.async.bulk.global.shared::cta.bulk_group [%u2], [%r1], 256;
    cp.async.bulk.commit_group;
    cp.async.bulk.wait_group.read 0;
NEXT:
    bar.sync 2;
    add.u32 %i, %i, 1; setp.lt.u32 %p3, %i, 2; @%p3 bra ROUND;
    @%p1 bra LAST;
    cp.async.bulk.wait_group 0;
LAST:
    bar.sync 3;
    ld.global.b32 %r7, [%u1+512]; add.u32 %d, %d, %r7;
)",
           {1},
           {64},
           [](uint32_t, uint32_t t) { return t + 1; },
           // Of the wait all goes: a test that finds the copy done is a wait.
           {{"mul.wide.u32 %u2, %r8, 256;=>mul.wide.u32 %u2, 1, 256;", {Kind::kInFlight}},
            {"mbarrier.test_wait.parity.shared.b64 %p2, [%r2], %i; @!%p2 bra WAIT;",
             {Kind::kInFlight, Kind::kRace, Kind::kUninitialised}},
            {"fence.proxy.async.shared::cta;", {Kind::kMissingProxyFence}},
            {"bar.sync 1;", {Kind::kRace, Kind::kMissingProxyFence}},
            {"cp.async.bulk.wait_group.read 0;", {Kind::kInFlight, Kind::kRace}},
            {"cp.async.bulk.commit_group;", {Kind::kInFlight, Kind::kRace}},
            {"fence.mbarrier_init.release.cluster;\nREADY:\n    bar.sync 0;=>READY:",
             {Kind::kRace, Kind::kBarrier, Kind::kMissingProxyFence}},
            {"fence.mbarrier_init.release.cluster;", {Kind::kMissingProxyFence}},
            {"bar.sync 3;", {Kind::kRace, Kind::kInFlight}}}});
}

TEST(BulkCopies, BytesThatAreNotThoseExpectedAreADeadlock) {
    const Pattern pattern = {
        "wrong bytes",
        "sm_90",
        ".shared .align 16 .b8 row[512]; .shared .align 8 .b64 full;",
        R"(
    mov.u32 %r1, row; mov.u32 %r2, full; setp.ne.u32 %p1, %t, 0;
    @%p1 bra READY;
    mbarrier.init.shared.b64 [%r2], 1; fence.mbarrier_init.release.cluster;
    mbarrier.arrive.expect_tx.shared.b64 _, [%r2], 256;
    cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%g], 256, [%r2];
READY:
    bar.sync 0;
WAIT:
    mbarrier.try_wait.parity.shared.b64 %p2, [%r2], 0; @!%p2 bra WAIT;
    ld.shared.b32 %d, [%r1];
)",
        {1},
        {32},
        [](uint32_t, uint32_t) { return 0u; },
        {{"_, [%r2], 256;=>_, [%r2], 272;", {Kind::kDeadlock, Kind::kLivelock}},
         {"[%g], 256, [%r2];=>[%g], 128, [%r2];", {Kind::kDeadlock, Kind::kLivelock}},
         {"[%g], 256, [%r2];=>[%g], 250, [%r2];", {Kind::kIllegal}},
         {"[%g], 256, [%r2];=>[%g+8], 256, [%r2];", {Kind::kMisaligned}},
         {"[%g], 256, [%r2];=>[%g+896], 256, [%r2];", {Kind::kOutOfBounds}},
         {"mbarrier.init.shared.b64 [%r2], 1;", {Kind::kBarrier}}}};
    check(pattern);
}

// Each block of a cluster takes half of what all need and sends it to both.
TEST(BulkCopies, AMulticastArrivesInEveryBlock) {
    Memory memory;
    Kernel kernel(memory, R"(.version 8.4
.target sm_90
.address_size 64
.shared .align 16 .b8 row[256];
.shared .align 8 .b64 full;
.visible .entry run(.param .u64 array, .param .u64 out) {
    .reg .b32 %t, %c, %n, %k, %r, %f, %d, %s; .reg .b64 %g, %q, %o; .reg .b16 %m; .reg .pred %p, %w;
    ld.param.u64 %g, [array]; ld.param.u64 %q, [out];
    mov.u32 %t, %tid.x; mov.u32 %c, %ctaid.x; mov.u32 %n, %ntid.x; mov.u32 %k, %cluster_ctarank;
    mad.lo.u32 %s, %c, %n, %t; mul.wide.u32 %o, %s, 4; add.u64 %q, %q, %o;
    mov.u32 %r, row; mov.u32 %f, full; setp.ne.u32 %p, %t, 0;
    @%p bra READY;
    mbarrier.init.shared.b64 [%f], 1; fence.mbarrier_init.release.cluster;
    mbarrier.arrive.expect_tx.shared.b64 _, [%f], 256;
READY:
    barrier.cluster.arrive; barrier.cluster.wait;
    @%p bra WAIT;
    shl.b32 %s, %k, 7; add.u32 %s, %s, %r; mul.wide.u32 %o, %k, 128; add.u64 %g, %g, %o;
    mov.b16 %m, 3;
    cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%s], [%g], 128, [%f], %m;
WAIT:
    mbarrier.try_wait.parity.shared.b64 %w, [%f], 0; @!%w bra WAIT;
    shl.b32 %s, %t, 2; add.u32 %s, %s, %r; ld.shared.b32 %d, [%s];
    st.global.b32 [%q], %d;
    barrier.cluster.arrive; barrier.cluster.wait;
    ret;
}
)");
    std::vector<uint32_t> array(64);
    for (uint32_t i = 0; i < 64; ++i) array[i] = 1000 + i;
    for (const LaunchOptions& options : all_options()) {
        const uint64_t out = memory.allocate(4 * 64 * 4);
        const LaunchResult result = kernel.run(
            memory, {4}, {64}, Arguments().add(memory.upload(array)).add(out), 0, options, {2});
        ASSERT_FALSE(result.fault) << result.fault->text();
        const auto got = memory.download<uint32_t>(out);
        for (uint32_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i], 1000 + i % 64);
    }
}

// Each thread sends two words to the other block of its cluster.
TEST(BulkCopies, AsynchronousStoresArriveInAnotherBlock) {
    check({"stores into another block",
           "sm_90",
           ".shared .align 16 .b8 row[256]; .shared .align 8 .b64 full;",
           R"(
    mov.u32 %r1, row; mov.u32 %r2, full; setp.ne.u32 %p1, %t, 0;
    mov.u32 %r3, %cluster_ctarank; xor.b32 %r3, %r3, 1;
    mapa.shared::cluster.u32 %r4, %r1, %r3; mapa.shared::cluster.u32 %r5, %r2, %r3;
    @%p1 bra READY;
    mbarrier.init.shared.b64 [%r2], 1;
    mbarrier.arrive.expect_tx.shared.b64 _, [%r2], 256;
READY:
    barrier.cluster.arrive; barrier.cluster.wait;
    shl.b32 %r6, %t, 3; add.u32 %r4, %r4, %r6; add.u32 %r7, %t, %c; add.u32 %r8, %r7, 100;
    st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v2.b32 [%r4], {%r7, %r8}, [%r5];
WAIT:
    mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 %p2, [%r2], 0; @!%p2 bra WAIT;
    add.u32 %r6, %r6, %r1; ld.shared.v2.b32 {%r9, %r10}, [%r6]; add.u32 %d, %r9, %r10;
    barrier.cluster.arrive; barrier.cluster.wait;
)",
           {2},
           {32},
           [](uint32_t c, uint32_t t) { return 2 * (t + (c ^ 1)) + 100; },
           {{"mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 %p2, [%r2], 0; @!%p2 bra "
             "WAIT;",
             {Kind::kInFlight, Kind::kUninitialised, Kind::kRace}},
            {"READY:\n    barrier.cluster.arrive; barrier.cluster.wait;=>READY:",
             {Kind::kRace, Kind::kBarrier}},
            {"[%r4], {%r7, %r8}, [%r5];=>[%r4], {%r7, %r8}, [%r2];", {Kind::kIllegal}},
            {"[%r2], 256;=>[%r2], 248;", {Kind::kDeadlock, Kind::kLivelock, Kind::kInFlight}}},
           {2}});
}

// Every thread of a cluster adds to one counter of each block.
TEST(BulkCopies, AsynchronousReductionsMeet) {
    check({"reductions into blocks",
           "sm_90",
           ".shared .align 16 .b8 sum[16]; .shared .align 8 .b64 full;",
           R"(
    mov.u32 %r1, sum; mov.u32 %r2, full; setp.ne.u32 %p1, %t, 0; mov.u32 %i, 0;
    @%p1 bra READY;
    st.shared.b32 [%r1], %i;
    mbarrier.init.shared.b64 [%r2], 1;
    mbarrier.arrive.expect_tx.shared.b64 _, [%r2], 256;
READY:
    barrier.cluster.arrive; barrier.cluster.wait;
SEND:
    mapa.shared::cluster.u32 %r4, %r1, %i; mapa.shared::cluster.u32 %r5, %r2, %i;
    red.async.relaxed.cluster.shared::cluster.mbarrier::complete_tx::bytes.add.u32 [%r4], %t, [%r5];
    add.u32 %i, %i, 1; setp.lt.u32 %p3, %i, 2; @%p3 bra SEND;
WAIT:
    mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 %p2, [%r2], 0; @!%p2 bra WAIT;
    ld.shared.b32 %d, [%r1];
    barrier.cluster.arrive; barrier.cluster.wait;
)",
           {2},
           {32},
           [](uint32_t, uint32_t) { return 2u * 31 * 16; },
           {{"mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 %p2, [%r2], 0; @!%p2 bra "
             "WAIT;",
             {Kind::kInFlight, Kind::kRace}},
            {"_, [%r2], 256;=>_, [%r2], 260;", {Kind::kDeadlock, Kind::kLivelock}}},
           {2}});
}

}  // namespace
}  // namespace fattn::vgpu::test
