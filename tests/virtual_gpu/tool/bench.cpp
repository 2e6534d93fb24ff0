// Measures the interpreter: warp instructions a second of a GEMM of mma, checked and unchecked. Run
// by hand: fattn_virtual_gpu_bench [RUNS].
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <sstream>

#include "gpu/launch.h"
#include "test/device.h"

namespace {

using namespace fattn::vgpu;

// Of this process, whatever else the machine does.
double processor_seconds() {
    return static_cast<double>(std::clock()) / static_cast<double>(CLOCKS_PER_SEC);
}

// Values of bf16 between -1 and 1.
std::vector<uint16_t> matrix(size_t count, uint32_t seed) {
    std::vector<uint16_t> made(count);
    for (uint16_t& value : made) {
        seed = seed * 1664525 + 1013904223;
        const float real = static_cast<float>(static_cast<int32_t>(seed)) * 0x1p-31F;
        uint32_t bits = 0;
        std::memcpy(&bits, &real, sizeof bits);
        value = static_cast<uint16_t>(bits >> 16);
    }
    return made;
}

// Prints the best of `runs`; false when the kernel failed.
bool measure(const std::string& ptx, const char* checks, int runs) {
    constexpr int kDepth = 4096;
    double best = 1e9;
    uint64_t instructions = 0;
    for (int run = 0; run < runs; ++run) {
        test::Memory memory;
        test::Kernel kernel(memory, ptx, kSm80, "gemm.ptx");
        test::Arguments arguments;
        arguments.add(memory.upload(matrix(64 * kDepth, 1)))
            .add(memory.upload(matrix(64 * kDepth, 2)))
            .add(memory.allocate(64 * 64 * 4))
            .add(kDepth);
        LaunchOptions options;
        options.checks = parse_checks(checks);
        const double begin = processor_seconds();
        const LaunchResult result = kernel.run(memory, {1}, {128}, arguments, 0, options);
        best = std::min(best, processor_seconds() - begin);
        if (result.fault) {
            std::printf("%s\n", result.fault->text().c_str());
            return false;
        }
        instructions = result.statistics.warp_instructions;
    }
    std::printf(
        "gemm 64x64x%d, checks=%s: %llu warp instructions, %.1f ms, %.2f million a second\n",
        kDepth, checks, static_cast<unsigned long long>(instructions), best * 1e3,
        static_cast<double>(instructions) / best * 1e-6);
    return true;
}

}  // namespace

int main(int count, char** arguments) {
    const int runs = std::max(1, count > 1 ? std::atoi(arguments[1]) : 10);
    std::ifstream file(std::string(FATTN_VIRTUAL_GPU_DIR) + "/programs/gemm.ptx");
    std::stringstream text;
    text << file.rdbuf();
    return measure(text.str(), "all", runs) && measure(text.str(), "none", runs) ? 0 : 1;
}
