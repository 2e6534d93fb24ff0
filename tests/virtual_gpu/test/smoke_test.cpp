// Programs of a few lines that use most of the machine at once.
#include <gtest/gtest.h>

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

}  // namespace
}  // namespace fattn::vgpu::test
