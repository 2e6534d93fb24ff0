// Of several accesses to one place each is remembered as long as a later one may conflict with it:
// strong and weak ones, readers of many threads, parts of words, threads that have ended.
#include <gtest/gtest.h>

#include "test/pattern.h"

namespace fattn::vgpu::test {
namespace {

// A strong read and a strong write need no order; a weak write does.
TEST(MemoryModel, WeakWritesAreComparedWithStrongReads) {
    check({"strong reads of device memory",
           "sm_80",
           "",
           R"(
    setp.eq.u32 %p1, %c, 0;
    @%p1 ld.volatile.global.b32 %r1, [%g];
    @!%p1 st.volatile.global.b32 [%g], 1;
)",
           {2},
           {1},
           [](uint32_t, uint32_t) { return 0u; },
           {{"st.volatile.global=>st.global", {Kind::kRace}},
            {"ld.volatile.global=>ld.global", {Kind::kRace}}}});
    check({"strong reads of shared memory",
           "sm_80",
           ".shared .align 4 .b32 word;",
           R"(
    mov.u32 %r1, word; setp.eq.u32 %p1, %t, 0; setp.eq.u32 %p2, %t, 32;
    @%p1 st.shared.b32 [%r1], 7;
    bar.sync 0;
    @%p1 ld.volatile.shared.b32 %d, [%r1];
    bar.sync 1;
    @%p2 st.shared.b32 [%r1], 9;
)",
           {1},
           {64},
           [](uint32_t, uint32_t t) { return t == 0 ? 7u : 0u; },
           {{"bar.sync 1;", {Kind::kRace}}}});
}

// All lanes of a warp add to a word; nine of them tell a thread of another warp, which overwrites
// it.
TEST(MemoryModel, StrongWritesOfAllLanesAreKnown) {
    check({"many strong writers",
           "sm_80",
           ".shared .align 4 .b32 word;",
           R"(
    mov.u32 %r1, word; setp.eq.u32 %p1, %t, 0; setp.lt.u32 %p2, %t, 32;
    setp.lt.u32 %p3, %t, 8; setp.eq.u32 %p4, %t, 31; or.pred %p3, %p3, %p4;
    setp.eq.u32 %p4, %t, 32;
    @%p1 st.shared.b32 [%r1], 0;
    bar.sync 0;
    @!%p2 bra SECOND;
    red.shared.add.u32 [%r1], 1;
    bar.warp.sync 0xffffffff;
    @%p3 red.release.gpu.global.add.u32 [%g], 1;
    bra DONE;
SECOND:
    @!%p4 bra DONE;
SPIN:
    ld.acquire.gpu.global.b32 %r2, [%g];
    setp.ne.u32 %p5, %r2, 9; @%p5 bra SPIN;
    st.shared.b32 [%r1], 5;
DONE:
)",
           {1},
           {64},
           [](uint32_t, uint32_t) { return 0u; },
           {{"bar.warp.sync 0xffffffff;", {Kind::kRace}}}});
}

// Two blocks read a word; a third, which has acquired what they and another released, overwrites
// it.
TEST(MemoryModel, TheLastOfManyReadersIsKnown) {
    check({"many readers",
           "sm_80",
           "",
           R"(
    setp.eq.u32 %p1, %c, 3; setp.eq.u32 %p2, %c, 0;
    @%p1 bra SPIN;
    @!%p2 ld.global.b32 %d, [%g];
    @%p2 red.release.gpu.global.add.u32 [%g+64], 1;
    @!%p2 red.release.gpu.global.add.u32 [%g+64], 1 ;
    bra DONE;
SPIN:
    ld.acquire.gpu.global.b32 %r2, [%g+64];
    setp.ne.u32 %p3, %r2, 3; @%p3 bra SPIN;
    st.global.b32 [%g], 5;
DONE:
)",
           {4},
           {1},
           [](uint32_t, uint32_t) { return 0u; },
           {{"@!%p2 red.release=>@!%p2 red.relaxed", {Kind::kRace}},
            {"ld.acquire=>ld.relaxed", {Kind::kRace}}}});
}

