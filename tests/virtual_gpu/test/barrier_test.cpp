// Barriers of a block, mbarriers and barriers of a cluster, step by step.
#include <gtest/gtest.h>

#include "test/device.h"

namespace fattn::vgpu::test {
namespace {

std::string text_of(const std::string& body, const char* target = "sm_90") {
    return std::string(".version 8.4\n.target ") + target + R"(
.address_size 64
.shared .align 8 .b8 bar[16];
.shared .align 4 .b32 word;
.visible .entry run(.param .u64 out) {
    .reg .b32 %t, %d, %e, %r<9>; .reg .b64 %q, %o, %state, %s<9>; .reg .pred %p<9>;
    mov.u32 %t, %tid.x; mov.u32 %d, 0; mov.u32 %e, 0;
)" + body + R"(
    ld.param.u64 %q, [out];
    mov.u32 %r0, %ctaid.x; mov.u32 %r1, %ntid.x; mad.lo.u32 %r0, %r0, %r1, %t;
    mul.wide.u32 %o, %r0, 8;
    add.u64 %q, %q, %o;
    st.global.v2.b32 [%q], {%d, %e};
    ret;
}
)";
}

struct Pair {
    uint32_t d, e;
};

struct BarrierMade {
    std::vector<Pair> of;  // of every thread of the grid
    std::optional<Fault> fault;
};

BarrierMade run(const std::string& text, uint32_t threads, uint32_t blocks = 1,
                uint32_t cluster = 1) {
    Memory memory;
    Kernel kernel(memory, text);
    const uint64_t out = memory.allocate(uint64_t{threads} * blocks * sizeof(Pair));
    BarrierMade made;
    made.fault =
        kernel.run(memory, {blocks}, {threads}, Arguments().add(out), 0, {}, {cluster}).fault;
    made.of = memory.download<Pair>(out);
    return made;
}

TEST(Barriers, ReductionsCountThePredicatesOfTheBlock) {
    const BarrierMade made = run(text_of(R"(
    mul.lo.u32 %r2, %t, %t; and.b32 %r2, %r2, 5; setp.eq.u32 %p1, %r2, 1;
    bar.red.popc.u32 %d, 0, %p1;
    bar.red.and.pred %p2, 1, %p1;
    bar.red.or.pred %p3, 2, !%p1;
    setp.lt.u32 %p4, %t, 1000;
    barrier.red.and.pred %p5, 3, 96, %p4;
    selp.b32 %e, 1, 0, %p2; selp.b32 %r3, 2, 0, %p3; or.b32 %e, %e, %r3;
    selp.b32 %r3, 4, 0, %p5; or.b32 %e, %e, %r3;
)"),
                                 96);
    ASSERT_FALSE(made.fault) << made.fault->text();
    uint32_t count = 0;
    for (uint32_t t = 0; t < 96; ++t) count += (t * t & 5) == 1;
    for (const Pair& pair : made.of) {
        EXPECT_EQ(pair.d, count);
        EXPECT_EQ(pair.e, 6u);
    }
}

TEST(Barriers, MisuseIsNamed) {
    const struct {
        const char* body;
        const char* message;
    } cases[] = {
        {"bar.sync 0, 48;", "a multiple of 32"},
        {"bar.sync 0, 128;", "a multiple of 32"},
        {"mov.u32 %r2, 16; bar.sync %r2;", "there are 0 to 15"},
        {"bar.arrive 1, 64; bar.arrive 1, 64;", "arrives twice"},
        {"setp.lt.u32 %p1, %t, 32; @%p1 bra A; bar.sync 1, 64; bra B; A: bar.sync 1, 32; B:",
         "barrier 1"},
        {"and.b32 %r2, %t, 1; setp.eq.u32 %p1, %r2, 0; @%p1 bra A; bar.sync 0; A:", "aligned"},
    };
    for (const auto& [body, message] : cases) {
        const BarrierMade made = run(text_of(body), 64);
        ASSERT_TRUE(made.fault) << body;
        EXPECT_TRUE(made.fault->kind == FaultKind::kBarrier ||
                    made.fault->kind == FaultKind::kIllegal ||
                    made.fault->kind == FaultKind::kDivergence)
            << made.fault->text();
        EXPECT_NE(made.fault->message.find(message), std::string::npos) << made.fault->text();
    }
}

// One thread drives the phases of an mbarrier for three arrivals; %d collects a bit for each test.
TEST(Mbarriers, PhasesEndWithTheLastArrivalAndTheLastByte) {
    const auto test = [](const char* state, uint32_t bit) {
        return std::string("mbarrier.test_wait.shared.b64 %p1, [%r2], ") + state +
               "; selp.b32 %r3, " + std::to_string(1u << bit) + ", 0, %p1; or.b32 %d, %d, %r3;\n";
    };
    const auto parity = [](uint32_t value, uint32_t bit) {
        return "mbarrier.test_wait.parity.shared.b64 %p1, [%r2], " + std::to_string(value) +
               "; selp.b32 %r3, " + std::to_string(1u << bit) + ", 0, %p1; or.b32 %d, %d, %r3;\n";
    };
    const std::string body =
        "mov.u32 %r2, bar; mbarrier.init.shared.b64 [%r2], 3;\n"
        "mbarrier.arrive.shared.b64 %s1, [%r2];\n" +  // 2 pending
        test("%s1", 0) +
        parity(0, 1) + parity(1, 2) + "mbarrier.arrive.shared.b64 _, [%r2], 2;\n" +  // phase 0 ends
        test("%s1", 3) + parity(0, 4) + parity(1, 5) +
        "mbarrier.arrive.expect_tx.shared.b64 %s2, [%r2], 96;\n"
        "mbarrier.arrive.noComplete.shared.b64 %s3, [%r2], 1;\n"
        "mbarrier.arrive.shared.b64 _, [%r2];\n" +  // all have arrived, 96 bytes have not
        test("%s2", 6) +
        "mbarrier.complete_tx.shared.b64 [%r2], 64;\n" + test("%s2", 7) +
        "mbarrier.complete_tx.shared.b64 [%r2], 32;\n" + test("%s2", 8) +  // phase 1 ends
        "mbarrier.pending_count.b64 %e, %s3;\n"
        "mbarrier.arrive_drop.shared.b64 _, [%r2];\n"    // this phase has 3, later ones 2
        "mbarrier.arrive.shared.b64 %s4, [%r2], 2;\n" +  // phase 2 ends
        test("%s4", 9) +
        "mbarrier.arrive.shared.b64 %s5, [%r2];\n"
        "mbarrier.expect_tx.relaxed.cta.shared.b64 [%r2], 8;\n"
        "mbarrier.arrive.shared.b64 _, [%r2];\n" +
        test("%s5", 10) + "mbarrier.complete_tx.relaxed.cta.shared.b64 [%r2], 8;\n" +
        test("%s5", 11) +
        "mbarrier.pending_count.b64 %r4, %s5; shl.b32 %r4, %r4, 8; or.b32 %e, %e, %r4;\n"
        "mbarrier.inval.shared.b64 [%r2]; mbarrier.init.shared.b64 [%r2], 1;\n"
        "mbarrier.arrive.shared.b64 %s6, [%r2];\n" +
        test("%s6", 12);
    const BarrierMade made = run(text_of(body), 1);
    ASSERT_FALSE(made.fault) << made.fault->text();
    // Parity 1 names the phase before the first, which has ended.
    constexpr uint32_t kExpected =
        1u << 2 | 1u << 3 | 1u << 4 | 1u << 8 | 1u << 9 | 1u << 11 | 1u << 12;
    EXPECT_EQ(made.of[0].d, kExpected);
    // A state holds the arrivals that were pending before its own: 2 of 3, and 2 of 2.
    EXPECT_EQ(made.of[0].e, 2u | 2u << 8);
}

TEST(Mbarriers, MisuseIsNamed) {
    const std::string head = "mov.u32 %r2, bar; mbarrier.init.shared.b64 [%r2], 2;\n";
    const struct {
        std::string body;
        const char* message;
    } cases[] = {
        {"mov.u32 %r2, bar; mbarrier.arrive.shared.b64 %s1, [%r2];", "there is no mbarrier"},
        {head + "mbarrier.inval.shared.b64 [%r2]; mbarrier.arrive.shared.b64 %s1, [%r2];",
         "there is no mbarrier"},
        {head + "mbarrier.init.shared.b64 [%r2], 2;", "initialised again"},
        {head + "mbarrier.arrive.shared.b64 %s1, [%r2], 3;", "more arrivals"},
        {"mov.u32 %r2, bar; mbarrier.init.shared.b64 [%r2], 0;", "1 to 1048575"},
        {head + "mbarrier.expect_tx.relaxed.cta.shared.b64 [%r2], 1048575;"
                "mbarrier.expect_tx.relaxed.cta.shared.b64 [%r2], 1;",
         "1048575"},
    };
    for (const auto& [body, message] : cases) {
        const BarrierMade made = run(text_of(body), 1);
        ASSERT_TRUE(made.fault) << body;
        EXPECT_EQ(made.fault->kind, FaultKind::kBarrier) << made.fault->text();
        EXPECT_NE(made.fault->message.find(message), std::string::npos) << made.fault->text();
    }
}

TEST(Mbarriers, AnArrivalThatNeverComesIsADeadlock) {
    const BarrierMade made = run(text_of(R"(
    mov.u32 %r2, bar; setp.ne.u32 %p1, %t, 0;
    @!%p1 mbarrier.init.shared.b64 [%r2], 64;
    bar.sync 0;
    @!%p1 bra WAIT;
    mbarrier.arrive.shared.b64 _, [%r2];
WAIT:
    mbarrier.try_wait.parity.shared.b64 %p2, [%r2], 0;
    @!%p2 bra WAIT;
)"),
                                 64);
    ASSERT_TRUE(made.fault);
    EXPECT_TRUE(made.fault->kind == FaultKind::kLivelock ||
                made.fault->kind == FaultKind::kDeadlock);
    EXPECT_NE(made.fault->earlier.find("pending 1 of 64"), std::string::npos) << made.fault->text();
}

// Every block writes its rank beside the barrier; behind a barrier of the cluster each reads that
// of the next block by a mapped address, in both forms.
constexpr const char* kExchange = R"(
    mov.u32 %r2, %cluster_ctarank; mov.u32 %r3, %cluster_nctarank;
    mov.u32 %r4, word; mul.lo.u32 %r5, %r2, 11; add.u32 %r5, %r5, 100;
    setp.eq.u32 %p1, %t, 0;
    @%p1 st.shared.b32 [%r4], %r5;
    barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;
    add.u32 %r6, %r2, 1; rem.u32 %r6, %r6, %r3;
    mapa.shared::cluster.u32 %r7, %r4, %r6;
    ld.shared::cluster.b32 %d, [%r7];
    cvt.u64.u32 %s1, %r4; cvta.shared.u64 %s1, %s1;
    mapa.u64 %s2, %s1, %r6;
    ld.b32 %e, [%s2];
    getctarank.u64 %r8, %s2; shl.b32 %r8, %r8, 16; or.b32 %e, %e, %r8;
    barrier.cluster.arrive; barrier.cluster.wait;
)";

