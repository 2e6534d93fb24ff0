// Layout of an entry's memory, operands that are constants, and the walk over its instructions.
#include "exec/decoder.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstring>

#include "exec/decoding.h"
#include "gpu/memory.h"
#include "gpu/register_table.h"
#include "ptx/lexer.h"

namespace fattn::vgpu {

using ptx::Operand;
using ptx::Space;
using ptx::Type;

namespace {

constexpr uint32_t kLocalKey = 0x80000000;

uint32_t align_up(uint64_t value, uint32_t alignment) {
    return static_cast<uint32_t>((value + alignment - 1) / alignment * alignment);
}

const OpcodeTable& opcodes() {
    static const OpcodeTable table = [] {
        OpcodeTable made;
        for (const auto add : {add_integer_opcodes, add_bit_opcodes,      add_float_opcodes,
                               add_compare_opcodes, add_move_opcodes,     add_convert_opcodes,
                               add_memory_opcodes,  add_atomic_opcodes,   add_control_opcodes,
                               add_warp_opcodes,    add_matrix_opcodes,   add_mma_opcodes,
                               add_copy_opcodes,    add_mbarrier_opcodes, add_tensor_map_opcodes,
                               add_wgmma_opcodes,   add_wmma_opcodes,     add_register_opcodes,
                               add_carry_opcodes,   add_part_opcodes,     add_system_calls}) {
            add(made);
        }
        return made;
    }();
    return table;
}

const std::array<std::pair<std::string_view, Special>, 43>& special_names() {
    static const std::array<std::pair<std::string_view, Special>, 43> names = {{
        {"%tid.x", Special::kTidX},
        {"%tid.y", Special::kTidY},
        {"%tid.z", Special::kTidZ},
        {"%ntid.x", Special::kNtidX},
        {"%ntid.y", Special::kNtidY},
        {"%ntid.z", Special::kNtidZ},
        {"%ctaid.x", Special::kCtaidX},
        {"%ctaid.y", Special::kCtaidY},
        {"%ctaid.z", Special::kCtaidZ},
        {"%nctaid.x", Special::kNctaidX},
        {"%nctaid.y", Special::kNctaidY},
        {"%nctaid.z", Special::kNctaidZ},
        {"%laneid", Special::kLaneid},
        {"%warpid", Special::kWarpid},
        {"%nwarpid", Special::kNwarpid},
        {"%lanemask_eq", Special::kLanemaskEq},
        {"%lanemask_lt", Special::kLanemaskLt},
        {"%lanemask_le", Special::kLanemaskLe},
        {"%lanemask_gt", Special::kLanemaskGt},
        {"%lanemask_ge", Special::kLanemaskGe},
        {"%smid", Special::kSmid},
        {"%nsmid", Special::kNsmid},
        {"%gridid", Special::kGridid},
        {"%dynamic_smem_size", Special::kDynamicSmem},
        {"%total_smem_size", Special::kTotalSmem},
        {"%clusterid.x", Special::kClusteridX},
        {"%clusterid.y", Special::kClusteridY},
        {"%clusterid.z", Special::kClusteridZ},
        {"%nclusterid.x", Special::kNclusteridX},
        {"%cluster_ctaid.x", Special::kClusterCtaidX},
        {"%cluster_ctaid.y", Special::kClusterCtaidY},
        {"%cluster_ctaid.z", Special::kClusterCtaidZ},
        {"%cluster_nctaid.x", Special::kClusterNctaidX},
        {"%cluster_ctarank", Special::kClusterCtarank},
        {"%cluster_nctarank", Special::kClusterNctarank},
        {"%is_explicit_cluster", Special::kIsExplicitCluster},
        {"%cluster_nctaid.y", Special::kClusterNctaidY},
        {"%cluster_nctaid.z", Special::kClusterNctaidZ},
        {"%nclusterid.y", Special::kNclusteridY},
        {"%nclusterid.z", Special::kNclusteridZ},
        {"%aggr_smem_size", Special::kAggregateSmem},
        {"%envreg1", Special::kWorkspaceHigh},
        {"%envreg2", Special::kWorkspaceLow},
    }};
    return names;
}

}  // namespace

void Decoder::fail(const ptx::Instruction& at, const std::string& message,
                   LoadError::Reason reason) const {
    throw LoadError(reason, ptx::describe_line(file_, text_, at.line, message), at.line);
}

Row Decoder::new_register(Type type) {
    flat_.registers.push_back({"_", type});
    return static_cast<Row>(flat_.registers.size() - 1);
}

Row Decoder::carry_row() {
    if (carry_ == kNoRow) carry_ = new_register(Type::kPred);
    return carry_;
}

Row Decoder::constant_row(uint64_t bits, uint32_t bytes) {
    if (bytes < 8) bits &= (uint64_t{1} << (bytes == 1 ? 1 : 8 * bytes)) - 1;
    const auto key = std::make_pair(bits, bytes);
    if (const auto found = constants_.find(key); found != constants_.end()) return found->second;
    const uint32_t units = std::max(1u, bytes * 32 / kUnitBytes);
    const auto unit = static_cast<uint32_t>(program_->constants.size() / 8);
    program_->constants.resize(program_->constants.size() + size_t{units} * 8);
    program_->constant_defined.resize(program_->constant_defined.size() + units, ~0u);
    auto* to = reinterpret_cast<std::byte*>(program_->constants.data() + size_t{unit} * 8);
    if (bytes == 1) {
        const uint32_t mask = bits ? ~0u : 0;
        std::memcpy(to, &mask, 4);
    } else {
        for (uint32_t lane = 0; lane < 32; ++lane) std::memcpy(to + lane * bytes, &bits, bytes);
    }
    constant_bytes_[unit | kConstantBit] = bytes;
    return constants_[key] = unit | kConstantBit;
}

Row Decoder::address_row(const Operand& operand, uint32_t bytes, const ptx::Instruction& at) {
    const ptx::Variable& what = variable(operand);
    if (bytes != 4 && bytes != 8)
        fail(at, "the address of " + what.name + " has 4 or 8 bytes",
             LoadError::Reason::kUnknownInstruction);
    switch (what.space) {
        case Space::kShared:
            return constant_row(
                shared_offsets_.at(operand.index | (operand.function_local ? kLocalKey : 0)) +
                    operand.value,
                bytes);
        case Space::kLocal:
            return constant_row(local_offsets_.at(operand.index) + operand.value, bytes);
        case Space::kParam:
            if (is_entry_parameter(operand))
                return constant_row(parameter_offsets_[operand.index] + operand.value, bytes);
            return constant_row(local_offsets_.at(operand.index) + operand.value, bytes);
        default: {
            if (bytes != 8)
                fail(at, "the address of " + what.name + " has 8 bytes",
                     LoadError::Reason::kUnknownInstruction);
            // A row of its own, which place_variables fills: the key cannot be that of a number.
            const auto key = std::make_pair(operand.value, 0x10000 + operand.index);
            if (const auto found = constants_.find(key); found != constants_.end())
                return found->second;
            const auto unit = static_cast<uint32_t>(program_->constants.size() / 8);
            program_->constants.resize(program_->constants.size() + 32);
            program_->constant_defined.resize(program_->constant_defined.size() + 4, ~0u);
            constant_bytes_[unit | kConstantBit] = 8;
            program_->addresses.push_back(
                {unit, static_cast<uint32_t>(device_variables_[operand.index]), operand.value});
            return constants_[key] = unit | kConstantBit;
        }
    }
}

Row Decoder::special_row(const Operand& special, uint32_t bytes, const ptx::Instruction& at) {
    for (const auto& [name, what] : special_names()) {
        if (name != special.name) continue;
        const auto key = std::make_pair(static_cast<uint32_t>(what), bytes);
        if (const auto found = specials_.find(key); found != specials_.end()) return found->second;
        const Row row = new_register(bytes == 1   ? Type::kPred
                                     : bytes == 2 ? Type::kB16
                                     : bytes == 4 ? Type::kB32
                                                  : Type::kB64);
        program_->specials.push_back({what, row, static_cast<uint8_t>(bytes)});
        return specials_[key] = row;
    }
    fail(at, "the special register " + std::string(special.name) + " is not known here",
         LoadError::Reason::kUnsupported);
}

void Decoder::place_shared(uint32_t key, const ptx::Variable& what) {
    if (shared_offsets_.contains(key)) return;
    if (what.bytes == 0) {
        shared_offsets_[key] = 0;  // dynamic: after all others, see lay_out
        program_->dynamic_shared_offset = std::max(program_->dynamic_shared_offset, what.alignment);
        return;
    }
    const uint32_t offset = align_up(program_->static_shared_bytes, what.alignment);
    shared_offsets_[key] = offset;
    program_->static_shared_bytes = static_cast<uint32_t>(offset + what.bytes);
}

void Decoder::collect_shared(const Operand& operand) {
    if (operand.kind == Operand::Kind::kVariable && variable(operand).space == Space::kShared) {
        place_shared(operand.index | (operand.function_local ? kLocalKey : 0), variable(operand));
    }
    for (const Operand& part : operand.parts) collect_shared(part);
}

void Decoder::lay_out(EntryInfo& info) {
    uint32_t offset = 0;
    for (uint32_t i = 0; i < flat_.num_parameters; ++i) {
        const ptx::Variable& parameter = flat_.variables[i];
        offset = align_up(offset, parameter.alignment);
        parameter_offsets_.push_back(offset);
        info.parameters.push_back(
            {parameter.name, offset, static_cast<uint32_t>(parameter.bytes), parameter.alignment});
        offset += static_cast<uint32_t>(parameter.bytes);
    }
    program_->parameter_bytes = info.parameter_bytes = offset;

    for (uint32_t i = flat_.num_parameters; i < flat_.variables.size(); ++i) {
        const ptx::Variable& local = flat_.variables[i];
        if (local.space != Space::kLocal && local.space != Space::kParam) continue;
        program_->local_bytes = align_up(program_->local_bytes, local.alignment);
        local_offsets_[i] = program_->local_bytes;
        program_->local_bytes += static_cast<uint32_t>(local.bytes);
    }
    program_->local_bytes = align_up(program_->local_bytes, 16);
    info.local_bytes = program_->local_bytes;

    for (const ptx::Instruction& instruction : flat_.body) {
        for (const Operand& operand : instruction.operands) collect_shared(operand);
    }
    const uint32_t dynamic_alignment = std::max(16u, program_->dynamic_shared_offset);
    program_->dynamic_shared_offset = align_up(program_->static_shared_bytes, dynamic_alignment);
    for (auto& [key, at] : shared_offsets_) {
        const ptx::Variable& what =
            key & kLocalKey ? flat_.variables[key & ~kLocalKey] : module_.variables[key];
        if (what.bytes == 0) at = program_->dynamic_shared_offset;
    }
    info.static_shared_bytes = program_->static_shared_bytes;
}

std::unique_ptr<Program> Decoder::run(const ptx::Function& entry, EntryInfo& info) {
    std::string_view number = module_.target;
    number.remove_prefix(std::min<size_t>(3, number.size()));
    std::from_chars(number.data(), number.data() + number.size(), target_sm_);
    uint32_t major = 0, minor = 0;
    const std::string& version = module_.version;
    const auto dot = std::from_chars(version.data(), version.data() + version.size(), major).ptr;
    std::from_chars(std::min(dot + 1, version.data() + version.size()),
                    version.data() + version.size(), minor);
    ptx_version_ = 10 * major + minor;
    program_ = std::make_unique<Program>();
    program_->source_files = module_.source_files;
    constants_.clear();
    constant_bytes_.clear();
    specials_.clear();
    carry_ = kNoRow;
    shared_offsets_.clear();
    local_offsets_.clear();
    parameter_offsets_.clear();
    flat_ = flatten(module_, entry, file_, text_);
    info.name = entry.name;
    lay_out(info);
    for (const ptx::Instruction& instruction : flat_.body) decode(instruction);
    // A body may end without ret.
    ptx::Instruction end;
    end.opcode = "ret";
    end.text = "ret";
    end.line = flat_.body.empty() ? entry.line : flat_.body.back().line;
    decode(end);
    find_joins(*program_);
    assign_rows();
    find_wgmma_users(*program_);

    const uint64_t from_max =
        entry.max_threads.x ? entry.max_threads.count() : model_.max_threads_per_block;
    info.max_threads =
        static_cast<uint32_t>(entry.required_threads.x ? entry.required_threads.count() : from_max);
    info.required_block = entry.required_threads;
    info.required_cluster = entry.required_cluster;
    info.explicit_cluster = entry.explicit_cluster;
    info.min_blocks_per_sm = entry.min_blocks_per_sm;
    info.launches_dependents =
        std::any_of(flat_.body.begin(), flat_.body.end(), [](const ptx::Instruction& one) {
            return one.opcode == "griddepcontrol" && one.modifiers[0] == "launch_dependents";
        });
    uint32_t peak = 0;
    std::vector<uint32_t> bytes;
    for (const ptx::Register& reg : flat_.registers) bytes.push_back(bytes_of(reg.type));
    program_->register_units = renumber_registers(*program_, bytes, peak);
    // The compiler keeps to what the bounds of the launch leave to a thread.
    uint32_t most = 255;
    if (entry.max_threads.x || entry.required_threads.x) {
        const uint32_t threads = align_up(std::max(info.max_threads, 1u), 32);
        most = std::min(most, model_.registers_per_sm / threads /
                                  std::max(1u, entry.min_blocks_per_sm) / 8 * 8);
    }
    const uint32_t estimate =
        std::min(std::clamp(align_up(peak + 8, 8), 16u, 255u), std::max(most, 16u));
    info.registers = registers_by_table(info.name, model_).value_or(estimate);
    return std::move(program_);
}

void Decoder::decode(const ptx::Instruction& instruction) {
    const auto found = opcodes().find(instruction.opcode);
    if (found == opcodes().end()) {
        fail(instruction, "the opcode " + std::string(instruction.opcode) + " is not known",
             LoadError::Reason::kUnknownInstruction);
    }
    Decoding d(*this, instruction);
    found->second(d);
    d.check_all_taken();
    Op op = d.op;
    if (instruction.guarded) {
        op.guard = instruction.guard;
        op.guard_negated = instruction.guard_negated;
        op.kills = false;
    }
    op.first_row = static_cast<uint32_t>(program_->rows.size());
    op.num_dst = static_cast<uint8_t>(d.destinations().size());
    op.num_src = static_cast<uint8_t>(d.sources().size());
    program_->rows.insert(program_->rows.end(), d.destinations().begin(), d.destinations().end());
    program_->rows.insert(program_->rows.end(), d.sources().begin(), d.sources().end());
    for (const auto* rows : {&d.destinations(), &d.sources()}) {
        for (const Row row : *rows) {
            program_->row_bytes.push_back(
                static_cast<uint8_t>(row & kConstantBit ? constant_bytes_.at(row)
                                                        : bytes_of(flat_.registers[row].type)));
        }
    }
    if (op.is_branch) {
        op.target = instruction.operands[0].index;
        op.back_edge = op.target <= program_->ops.size();
    }
    program_->ops.push_back(op);
    OpInfo info;
    info.text = std::string(instruction.text);
    info.kind = d.kind;
    info.line = instruction.line;
    info.source_file = instruction.source_file;
    info.source_line = instruction.source_line;
    info.flops = d.flops;
    info.reduction = d.reduction;
    for (size_t at; (at = info.text.find_first_of("\t\n\r")) != std::string::npos;)
        info.text[at] = ' ';
    program_->infos.push_back(std::move(info));
}

void Decoder::assign_rows() {
    for (Op& op : program_->ops) op.rows = program_->rows.data() + op.first_row;
}

}  // namespace fattn::vgpu
