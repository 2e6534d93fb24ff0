// What compilers make of printf, of barriers of the whole grid and of branches through tables.
#include <gtest/gtest.h>

#include "test/device.h"

namespace fattn::vgpu::test {
namespace {

struct SystemRun {
    LaunchResult result;
    std::vector<uint32_t> words;
    std::string printed;
};

// An entry run(out) of 64 words; %t is the thread's number, %q where its word lies.
SystemRun run_text(const std::string& declarations, const std::string& body, Dim3 grid, Dim3 block,
                   bool cooperative = false, uint64_t seed = 1) {
    Memory memory;
    const std::string text = ".version 8.4\n.target sm_80\n.address_size 64\n" + declarations +
                             R"(
.visible .entry run(.param .u64 out) {
    .local .align 16 .b8 depot[32];
    .reg .b32 %d, %t, %c, %n, %r<9>; .reg .b64 %g, %q, %o, %w, %u<9>; .reg .pred %p<9>;
    .reg .f64 %e<3>;
    ld.param.u64 %g, [out];
    mov.u32 %t, %tid.x; mov.u32 %c, %ctaid.x; mov.u32 %n, %ntid.x; mad.lo.u32 %t, %c, %n, %t;
    mul.wide.u32 %o, %t, 4; add.u64 %q, %g, %o;
)" + body + "\n    ret;\n}\n";
    Kernel kernel(memory, text);
    const uint64_t out = memory.upload(std::vector<uint32_t>(64, 0));
    SystemRun made;
    const Arguments arguments = Arguments().add(out);
    Launch launch;
    launch.module = &kernel.module();
    launch.entry = &kernel.module().entries()[0];
    launch.grid = grid;
    launch.block = block;
    launch.cooperative = cooperative;
    launch.parameters = arguments.bytes();
    launch.options.seed = seed;
    launch.options.print = [&](const std::string& line) { made.printed += line; };
    made.result = run_grid(launch, memory);
    made.words = memory.download<uint32_t>(out);
    return made;
}

constexpr const char* kPrintDeclarations = R"(
.extern .func (.param .b32 result) vprintf (.param .b64 format, .param .b64 values);
.global .align 1 .b8 form[21] = {37, 100, 32, 37, 53, 46, 50, 102, 124, 37, 45, 52, 108, 108, 100, 124, 37, 115, 37, 37, 0};
.global .align 1 .b8 word[3] = {111, 107, 0};
)";

// printf("%d %5.2f|%-4lld|%s%%", t, 1.5, 7, "ok")
constexpr const char* kPrintBody = R"(
    mov.u64 %w, depot; cvta.local.u64 %w, %w;
    st.local.u32 [depot], %t;
    mov.f64 %e1, 0d3FF8000000000000; st.local.f64 [depot+8], %e1;
    st.local.u64 [depot+16], 7;
    mov.u64 %u1, word; cvta.global.u64 %u1, %u1; st.local.u64 [depot+24], %u1;
    mov.u64 %u2, form; cvta.global.u64 %u2, %u2;
    { .param .b64 a; .param .b64 b; .param .b32 back;
      st.param.b64 [a], %u2; st.param.b64 [b], %w;
      call.uni (back), vprintf, (a, b);
      ld.param.b32 %d, [back]; }
    st.global.b32 [%q], %d;
)";

std::string print_body(const std::string& without = {}) {
    std::string body = kPrintBody;
    if (!without.empty()) body.erase(body.find(without), without.size());
    return body;
}

TEST(SystemCalls, PrintfWritesItsValuesLaneAfterLane) {
    const SystemRun ran = run_text(kPrintDeclarations, print_body(), {1}, {3});
    ASSERT_FALSE(ran.result.fault) << ran.result.fault->text();
    EXPECT_EQ(ran.printed, "0  1.50|7   |ok%1  1.50|7   |ok%2  1.50|7   |ok%");
    for (uint32_t i = 0; i < 3; ++i) EXPECT_EQ(ran.words[i], 4u);
}

TEST(SystemCalls, PrintfOfAnUndefinedValueIsReported) {
    const SystemRun ran =
        run_text(kPrintDeclarations, print_body("st.local.u64 [depot+16], 7;"), {1}, {1});
    ASSERT_TRUE(ran.result.fault);
    EXPECT_EQ(ran.result.fault->kind, FaultKind::kUninitialised);
}