TEST(Clusters, BlocksReadEachOthersSharedMemory) {
    const BarrierMade made = run(text_of(kExchange), 64, 8, 4);
    ASSERT_FALSE(made.fault) << made.fault->text();
    for (uint32_t i = 0; i < 8 * 64; ++i) {
        const uint32_t next = (i / 64 % 4 + 1) % 4, word = 100 + 11 * next;
        EXPECT_EQ(made.of[i].d, word);
        EXPECT_EQ(made.of[i].e, word | next << 16);
    }
}

TEST(Clusters, WithoutTheirBarriersTheyRace) {
    const std::string first = "barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;",
                      last = "barrier.cluster.arrive; barrier.cluster.wait;";
    std::string unordered = kExchange, relaxed = kExchange, leaving = kExchange;
    unordered.erase(unordered.find(first), first.size());
    relaxed.replace(relaxed.find("arrive.aligned"), 14, "arrive.relaxed.aligned");
    leaving.erase(leaving.find(last), last.size());
    for (const std::string& body : {unordered, relaxed}) {
        const BarrierMade made = run(text_of(body), 64, 4, 4);
        ASSERT_TRUE(made.fault);
        EXPECT_EQ(made.fault->kind, FaultKind::kRace) << made.fault->text();
    }
    const BarrierMade gone = run(text_of(leaving), 64, 4, 4);
    ASSERT_TRUE(gone.fault);
    EXPECT_EQ(gone.fault->kind, FaultKind::kUseAfterFree) << gone.fault->text();
}

TEST(Clusters, AddressesOfBlocksThatAreNotThereAreFaults) {
    const BarrierMade made = run(text_of("mov.u32 %r4, word; mapa.shared::cluster.u32 %r5, %r4, 2;"
                                         "st.shared::cluster.b32 [%r5], %t;"),
                                 1, 2, 2);
    ASSERT_TRUE(made.fault);
    EXPECT_EQ(made.fault->kind, FaultKind::kOutOfBounds) << made.fault->text();
}

}  // namespace
}  // namespace fattn::vgpu::test
