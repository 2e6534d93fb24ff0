// Module::load: parse, place variables, decode entries, at once or when they are asked for. What
// came of a text is kept for the next module of the same text.
#include "gpu/module.h"

#include <charconv>
#include <cstring>
#include <list>
#include <mutex>

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

// A text and what came of it, whichever module was first to ask; modules share programs that hold
// no addresses of theirs.
struct ModuleSource {
    ModuleSource(std::string_view what, const DeviceModel& of) : text(what), model(of) {}

    const std::string text;
    const DeviceModel model;
    std::vector<ptx::Body> bodies;  // none: the text is small and was read as a whole
    std::vector<VariableInfo> variables;

    std::mutex mutex;  // of what follows
    std::vector<EntryInfo> entries;
    std::vector<std::shared_ptr<Program>> programs;  // one for each entry; null: not read yet
};

class ModuleBuilder {
  public:
    ModuleBuilder(ModuleSource& source, const std::string& file)
        : source_(source), file_(file), text_(source.text) {}

    void run() {
        if (source_.text.size() > kWholeBytes) source_.bodies = ptx::entry_bodies(source_.text);
        const bool outlined = !source_.bodies.empty();
        const std::string outline =
            outlined ? ptx::with_one_body(text_, source_.bodies, source_.bodies.size())
                     : std::string();
        if (outlined) text_ = outline;
        parsed_ = ptx::parse(text_, file_);
        check_target();
        make_variables();
        for (const ptx::Function& function : parsed_.functions) {
            if (!function.entry || !function.defined) continue;
            EntryInfo info{};
            info.name = function.name;
            source_.programs.push_back(outlined ? nullptr : decode(function, info));
            source_.entries.push_back(std::move(info));
        }
        source_.variables = std::move(variables_);
    }

    // Number `index` of the entries.
    void read(size_t index) {
        const std::string name = source_.entries[index].name;
        size_t kept = 0;
        while (kept < source_.bodies.size() && source_.bodies[kept].name != name) ++kept;
        const std::string text = ptx::with_one_body(source_.text, source_.bodies, kept);
        text_ = text;
        parsed_ = ptx::parse(text_, file_);
        make_variables();
        for (const ptx::Function& function : parsed_.functions) {
            if (!function.entry || !function.defined || function.name != name) continue;
            EntryInfo made{};
            source_.programs[index] = decode(function, made);
            source_.entries[index] = std::move(made);
        }
    }

  private:
    // Texts up to this size are read at once.
    static constexpr size_t kWholeBytes = 1 << 18;

    std::shared_ptr<Program> decode(const ptx::Function& function, EntryInfo& info) {
        return Decoder(parsed_, indices_, source_.model, file_, text_).run(function, info);
    }

    [[noreturn]] void fail(uint32_t line, const std::string& message,
                           LoadError::Reason reason) const {
        throw LoadError(reason, ptx::describe_line(file_, text_, line, message), line);
    }

    void check_target() const {
        const std::string& target = parsed_.target;
        uint32_t number = 0;
        const auto [end, error] =
            std::from_chars(target.data() + std::min<size_t>(3, target.size()),
                            target.data() + target.size(), number);
        const std::string suffix(end, target.data() + target.size());
        const DeviceModel& model = source_.model;
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
            indices_.push_back(static_cast<int32_t>(variables_.size()));
            VariableInfo made;
            made.name = from.name;
            made.size = from.bytes;
            made.alignment = from.alignment;
            made.constant = from.space == Space::kConst;
            made.initial.resize(from.bytes);
            variables_.push_back(std::move(made));
        }
        for (size_t i = 0; i < parsed_.variables.size(); ++i) {
            if (indices_[i] >= 0)
                fill(parsed_.variables[i], variables_[static_cast<size_t>(indices_[i])]);
        }
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
            for (size_t k = 0; k < variables_.size() && !found; ++k) {
                if (variables_[k].name != value.symbol) continue;
                to.relocations.push_back({offset, static_cast<uint32_t>(k), value.addend});
                found = true;
            }
            if (!found)
                fail(from.line,
                     "the initial value " + value.symbol + " is no variable of this module",
                     LoadError::Reason::kUnsupported);
        }
    }

    ModuleSource& source_;
    const std::string& file_;
    std::string_view text_;
    ptx::Module parsed_;
    std::vector<VariableInfo> variables_;
    std::vector<int32_t> indices_;
};

namespace {

// The latest texts, 64 MB of them.
class SourceList {
  public:
    static SourceList& of_process() {
        static SourceList list;
        return list;
    }

    std::shared_ptr<ModuleSource> find(std::string_view text, const DeviceModel& model) {
        const std::lock_guard lock(mutex_);
        for (auto at = sources_.begin(); at != sources_.end(); ++at) {
            if ((*at)->text != text || !((*at)->model == model)) continue;
            sources_.splice(sources_.begin(), sources_, at);
            return sources_.front();
        }
        return nullptr;
    }

    void keep(const std::shared_ptr<ModuleSource>& source) {
        const std::lock_guard lock(mutex_);
        sources_.push_front(source);
        bytes_ += source->text.size();
        while (bytes_ > kMostBytes || sources_.size() > kMostTexts) {
            bytes_ -= sources_.back()->text.size();
            sources_.pop_back();
        }
    }

  private:
    static constexpr size_t kMostBytes = 64 << 20, kMostTexts = 256;

    std::mutex mutex_;
    std::list<std::shared_ptr<ModuleSource>> sources_;  // the latest first
    size_t bytes_ = 0;
};

std::shared_ptr<Program> copy_of(const Program& program) {
    auto made = std::make_shared<Program>(program);
    for (Op& op : made->ops) op.rows = made->rows.data() + op.first_row;
    return made;
}

}  // namespace

Module::Module(const std::string& file, std::shared_ptr<ModuleSource> source)
    : file_(file),
      source_(std::move(source)),
      programs_(source_->programs.size()),
      variables_(source_->variables),
      addresses_(variables_.size(), 0) {
    const std::lock_guard lock(source_->mutex);
    for (const EntryInfo& entry : source_->entries) {
        entries_.push_back({});
        entries_.back().name = entry.name;
    }
}

Module::~Module() = default;

std::unique_ptr<Module> Module::load(std::string_view ptx, const std::string& file,
                                     const DeviceModel& model) {
    std::shared_ptr<ModuleSource> source = SourceList::of_process().find(ptx, model);
    if (!source) {
        source = std::make_shared<ModuleSource>(ptx, model);
        ModuleBuilder(*source, file).run();
        SourceList::of_process().keep(source);
    }
    std::unique_ptr<Module> made(new Module(file, source));
    if (source->bodies.empty()) made->read_all();
    return made;
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
    const std::lock_guard lock(source_->mutex);
    if (!source_->programs[entry]) ModuleBuilder(*source_, file_).read(entry);
    const std::shared_ptr<Program>& program = source_->programs[entry];
    entries_[entry] = source_->entries[entry];
    programs_[entry] = program->addresses.empty() ? program : copy_of(*program);
    fill_addresses(*programs_[entry], addresses_);
}

const DeviceModel& Module::model() const { return source_->model; }

std::shared_ptr<const Program> Module::program(const EntryInfo& entry) const {
    return programs_[static_cast<size_t>(&entry - entries_.data())];
}

void Module::place_variables(std::span<const uint64_t> addresses) {
    addresses_.assign(addresses.begin(), addresses.end());
    for (const auto& program : programs_) {
        if (program) fill_addresses(*program, addresses_);
    }
}

}  // namespace fattn::vgpu
