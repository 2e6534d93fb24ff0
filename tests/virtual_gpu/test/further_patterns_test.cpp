// More patterns of threads that work together, each with one of its parts removed: matrices through
// shared memory, an elected lane that copies, tickets before reductions in bulk.
#include <gtest/gtest.h>

#include "test/pattern.h"

namespace fattn::vgpu::test {
namespace {

// ldmatrix and stmatrix bring lanes together and order no memory.
TEST(MemoryModel, MatricesThroughSharedMemory) {
    check({"ldmatrix of rows that lanes stored",
           "sm_80",
           ".shared .align 16 .b8 rows[128];",
           R"(
    mov.u32 %r1, rows; shl.b32 %r2, %t, 2; add.u32 %r2, %r2, %r1;
    mov.u32 %r3, 0x00010001; st.shared.b32 [%r2], %r3;
    bar.warp.sync -1;
    and.b32 %r4, %t, 7; shl.b32 %r4, %r4, 4; add.u32 %r4, %r4, %r1;
    ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%d}, [%r4];
)",
           {1},
           {32},
           [](uint32_t, uint32_t) { return 0x00010001u; },
           {{"bar.warp.sync -1;", {Kind::kRace}},
            {"st.shared.b32 [%r2], %r3;", {Kind::kUninitialised}},
            {"shl.b32 %r4, %r4, 4;=>shl.b32 %r4, %r4, 5;", {Kind::kOutOfBounds}},
            {"shl.b32 %r4, %r4, 4;=>shl.b32 %r4, %r4, 3;", {Kind::kMisaligned}}}});
    check({"loads of rows that stmatrix stored",
           "sm_90",
           ".shared .align 16 .b8 rows[128];",
           R"(
    mov.u32 %r1, rows; and.b32 %r4, %t, 7; shl.b32 %r4, %r4, 4; add.u32 %r4, %r4, %r1;
    mov.u32 %r3, 0x00010001;
    stmatrix.sync.aligned.m8n8.x1.shared.b16 [%r4], {%r3};
    bar.warp.sync -1;
    sub.u32 %r5, 31, %t; shl.b32 %r2, %r5, 2; add.u32 %r2, %r2, %r1;
    ld.shared.b32 %d, [%r2];
)",
           {1},
           {32},
           [](uint32_t, uint32_t) { return 0x00010001u; },
           {{"bar.warp.sync -1;", {Kind::kRace}},
            {"bar.warp.sync -1;=>redux.sync.add.u32 %r6, %t, -1;", {Kind::kRace}}}});
}

// A barrier of the block needs all lanes of a warp together; one of the warp those that it names.
TEST(MemoryModel, BarriersOfLanesThatParted) {
    check({"lanes that part and meet",
           "sm_80",
           "",
           R"(
    setp.lt.u32 %p1, %t, 7; mov.u32 %d, 1;
    @%p1 bra FEW;
    mov.u32 %d, 2;
    bra MEET;
FEW:
    mov.u32 %d, 3;
MEET:
    bar.sync 0;
)",
           {1},
           {32},
           [](uint32_t, uint32_t t) { return t < 7 ? 3u : 2u; },
           {{"mov.u32 %d, 2;=>bar.sync 0;", {Kind::kDivergence}},
            {"mov.u32 %d, 3;=>shfl.sync.idx.b32 %d, %t, 0, 31, -1;", {Kind::kDivergence}},
            {"mov.u32 %d, 3;=>bar.warp.sync -1;", {Kind::kDivergence}}}});
}

