// Undefined values: where they are used they are reported with their origin, and where they are not
// used they are nothing.
#include <gtest/gtest.h>

#include "test/pattern.h"

namespace fattn::vgpu::test {
namespace {

TEST(Undefined, UsesAreReported) {
    constexpr const char* kUses[] = {
        "ld.shared.b32 %d, [%r9];",
        "ld.global.b32 %d, [%u8];",
        "setp.eq.u32 %p1, %r9, 0; @%p1 bra X; X:",
        "setp.eq.u32 %p1, %r9, 0; @%p1 mov.u32 %r1, 1;",
        "bar.sync %r9;",
        "bar.sync 0, %r9;",
        "bar.warp.sync %r9;",
        "mov.u32 %r1, bar; mbarrier.init.shared.b64 [%r1], %r9;",
        "st.global.b32 [%g], %r9;",
        "st.b32 [%g], %r9;",
        "atom.global.add.u32 %d, [%g], %r9;",
        "red.global.add.u32 [%g], %r9;",
        "mov.u32 %r1, word; atom.shared.add.u32 %r2, [%r1], 1;",
        "shfl.sync.idx.b32 %r1, %t, %r9, 31, -1; mov.u32 %d, %r1;",
        "shfl.sync.idx.b32 %r1, %t, 0, 31, %r9;",
        "selp.b32 %d, %r9, %t, %p8;",
        "mov.u32 %r1, word; cp.async.ca.shared.global [%r1], [%g], 4, %r9;",
        "mov.u32 %r1, row; cp.async.bulk.global.shared::cta.bulk_group [%g], [%r1], %r9;",
        "mov.u32 %r1, row; tensormap.replace.tile.rank.shared::cta.b1024.b32 [%r1], %r9;",
    };
    for (const char* const use : kUses) {
        const Pattern pattern = {use,
                                 "sm_90a",
                                 ".shared .align 8 .b64 bar; .shared .align 4 .b32 word; .shared "
                                 ".align 128 .b8 row[128];",
                                 use,
                                 {1},
                                 {1},
                                 nullptr,
                                 {}};
        const auto fault = run(pattern, use, {}, false);
        ASSERT_TRUE(fault) << use;
        EXPECT_EQ(fault->kind, Kind::kUninitialised) << use << "\n" << fault->text();
        const bool of_memory = fault->message.find("never written") != std::string::npos;
        EXPECT_TRUE(of_memory || !fault->earlier.empty()) << use << "\n" << fault->text();
    }
}

// Stores to shared memory pass undefinedness on, by generic addresses too.
TEST(Undefined, GenericStoresToSharedMemoryPassItOn) {
    check({"generic stores",
           "sm_80",
           ".shared .align 4 .b32 word;",
           "mov.u64 %u1, word; cvta.shared.u64 %u1, %u1; st.b32 [%u1], %r9; mov.u32 %d, %t;",
           {1},
           {1},
           [](uint32_t, uint32_t t) { return t; },
           {{"mov.u32 %d, %t;=>ld.b32 %d, [%u1];", {Kind::kUninitialised}}}});
}

TEST(Undefined, TheSideThatIsNotChosenIsNothing) {
    check({"chosen",
           "sm_80",
           "",
           "setp.eq.u32 %p1, %t, %t; selp.b32 %d, %t, %r9, %p1;"
           "shfl.sync.idx.b32 %r1, %r9, 0, 31, -1;",
           {1},
           {32},
           [](uint32_t, uint32_t t) { return t; },
           {{"%t, %r9, %p1=>%r9, %t, %p1", {Kind::kUninitialised}}}});
}

// Of mma.sync a sum is undefined where its row of A, its column of B or its addend is.
TEST(Undefined, ProductsAreSoByRowAndColumn) {
    constexpr const char* kBody = R"(
    .reg .f32 %f<8>;
    mov.f32 %f0, 0f00000000; mov.f32 %f1, %f0; mov.f32 %f2, %f0; mov.f32 %f3, %f0;
    mov.u32 %r1, 0; mov.u32 %r2, 0; mov.u32 %r3, 0; mov.u32 %r4, 0; mov.u32 %r5, 0; mov.u32 %r6, 0;
    SPOIL
    mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f0, %f1, %f2, %f3}, {%r1, %r2, %r3, %r4}, {%r5, %r6}, {%f0, %f1, %f2, %f3};
    setp.eq.u32 %p1, %t, 13;
    USE
)";
    const auto is_reported = [&](const char* spoil, const char* use) {
        const std::string text =
            without(without(kBody, std::string("SPOIL=>") + spoil), std::string("USE=>") + use);
        const Pattern pattern = {"mma", "sm_80", "", text.c_str(), {1}, {32}, nullptr, {}};
        return run(pattern, text, {}, false).has_value();
    };
    EXPECT_FALSE(is_reported("", "mov.b32 %d, %f0;"));
    // Lane 13 holds rows 3 and 11, columns 2 and 3. Register 1 of lane 12 is of A's row 3.
    const char* const row = "setp.eq.u32 %p2, %t, 12; @%p2 mov.b32 %r1, %r19;";
    EXPECT_TRUE(is_reported(row, "@%p1 mov.b32 %d, %f0;"));
    EXPECT_TRUE(is_reported(row, "@%p1 mov.b32 %d, %f1;"));
    EXPECT_FALSE(is_reported(row, "mov.b32 %d, %f2;"));
    EXPECT_FALSE(is_reported(row, "setp.lt.u32 %p3, %t, 12; @%p3 mov.b32 %d, %f0;"));
    // Lane 14 holds B's column 3.
    const char* const column = "setp.eq.u32 %p2, %t, 14; @%p2 mov.b32 %r5, %r19;";
    EXPECT_TRUE(is_reported(column, "@%p1 mov.b32 %d, %f1;"));
    EXPECT_TRUE(is_reported(column, "@%p1 mov.b32 %d, %f3;"));
    EXPECT_FALSE(is_reported(column, "@%p1 mov.b32 %d, %f0;"));
    const char* const addend = "setp.eq.u32 %p2, %t, 13; @%p2 mov.b32 %f2, %r19;";
    EXPECT_TRUE(is_reported(addend, "@%p1 mov.b32 %d, %f2;"));
    EXPECT_FALSE(is_reported(addend, "@%p1 mov.b32 %d, %f3;"));
}

}  // namespace
}  // namespace fattn::vgpu::test
