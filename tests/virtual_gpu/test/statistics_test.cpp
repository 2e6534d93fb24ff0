// What a launch is said to have done, for kernels whose traffic is counted by hand.
#include <gtest/gtest.h>

#include "test/device.h"

namespace fattn::vgpu::test {
namespace {

Statistics statistics_run(const std::string& body, uint32_t threads = 32) {
    Memory memory;
    Kernel kernel(memory, R"(.version 8.4
.target sm_80
.address_size 64
.shared .align 128 .b8 tile[16384];
.visible .entry statistics_run(.param .u64 array) {
    .reg .b32 %t, %s, %r<9>; .reg .b64 %g, %o, %u<9>; .reg .f32 %f<9>; .reg .pred %p<9>;
    ld.param.u64 %g, [array]; mov.u32 %t, %tid.x; mov.u32 %s, tile;
)" + body + "\n    ret;\n}\n");
    LaunchOptions options;
    options.checks = parse_checks("-uninitialised");
    const LaunchResult result =
        kernel.run(memory, {1}, {threads},
                   Arguments().add(memory.upload(std::vector<uint32_t>(4096, 0))), 0, options);
    EXPECT_FALSE(result.fault) << result.fault->text();
    return result.statistics;
}

TEST(Statistics, SectorsAreThose32BytesThatAWarpTouches) {
    const struct {
        uint32_t stride, bytes;
        uint64_t sectors;
    } cases[] = {{4, 4, 4}, {32, 4, 32},  {0, 4, 1}, {8, 4, 8},
                 {8, 8, 8}, {16, 16, 16}, {2, 2, 2}, {48, 16, 32}};
    for (const auto& [stride, bytes, sectors] : cases) {
        const std::string width = bytes == 16  ? ".v4.b32 {%r1, %r2, %r3, %r4}"
                                  : bytes == 8 ? ".v2.b32 {%r1, %r2}"
                                  : bytes == 2 ? ".u16 %r1"
                                               : ".b32 %r1";
        const Statistics got =
            statistics_run("mul.wide.u32 %o, %t, " + std::to_string(stride) +
                           "; add.u64 %u1, %g, %o; ld.global" + width + ", [%u1];");
        EXPECT_EQ(got.global_load_sectors, sectors) << stride << " " << bytes;
        EXPECT_EQ(got.global_load_bytes, 32 * bytes) << stride << " " << bytes;
        EXPECT_EQ(got.global_accesses, 1u);
        EXPECT_EQ(got.global_store_sectors, 0u);
    }
    const Statistics stores = statistics_run(
        "setp.lt.u32 %p1, %t, 5; mul.wide.u32 %o, %t, 4; add.u64 %u1, %g, "
        "%o; @%p1 st.global.b32 [%u1+16], %t;");
    EXPECT_EQ(stores.global_store_bytes, 20u);
    EXPECT_EQ(stores.global_store_sectors, 2u);
}

TEST(Statistics, WordsOfOneBankTakeTurns) {
    const struct {
        uint32_t stride, bytes;
        uint64_t wavefronts, ideal;
    } cases[] = {{4, 4, 1, 1}, {8, 4, 2, 1},   {128, 4, 32, 1},  {0, 4, 1, 1},  {132, 4, 1, 1},
                 {8, 8, 2, 2}, {16, 16, 4, 4}, {128, 16, 32, 4}, {64, 4, 16, 1}};
    for (const auto& [stride, bytes, wavefronts, ideal] : cases) {
        const std::string width = bytes == 16  ? ".v4.b32 {%r1, %r2, %r3, %r4}"
                                  : bytes == 8 ? ".v2.b32 {%r1, %r2}"
                                               : ".b32 %r1";
        const Statistics got = statistics_run("mad.lo.u32 %s, %t, " + std::to_string(stride) +
                                              ", %s; ld.shared" + width + ", [%s];");
        EXPECT_EQ(got.shared_wavefronts, wavefronts) << stride << " " << bytes;
        EXPECT_EQ(got.shared_ideal_wavefronts, ideal) << stride << " " << bytes;
        EXPECT_EQ(got.shared_accesses, 1u);
    }
    // Rows of a matrix 16 bytes apart fill all banks; 128 bytes apart they meet in four.
    for (const auto& [stride, wavefronts] : {std::pair{16u, 4u}, std::pair{128u, 32u}}) {
        const Statistics got = statistics_run(
            "mad.lo.u32 %s, %t, " + std::to_string(stride) +
            ", %s; ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r1, %r2, %r3, %r4}, [%s];");
        EXPECT_EQ(got.shared_wavefronts, wavefronts);
        EXPECT_EQ(got.shared_ideal_wavefronts, 4u);
    }
}

TEST(Statistics, InstructionsAreCountedByKind) {
    const Statistics got = statistics_run(R"(
    setp.lt.u32 %p1, %t, 40; @%p1 bra LOW;
    add.f32 %f1, %f1, %f1; mul.f32 %f1, %f1, %f1;
LOW:
    ex2.approx.f32 %f2, %f1;
    bar.sync 0; bar.sync 0; bar.sync 1, 64;
    mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f1, %f2, %f3, %f4}, {%r1, %r2, %r3, %r4}, {%r5, %r6}, {%f1, %f2, %f3, %f4};
)",
                                          64);
    // Warp 0 jumps; of warp 1 eight lanes do.
    EXPECT_EQ(got.by_kind.at("fp32"), 2u);
    EXPECT_EQ(got.by_kind.at("mufu"), 2u);
    EXPECT_EQ(got.by_kind.at("mma"), 2u);
    EXPECT_EQ(got.divergent_branches, 1u);
    EXPECT_EQ(got.tensor_flops, 2u * 2 * 16 * 8 * 16);
    EXPECT_EQ(got.barrier_waits, 6u);
    uint64_t sum = 0;
    for (const auto& [kind, count] : got.by_kind) sum += count;
    EXPECT_EQ(sum, got.warp_instructions);
}

TEST(Statistics, AreShownAsTableAndJson) {
    Statistics made;
    made.warp_instructions = 7;
    made.shared_wavefronts = 9;
    made.shared_ideal_wavefronts = 4;
    made.by_kind["mma"] = 3;
    made.add(made);
    EXPECT_NE(made.table().find("shared_bank_conflicts       10\n"), std::string::npos)
        << made.table();
    EXPECT_NE(made.table().find("  mma                       6\n"), std::string::npos)
        << made.table();
    const std::string json = made.json();
    EXPECT_NE(json.find("{\"warp_instructions\": 14, "), std::string::npos) << json;
    EXPECT_NE(json.find("\"shared_bank_conflicts\": 10, "), std::string::npos) << json;
    EXPECT_NE(json.find("\"by_kind\": {\"mma\": 6}}"), std::string::npos) << json;
}

}  // namespace
}  // namespace fattn::vgpu::test