// A barrier of the grid as cooperative groups have it: the first block adds what turns the top bit.
constexpr const char* kGridBarrier = R"(
    mov.u32 %r1, %envreg1; mov.u32 %r2, %envreg2; mov.b64 %u1, {%r2, %r1};
    add.u32 %r3, %t, 5; st.global.b32 [%q], %r3;
    barrier.sync 0;
    mov.u32 %r4, %tid.x; setp.ne.u32 %p1, %r4, 0; @%p1 bra OVER;
    mov.u32 %r5, %nctaid.x; sub.u32 %r5, 0x80000001, %r5;
    setp.eq.u32 %p2, %c, 0; selp.b32 %r5, %r5, 1, %p2;
    atom.add.release.gpu.u32 %r6, [%u1+4], %r5;
SPIN:
    ld.acquire.gpu.u32 %r7, [%u1+4];
    xor.b32 %r7, %r7, %r6; setp.gt.s32 %p3, %r7, -1; @%p3 bra SPIN;
OVER:
    barrier.sync 0;
    xor.b32 %r8, %t, 63; mul.wide.u32 %u2, %r8, 4; add.u64 %u2, %u2, %g;
    ld.global.b32 %d, [%u2]; sub.u32 %d, %d, %r8; add.u32 %d, %d, 63;
    setp.eq.u32 %p4, %d, 68; @!%p4 trap;
)";

TEST(SystemCalls, CooperativeLaunchesHaveABarrierOfTheGrid) {
    // Each thread reads what one of another block wrote before the barrier.
    for (uint64_t seed = 1; seed <= 3; ++seed) {
        const SystemRun ran = run_text("", kGridBarrier, {4}, {16}, true, seed);
        ASSERT_FALSE(ran.result.fault) << ran.result.fault->text();
        for (uint32_t i = 0; i < 64; ++i) EXPECT_EQ(ran.words[i], i + 5);
    }
    std::string text = kGridBarrier;
    const std::string release = "atom.add.release.gpu";
    text.replace(text.find(release), release.size(), "atom.add.relaxed.gpu");
    const SystemRun ran = run_text("", text, {4}, {16}, true);
    ASSERT_TRUE(ran.result.fault);
    EXPECT_EQ(ran.result.fault->kind, FaultKind::kRace) << ran.result.fault->text();
}

TEST(SystemCalls, WithoutACooperativeLaunchThereIsNoBarrierOfTheGrid) {
    const SystemRun ran = run_text("", "mov.u32 %d, %envreg2; st.global.b32 [%q], %d;", {1}, {1});
    ASSERT_FALSE(ran.result.fault) << ran.result.fault->text();
    EXPECT_EQ(ran.words[0], 0u);
}

constexpr const char* kBranchTable = R"(
    rem.u32 %r1, %t, 4;
    mov.u32 %d, 9;
LIST: .branchtargets TWO, ZERO, JOIN;
    setp.eq.u32 %p1, %r1, 3;
    @!%p1 brx.idx %r1, LIST;
    mov.u32 %d, 33;
    bra JOIN;
ZERO:
    mov.u32 %d, 11; bra JOIN;
TWO:
    mov.u32 %d, 22;
JOIN:
    st.global.b32 [%q], %d;
)";

TEST(SystemCalls, BranchesThroughATableTakeTheLabelOfTheirIndex) {
    const SystemRun ran = run_text("", kBranchTable, {1}, {64});
    ASSERT_FALSE(ran.result.fault) << ran.result.fault->text();
    const uint32_t expected[] = {22, 11, 9, 33};
    for (uint32_t i = 0; i < 64; ++i) EXPECT_EQ(ran.words[i], expected[i % 4]) << i;

    std::string text = kBranchTable;
    text.replace(text.find("@!%p1 brx"), 6, "");
    const SystemRun past = run_text("", text, {1}, {64});
    ASSERT_TRUE(past.result.fault);
    EXPECT_EQ(past.result.fault->kind, FaultKind::kIllegal) << past.result.fault->text();
}

}  // namespace
}  // namespace fattn::vgpu::test
