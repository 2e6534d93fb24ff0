// The environment variables that the CUDA runtime reads; called by the loaders and the kernel
// cache.
#pragma once

#include <string>

namespace fattn::cuda {

/// Value of an environment variable; empty when it is not set or when this process runs with the
/// rights of another user (set-id), where no variable may choose code that is loaded.
std::string environment_variable(const char* name);

}  // namespace fattn::cuda