// The lane that is elected fetches a row, the warp adds to it, and the lane sends it off; then it
// may be filled again, once it has been read.
TEST(BulkCopies, AnElectedLaneFetchesAndSends) {
    check({"elected",
           "sm_90",
           ".shared .align 16 .b8 row[128]; .shared .align 8 .b64 full;",
           R"(
    .reg .pred %e;
    mov.u32 %r1, row; mov.u32 %r2, full; shl.b32 %r3, %t, 2; add.u32 %r3, %r3, %r1;
    elect.sync _|%e, -1;
    @!%e bra READY;
    mbarrier.init.shared.b64 [%r2], 1; fence.mbarrier_init.release.cluster;
    mbarrier.arrive.expect_tx.shared.b64 _, [%r2], 128;
    cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%g], 128, [%r2];
READY:
    bar.warp.sync -1;
WAIT:
    mbarrier.try_wait.parity.shared.b64 %p2, [%r2], 0; @!%p2 bra WAIT;
    ld.shared.b32 %r4, [%r3]; add.u32 %r4, %r4, %t; st.shared.b32 [%r3], %r4;
    fence.proxy.async.shared::cta;
    bar.warp.sync -1 ;
    @!%e bra SENT;
    cp.async.bulk.global.shared::cta.bulk_group [%g+512], [%r1], 128;
    cp.async.bulk.commit_group;
    cp.async.bulk.wait_group.read 0;
SENT:
    bar.warp.sync -1  ;
    st.shared.b32 [%r3], 9;
    ld.shared.b32 %d, [%r3];
    @%e cp.async.bulk.wait_group 0;
)",
           {1},
           {32},
           [](uint32_t, uint32_t) { return 9u; },
           {{"bar.warp.sync -1;", {Kind::kRace, Kind::kBarrier}},
            {"mbarrier.try_wait.parity.shared.b64 %p2, [%r2], 0; @!%p2 bra WAIT;",
             {Kind::kInFlight, Kind::kUninitialised}},
            {"fence.proxy.async.shared::cta;", {Kind::kMissingProxyFence}},
            {"bar.warp.sync -1 ;", {Kind::kRace, Kind::kMissingProxyFence}},
            {"cp.async.bulk.wait_group.read 0;", {Kind::kInFlight, Kind::kRace}},
            {"bar.warp.sync -1  ;", {Kind::kInFlight, Kind::kRace}}}});
}

// Blocks add their rows one after the other, each when its ticket is up; the last reads the sum.
TEST(BulkCopies, TicketsOrderReductions) {
    check({"tickets",
           "sm_90",
           ".shared .align 16 .b8 row[128];",
           R"(
    mov.u32 %r1, row; shl.b32 %r2, %t, 2; add.u32 %r2, %r2, %r1; setp.ne.u32 %p1, %t, 0;
    add.u32 %r3, %t, %c; st.shared.b32 [%r2], %r3; fence.proxy.async.shared::cta;
    bar.sync 0;
    @%p1 bra ADDED;
TURN:
    ld.acquire.gpu.global.b32 %r5, [%g+256]; setp.ne.u32 %p2, %r5, %c; @%p2 bra TURN;
    cp.reduce.async.bulk.global.shared::cta.bulk_group.add.u32 [%g], [%r1], 128;
    cp.async.bulk.commit_group;
    cp.async.bulk.wait_group 0;
    add.u32 %r6, %c, 1;
    st.release.gpu.global.b32 [%g+256], %r6;
ADDED:
    bar.sync 0 ;
    setp.ne.u32 %p2, %c, 2; @%p2 bra END;
    mul.wide.u32 %u1, %t, 4; add.u64 %u1, %u1, %g; ld.global.b32 %d, [%u1];
END:
)",
           {3},
           {32},
           [](uint32_t c, uint32_t t) { return c == 2 ? 3 * t + 3 : 0; },
           {{"bar.sync 0;", {Kind::kRace, Kind::kMissingProxyFence}},
            {"fence.proxy.async.shared::cta;", {Kind::kMissingProxyFence}},
            {"ld.acquire.gpu=>ld.relaxed.gpu", {Kind::kRace}},
            {"st.release.gpu=>st.relaxed.gpu", {Kind::kRace}},
            {"wait_group 0;=>wait_group.read 0;", {Kind::kInFlight, Kind::kRace}},
            {"bar.sync 0 ;", {Kind::kRace, Kind::kInFlight}}}});
}

}  // namespace
}  // namespace fattn::vgpu::test
