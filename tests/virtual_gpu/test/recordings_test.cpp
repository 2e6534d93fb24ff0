// What an H100 gave for the cases (recordings/h100.txt, made by record/) against what the
// interpreter gives.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <set>

#include "cases/cases.h"
#include "cases/recorded.h"
#include "test/device.h"

namespace fattn::vgpu::test {

std::vector<uint64_t> interpret(const InstructionCase& one);  // instruction_test.cpp

namespace {

constexpr const char* kAgain = " again";

// Kind and name, then the words of the line.
std::map<std::string, std::vector<std::string>> recordings() {
    std::map<std::string, std::vector<std::string>> made;
    for_each_recorded_line([&](const std::string& kind, std::string name, std::istream& words) {
        std::string word;
        if (kind == "mma") {
            words >> word;
            name += "/" + word;
        }
        // Both tables of cases may have a name.
        std::string key = kind + " " + name;
        if (made.contains(key)) key += kAgain;
        std::vector<std::string>& values = made[key];
        while (words >> word) values.push_back(word);
    });
    return made;
}

TEST(Recordings, ExactInstructionsGiveTheBitsOfHardware) {
    const auto recorded = recordings();
    int compared = 0;
    std::vector<InstructionCase> all = instruction_cases();
    for (const auto* table : {&further_cases(), &later_cases()})
        all.insert(all.end(), table->begin(), table->end());
    std::set<std::string> seen;
    for (const InstructionCase& one : all) {
        if (one.real) continue;
        const bool again = !seen.insert(one.name).second;
        const auto found = recorded.find("exact " + one.name + (again ? kAgain : ""));
        ASSERT_NE(found, recorded.end()) << one.name;
        char hash[20];
        std::snprintf(hash, sizeof hash, "%016llx",
                      static_cast<unsigned long long>(case_hash(interpret(one))));
        EXPECT_EQ(hash, found->second[0]) << one.name;
        ++compared;
    }
    EXPECT_GT(compared, 440);
}

TEST(Recordings, ApproximationsOfHardwareLieWhereTheInterpreterIsExact) {
    const auto recorded = recordings();
    std::vector<InstructionCase> all = instruction_cases();
    all.insert(all.end(), further_approximations().begin(), further_approximations().end());
    for (const InstructionCase& one : all) {
        if (!one.real) continue;
        const auto found = recorded.find("approx " + one.name);
        ASSERT_NE(found, recorded.end()) << one.name;
        const double worst = std::stod(found->second[0]);
        const std::vector<uint64_t> inputs = case_inputs(one), outputs = interpret(one);
        double own = 0;
        for (uint32_t i = 16; i < kCaseInputs; ++i) {
            own = std::max(
                own, ulp_error(std::bit_cast<float>(static_cast<uint32_t>(outputs[i])),
                               one.real(std::bit_cast<float>(static_cast<uint32_t>(inputs[i])))));
        }
        // Recordings have three places.
        EXPECT_LE(own, std::max(worst + 0.0005, 0.51)) << one.name;
    }
}

TEST(Recordings, MatrixProductsAreThoseOfHardware) {
    const auto recorded = recordings();
    for (const MmaCase& one : mma_cases()) {
        for (uint32_t probe = 0; probe < kMmaProbes; ++probe) {
            const auto found = recorded.find("mma " + one.name + "/" + std::to_string(probe));
            ASSERT_NE(found, recorded.end()) << one.name;
            ASSERT_EQ(found->second.size(), 128u);
            Memory memory;
            Kernel kernel(memory, mma_ptx(one));
            const uint64_t out = memory.upload(std::vector<uint32_t>(128, 0));
            const LaunchResult result = kernel.run(
                memory, {1}, {32}, Arguments().add(memory.upload(mma_inputs(one, probe))).add(out));
            ASSERT_FALSE(result.fault) << result.fault->text();
            const auto outputs = memory.download<uint32_t>(out);
            for (size_t i = 0; i < 128; ++i) {
                const auto expected =
                    static_cast<uint32_t>(std::stoul(found->second[i], nullptr, 16));
                EXPECT_EQ(outputs[i], expected) << one.name << " probe " << probe << " word " << i;
            }
        }
    }
}

}  // namespace
}  // namespace fattn::vgpu::test
