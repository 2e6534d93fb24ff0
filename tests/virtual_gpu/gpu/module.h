// A PTX text after parsing and decoding: what a driver asks about it. Made by the driver's module
// functions and by tests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "gpu/device_model.h"
#include "gpu/fault.h"

namespace fattn::vgpu {

// Thrown by Module::load. what() names file, line and the text of the line.
class LoadError : public std::runtime_error {
  public:
    enum class Reason { kSyntax, kUnknownInstruction, kUnsupported, kWrongTarget, kTooLarge };

    LoadError(Reason why, const std::string& text, uint32_t at)
        : std::runtime_error(text), reason(why), line(at) {}

    Reason reason;
    uint32_t line;
};

struct ParameterInfo {
    std::string name;
    uint32_t offset;  // in the launch's parameter bytes
    uint32_t size;
    uint32_t alignment;
};

struct EntryInfo {
    std::string name;
    std::vector<ParameterInfo> parameters;
    uint32_t parameter_bytes;      // end of the last parameter
    uint32_t static_shared_bytes;  // .shared variables of known size that the entry reaches
    uint32_t local_bytes;          // per thread
    uint32_t max_threads;          // of .maxntid or .reqntid; the model's limit without
    Dim3 required_block;           // .reqntid; 0,0,0 without
    uint32_t min_blocks_per_sm;    // .minnctapersm; 0 without
    Dim3 required_cluster;         // .reqnctapercluster; 0,0,0 without
    bool explicit_cluster;         // .explicitcluster: a launch must give cluster dimensions
    bool launches_dependents;      // it has griddepcontrol.launch_dependents
    uint32_t registers;  // per thread: of gpu/register_table.h, else an estimate from what
                         // is live at once, since ptxas does not run
};

// A .global or .const variable. The driver gives each a place in device memory before anything is
// launched.
struct VariableInfo {
    struct Relocation {
        uint32_t offset;    // where in `initial` 8 bytes become an address
        uint32_t variable;  // index of the variable whose address it is
        int64_t addend;
    };
    std::string name;
    uint64_t size;
    uint32_t alignment;
    bool constant;
    std::vector<std::byte> initial;  // size bytes; zeros where the text gives none
    std::vector<Relocation> relocations;
};

struct Program;  // decoded code of one entry; known to the interpreter alone
struct ModuleSource;

class Module {
  public:
    // `file` is the name that messages and faults use for the text. Throws LoadError. Entries of
    // large texts are read when they are asked for first: until then nobody has looked into them.
    static std::unique_ptr<Module> load(std::string_view ptx, const std::string& file,
                                        const DeviceModel& model);
    ~Module();
    Module(const Module&) = delete;
    Module& operator=(const Module&) = delete;

    // Of an entry that was not read yet, the name alone.
    std::span<const EntryInfo> entries() const { return entries_; }
    // Reads the entry; null when there is none. Throws LoadError.
    const EntryInfo* find_entry(std::string_view name);
    void read_all();
    std::span<const VariableInfo> variables() const { return variables_; }

    // addresses[i] is the place of variables()[i]; the driver has copied `initial`, relocated, to
    // it.
    void place_variables(std::span<const uint64_t> addresses);
    std::span<const uint64_t> variable_addresses() const { return addresses_; }

    std::shared_ptr<const Program> program(const EntryInfo& entry) const;  // which was read
    const DeviceModel& model() const;
    const std::string& file() const { return file_; }

  private:
    void read(size_t entry);
    Module(const std::string& file, std::shared_ptr<ModuleSource> source);

    std::string file_;
    std::shared_ptr<ModuleSource> source_;
    std::vector<EntryInfo> entries_;
    std::vector<std::shared_ptr<Program>> programs_;  // one for each entry; null: not read yet
    std::vector<VariableInfo> variables_;
    std::vector<uint64_t> addresses_;
};

}  // namespace fattn::vgpu
