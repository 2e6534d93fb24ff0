// Reduction, scan and transpose as nvcc compiled them: exact results under every order; without one
// of their barriers or fences a race.
#include <gtest/gtest.h>

#include <fstream>
#include <numeric>
#include <sstream>

#include "test/pattern.h"

namespace fattn::vgpu::test {
namespace {

std::string program_text(const std::string& name) {
    std::ifstream file(std::string(FATTN_VIRTUAL_GPU_DIR) + "/programs/" + name);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
}

// Nothing is reported under any order; with one of `parts` gone, wherever it stands, something is.
template <class Run>
void expect_exact(const std::string& ptx, const std::vector<const char*>& parts, const Run& run) {
    for (const LaunchOptions& options : all_options()) {
        const auto fault = run(ptx, options, true);
        ASSERT_FALSE(fault) << fault->text();
    }
    for (const char* part : parts) {
        for (size_t at = ptx.find(part); at != std::string::npos; at = ptx.find(part, at + 1)) {
            std::string text = ptx;
            text.erase(at, std::strlen(part));
            const auto fault = run(text, LaunchOptions{}, false);
            ASSERT_TRUE(fault) << "without " << part << " at " << at;
            EXPECT_TRUE(fault->kind == FaultKind::kRace || fault->kind == FaultKind::kUninitialised)
                << fault->text();
        }
    }
}

std::vector<int> numbers(int count) {
    std::vector<int> made(static_cast<size_t>(count));
    for (int i = 0; i < count; ++i) made[static_cast<size_t>(i)] = i * 7919 % 1009 - 500;
    return made;
}

TEST(BlockPrograms, AReductionAddsAllWords) {
    const std::vector<int> values = numbers(5000);
    const int expected = std::accumulate(values.begin(), values.end(), 0);
    expect_exact(program_text("reduction.ptx"), {"bar.sync \t0;", "membar.gl;"},
                 [&](const std::string& text, const LaunchOptions& options, bool compare) {
                     constexpr uint32_t kReducing = 6;
                     Memory memory;
                     Kernel kernel(memory, text, kSm80, "reduction.ptx");
                     const uint64_t total = memory.allocate(4);
                     const LaunchResult result =
                         kernel.run(memory, {kReducing}, {128},
                                    Arguments()
                                        .add(memory.upload(values))
                                        .add(static_cast<int>(values.size()))
                                        .add(memory.allocate(kReducing * 4))
                                        .add(memory.upload(std::vector<uint32_t>{0}))
                                        .add(total),
                                    0, options);
                     if (compare && !result.fault) {
                         EXPECT_EQ(memory.download<int>(total)[0], expected);
                     }
                     return result.fault;
                 });
}

TEST(BlockPrograms, AScanGivesEveryPrefix) {
    const std::vector<int> values = numbers(3 * 256);
    std::vector<int> expected(values.size());
    for (size_t i = 0; i < values.size(); ++i)
        expected[i] = values[i] + (i % 256 ? expected[i - 1] : 0);
    expect_exact(program_text("scan.ptx"), {"bar.sync \t0;"},
                 [&](const std::string& text, const LaunchOptions& options, bool compare) {
                     Memory memory;
                     Kernel kernel(memory, text, kSm80, "scan.ptx");
                     const uint64_t sums = memory.allocate(values.size() * 4);
                     const LaunchResult result =
                         kernel.run(memory, {3}, {256},
                                    Arguments().add(memory.upload(values)).add(sums), 0, options);
                     if (compare && !result.fault) {
                         EXPECT_EQ(memory.download<int>(sums), expected);
                     }
                     return result.fault;
                 });
}

TEST(BlockPrograms, ATransposeMovesEveryElementWithoutBankConflicts) {
    constexpr int kRows = 40, kColumns = 70;
    std::vector<float> from(kRows * kColumns), expected(from.size());
    for (int i = 0; i < kRows * kColumns; ++i) {
        from[static_cast<size_t>(i)] = static_cast<float>(i);
        expected[static_cast<size_t>(i % kColumns * kRows + i / kColumns)] = static_cast<float>(i);
    }
    expect_exact(program_text("transpose.ptx"), {"bar.sync \t0;"},
                 [&](const std::string& text, const LaunchOptions& options, bool compare) {
                     Memory memory;
                     Kernel kernel(memory, text, kSm80, "transpose.ptx");
                     const uint64_t to = memory.allocate(from.size() * 4);
                     const LaunchResult result = kernel.run(
                         memory, {3, 2}, {32, 8},
                         Arguments().add(memory.upload(from)).add(to).add(kRows).add(kColumns), 0,
                         options);
                     if (compare && !result.fault) {
                         EXPECT_EQ(memory.download<float>(to), expected);
                         EXPECT_EQ(result.statistics.shared_wavefronts,
                                   result.statistics.shared_ideal_wavefronts);
                     }
                     return result.fault;
                 });
}

}  // namespace
}  // namespace fattn::vgpu::test
