// Lanes of a warp that part, wait for each other and meet again, or end apart.
#include <gtest/gtest.h>

#include "test/device.h"

namespace fattn::vgpu::test {
namespace {

// An entry run(out): thread i stores the word %d to out[i]; `body` may use %r, %h, %p and knows %t,
// its number.
std::string divergence_text_of(const std::string& body) {
    return R"(.version 8.4
.target sm_80
.address_size 64
.visible .entry run(.param .u64 out) {
    .reg .b32 %d, %t, %r<9>; .reg .b16 %h<9>; .reg .pred %p<9>; .reg .b64 %q, %o;
    mov.u32 %t, %tid.x;
)" + body + R"(
    ld.param.u64 %q, [out];
    mul.wide.u32 %o, %t, 4;
    add.u64 %q, %q, %o;
    st.global.b32 [%q], %d;
    ret;
}
)";
}

std::vector<uint32_t> run(const std::string& body, const LaunchOptions& options = {}) {
    Memory memory;
    Kernel kernel(memory, divergence_text_of(body));
    const uint64_t out = memory.allocate(32 * 4);
    const LaunchResult result = kernel.run(memory, {1}, {32}, Arguments().add(out), 0, options);
    EXPECT_FALSE(result.fault) << result.fault->text();
    return memory.download<uint32_t>(out);
}

// %p1 lives where some lanes are while others, elsewhere, write 16-bit registers: the rows of a
// predicate and of 16-bit registers keep lanes in different places, so that one must not lie where
// the other does.
TEST(Divergence, LanesThatRunApartKeepTheirPredicates) {
    const std::vector<uint32_t> got = run(R"(
    and.b32 %r1, %t, 1;
    setp.ne.u32 %p1, %r1, 0;
    setp.lt.u32 %p2, %t, 4;
    @%p2 bra LATER;
    setp.lt.u32 %p3, %t, 8;
    @%p3 bra SECOND;
    mov.u32 %r2, 1;
    bra MEET;
SECOND:
    mov.u32 %r2, 2;
MEET:
    selp.b32 %r3, 10, 20, %p1;
    add.u32 %d, %r2, %r3;
    bra JOIN;
LATER:
    cvt.u16.u32 %h1, %t;
    add.u16 %h2, %h1, 100;
    add.u16 %h3, %h2, %h1;
    add.u16 %h4, %h3, %h2;
    add.u16 %h5, %h1, %h2;
    add.u16 %h5, %h5, %h3;
    add.u16 %h5, %h5, %h4;
    cvt.u32.u16 %d, %h5;
JOIN:
)");
    for (uint32_t t = 0; t < 32; ++t) {
        const uint32_t late = t + (t + 100) + (2 * t + 100) + (3 * t + 200);
        EXPECT_EQ(got[t], t < 4 ? late : (t < 8 ? 2 : 1) + (t % 2 ? 10u : 20u)) << t;
    }
}

// Each lane leaves the loop after as many turns as its number says.
constexpr const char* kTurns = R"(
    mov.u32 %d, 0;
    mov.u32 %r1, 0;
AGAIN:
    setp.ge.u32 %p1, %r1, %t;
    @%p1 bra OUT;
    add.u32 %r1, %r1, 1;
    add.u32 %d, %d, %r1;
    bra AGAIN;
OUT:
    shfl.sync.bfly.b32 %d, %d, 31, 31, -1;
)";

TEST(Divergence, LanesThatLeaveALoopEarlyWaitBehindIt) {
    LaunchOptions late;
    late.checks.late_reconvergence = true;
    for (const LaunchOptions& options : {LaunchOptions{}, late}) {
        const std::vector<uint32_t> got = run(kTurns, options);
        for (uint32_t t = 0; t < 32; ++t) {
            const uint32_t turns = 31 - t;
            EXPECT_EQ(got[t], turns * (turns + 1) / 2) << t;
        }
    }
}

// Who waits where paths join goes on alone when the others are long in coming, up to an instruction
// that all lanes execute together.
TEST(Divergence, LanesThatWereMadeToGoOnWaitForProducts) {
    const std::vector<uint32_t> got = run(R"(
    .reg .f32 %f<4>;
    mov.f32 %f0, 0f3F800000; mov.f32 %f1, %f0; mov.f32 %f2, %f0; mov.f32 %f3, %f0;
    mov.u32 %r1, 0; mov.u32 %r2, 0; setp.lt.u32 %p1, %t, 15;
    @%p1 bra MEET;
AGAIN:
    add.u32 %r2, %r2, 1; setp.lt.u32 %p2, %r2, 60000; @%p2 bra AGAIN;
MEET:
    mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%f0, %f1, %f2, %f3}, {%r1, %r1}, {%r1}, {%f0, %f1, %f2, %f3};
    mov.b32 %d, %f0;
)");
    for (const uint32_t word : got) EXPECT_EQ(word, 0x3f800000u);
}

