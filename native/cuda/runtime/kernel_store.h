// The library's kernels on one device: finds an image of a device source, loads it once, hands out
// its kernels; called by cuda/host when plans are made.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "cuda/runtime/kernel_packs.h"
#include "cuda/runtime/module.h"
#include "cuda/runtime/program_cache.h"

namespace fattn::cuda {

/// Where images come from, with the reason where a source is absent.
struct ImageOrigins {
    const KernelPacks* packs = nullptr;  // never null
    const Nvrtc* nvrtc = nullptr;
    Status nvrtc_status = {};
    const ProgramCache* cache = nullptr;
    Status cache_status = {};
};

/// Origins of this process: embedded packs, its cache, its NVRTC.
Status process_origins(const Driver& driver, ImageOrigins* origins);

/// Compiles a program, or takes what the cache (may be null) holds of it; *from_cache says which.
Status compile_cached(const Nvrtc& nvrtc, const ProgramCache* cache, const Program& program,
                      CompiledProgram* compiled, bool* from_cache);

/// Loads what a program became: its machine code, else its PTX.
Status load_compiled(std::shared_ptr<const Device> device, const std::string& name,
                     const CompiledProgram& compiled, std::unique_ptr<const Module>* module);

/// Safe for concurrent callers; a module is searched by one of them while the others wait.
class KernelStore {
  public:
    KernelStore(std::shared_ptr<const Device> device, ImageOrigins origins)
        : device_(std::move(device)), origins_(std::move(origins)) {}

    /// A kernel of the device source called module, as "dense_forward_bf16". Looks at prebuilt
    /// images, then at the cache, then at NVRTC; UNSUPPORTED says of each why it did not help.
    /// The function lives as long as the store.
    Status function(const std::string& module, const std::string& kernel, Function* function);

    /// "prebuilt sm_80", "cache sm_90", "NVRTC sm_90": where a module that was loaded came from;
    /// empty before.
    std::string origin_of(const std::string& module) const;

  private:
    struct Slot {
        std::mutex mutex;
        std::unique_ptr<const Module> module;
        std::string origin;
    };

    Status load(const std::string& name, Slot* slot) const;
    Status load_prebuilt(const ImagePack& pack, const std::string& name, Slot* slot) const;
    Status load_from_source(const std::string& name, Slot* slot) const;

    std::shared_ptr<const Device> device_;
    ImageOrigins origins_;
    mutable std::mutex mutex_;
    std::map<std::string, std::shared_ptr<Slot>> slots_;
};

}  // namespace fattn::cuda
