// Small CUDA programs, as nvcc compiled them, run to exact results; the same with one barrier or
// wait removed are caught.
#include <gtest/gtest.h>

#include <fstream>
#include <random>
#include <sstream>

#include "test/device.h"

namespace fattn::vgpu::test {
namespace {

std::string read_program(const std::string& name) {
    std::ifstream file(std::string(FATTN_VIRTUAL_GPU_DIR) + "/programs/" + name);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
}

// Takes the occurrence number `which` of `what` out of the text.
std::string without(std::string text, const std::string& what, int which) {
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
        const GemmRun run = run_gemm(without(ptx, "bar.sync \t0;", which), {});
        ASSERT_TRUE(run.result.fault);
        EXPECT_TRUE(run.result.fault->kind == FaultKind::kRace ||
                    run.result.fault->kind == FaultKind::kInFlight)
            << run.result.fault->text();
    }
}

TEST(Programs, GemmWithoutAWaitTouchesWhatIsInFlight) {
    const std::string ptx = read_program("gemm.ptx");
    for (const char* wait : {"cp.async.wait_group 1;", "cp.async.wait_group 0;"}) {
        const GemmRun run = run_gemm(without(ptx, wait, 0), {});
        ASSERT_TRUE(run.result.fault);
        EXPECT_EQ(run.result.fault->kind, FaultKind::kInFlight) << run.result.fault->text();
    }
}

}  // namespace
}  // namespace fattn::vgpu::test