TEST(Divergence, EndedLanesAreNotWaitedFor) {
    const std::vector<uint32_t> got = run(R"(
    setp.lt.u32 %p1, %t, 5;
    mov.u32 %d, 7;
    @%p1 bra STORE;
    setp.lt.u32 %p2, %t, 9;
    @%p2 exit;
    vote.sync.ballot.b32 %d, %p2, 0xfffffe00;
    activemask.b32 %r1;
    add.u32 %d, %d, %r1;
STORE:
)");
    for (uint32_t t = 0; t < 32; ++t) {
        if (t >= 5 && t < 9) continue;
        EXPECT_EQ(got[t], t < 5 ? 7 : 0xfffffe00u) << t;
    }
}

TEST(Divergence, MemberMasksNameTheirOwnLane) {
    Memory memory;
    Kernel kernel(
        memory, divergence_text_of("mov.u32 %d, 0; shfl.sync.idx.b32 %d, %t, 0, 31, 0xfffffffe;"));
    const auto fault = kernel.run(memory, {1}, {32}, Arguments().add(memory.allocate(128))).fault;
    ASSERT_TRUE(fault);
    EXPECT_EQ(fault->kind, FaultKind::kDivergence) << fault->text();
}

TEST(Divergence, FunctionsAreCalled) {
    Memory memory;
    Kernel kernel(memory, R"(.version 8.4
.target sm_80
.address_size 64
.func (.param .b32 made) twice_and_more(.param .b32 a, .param .b32 b) {
    .reg .b32 %r<4>;
    ld.param.u32 %r1, [a];
    ld.param.u32 %r2, [b];
    mad.lo.u32 %r3, %r1, 2, %r2;
    st.param.b32 [made], %r3;
    ret;
}
.visible .entry run(.param .u64 out) {
    .reg .b32 %t, %r<4>; .reg .b64 %q, %o;
    mov.u32 %t, %tid.x;
    add.u32 %r1, %t, 5;
    { .param .b32 x; .param .b32 y; .param .b32 z;
    st.param.b32 [x], %t;
    st.param.b32 [y], %r1;
    call.uni (z), twice_and_more, (x, y);
    ld.param.b32 %r2, [z]; }
    ld.param.u64 %q, [out];
    mul.wide.u32 %o, %t, 4;
    add.u64 %q, %q, %o;
    st.global.b32 [%q], %r2;
    ret;
}
)");
    const uint64_t out = memory.allocate(32 * 4);
    const LaunchResult result = kernel.run(memory, {1}, {32}, Arguments().add(out));
    ASSERT_FALSE(result.fault) << result.fault->text();
    const auto got = memory.download<uint32_t>(out);
    for (uint32_t t = 0; t < 32; ++t) EXPECT_EQ(got[t], 3 * t + 5);
}

TEST(Divergence, TrapsAndFailedAssertionsAreReported) {
    Memory memory;
    Kernel kernel(memory, divergence_text_of("mov.u32 %d, 0; setp.eq.u32 %p1, %t, 9; @%p1 trap;"));
    const auto fault = kernel.run(memory, {1}, {32}, Arguments().add(memory.allocate(128))).fault;
    ASSERT_TRUE(fault);
    EXPECT_EQ(fault->kind, FaultKind::kTrap);
    EXPECT_EQ(fault->thread.x, 9u);

    Kernel asserting(memory, R"(.version 8.4
.target sm_80
.address_size 64
.extern .func __assertfail(.param .b64 a, .param .b64 b, .param .b32 c, .param .b64 d, .param .b64 e);
.global .align 1 .b8 message[6] = {110, 32, 60, 32, 52, 0};
.global .align 1 .b8 file[5] = {97, 46, 99, 117, 0};
.global .align 1 .b8 function[4] = {114, 117, 110, 0};
.visible .entry run() {
    .reg .b64 %q<5>; .reg .b32 %r;
    mov.u64 %q1, message; cvta.global.u64 %q1, %q1;
    mov.u64 %q2, file; cvta.global.u64 %q2, %q2;
    mov.u64 %q3, function; cvta.global.u64 %q3, %q3;
    { .param .b64 a; .param .b64 b; .param .b32 c; .param .b64 d; .param .b64 e;
    st.param.b64 [a], %q1; st.param.b64 [b], %q2; st.param.b32 [c], 42; st.param.b64 [d], %q3;
    st.param.b64 [e], 1;
    call.uni __assertfail, (a, b, c, d, e); }
    ret;
}
)");
    const auto failed = asserting.run(memory, {1}, {1}, Arguments()).fault;
    ASSERT_TRUE(failed);
    EXPECT_EQ(failed->kind, FaultKind::kTrap);
    EXPECT_EQ(failed->message, "assertion failed: n < 4 at a.cu:42 in run");
}

}  // namespace
}  // namespace fattn::vgpu::test
