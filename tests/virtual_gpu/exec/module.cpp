// Module::load: parse, place variables, decode every entry.
#include "gpu/module.h"

#include <charconv>
#include <cstring>

#include "exec/decoder.h"
#include "exec/program.h"
#include "ptx/lexer.h"
#include "ptx/parser.h"

namespace fattn::vgpu {

using ptx::Space;

Module::Module(const std::string& file, const DeviceModel& model) : file_(file), model_(model) {}
Module::~Module() = default;

class ModuleBuilder {
  public:
    ModuleBuilder(std::string_view text, const std::string& file, const DeviceModel& model)
        : text_(text), module_(new Module(file, model)) {}

    std::unique_ptr<Module> run() {
        parsed_ = ptx::parse(text_, module_->file_);
        check_target();
        make_variables();
        Decoder decoder(parsed_, indices_, module_->model_, module_->file_, text_);
        for (const ptx::Function& function : parsed_.functions) {
            if (!function.entry || !function.defined) continue;
            EntryInfo info{};
            module_->programs_.push_back(decoder.run(function, info));
            module_->entries_.push_back(std::move(info));
        }
        return std::move(module_);
    }

  private:
    [[noreturn]] void fail(uint32_t line, const std::string& message,
                           LoadError::Reason reason) const {
        throw LoadError(reason, ptx::describe_line(module_->file_, text_, line, message), line);
    }

    void check_target() const {
        const std::string& target = parsed_.target;
        uint32_t number = 0;
        const auto [end, error] =
            std::from_chars(target.data() + std::min<size_t>(3, target.size()),
                            target.data() + target.size(), number);
        const std::string suffix(end, target.data() + target.size());
        const DeviceModel& model = module_->model_;
        const uint32_t own = model.compute_major * 10 + model.compute_minor;
        if (!target.starts_with("sm_") || error != std::errc() ||
            (!suffix.empty() && suffix != "a")) {
            fail(1, "the target " + target + " is none of sm_NN and sm_NNa",
                 LoadError::Reason::kSyntax);
        }
        const bool fits = suffix.empty() ? number <= own : number == own && model.arch_specific;
        if (!fits) {
            fail(1,
                 "the target is " + target + "; " + model.name + " runs texts for " +
                     (model.arch_specific ? "sm_" + std::to_string(own) + "a and " : "") + "sm_" +
                     std::to_string(own) + " and older",
                 LoadError::Reason::kWrongTarget);
        }
    }

    void make_variables() {
        for (const ptx::Variable& from : parsed_.variables) {
            if (from.space == Space::kShared) {
                indices_.push_back(-1);
                continue;
            }
            indices_.push_back(static_cast<int32_t>(module_->variables_.size()));
            VariableInfo made;
            made.name = from.name;
            made.size = from.bytes;
            made.alignment = from.alignment;
            made.constant = from.space == Space::kConst;
            made.initial.resize(from.bytes);
            module_->variables_.push_back(std::move(made));
        }
        for (size_t i = 0; i < parsed_.variables.size(); ++i) {
            if (indices_[i] >= 0)
                fill(parsed_.variables[i], module_->variables_[static_cast<size_t>(indices_[i])]);
        }
        module_->addresses_.assign(module_->variables_.size(), 0);
    }

    void fill(const ptx::Variable& from, VariableInfo& to) const {
        const uint32_t element = bytes_of(from.type);
        if (from.initial.size() * element > from.bytes)
            fail(from.line, "the variable " + from.name + " has more initial values than elements",
                 LoadError::Reason::kSyntax);
        for (size_t i = 0; i < from.initial.size(); ++i) {
            const ptx::Initial& value = from.initial[i];
            const auto offset = static_cast<uint32_t>(i * element);
            if (value.symbol.empty()) {
                std::memcpy(to.initial.data() + offset, &value.bits, element);
                continue;
            }
            if (element != 8)
                fail(from.line, "the address of " + value.symbol + " needs elements of 8 bytes",
                     LoadError::Reason::kUnsupported);
            bool found = false;
            for (size_t k = 0; k < module_->variables_.size() && !found; ++k) {
                if (module_->variables_[k].name != value.symbol) continue;
                to.relocations.push_back({offset, static_cast<uint32_t>(k), value.addend});
                found = true;
            }
            if (!found)
                fail(from.line,
                     "the initial value " + value.symbol + " is no variable of this module",
                     LoadError::Reason::kUnsupported);
        }
    }

    std::string_view text_;
    std::unique_ptr<Module> module_;
    ptx::Module parsed_;
    std::vector<int32_t> indices_;
};

std::unique_ptr<Module> Module::load(std::string_view ptx, const std::string& file,
                                     const DeviceModel& model) {
    return ModuleBuilder(ptx, file, model).run();
}

const EntryInfo* Module::find_entry(std::string_view name) const {
    for (const EntryInfo& entry : entries_) {
        if (entry.name == name) return &entry;
    }
    return nullptr;
}

const Program& Module::program(const EntryInfo& entry) const {
    return *programs_[static_cast<size_t>(&entry - entries_.data())];
}

void Module::place_variables(std::span<const uint64_t> addresses) {
    addresses_.assign(addresses.begin(), addresses.end());
    for (const auto& program : programs_) {
        for (const Program::AddressConstant& constant : program->addresses) {
            for (size_t lane = 0; lane < 32; ++lane) {
                program->constants[size_t{constant.unit} * 8 + lane] =
                    addresses_[constant.variable] + constant.addend;
            }
        }
    }
}

}  // namespace fattn::vgpu
