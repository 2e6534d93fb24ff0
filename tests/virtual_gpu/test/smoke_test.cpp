// Programs of a few lines that use most of the machine at once.
#include <gtest/gtest.h>

#include <algorithm>

#include "test/device.h"

namespace fattn::vgpu::test {
namespace {

constexpr const char* kHead = ".version 8.4\n.target sm_80\n.address_size 64\n";

TEST(Smoke, AddsTwoVectors) {
    Memory memory;
    Kernel kernel(memory, std::string(kHead) + R"(
.visible .entry add(.param .u64 a, .param .u64 b, .param .u64 c, .param .u32 n) {
    .reg .pred %p<2>; .reg .b32 %r<6>; .reg .f32 %f<4>; .reg .b64 %rd<11>;
    ld.param.u64 %rd1, [a];
    ld.param.u64 %rd2, [b];
    ld.param.u64 %rd3, [c];
    ld.param.u32 %r2, [n];
    mov.u32 %r3, %ctaid.x;
    mov.u32 %r4, %ntid.x;
    mov.u32 %r5, %tid.x;
    mad.lo.s32 %r1, %r3, %r4, %r5;
    setp.ge.s32 %p1, %r1, %r2;
    @%p1 bra $done;
    cvta.to.global.u64 %rd4, %rd1;
    mul.wide.s32 %rd5, %r1, 4;
    add.s64 %rd6, %rd4, %rd5;
    add.s64 %rd8, %rd2, %rd5;
    ld.global.f32 %f1, [%rd8];
    ld.global.f32 %f2, [%rd6];
    add.f32 %f3, %f2, %f1;
    add.s64 %rd10, %rd3, %rd5;
    st.global.f32 [%rd10], %f3;
$done:
    ret;
})");
    std::vector<float> a(100), b(100);
    for (size_t i = 0; i < 100; ++i) a[i] = static_cast<float>(i), b[i] = 0.5f;
    const uint64_t c = memory.allocate(400);
    const LaunchResult result = kernel.run(
        memory, {2}, {64}, Arguments().add(memory.upload(a)).add(memory.upload(b)).add(c).add(100));
    ASSERT_FALSE(result.fault) << result.fault->text();
    const auto sums = memory.download<float>(c);
    for (size_t i = 0; i < 100; ++i) EXPECT_EQ(sums[i], static_cast<float>(i) + 0.5f);
    EXPECT_EQ(result.statistics.divergent_branches, 1u);
    EXPECT_EQ(result.statistics.global_load_bytes, 800u);
}

// Entries of a text of many lines are read one by one, and keep their lines.
TEST(Smoke, LargeTextsAreReadEntryByEntry) {
    std::string text = std::string(kHead) + ".global .b32 word = 7;\n";
    const auto entry = [](const char* name, const std::string& body) {
        return std::string(".visible .entry ") + name + "(.param .u64 out) // }\n{\n" +
               "    .reg .b32 %r<4>; .reg .b64 %a<4>;\n" + body + "    ret;\n}\n";
    };
    std::string filler;
    while (filler.size() < 1 << 18) filler += "    mov.u32 %r1, 5; /* { */ add.u32 %r2, %r1, 1;\n";
    text += entry("first", filler);
    text += entry("second",
                  "    ld.param.u64 %a1, [out]; mov.u64 %a2, word;\n"
                  "    ld.global.u32 %r1, [%a2]; st.global.u32 [%a1], %r1;\n");
    const auto line_of = [&](size_t at) {
        return static_cast<uint32_t>(
            1 + std::count(text.begin(), text.begin() + static_cast<ptrdiff_t>(at), '\n'));
    };
    text += entry("third", "    unheard.of %r1;\n");
    Memory memory;
    Kernel kernel(memory, text);
    Module& module = kernel.module();
    ASSERT_EQ(module.entries().size(), 3u);
    EXPECT_EQ(module.entries()[1].name, "second");
    const EntryInfo* second = module.find_entry("second");
    ASSERT_NE(second, nullptr);
    EXPECT_EQ(second->parameter_bytes, 8u);
    const uint64_t out = memory.allocate(4);
    Launch launch;
    launch.module = &module;
    launch.entry = second;
    const Arguments arguments = Arguments().add(out);
    launch.parameters = arguments.bytes();
    const LaunchResult result = run_grid(launch, memory);
    ASSERT_FALSE(result.fault) << result.fault->text();
    EXPECT_EQ(memory.download<uint32_t>(out)[0], 7u);
    try {
        module.find_entry("third");
        ADD_FAILURE() << "unheard.of was taken";
    } catch (const LoadError& error) {
        EXPECT_EQ(error.line, line_of(text.find("unheard")));
    }
    EXPECT_EQ(module.find_entry("fourth"), nullptr);
}

// What came of a text serves every module of it, but not what one of them did.
TEST(Smoke, ModulesOfOneTextHaveVariablesOfTheirOwn) {
    const std::string text = std::string(kHead) + R"(
.global .align 4 .u32 count = 5;
.visible .entry run(.param .u64 out) {
    .reg .b32 %r1; .reg .b64 %a1, %a2;
    ld.param.u64 %a1, [out]; mov.u64 %a2, count;
    ld.global.u32 %r1, [%a2]; add.u32 %r1, %r1, 1; st.global.u32 [%a2], %r1;
    st.global.u32 [%a1], %r1;
    ret;
}
)";
    Memory memory;
    Kernel first(memory, text), second(memory, text, kSm90a, "second.ptx");
    const uint64_t out = memory.allocate(4);
    const auto count = [&](Kernel& kernel) {
        const LaunchResult result = kernel.run(memory, {1}, {1}, Arguments().add(out));
        EXPECT_FALSE(result.fault) << result.fault->text();
        return memory.download<uint32_t>(out)[0];
    };
    EXPECT_EQ(count(first), 6u);
    EXPECT_EQ(count(first), 7u);
    EXPECT_EQ(count(second), 6u);
    EXPECT_EQ(count(first), 8u);
    // A fault names the module in which it happened.
    const LaunchResult result = second.run(memory, {1}, {1}, Arguments().add(uint64_t{16}));
    ASSERT_TRUE(result.fault);
    EXPECT_EQ(result.fault->ptx_file, "second.ptx");
}

// ptxas refuses .sat where the destination holds every source.
TEST(Smoke, ConversionsThatNeedNoClampingTakeNone) {
    const auto load = [](const char* spelling) {
        return Module::load(std::string(kHead) + ".visible .entry run() { .reg .b32 %a, %b; " +
                                spelling + " %a, %b; ret; }",
                            "test.ptx", kSm80);
    };
    for (const char* spelling : {"cvt.sat.u32.u16", "cvt.sat.s32.u16", "cvt.sat.s32.s32"})
        EXPECT_THROW(load(spelling), LoadError) << spelling;
    for (const char* spelling : {"cvt.sat.s16.u16", "cvt.sat.u32.s16", "cvt.sat.u16.u32"})
        EXPECT_NO_THROW(load(spelling)) << spelling;
}

}  // namespace
}  // namespace fattn::vgpu::test