// Of several readers none may be forgotten: the writer is ordered behind the last alone.
TEST(MemoryModel, EveryReaderIsKnown) {
    check({"readers of one block",
           "sm_80",
           "",
           R"(
    setp.eq.u32 %p1, %t, 0; setp.eq.u32 %p2, %t, 32;
    @%p1 ld.global.b32 %d, [%g];
    @%p2 ld.global.b32 %d, [%g];
    bar.sync 0;
    @%p2 st.global.b32 [%g], 9;
)",
           {1},
           {64},
           [](uint32_t, uint32_t) { return 0u; },
           {{"bar.sync 0;", {Kind::kRace}}}});
    check(
        {"readers of two blocks, one of which releases",
         "sm_80",
         "",
         R"(
    setp.eq.u32 %p1, %c, 0; setp.eq.u32 %p2, %c, 1;
    @%p1 bra FIRST; @%p2 bra SECOND;
SPIN:
    ld.acquire.gpu.global.b32 %r2, [%g+64];
    setp.ne.u32 %p3, %r2, 2; @%p3 bra SPIN;
    st.global.b32 [%g], 5;
    bra DONE;
FIRST:
    ld.global.b32 %d, [%g];
    red.release.gpu.global.add.u32 [%g+64], 1;
    bra DONE;
SECOND:
    ld.global.b32 %d, [%g];
    red.release.gpu.global.add.u32 [%g+64], 1 ;
DONE:
)",
         {3},
         {1},
         [](uint32_t, uint32_t) { return 0u; },
         {{"red.release.gpu.global.add.u32 [%g+64], 1;=>red.relaxed.gpu.global.add.u32 [%g+64], 1;",
           {Kind::kRace}},
          {"red.release.gpu.global.add.u32 [%g+64], 1 ;=>red.relaxed.gpu.global.add.u32 [%g+64], "
           "1;",
           {Kind::kRace}}}});
    check({"a strong reader behind a weak one",
           "sm_80",
           "",
           R"(
    setp.lt.u32 %p1, %t, 32; setp.ge.u32 %p2, %t, 64; setp.eq.u32 %p3, %t, 64; setp.eq.u32 %p4, %t, 0;
    setp.eq.u32 %p5, %t, 32;
    @%p4 ld.global.b32 %d, [%g];
    @%p1 bar.sync 1, 64;
    @%p5 ld.volatile.global.b32 %d, [%g];
    @%p2 bar.sync 1, 64;
    bar.sync 0;
    @%p3 st.global.b32 [%g], 9;
)",
           {1},
           {96},
           [](uint32_t, uint32_t) { return 0u; },
           {{"bar.sync 0;", {Kind::kRace}}}});
}

// A barrier orders what those did who came to it, and nothing of those who ended before.
TEST(MemoryModel, ABarrierOrdersNothingOfThreadsThatHaveEnded) {
    check({"a writer that ends",
           "sm_80",
           ".shared .align 4 .b32 word;",
           R"(
    mov.u32 %r1, word; setp.lt.u32 %p1, %t, 32; setp.eq.u32 %p2, %t, 40;
    @%p2 st.shared.b32 [%r1], 9;
    bar.sync 1;
    @!%p1 bra DONE;
    bar.sync 0;
    ld.shared.b32 %d, [%r1];
DONE:
)",
           {1},
           {64},
           [](uint32_t, uint32_t t) { return t < 32 ? 9u : 0u; },
           {{"bar.sync 1;", {Kind::kRace, Kind::kUninitialised}}}});
}

// Atomics do not mind each other; who reads weakly has to know of them all.
TEST(MemoryModel, EveryAtomicIsKnown) {
    check({"atomics of two warps",
           "sm_80",
           "",
           R"(
    setp.eq.u32 %p1, %t, 0; setp.eq.u32 %p2, %t, 32;
    @%p1 red.global.add.u32 [%g], 2;
    @%p2 red.global.add.u32 [%g], 3;
    bar.sync 0;
    @%p2 ld.global.b32 %d, [%g];
)",
           {1},
           {64},
           [](uint32_t, uint32_t t) { return t == 32 ? 5u : 0u; },
           {{"bar.sync 0;", {Kind::kRace}}}});
    check({"atomics of two warps in shared memory",
           "sm_80",
           ".shared .align 4 .b32 word;",
           R"(
    mov.u32 %r1, word; setp.eq.u32 %p1, %t, 0; setp.eq.u32 %p2, %t, 32;
    @%p1 st.shared.b32 [%r1], 0;
    bar.sync 1;
    @%p1 red.shared.add.u32 [%r1], 2;
    @%p2 red.shared.add.u32 [%r1], 3;
    bar.sync 0;
    @%p2 ld.shared.b32 %d, [%r1];
)",
           {1},
           {64},
           [](uint32_t, uint32_t t) { return t == 32 ? 5u : 0u; },
           {{"bar.sync 0;", {Kind::kRace}}}});
}

// Accesses are compared to the byte: writers of one word's halves do not take each other's place.
TEST(MemoryModel, HalvesOfAWordAreKnownByThemselves) {
    check({"writers of halves",
           "sm_80",
           "",
           R"(
    .reg .b16 %h<3>;
    setp.eq.u32 %p1, %t, 0; setp.eq.u32 %p2, %t, 32; setp.eq.u32 %p3, %t, 64;
    mov.b16 %h1, 7;
    @%p1 st.global.b16 [%g], %h1;
    @%p2 st.global.b16 [%g+2], %h1;
    bar.sync 0;
    @%p3 ld.global.u16 %d, [%g];
)",
           {1},
           {96},
           [](uint32_t, uint32_t t) { return t == 64 ? 7u : 0u; },
           {{"bar.sync 0;", {Kind::kRace}}}});
    // The second half is written while the first is read.
    check({"a writer of one half after the other",
           "sm_80",
           "",
           R"(
    .reg .b16 %h<3>;
    setp.eq.u32 %p1, %t, 0; setp.eq.u32 %p2, %t, 32;
    mov.b16 %h1, 7;
    @%p1 st.global.b16 [%g], %h1;
    bar.sync 0;
    @%p1 st.global.b16 [%g+2], %h1;
    @%p2 ld.global.u16 %d, [%g];
)",
           {1},
           {64},
           [](uint32_t, uint32_t t) { return t == 32 ? 7u : 0u; },
           {{"bar.sync 0;", {Kind::kRace}},
            {"ld.global.u16 %d, [%g];=>ld.global.u16 %d, [%g+2];", {Kind::kRace}}}});
}

}  // namespace
}  // namespace fattn::vgpu::test
