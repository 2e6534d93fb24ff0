// Reads environment variables, and none in set-id processes.
#include "cuda/runtime/environment.h"

#include <cstdlib>

#if defined(_WIN32)
#include "cuda/runtime/windows_text.h"
#elif !defined(__linux__)
#include <unistd.h>
#endif

namespace fattn::cuda {

std::string environment_variable(const char* name) {
#if defined(_WIN32)
    const wchar_t* value = _wgetenv(utf16(name).c_str());
    return value == nullptr ? std::string() : utf8(value);
#else
#if defined(__linux__)
    const char* value = ::secure_getenv(name);
#else
    const char* value = ::issetugid() != 0 ? nullptr : std::getenv(name);
#endif
    return value == nullptr ? std::string() : std::string(value);
#endif
}

}  // namespace fattn::cuda
