// Single instructions with inputs and what they should give: run by the interpreter's tests and, on
// a GPU, by the recorder.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace fattn::vgpu {

// d = instruction(a, b, c) for each of many inputs. In `body`, %a %b %c %d are registers of the
// sizes given.
struct InstructionCase {
    std::string name;
    std::string body;
    char types[4];  // of d, a, b, c: h 16 bits, w 32, q 64; f f32, g f64, e f16, r bf16 say which
                    // values are tried; - is absent
    std::function<uint64_t(uint64_t, uint64_t, uint64_t)> expected;  // of an exact instruction
    std::function<double(double)> real;  // of an approximation of one f32
    double low = 0, high = 0;            // between which an approximation is sampled
};

inline constexpr uint32_t kCaseInputs = 2048;

const std::vector<InstructionCase>& instruction_cases();
const std::vector<InstructionCase>& further_cases();           // every width and type
const std::vector<InstructionCase>& later_cases();             // carries, parts of words, `set`
const std::vector<InstructionCase>& further_approximations();  // ends of ranges, 16 bits

// A text with one entry, `run(in, out)`: thread i reads 8-byte slots i, n + i and 2 n + i of in, n
// = kCaseInputs, and writes slot i of out.
std::string case_ptx(const InstructionCase& one);
std::vector<uint64_t> case_inputs(const InstructionCase& one);  // 3 * kCaseInputs
uint64_t case_hash(const std::vector<uint64_t>& outputs);
uint32_t case_bytes(char type);

// In units of the last place of the exact value's f32; 0 when both are infinite or NaN alike.
double ulp_error(float got, double exact);

// Products of matrices, one warp: `run(in, out)`, lane l reads 10 words at 10 l and writes 4 at 4
// l.
struct MmaCase {
    std::string name;
    std::string types;  // as f32.bf16.bf16.f32
    std::string shape;
    uint32_t a_words, b_words, c_words, d_words;
    char element;  // as above; t tf32, 3 e4m3, 5 e5m2, u u8, s s8
};
const std::vector<MmaCase>& mma_cases();
inline constexpr uint32_t kMmaProbes = 6;
std::string mma_ptx(const MmaCase& one);
std::vector<uint32_t> mma_inputs(const MmaCase& one, uint32_t probe);  // 320 words

}  // namespace fattn::vgpu
