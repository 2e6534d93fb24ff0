// Makes one body of an entry and the functions it calls, with labels resolved. Called by the
// decoder.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "ptx/syntax.h"

namespace fattn::vgpu {

struct FlatFunction {
    std::vector<ptx::Register> registers;
    std::vector<ptx::Variable>
        variables;  // the entry's parameters first; function_local operands count here
    uint32_t num_parameters = 0;
    std::vector<ptx::Instruction>
        body;  // the operand of a label has Kind::kName, `index` is a position in here
};

// Calls are replaced by the called bodies. Throws LoadError for recursion, indirect calls and
// functions without a body.
FlatFunction flatten(const ptx::Module& module, const ptx::Function& entry, const std::string& file,
                     std::string_view text);

// Opcodes of instructions that stand for calls of the compiler's own functions: (parameters...,
// results...) as variables.
inline constexpr std::string_view kAssertFail = "__assertfail";
inline constexpr std::string_view kPrint = "vprintf";
// Of one behind the branches of brx.idx, where no lane may come.
inline constexpr std::string_view kBranchOutside = "brx outside";

}  // namespace fattn::vgpu
