// What the loader says of spellings, against the recorded verdicts of the assembler.
#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "gpu/module.h"

namespace fattn::vgpu::test {
namespace {

// Empty where the instruction is taken.
std::string refusal(const std::string& instruction) {
    const std::string text = R"(.version 8.4
.target sm_90a
.address_size 64
.visible .entry run(.param .u64 p) {
    .reg .b16 %h<9>; .reg .b32 %r<9>; .reg .b64 %rd<9>; .reg .f32 %f<9>; .reg .f64 %d<9>;
    .reg .pred %p<9>;
)" + instruction + "\nret;\n}\n";
    try {
        Module::load(text, "test.ptx", kSm90a)->read_all();
        return {};
    } catch (const std::exception& error) {
        return error.what();
    }
}

TEST(Spelling, IsTakenWhereTheAssemblerTakesIt) {
    std::ifstream file(FATTN_VIRTUAL_GPU_DIR "/recordings/ptxas_spellings.txt");
    uint32_t taken = 0, refused = 0;
    for (std::string line; std::getline(file, line);) {
        const std::string said = refusal(line.substr(2));
        EXPECT_EQ(said.empty(), line[0] == '+') << line << "\n" << said;
        ++(line[0] == '+' ? taken : refused);
    }
    EXPECT_GT(taken, 300u);
    EXPECT_GT(refused, 400u);
}

TEST(Spelling, ARefusalNamesWhatIsAllowed) {
    EXPECT_NE(refusal("mbarrier.test_wait.relaxed.cta.shared.b64 %p1, [%r1], %rd2;")
                  .find(".test_wait, .try_wait){.parity}{.acquire.cta, .acquire.cluster}"),
              std::string::npos);
    EXPECT_NE(refusal("cvt.rn.s32.f32 %r1, %f2;").find("(.rni, .rzi, .rmi, .rpi){.ftz}{.sat}"),
              std::string::npos);
    EXPECT_NE(refusal("cvt.rn.bf16.u8 %h1, %h2;").find("no conversion makes .bf16 of .u8"),
              std::string::npos);
    EXPECT_NE(refusal("mbarrier.arrive.shared::cluster.b64 %rd1, [%r1];").find("has no state"),
              std::string::npos);
}

}  // namespace
}  // namespace fattn::vgpu::test
