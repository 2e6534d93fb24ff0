// The CUDA driver, loaded at run time so that the library starts on machines without one; used by
// all of cuda/runtime and by cuda/host.
#pragma once

#include <memory>
#include <string>

#include "backend/status.h"
#include "cuda/runtime/driver_functions.h"
#include "cuda/runtime/dynamic_library.h"

namespace fattn::cuda {

class Driver {
  public:
    /// Loads and initialises a driver library. An empty name means the system's driver.
    /// DEVICE_UNAVAILABLE with the reason when there is none or it sees no GPU.
    static Status load(const std::string& library, std::unique_ptr<Driver>* driver);

    const DriverFunctions& call() const { return functions_; }
    /// Newest CUDA version that the driver serves, as 1000 * major + 10 * minor.
    int version() const { return version_; }
    /// The library file, as far as the system tells.
    const std::string& path() const { return path_; }
    /// Whether the library was named by the caller rather than found as the system's.
    bool named() const { return named_; }

  private:
    Status load_functions();

    DynamicLibrary library_;
    DriverFunctions functions_;
    std::string path_;
    int version_ = 0;
    bool named_ = false;
};

/// The driver of this process: the library that FATTN_CUDA_DRIVER names, else the system's. Loaded
/// once; a failure is kept and given to every caller.
Status process_driver(const Driver** driver);

/// "12.4" for 12040.
std::string version_text(int version);

}  // namespace fattn::cuda
