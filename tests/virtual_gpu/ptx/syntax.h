// A PTX module as the parser leaves it: names are resolved, instructions are still spelled, and all
// refer to the text. Read by the flattener and decoder.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gpu/fault.h"
#include "ptx/types.h"

namespace fattn::vgpu::ptx {

struct Register {
    std::string name;
    Type type = Type::kNone;
};

// One value of an initialiser: bytes, or the address of a variable.
struct Initial {
    uint64_t bits = 0;
    std::string symbol;  // empty for bytes
    int64_t addend = 0;
};

struct Variable {
    std::string name;
    Space space = Space::kGlobal;
    Type type = Type::kB8;
    uint32_t alignment = 1;
    uint64_t bytes = 0;  // 0 for an .extern .shared array
    bool external = false;
    std::vector<Initial> initial;
    uint32_t line = 0;
};

struct Operand {
    enum class Kind : uint8_t {
        kRegister,  // index of Function::registers
        kNegated,   // !%p
        kInteger,
        kFloat,      // bits of an f64
        kFloatBits,  // bits of 0fXXXXXXXX, an f32
        kVariable,   // address of a variable: index of Module or Function variables
        kSpecial,    // %tid.x and the like, in `name`
        kName,       // label or function, in `name`
        kSink,       // _
        kMemory,     // [base + offset, coordinates]
        kVector,     // {a, b, ...} and (a, b, ...)
        kPair,       // a | b: two destinations
    };
    Kind kind = Kind::kInteger;
    bool function_local =
        false;  // of a variable: index of Function::variables, else of Module::variables
    uint32_t index = 0;
    uint32_t scope = 0;  // of a name: where labels are looked up
    uint64_t value = 0;  // bits of a number; offset of a memory operand
    std::string_view name;
    std::vector<Operand> parts;  // elements; of memory: the base, then coordinates
};

struct Instruction {
    std::string_view opcode;
    std::vector<std::string_view> modifiers;
    std::vector<Operand> operands;
    bool guarded = false;
    bool guard_negated = false;
    uint32_t guard = 0;  // register
    uint32_t line = 0;
    uint32_t source_file = 0;  // of .loc, 0 without
    uint32_t source_line = 0;
    std::string_view text;
};

struct Label {
    std::string_view name;
    uint32_t scope = 0;
    uint32_t position = 0;  // of the instruction it stands before
};

struct Function {
    std::string name;
    bool entry = false;
    bool defined = false;
    uint32_t line = 0;
    std::vector<Register> registers;
    std::vector<Variable>
        variables;  // parameters first: results, then arguments; then what the body declares
    std::vector<uint32_t> register_results;  // .reg results and arguments of a .func
    std::vector<uint32_t> register_arguments;
    uint32_t num_results = 0;     // .param results among variables
    uint32_t num_parameters = 0;  // .param arguments after them
    std::vector<Instruction> body;
    std::vector<Label> labels;
    std::map<std::pair<uint32_t, std::string_view>, uint32_t> label_numbers;  // by scope and name
    // Labels of each .branchtargets, by scope and name of its own label.
    std::map<std::pair<uint32_t, std::string_view>, std::vector<std::string_view>> branch_lists;
    std::vector<uint32_t> scope_parents;
    Dim3 max_threads{0, 0, 0};
    Dim3 required_threads{0, 0, 0};
    Dim3 required_cluster{0, 0, 0};
    uint32_t min_blocks_per_sm = 0;
    bool explicit_cluster = false;
};

struct Module {
    std::string version;
    std::string target;
    std::vector<Variable> variables;
    std::vector<Function> functions;
    std::vector<std::string> source_files;  // by number of .file
};

}  // namespace fattn::vgpu::ptx
