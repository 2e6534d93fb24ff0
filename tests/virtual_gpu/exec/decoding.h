// One instruction on its way from its spelling to an Op. Handed by the decoder to the function that
// knows the opcode.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "exec/program.h"
#include "gpu/device_model.h"
#include "ptx/syntax.h"

namespace fattn::vgpu {

class Decoder;

class Decoding {
  public:
    Decoding(Decoder& decoder, const ptx::Instruction& instruction)
        : in(instruction), decoder_(decoder), used_(instruction.modifiers.size()) {}

    // --- modifiers: each must be taken, else the load fails
    bool take(std::string_view name);
    std::string_view take_one(
        std::initializer_list<std::string_view> names);                 // empty when none is there
    bool has_one(std::initializer_list<std::string_view> names) const;  // and leaves it
    ptx::Type take_type();                                              // the next that is a type
    bool next_is_type() const;
    uint32_t take_width();                                           // .v2, .v4, .v8 or 1
    void take_hints(std::initializer_list<std::string_view> names);  // of no effect here

    // --- operands
    size_t count() const { return in.operands.size(); }
    const ptx::Operand& operand(size_t i, const char* what) const;
    void need_count(size_t low, size_t high) const;
    void dst(const ptx::Operand& operand,
             uint32_t bytes);  // adds a destination of exactly so many bytes
    void dst_any(const ptx::Operand& operand);
    void src(const ptx::Operand& operand, ptx::Type type);
    void src_any(const ptx::Operand& operand);  // a register of any size
    void address(const ptx::Operand& operand);  // adds the base as 64-bit or 32-bit source and sets
                                                // op.offset and aux2
    void second_address(const ptx::Operand& operand);  // likewise: op.aux is its offset, bit 1 of
                                                       // aux2 tells 32 bits
    uint32_t register_bytes(const ptx::Operand& operand) const;  // 0 when it is no register
    bool is_call_parameter(
        const ptx::Operand& operand) const;  // a .param variable that a call passes
    Row scratch(uint32_t bytes);
    Row carry();                                  // the condition code, a predicate of each thread
    void predicate(const ptx::Operand& operand);  // p or !p as a source; bit `i` of op.aux2's top
                                                  // half tells a negation
    const std::vector<ptx::Operand>& elements(const ptx::Operand& operand, size_t low,
                                              size_t high) const;
    uint64_t constant(const ptx::Operand& operand, const char* what) const;

    // --- the result
    Op op;
    std::string kind;
    uint32_t flops = 0;
    std::optional<Rmw> reduction;
    void finish(Handler handler, std::string_view statistics_kind) {
        op.run = handler;
        kind = statistics_kind;
    }
    const std::vector<Row>& destinations() const { return dsts_; }
    const std::vector<Row>& sources() const { return srcs_; }
    void add_source(Row row) { srcs_.push_back(row); }
    void add_destination(Row row) { dsts_.push_back(row); }
    void keep_for_wgmma(const ptx::Operand& operand);  // its register has a row of its own

    [[noreturn]] void fail(const std::string& message) const;         // no such spelling
    [[noreturn]] void unsupported(const std::string& message) const;  // legal, but not offered
    void need_arch(uint32_t sm, const char* what) const;
    void check_all_taken() const;
    const DeviceModel& model() const;
    uint32_t target_sm() const;
    uint32_t ptx_version() const;  // 84 of .version 8.4

    const ptx::Instruction& in;

  private:
    Decoder& decoder_;
    std::vector<bool> used_;
    std::vector<Row> dsts_;
    std::vector<Row> srcs_;
};

using DecodeFunction = void (*)(Decoding&);
using OpcodeTable = std::unordered_map<std::string_view, DecodeFunction>;

// Each adds the opcodes of one file.
void add_integer_opcodes(OpcodeTable& table);
void add_bit_opcodes(OpcodeTable& table);
void add_float_opcodes(OpcodeTable& table);
void add_compare_opcodes(OpcodeTable& table);
void add_move_opcodes(OpcodeTable& table);
void add_convert_opcodes(OpcodeTable& table);
void add_memory_opcodes(OpcodeTable& table);
void add_atomic_opcodes(OpcodeTable& table);
void add_control_opcodes(OpcodeTable& table);
void add_warp_opcodes(OpcodeTable& table);
void add_matrix_opcodes(OpcodeTable& table);
void add_mma_opcodes(OpcodeTable& table);
void add_copy_opcodes(OpcodeTable& table);
void add_mbarrier_opcodes(OpcodeTable& table);
void add_tensor_map_opcodes(OpcodeTable& table);
void add_wgmma_opcodes(OpcodeTable& table);
void add_wmma_opcodes(OpcodeTable& table);
void add_register_opcodes(OpcodeTable& table);
void add_carry_opcodes(OpcodeTable& table);
void add_part_opcodes(OpcodeTable& table);
void add_system_calls(OpcodeTable& table);

// Arithmetic opcodes that integers and floating point share look at their type and call one of
// these.
void decode_float(Decoding& d, ptx::Type type);
bool is_half(ptx::Type type);
void decode_half(Decoding& d, ptx::Type type);
// add, sub and mad with .cc.
void decode_carry(Decoding& d);
// add, min and max of two 16-bit integers in a word: false where the spelling is none of them.
bool decode_integer_pair(Decoding& d);
// cvt.pack, behind that modifier.
void decode_saturated_pack(Decoding& d);

// bar.warp.sync and barrier.cluster, behind the modifiers that tell them from other barriers.
void decode_warp_sync(Decoding& d);
void decode_cluster_barrier(Decoding& d);
// cp.async.bulk, cp.reduce.async.bulk and what belongs to them; of tensors.
void decode_bulk_copy(Decoding& d, bool reduces);
void decode_tensor_copy(Decoding& d, bool reduces);
// fence.proxy.tensormap::generic.
void decode_tensor_map_fence(Decoding& d);
// st.async and red.async.
void decode_store_async(Decoding& d);

}  // namespace fattn::vgpu
