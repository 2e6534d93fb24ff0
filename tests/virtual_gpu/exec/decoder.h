// Turns a flattened entry into a Program: opcodes to handlers, registers to rows. Called by
// Module::load.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "exec/flatten.h"
#include "exec/program.h"
#include "gpu/module.h"
#include "ptx/syntax.h"

namespace fattn::vgpu {

class Decoder {
  public:
    Decoder(const ptx::Module& module, const std::vector<int32_t>& device_variables,
            const DeviceModel& model, const std::string& file, std::string_view text)
        : module_(module),
          device_variables_(device_variables),
          model_(model),
          file_(file),
          text_(text) {}

    // Fills `info` and returns the code of `entry`. Throws LoadError.
    std::unique_ptr<Program> run(const ptx::Function& entry, EntryInfo& info);

    // --- for Decoding
    [[noreturn]] void fail(const ptx::Instruction& at, const std::string& message,
                           LoadError::Reason reason) const;
    const ptx::Register& reg(uint32_t index) const { return flat_.registers[index]; }
    Row new_register(ptx::Type type);
    Row carry_row();
    Row constant_row(uint64_t bits, uint32_t bytes);
    Row address_row(const ptx::Operand& variable, uint32_t bytes, const ptx::Instruction& at);
    Row special_row(const ptx::Operand& special, uint32_t bytes, const ptx::Instruction& at);
    const ptx::Variable& variable(const ptx::Operand& operand) const {
        return operand.function_local ? flat_.variables[operand.index]
                                      : module_.variables[operand.index];
    }
    bool is_entry_parameter(const ptx::Operand& operand) const {
        return operand.function_local && operand.index < flat_.num_parameters;
    }
    void keep_for_wgmma(Row reg) { program_->wgmma_rows.push_back(reg); }
    const DeviceModel& model() const { return model_; }
    uint32_t target_sm() const { return target_sm_; }
    uint32_t ptx_version() const { return ptx_version_; }

  private:
    void lay_out(EntryInfo& info);
    void collect_shared(const ptx::Operand& operand);
    void place_shared(uint32_t key, const ptx::Variable& variable);
    void decode(const ptx::Instruction& instruction);
    void assign_rows();

    const ptx::Module& module_;
    const std::vector<int32_t>&
        device_variables_;  // of module_.variables: index among the module's VariableInfo, or -1
    const DeviceModel& model_;
    const std::string& file_;
    std::string_view text_;
    uint32_t target_sm_ = 0;
    uint32_t ptx_version_ = 0;
    FlatFunction flat_;
    std::unique_ptr<Program> program_;
    std::map<std::pair<uint64_t, uint32_t>, Row> constants_;
    std::map<Row, uint32_t> constant_bytes_;
    std::map<std::pair<uint32_t, uint32_t>, Row> specials_;
    Row carry_ = kNoRow;
    std::map<uint32_t, uint32_t>
        shared_offsets_;  // by index; function-local ones with the top bit set
    std::map<uint32_t, uint32_t>
        local_offsets_;  // of function variables: local memory, parameters of calls
    std::vector<uint32_t> parameter_offsets_;
};

// --- code_flow.cpp
// Fills Op::join: where the lanes that a branch parts meet again.
void find_joins(Program& program);

// Fills Op::touches_wgmma, while rows are still registers.
void find_wgmma_users(Program& program);

// Gives registers that never live at once the same rows. `bytes` of each register; returns the
// units used and rewrites every row; `peak` becomes the most 4-byte values that live at once.
uint32_t renumber_registers(Program& program, const std::vector<uint32_t>& bytes, uint32_t& peak);

}  // namespace fattn::vgpu
