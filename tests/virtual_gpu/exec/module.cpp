// Module::load: parse, place variables, decode entries, at once or when they are asked for.
#include "gpu/module.h"

#include <charconv>
#include <cstring>

#include "exec/decoder.h"
#include "exec/program.h"
#include "ptx/bodies.h"
#include "ptx/lexer.h"
#include "ptx/parser.h"

namespace fattn::vgpu {

using ptx::Space;

namespace {

void fill_addresses(Program& program, const std::vector<uint64_t>& addresses) {
    for (const Program::AddressConstant& constant : program.addresses) {
        for (size_t lane = 0; lane < 32; ++lane) {
            program.constants[size_t{constant.unit} * 8 + lane] =
                addresses[constant.variable] + constant.addend;
        }
    }
}

}  // namespace

Module::Module(const std::string& file, const DeviceModel& model) : file_(file), model_(model) {}
Module::~Module() = default;

class ModuleBuilder {
  public:
    ModuleBuilder(std::string_view text, const std::string& file, const DeviceModel& model)
        : text_(text), module_(new Module(file, model)) {}

    std::unique_ptr<Module> run() {
        const std::vector<ptx::Body> bodies =
            text_.size() > kWholeBytes ? ptx::entry_bodies(text_) : std::vector<ptx::Body>();
        const bool outlined = !bodies.empty();
        const std::string outline =
            outlined ? ptx::with_one_body(text_, bodies, bodies.size()) : std::string();
        if (outlined) {
            module_->text_ = text_;
            text_ = outline;
        }
        parsed_ = ptx::parse(text_, module_->file_);
        check_target();
        make_variables();
        for (const ptx::Function& function : parsed_.functions) {
            if (!function.entry || !function.defined) continue;
            EntryInfo info{};
            info.name = function.name;
            module_->programs_.push_back(outlined ? nullptr : decode(function, info));
            module_->entries_.push_back(std::move(info));
        }
        return std::move(module_);
    }

    // Number `index` of the entries, from the module's text.
    static void read(Module& module, size_t index) {
        const std::string name = module.entries_[index].name;
        const std::vector<ptx::Body> bodies = ptx::entry_bodies(module.text_);
        size_t kept = 0;
        while (kept < bodies.size() && bodies[kept].name != name) ++kept;
        const std::string text = ptx::with_one_body(module.text_, bodies, kept);
        ModuleBuilder builder(text, module.file_, module.model_);
        builder.parsed_ = ptx::parse(text, module.file_);
        builder.make_variables();
        for (const ptx::Function& function : builder.parsed_.functions) {
            if (!function.entry || !function.defined || function.name != name) continue;
            EntryInfo made{};
            module.programs_[index] = builder.decode(function, made);
            module.entries_[index] = std::move(made);
        }
    }

  private:
    // Texts up to this size are read at once.
    static constexpr size_t kWholeBytes = 1 << 18;

    std::unique_ptr<Program> decode(const ptx::Function& function, EntryInfo& info) {
        return Decoder(parsed_, indices_, module_->model_, module_->file_, text_)
            .run(function, info);
    }

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

const EntryInfo* Module::find_entry(std::string_view name) {
    for (size_t i = 0; i < entries_.size(); ++i) {
        if (entries_[i].name != name) continue;
        read(i);
        return &entries_[i];
    }
    return nullptr;
}

void Module::read_all() {
    for (size_t i = 0; i < entries_.size(); ++i) read(i);
}

void Module::read(size_t entry) {
    if (programs_[entry]) return;
    ModuleBuilder::read(*this, entry);
    fill_addresses(*programs_[entry], addresses_);
}

const Program& Module::program(const EntryInfo& entry) const {
    return *programs_[static_cast<size_t>(&entry - entries_.data())];
}

void Module::place_variables(std::span<const uint64_t> addresses) {
    addresses_.assign(addresses.begin(), addresses.end());
    for (const auto& program : programs_) {
        if (program) fill_addresses(*program, addresses_);
    }
}

}  // namespace fattn::vgpu
