// Small CUDA programs, as nvcc compiled them, run to exact results; the same with one barrier or
// wait removed are caught.
#include <gtest/gtest.h>

#include <fstream>
#include <random>
#include <sstream>

#include "test/device.h"
#include "test/matrix_map.h"

namespace fattn::vgpu::test {
namespace {

std::string read_program(const std::string& name) {
    std::ifstream file(std::string(FATTN_VIRTUAL_GPU_DIR) + "/programs/" + name);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
}

// Takes the occurrence number `which` of `what` out of the text.
std::string without_nth(std::string text, const std::string& what, int which) {
    size_t at = text.find(what);
    for (; which > 0 && at != std::string::npos; --which) at = text.find(what, at + 1);
    EXPECT_NE(at, std::string::npos) << what;
    if (at != std::string::npos) text.erase(at, what.size());
    return text;
}

uint16_t bf16_of(int small) {
    uint32_t bits;
    const auto value = static_cast<float>(small);
    std::memcpy(&bits, &value, 4);
    return static_cast<uint16_t>(bits >> 16);
}

struct GemmRun {
    LaunchResult result;
    std::vector<float> c;
    std::vector<float> expected;
};

// Small integers: every sum is exact, whatever the order.
GemmRun run_gemm(const std::string& ptx, const LaunchOptions& options) {
    constexpr int kDepth = 96;
    std::mt19937 random(7);
    std::vector<int> a(64 * kDepth), b(64 * kDepth);
    for (int& x : a) x = static_cast<int>(random() % 17) - 8;
    for (int& x : b) x = static_cast<int>(random() % 17) - 8;
    std::vector<uint16_t> a16, b16;
    for (const int x : a) a16.push_back(bf16_of(x));
    for (const int x : b) b16.push_back(bf16_of(x));
    GemmRun made;
    for (int i = 0; i < 64; ++i) {
        for (int j = 0; j < 64; ++j) {
            int sum = 0;
            for (int k = 0; k < kDepth; ++k)
                sum +=
                    a[static_cast<size_t>(i * kDepth + k)] * b[static_cast<size_t>(j * kDepth + k)];
            made.expected.push_back(static_cast<float>(sum));
        }
    }
    Memory memory;
    Kernel kernel(memory, ptx, kSm80, "gemm.ptx");
    const uint64_t c = memory.allocate(64 * 64 * 4);
    made.result = kernel.run(
        memory, {1}, {128},
        Arguments().add(memory.upload(a16)).add(memory.upload(b16)).add(c).add(kDepth), 0, options);
    made.c = memory.download<float>(c);
    return made;
}

TEST(Programs, GemmIsExactUnderEveryAsynchronyAndSeed) {
    const std::string ptx = read_program("gemm.ptx");
    for (const Asynchrony when : {Asynchrony::kEarly, Asynchrony::kLate, Asynchrony::kSeeded}) {
        for (uint64_t seed = 1; seed <= 3; ++seed) {
            LaunchOptions options;
            options.asynchrony = when;
            options.seed = seed;
            const GemmRun run = run_gemm(ptx, options);
            ASSERT_FALSE(run.result.fault) << run.result.fault->text();
            EXPECT_EQ(run.c, run.expected);
            EXPECT_EQ(run.result.statistics.tensor_flops, 2u * 64 * 64 * 96);
        }
    }
}

TEST(Programs, GemmWithoutABarrierIsARace) {
    const std::string ptx = read_program("gemm.ptx");
    for (int which = 0; which < 2; ++which) {
        const GemmRun run = run_gemm(without_nth(ptx, "bar.sync \t0;", which), {});
        ASSERT_TRUE(run.result.fault);
        EXPECT_TRUE(run.result.fault->kind == FaultKind::kRace ||
                    run.result.fault->kind == FaultKind::kInFlight)
            << run.result.fault->text();
    }
}

TEST(Programs, GemmWithoutAWaitTouchesWhatIsInFlight) {
    const std::string ptx = read_program("gemm.ptx");
    for (const char* wait : {"cp.async.wait_group 1;", "cp.async.wait_group 0;"}) {
        const GemmRun run = run_gemm(without_nth(ptx, wait, 0), {});
        ASSERT_TRUE(run.result.fault);
        EXPECT_EQ(run.result.fault->kind, FaultKind::kInFlight) << run.result.fault->text();
    }
}

// Two tiles, each four steps through a ring of three.
GemmRun run_wgmma_gemm(const std::string& ptx, const LaunchOptions& options) {
    constexpr uint32_t kRows = 64, kColumns = 128, kDepth = 256;
    std::mt19937 random(7);
    std::vector<int> a(kRows * kDepth), b(kColumns * kDepth);
    for (int& x : a) x = static_cast<int>(random() % 17) - 8;
    for (int& x : b) x = static_cast<int>(random() % 17) - 8;
    std::vector<uint16_t> a16, b16;
    for (const int x : a) a16.push_back(bf16_of(x));
    for (const int x : b) b16.push_back(bf16_of(x));
    GemmRun made;
    for (uint32_t i = 0; i < kRows; ++i) {
        for (uint32_t j = 0; j < kColumns; ++j) {
            int sum = 0;
            for (uint32_t k = 0; k < kDepth; ++k) sum += a[i * kDepth + k] * b[j * kDepth + k];
            made.expected.push_back(static_cast<float>(sum));
        }
    }
    constexpr uint8_t kBf16 = 9, kSwizzle128 = 3;
    Memory memory;
    Kernel kernel(memory, ptx, kSm90a, "wgmma_gemm.ptx");
    const uint64_t c = memory.allocate(kRows * kColumns * 4);
    made.result = kernel.run(
        memory, {kColumns / 64, kRows / 64}, {256},
        Arguments()
            .add(map_of_matrix(memory.upload(a16), kBf16, 2, kDepth, kRows, 64, kSwizzle128))
            .add(map_of_matrix(memory.upload(b16), kBf16, 2, kDepth, kColumns, 64, kSwizzle128))
            .add(c)
            .add(int{kColumns})
            .add(int{kDepth}),
        3 * 2 * 8192, options);
    made.c = memory.download<float>(c);
    return made;
}

TEST(Programs, WarpSpecialisedGemmIsExactUnderEveryAsynchronyAndSeed) {
    const std::string ptx = read_program("wgmma_gemm.ptx");
    for (const Asynchrony when : {Asynchrony::kEarly, Asynchrony::kLate, Asynchrony::kSeeded}) {
        LaunchOptions options;
        options.asynchrony = when;
        const GemmRun run = run_wgmma_gemm(ptx, options);
        ASSERT_FALSE(run.result.fault) << run.result.fault->text();
        EXPECT_EQ(run.c, run.expected);
        EXPECT_EQ(run.result.statistics.tensor_flops, 2u * 64 * 128 * 256);
        EXPECT_EQ(run.result.statistics.global_load_bytes, 2u * 2 * (64 + 64) * 256);
    }
}

TEST(Programs, WarpSpecialisedGemmWithoutOneOfItsWaitsIsCaught) {
    const std::string ptx = read_program("wgmma_gemm.ptx");
    // Wherever it stands: the compiler may have made several loops of one.
    const auto kind_without = [&](const std::string& what, const std::string& instead) {
        std::string text = ptx;
        size_t at = text.find(what);
        EXPECT_NE(at, std::string::npos) << what;
        for (; at != std::string::npos; at = text.find(what, at + instead.size()))
            text.replace(at, what.size(), instead);
        const GemmRun run = run_wgmma_gemm(text, {});
        EXPECT_TRUE(run.result.fault) << what;
        return run.result.fault ? run.result.fault->kind : FaultKind::kTrap;
    };
    EXPECT_EQ(kind_without("wgmma.wait_group.sync.aligned 0;", ""), FaultKind::kInFlight);
    EXPECT_EQ(kind_without("wgmma.fence.sync.aligned;", ""), FaultKind::kInFlight);
    EXPECT_EQ(kind_without("fence.mbarrier_init.release.cluster;", ""),
              FaultKind::kMissingProxyFence);
    // The ring's slots are never given back.
    EXPECT_EQ(kind_without("mbarrier.arrive.shared.b64 _, [", "// ["), FaultKind::kDeadlock);
}

TEST(Programs, TransposeByTensorCopiesClipsWhatLiesOutside) {
    constexpr uint32_t kColumns = 52, kRows = 40;
    std::vector<float> from(kColumns * kRows), expected(from.size());
    for (uint32_t i = 0; i < from.size(); ++i) {
        from[i] = static_cast<float>(i);
        expected[i % kColumns * kRows + i / kColumns] = from[i];
    }
    const std::string ptx = read_program("tma_transpose.ptx");
    const auto run = [&](const std::string& text, const LaunchOptions& options,
                         std::vector<float>& made) {
        constexpr uint8_t kF32 = 7;
        Memory memory;
        Kernel kernel(memory, text, kSm90a, "tma_transpose.ptx");
        const uint64_t to = memory.allocate(from.size() * 4);
        const LaunchResult result =
            kernel.run(memory, {2, 2}, {128},
                       Arguments()
                           .add(map_of_matrix(memory.upload(from), kF32, 4, kColumns, kRows, 32, 0))
                           .add(map_of_matrix(to, kF32, 4, kRows, kColumns, 32, 0)),
                       0, options);
        made = memory.download<float>(to);
        return result.fault;
    };
    std::vector<float> made;
    for (const Asynchrony when : {Asynchrony::kEarly, Asynchrony::kLate, Asynchrony::kSeeded}) {
        LaunchOptions options;
        options.asynchrony = when;
        const auto fault = run(ptx, options, made);
        ASSERT_FALSE(fault) << fault->text();
        EXPECT_EQ(made, expected);
    }
    const auto fenceless = run(without_nth(ptx, "fence.proxy.async.shared::cta;", 0), {}, made);
    ASSERT_TRUE(fenceless);
    EXPECT_EQ(fenceless->kind, FaultKind::kMissingProxyFence);
    const auto waitless = run(without_nth(ptx, "cp.async.bulk.wait_group 0;", 0), {}, made);
    ASSERT_TRUE(waitless);
    EXPECT_EQ(waitless->kind, FaultKind::kInFlight);
}

}  // namespace
}  // namespace fattn::vgpu::test
