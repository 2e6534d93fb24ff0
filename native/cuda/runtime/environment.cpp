// Reads environment variables, and none in set-id processes.
#include "cuda/runtime/environment.h"

#include <cstdlib>

#if !defined(_WIN32) && !defined(__linux__)
#include <unistd.h>
#endif

namespace fattn::cuda {

std::string environment_variable(const char* name) {
#if defined(__linux__)
    const char* value = ::secure_getenv(name);
#elif defined(_WIN32)
    const char* value = std::getenv(name);
#else
    const char* value = ::issetugid() != 0 ? nullptr : std::getenv(name);
#endif
    return value == nullptr ? std::string() : std::string(value);
}

}  // namespace fattn::cuda
