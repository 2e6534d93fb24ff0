// Taking modifiers and operands of one instruction.
#include "exec/decoding.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "exec/decoder.h"
#include "exec/half.h"

namespace fattn::vgpu {

using ptx::Operand;
using ptx::Type;

bool Decoding::take(std::string_view name) {
    for (size_t i = 0; i < in.modifiers.size(); ++i) {
        if (!used_[i] && in.modifiers[i] == name) {
            used_[i] = true;
            return true;
        }
    }
    return false;
}

std::string_view Decoding::take_one(std::initializer_list<std::string_view> names) {
    for (const std::string_view name : names) {
        if (take(name)) return name;
    }
    return {};
}

bool Decoding::has_one(std::initializer_list<std::string_view> names) const {
    for (size_t i = 0; i < in.modifiers.size(); ++i) {
        if (!used_[i] && std::find(names.begin(), names.end(), in.modifiers[i]) != names.end())
            return true;
    }
    return false;
}

Type Decoding::take_type() {
    for (size_t i = 0; i < in.modifiers.size(); ++i) {
        if (used_[i]) continue;
        if (const auto type = ptx::type_of(in.modifiers[i])) {
            used_[i] = true;
            return *type;
        }
    }
    fail("a type is missing");
}

bool Decoding::next_is_type() const {
    for (size_t i = 0; i < in.modifiers.size(); ++i) {
        if (!used_[i] && ptx::type_of(in.modifiers[i])) return true;
    }
    return false;
}

uint32_t Decoding::take_width() { return take("v2") ? 2 : take("v4") ? 4 : take("v8") ? 8 : 1; }

void Decoding::take_hints(std::initializer_list<std::string_view> names) {
    for (const std::string_view name : names) take(name);
}

const Operand& Decoding::operand(size_t i, const char* what) const {
    if (i >= in.operands.size()) fail(std::string(what) + " is missing");
    return in.operands[i];
}

void Decoding::need_count(size_t low, size_t high) const {
    if (in.operands.size() < low || in.operands.size() > high) {
        fail("it has " + std::to_string(in.operands.size()) + " operands; " +
             (low == high ? std::to_string(low)
                          : std::to_string(low) + " to " + std::to_string(high)) +
             " are expected");
    }
}

uint32_t Decoding::register_bytes(const Operand& operand) const {
    return operand.kind == Operand::Kind::kRegister ? bytes_of(decoder_.reg(operand.index).type)
                                                    : 0;
}

void Decoding::dst(const Operand& operand, uint32_t bytes) {
    if (operand.kind == Operand::Kind::kSink) return dsts_.push_back(scratch(bytes));
    if (operand.kind != Operand::Kind::kRegister) fail("a destination must be a register");
    const ptx::Register& reg = decoder_.reg(operand.index);
    if (bytes_of(reg.type) != bytes || (bytes == 1) != (reg.type == Type::kPred)) {
        fail("the destination " + reg.name + " has " + std::to_string(bytes_of(reg.type)) +
             " bytes; " + std::to_string(bytes) + " are needed");
    }
    dsts_.push_back(operand.index);
}

void Decoding::dst_any(const Operand& operand) {
    if (operand.kind != Operand::Kind::kRegister) fail("a destination must be a register");
    dsts_.push_back(operand.index);
}

void Decoding::src_any(const Operand& operand) {
    if (operand.kind != Operand::Kind::kRegister) fail("the source must be a register");
    srcs_.push_back(operand.index);
}

void Decoding::src(const Operand& operand, Type type) {
    const uint32_t bytes = bytes_of(type);
    switch (operand.kind) {
        case Operand::Kind::kRegister: {
            const ptx::Register& reg = decoder_.reg(operand.index);
            if (bytes_of(reg.type) != bytes || (type == Type::kPred) != (reg.type == Type::kPred)) {
                fail("the source " + reg.name + " is a ." + std::string(ptx::info(reg.type).name) +
                     "; a register of " + std::to_string(bytes) + " bytes is needed");
            }
            return srcs_.push_back(operand.index);
        }
        case Operand::Kind::kInteger: {
            uint64_t bits = operand.value;
            if (type == Type::kF32 || type == Type::kF64) {
                // An integer where floating point is expected has that value.
                const auto value = static_cast<double>(static_cast<int64_t>(bits));
                bits = type == Type::kF64 ? std::bit_cast<uint64_t>(value)
                                          : std::bit_cast<uint32_t>(static_cast<float>(value));
            }
            return srcs_.push_back(decoder_.constant_row(bits, type == Type::kPred ? 1 : bytes));
        }
        case Operand::Kind::kFloat: {
            const double value = std::bit_cast<double>(operand.value);
            if (bytes == 8) return srcs_.push_back(decoder_.constant_row(operand.value, 8));
            if (bytes == 4)
                return srcs_.push_back(
                    decoder_.constant_row(std::bit_cast<uint32_t>(static_cast<float>(value)), 4));
            fail("a floating-point constant stands where " + std::to_string(bytes) +
                 " bytes are expected");
        }
        case Operand::Kind::kFloatBits: {
            if (bytes == 4) return srcs_.push_back(decoder_.constant_row(operand.value, 4));
            if (bytes == 8) {
                const auto value =
                    static_cast<double>(std::bit_cast<float>(static_cast<uint32_t>(operand.value)));
                return srcs_.push_back(decoder_.constant_row(std::bit_cast<uint64_t>(value), 8));
            }
            fail("an f32 constant stands where " + std::to_string(bytes) + " bytes are expected");
        }
        case Operand::Kind::kVariable:
            return srcs_.push_back(decoder_.address_row(operand, bytes, in));
        case Operand::Kind::kSpecial:
            if (in.opcode != "mov" && in.opcode != "cvt")
                fail("special registers are read by mov and cvt alone");
            return srcs_.push_back(decoder_.special_row(operand, bytes, in));
        default:
            fail("an operand is neither register, constant nor variable" +
                 (operand.name.empty() ? "" : ": " + std::string(operand.name)));
    }
}

void Decoding::keep_for_wgmma(const Operand& operand) {
    if (operand.kind == Operand::Kind::kRegister) decoder_.keep_for_wgmma(operand.index);
}

void Decoding::predicate(const Operand& operand) {
    const size_t index = srcs_.size();
    if (operand.kind == Operand::Kind::kNegated) {
        op.aux2 |= uint64_t{1} << (32 + index);
        srcs_.push_back(operand.index);
        return;
    }
    src(operand, Type::kPred);
}

void Decoding::address(const Operand& operand) {
    if (operand.kind != Operand::Kind::kMemory) fail("an address in brackets is expected");
    const Operand& base = operand.parts[0];
    op.offset = static_cast<int64_t>(operand.value);
    if (base.kind == Operand::Kind::kRegister) {
        const uint32_t bytes = register_bytes(base);
        if (bytes != 4 && bytes != 8)
            fail("an address register has 4 or 8 bytes, not " + std::to_string(bytes));
        srcs_.push_back(base.index);
        if (bytes == 4) op.aux2 |= 1;
        return;
    }
    src(base, Type::kU64);
}

void Decoding::second_address(const Operand& operand) {
    const int64_t first = op.offset;
    const uint64_t narrow = op.aux2 & 1;
    op.aux2 &= ~uint64_t{1};
    address(operand);
    op.aux = static_cast<uint64_t>(op.offset);
    op.aux2 = (op.aux2 & ~uint64_t{1}) | (op.aux2 & 1) << 1 | narrow;
    op.offset = first;
}

bool Decoding::is_call_parameter(const Operand& operand) const {
    if (operand.kind != Operand::Kind::kMemory || operand.parts[0].kind != Operand::Kind::kVariable)
        return false;
    return decoder_.variable(operand.parts[0]).space == ptx::Space::kParam &&
           !decoder_.is_entry_parameter(operand.parts[0]);
}

Row Decoding::scratch(uint32_t bytes) {
    return decoder_.new_register(bytes == 1   ? Type::kPred
                                 : bytes == 2 ? Type::kB16
                                 : bytes == 4 ? Type::kB32
                                 : bytes == 8 ? Type::kB64
                                              : Type::kB128);
}

Row Decoding::carry() { return decoder_.carry_row(); }

const std::vector<Operand>& Decoding::elements(const Operand& operand, size_t low,
                                               size_t high) const {
    if (operand.kind != Operand::Kind::kVector) fail("a vector in braces is expected");
    if (operand.parts.size() < low || operand.parts.size() > high) {
        fail("a vector has " + std::to_string(operand.parts.size()) + " elements; " +
             std::to_string(low) + (low == high ? "" : " to " + std::to_string(high)) +
             " are expected");
    }
    return operand.parts;
}

uint64_t Decoding::constant(const Operand& operand, const char* what) const {
    if (operand.kind != Operand::Kind::kInteger) fail(std::string(what) + " must be a constant");
    return operand.value;
}

void Decoding::fail(const std::string& message) const {
    decoder_.fail(in, std::string(in.opcode) + ": " + message,
                  LoadError::Reason::kUnknownInstruction);
}

void Decoding::unsupported(const std::string& message) const {
    decoder_.fail(in, std::string(in.opcode) + ": " + message, LoadError::Reason::kUnsupported);
}

void Decoding::need_arch(uint32_t sm, const char* what) const {
    if (decoder_.target_sm() >= sm) return;
    fail(std::string(what) + " needs .target sm_" + std::to_string(sm) + "; the text says sm_" +
         std::to_string(decoder_.target_sm()));
}

void Decoding::check_all_taken() const {
    for (size_t i = 0; i < used_.size(); ++i) {
        if (!used_[i]) fail("the modifier ." + std::string(in.modifiers[i]) + " is not known here");
    }
}

const DeviceModel& Decoding::model() const { return decoder_.model(); }
uint32_t Decoding::target_sm() const { return decoder_.target_sm(); }
uint32_t Decoding::ptx_version() const { return decoder_.ptx_version(); }

}  // namespace fattn::vgpu
