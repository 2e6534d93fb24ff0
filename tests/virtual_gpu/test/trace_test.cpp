// The trace of a warp: which instructions it names, with which values.
#include <gtest/gtest.h>

#include <algorithm>

#include "test/device.h"

namespace fattn::vgpu::test {
namespace {

constexpr const char* kTraced = R"(.version 8.4
.target sm_80
.address_size 64
.visible .entry run(.param .u64 out) {
    .reg .b32 %t, %x; .reg .f32 %f; .reg .b64 %q, %o; .reg .pred %p;
    ld.param.u64 %q, [out];
    mov.u32 %t, %tid.x;
    add.u32 %x, %t, 100;
    setp.lt.u32 %p, %t, 34;
    @%p mov.f32 %f, 0f3FC00000;
    mul.wide.u32 %o, %t, 4; add.u64 %o, %o, %q;
    st.global.b32 [%o], %x;
    ret;
}
)";

LaunchResult run_traced(Trace& trace, std::string& text) {
    trace.write = [&](const std::string& more) { text += more; };
    Memory memory;
    Kernel kernel(memory, kTraced);
    LaunchOptions options;
    options.trace = &trace;
    return kernel.run(memory, {2}, {64}, Arguments().add(memory.allocate(1024)), 0, options);
}

TEST(Trace, NamesInstructionsAndTheValuesOfTheirLanes) {
    std::string text;
    Trace trace = parse_trace("warp 1,lines 8-10");
    ASSERT_FALSE(run_traced(trace, text).fault);
    EXPECT_NE(text.find("8 [ffffffff] add.u32 %x, %t, 100\n  wrote 0:0x84("), std::string::npos)
        << text;
    EXPECT_NE(text.find("31:0xa3("), std::string::npos) << text;
    // Lanes 0 and 1 of the warp are threads 32 and 33.
    EXPECT_NE(text.find("9 [ffffffff] setp.lt.u32 %p, %t, 34\n  wrote 0:0x1 1:0x1 2:0x0"),
              std::string::npos)
        << text;
    EXPECT_NE(text.find("10 [00000003] @%p mov.f32 %f, 0f3FC00000\n  wrote all:0x3fc00000(1.5)\n"),
              std::string::npos)
        << text;
    EXPECT_EQ(text.find("st.global"), std::string::npos) << text;
}

TEST(Trace, StopsAtALineOfOneBlock) {
    std::string text;
    Trace trace = parse_trace("block 1.0.0,lines 12,stop");
    const LaunchResult result = run_traced(trace, text);
    ASSERT_TRUE(result.fault);
    EXPECT_EQ(result.fault->kind, FaultKind::kTrap);
    EXPECT_EQ(result.fault->ptx_line, 12u);
    EXPECT_EQ(result.fault->block.x, 1u);
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 3) << text;
}

TEST(Trace, WordsThatAreNotKnownAreNamed) {
    for (const char* text : {"warps 1", "lines a", "block 1.2.3.4", "warp"})
        EXPECT_THROW(parse_trace(text), std::invalid_argument) << text;
}

}  // namespace
}  // namespace fattn::vgpu::test
