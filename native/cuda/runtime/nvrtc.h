// The run-time compiler NVRTC, loaded by name so that the library needs no CUDA toolkit; used by
// the kernel store and by programs of the user.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "backend/status.h"
#include "cuda/runtime/dynamic_library.h"

namespace fattn::cuda {

/// A text with the name by which #include lines find it.
struct SourceText {
    std::string name;
    std::string text;
};

/// What is compiled. Equal programs give equal results, so that results can be kept by content.
struct Program {
    SourceText source;
    std::vector<SourceText> headers;       // no other file is seen unless options name a folder
    std::vector<std::string> options;      // without the architecture
    std::string target;                    // "sm_80": PTX and cubin; "compute_80": PTX alone
    std::vector<std::string> expressions;  // names of template instances whose symbols are wanted
};

/// What a program became.
struct CompiledProgram {
    std::string ptx;
    std::string cubin;                 // empty when the target is no machine
    std::string log;                   // warnings; empty when there are none
    std::vector<std::string> symbols;  // of Program::expressions, in their order
};

struct NvrtcFunctions;

class Nvrtc {
  public:
    /// Loads a library by name or path; an empty name tries the versioned names that are known,
    /// those of cuda_major first (0: newest first). DEVICE_UNAVAILABLE saying what was tried.
    static Status load(const std::string& library, int cuda_major, std::unique_ptr<Nvrtc>* nvrtc);
    ~Nvrtc();
    Nvrtc(const Nvrtc&) = delete;
    Nvrtc& operator=(const Nvrtc&) = delete;

    int major() const { return major_; }
    int minor() const { return minor_; }
    const std::string& path() const { return path_; }
    /// Architectures that it can compile for, as 80 for sm_80, ascending.
    const std::vector<int>& architectures() const { return architectures_; }

    /// The best target for a device: its own machine code, or the newest PTX that this NVRTC knows
    /// when the device is newer, for the driver to compile. UNSUPPORTED when NVRTC has only newer
    /// ones. specific asks for sm_90a instead of sm_90.
    Status target_for(int architecture, bool specific, std::string* target) const;

    /// Compiles; concurrent calls are allowed. INVALID_ARGUMENT with the compiler's log when the
    /// program is wrong; compiled then holds the log alone.
    Status compile(const Program& program, CompiledProgram* compiled) const;

  private:
    Nvrtc();
    Status open(const std::string& name);

    DynamicLibrary library_;
    DynamicLibrary builtins_;
    std::unique_ptr<NvrtcFunctions> call_;
    std::string path_;
    int major_ = 0;
    int minor_ = 0;
    std::vector<int> architectures_;
};

/// The NVRTC of this process: the library that FATTN_NVRTC names, else the first of the known
/// names, the driver's CUDA version first. Loaded once; a failure is kept and given to every
/// caller.
Status process_nvrtc(const Nvrtc** nvrtc);

}  // namespace fattn::cuda
