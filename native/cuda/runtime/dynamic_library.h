// A shared library opened at run time; used by the loaders of the driver and of NVRTC.
#pragma once

#include <string>

#include "backend/status.h"

namespace fattn::cuda {

/// An opened library. It stays loaded for as long as the process lives: neither the driver nor
/// NVRTC can be unloaded safely.
class DynamicLibrary {
  public:
    /// Opens a library by name or path. A failure carries the system's own words.
    static Status open(const std::string& name, DynamicLibrary* library);

    /// Address of an exported function, or null.
    void* symbol(const char* name) const;

    /// Where the file that holds an exported function lies; empty when the system does not say.
    std::string path_of(const char* symbol_name) const;

    const std::string& name() const { return name_; }

  private:
    std::string name_;
    void* handle_ = nullptr;
};

/// Folder of a path, "." when it has none.
std::string folder_of(const std::string& path);

}  // namespace fattn::cuda
