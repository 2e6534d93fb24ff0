// Every instruction case against its definition, every matrix product against a plain one.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "cases/cases.h"
#include "test/device.h"

namespace fattn::vgpu::test {

std::vector<uint64_t> interpret(const InstructionCase& one) {
    Memory memory;
    Kernel kernel(memory, case_ptx(one));
    const uint64_t out = memory.upload(std::vector<uint64_t>(kCaseInputs, 0));
    const LaunchResult result =
        kernel.run(memory, {kCaseInputs / 128}, {128},
                   Arguments().add(memory.upload(case_inputs(one))).add(out));
    EXPECT_FALSE(result.fault) << result.fault->text();
    return memory.download<uint64_t>(out);
}

namespace {

void expect_definition(const InstructionCase& one) {
    const std::vector<uint64_t> inputs = case_inputs(one), outputs = interpret(one);
    int shown = 0;
    for (uint32_t i = 0; i < kCaseInputs && shown < 5; ++i) {
        const uint64_t a = inputs[i], b = inputs[kCaseInputs + i], c = inputs[2 * kCaseInputs + i];
        if (one.real) {
            if (i < 16) continue;
            const double error =
                ulp_error(std::bit_cast<float>(static_cast<uint32_t>(outputs[i])),
                          one.real(std::bit_cast<float>(static_cast<uint32_t>(a))));
            if (error > 2)
                ADD_FAILURE() << one.name << " of " << std::hex << a << " is " << outputs[i]
                              << ", off by " << error << " units",
                    ++shown;
        } else if (const uint64_t expected = one.expected(a, b, c); outputs[i] != expected) {
            ADD_FAILURE() << one.name << std::hex << " of " << a << " " << b << " " << c << " is "
                          << outputs[i] << ", not " << expected;
            ++shown;
        }
    }
}

class Instruction : public ::testing::TestWithParam<size_t> {};

TEST_P(Instruction, GivesWhatItsDefinitionSays) {
    expect_definition(instruction_cases()[GetParam()]);
}

TEST(Instructions, OfEveryWidthAndTypeGiveWhatTheirDefinitionsSay) {
    for (const InstructionCase& one : further_cases()) expect_definition(one);
}

TEST(Instructions, WithCarriesAndPartsOfWordsGiveWhatTheirDefinitionsSay) {
    for (const InstructionCase& one : later_cases()) expect_definition(one);
}

std::string case_name(const ::testing::TestParamInfo<size_t>& at) {
    std::string name = instruction_cases()[at.param].name;
    for (char& c : name) c = c == '.' ? '_' : c;
    return name;
}

INSTANTIATE_TEST_SUITE_P(All, Instruction, ::testing::Range<size_t>(0, instruction_cases().size()),
                         case_name);

}  // namespace
}  // namespace fattn::vgpu::test
