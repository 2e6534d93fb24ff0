// Measures the interpreter: warp instructions a second of the small programs, checked and
// unchecked. Run by hand: fattn_virtual_gpu_bench
// [RUNS [NAME [CHECKS]]]: programs whose names begin so, with these checks alone.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <sstream>
#include <string_view>

#include "gpu/launch.h"
#include "test/device.h"
#include "test/matrix_map.h"

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

struct Measured {
    const char* name;
    const char* file;
    const DeviceModel* model;
    uint32_t shared_bytes;
    Dim3 grid, block;
    test::Arguments (*arguments)(test::Memory& memory);
};

constexpr int kDepth = 4096, kWords = 1 << 18;
constexpr uint32_t kSide = 512, kHopperDepth = 1024;

std::vector<uint32_t> words(size_t count) { return std::vector<uint32_t>(count, 3); }

const Measured kPrograms[] = {
    {"gemm 64x64x4096",
     "gemm.ptx",
     &kSm80,
     0,
     {1},
     {128},
     [](test::Memory& memory) {
         return test::Arguments()
             .add(memory.upload(matrix(64 * kDepth, 1)))
             .add(memory.upload(matrix(64 * kDepth, 2)))
             .add(memory.allocate(64 * 64 * 4))
             .add(kDepth);
     }},
    {"wgmma gemm 64x128x1024",
     "wgmma_gemm.ptx",
     &kSm90a,
     3 * 2 * 8192,
     {2, 1},
     {256},
     [](test::Memory& memory) {
         constexpr uint8_t kBf16 = 9, kSwizzle128 = 3;
         return test::Arguments()
             .add(map_of_matrix(memory.upload(matrix(64 * kHopperDepth, 1)), kBf16, 2, kHopperDepth,
                                64, 64, kSwizzle128))
             .add(map_of_matrix(memory.upload(matrix(128 * kHopperDepth, 2)), kBf16, 2,
                                kHopperDepth, 128, 64, kSwizzle128))
             .add(memory.allocate(64 * 128 * 4))
             .add(128)
             .add(int{kHopperDepth});
     }},
    {"reduction of 262144 words",
     "reduction.ptx",
     &kSm80,
     0,
     {16},
     {128},
     [](test::Memory& memory) {
         return test::Arguments()
             .add(memory.upload(words(kWords)))
             .add(kWords)
             .add(memory.allocate(16 * 4))
             .add(memory.upload(std::vector<uint32_t>{0}))
             .add(memory.allocate(4));
     }},
    {"scan of 262144 words",
     "scan.ptx",
     &kSm80,
     0,
     {kWords / 256},
     {256},
     [](test::Memory& memory) {
         return test::Arguments()
             .add(memory.upload(words(kWords)))
             .add(memory.allocate(kWords * 4));
     }},
    {"transpose of 512x512",
     "transpose.ptx",
     &kSm80,
     0,
     {kSide / 32, kSide / 32},
     {32, 8},
     [](test::Memory& memory) {
         return test::Arguments()
             .add(memory.upload(words(kSide * kSide)))
             .add(memory.allocate(kSide * kSide * 4))
             .add(int{kSide})
             .add(int{kSide});
     }},
    {"tensor transpose of 512x512",
     "tma_transpose.ptx",
     &kSm90a,
     0,
     {kSide / 32, kSide / 32},
     {128},
     [](test::Memory& memory) {
         constexpr uint8_t kF32 = 7;
         return test::Arguments()
             .add(map_of_matrix(memory.upload(words(kSide * kSide)), kF32, 4, kSide, kSide, 32, 0))
             .add(map_of_matrix(memory.allocate(kSide * kSide * 4), kF32, 4, kSide, kSide, 32, 0));
     }},
};

// Prints the best of `runs`; false when the kernel failed.
bool measure(const Measured& program, const char* checks, int runs) {
    std::ifstream file(std::string(FATTN_VIRTUAL_GPU_DIR) + "/programs/" + program.file);
    std::stringstream text;
    text << file.rdbuf();
    double best = 1e9;
    uint64_t instructions = 0, flops = 0;
    for (int run = 0; run < runs; ++run) {
        test::Memory memory;
        test::Kernel kernel(memory, text.str(), *program.model, program.file);
        const test::Arguments arguments = program.arguments(memory);
        LaunchOptions options;
        options.checks = parse_checks(checks);
        const double begin = processor_seconds();
        const LaunchResult result = kernel.run(memory, program.grid, program.block, arguments,
                                               program.shared_bytes, options);
        best = std::min(best, processor_seconds() - begin);
        if (result.fault) {
            std::printf("%s\n", result.fault->text().c_str());
            return false;
        }
        instructions = result.statistics.warp_instructions;
        flops = result.statistics.tensor_flops;
    }
    std::printf("%-28s checks=%-4s %8llu warp instructions, %7.2f ms, %5.2f million a second",
                program.name, checks, static_cast<unsigned long long>(instructions), best * 1e3,
                static_cast<double>(instructions) / best * 1e-6);
    // In mma.m16n8k16, whatever instructions multiply.
    constexpr uint64_t kFlopsOfMma = 2 * 16 * 8 * 16;
    if (flops != 0)
        std::printf(", with %5.2f million mma",
                    static_cast<double>(flops / kFlopsOfMma) / best * 1e-6);
    std::printf("\n");
    return true;
}

}  // namespace

int main(int count, char** arguments) {
    const int runs = std::max(1, count > 1 ? std::atoi(arguments[1]) : 10);
    const std::string_view wanted = count > 2 ? arguments[2] : "";
    bool all = true;
    for (const Measured& program : kPrograms) {
        if (!std::string_view(program.name).starts_with(wanted)) continue;
        const std::vector<const char*> each =
            count > 3 ? std::vector<const char*>{arguments[3]} : std::vector{"all", "none"};
        for (const char* checks : each) all &= measure(program, checks, runs);
    }
    return all ? 0 : 1;
}
