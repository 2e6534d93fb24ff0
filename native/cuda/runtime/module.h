// Machine code or PTX loaded into a device, and the kernels in it; used by the kernel store and by
// programs of the user.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cuda/runtime/device.h"

namespace fattn::cuda {

class Module;

/// A kernel of a loaded module, with what the compiler made of it.
class Function {
  public:
    const std::string& name() const { return name_; }
    FunctionHandle handle() const { return handle_; }
    const Device& device() const { return *device_; }
    int registers() const { return registers_; }
    int static_shared_bytes() const { return static_shared_bytes_; }
    int local_bytes() const { return local_bytes_; }
    int max_threads_per_block() const { return max_threads_per_block_; }

    /// Lets launches ask for this much dynamic shared memory. UNSUPPORTED naming both sizes when
    /// a block of this device has less. Part of making a plan, never of a run.
    Status allow_dynamic_shared(int bytes) const;

    /// Sizes of its parameters; *known is false on drivers before 12.4, which do not tell.
    Status read_parameters(std::vector<std::size_t>* bytes, bool* known) const;

    /// Blocks of this shape that one multiprocessor holds at a time.
    Status occupancy(int threads_per_block, int dynamic_shared_bytes, int* blocks) const;

  private:
    friend class Module;
    std::shared_ptr<const Device> device_;
    std::string name_;
    FunctionHandle handle_ = nullptr;
    int registers_ = 0;
    int static_shared_bytes_ = 0;
    int local_bytes_ = 0;
    int max_threads_per_block_ = 0;
};

/// Unloaded with the object; kernels still running then end first, for unloading waits for them.
class Module {
  public:
    /// Loads a cubin or PTX. name is used in errors. A failure carries the driver's compiler log;
    /// its code is UNSUPPORTED exactly when another image of the same kernels may still work.
    static Status load(std::shared_ptr<const Device> device, const std::string& name,
                       const std::string& image, std::unique_ptr<const Module>* module);
    ~Module();
    Module(const Module&) = delete;
    Module& operator=(const Module&) = delete;

    const std::string& name() const { return name_; }

    /// Finds a kernel. INVALID_ARGUMENT when the module has none of this name.
    Status function(const std::string& kernel, Function* function) const;

  private:
    Module(std::shared_ptr<const Device> device, std::string name)
        : device_(std::move(device)), name_(std::move(name)) {}

    std::shared_ptr<const Device> device_;
    std::string name_;
    LibraryHandle library_ = nullptr;  // driver 12.0 and newer
    ModuleHandle module_ = nullptr;    // older drivers
};

}  // namespace fattn::cuda
