// Opens shared libraries with dlopen or LoadLibrary.
#include "cuda/runtime/dynamic_library.h"

#if defined(_WIN32)
#include <windows.h>

#include "cuda/runtime/windows_text.h"
#else
#include <dlfcn.h>
#endif

#include "backend/text.h"

namespace fattn::cuda {

#if defined(_WIN32)

Status DynamicLibrary::open(const std::string& name, DynamicLibrary* library) {
    // With a path, the folder of the library is searched for what it needs in turn.
    const bool has_folder = name.find_first_of("/\\") != std::string::npos;
    HMODULE handle = LoadLibraryExW(utf16(name).c_str(), nullptr,
                                    has_folder ? LOAD_WITH_ALTERED_SEARCH_PATH : 0);
    if (handle == nullptr) {
        return {StatusCode::kDeviceUnavailable,
                text(name, ": system error ", static_cast<unsigned>(GetLastError()))};
    }
    library->name_ = name;
    library->handle_ = handle;
    return {};
}

void* DynamicLibrary::symbol(const char* name) const {
    return reinterpret_cast<void*>(GetProcAddress(static_cast<HMODULE>(handle_), name));
}

std::string DynamicLibrary::path_of(const char* /*symbol_name*/) const {
    wchar_t path[4096];
    constexpr DWORD kRoom = sizeof(path) / sizeof(path[0]);
    const DWORD length = GetModuleFileNameW(static_cast<HMODULE>(handle_), path, kRoom);
    return length == 0 || length == kRoom ? std::string() : utf8({path, length});
}

#else

Status DynamicLibrary::open(const std::string& name, DynamicLibrary* library) {
    void* handle = ::dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) {
        const char* words = ::dlerror();
        return {StatusCode::kDeviceUnavailable,
                words == nullptr ? text(name, ": cannot be opened") : std::string(words)};
    }
    library->name_ = name;
    library->handle_ = handle;
    return {};
}

void* DynamicLibrary::symbol(const char* name) const { return ::dlsym(handle_, name); }

std::string DynamicLibrary::path_of(const char* symbol_name) const {
    void* address = symbol(symbol_name);
    Dl_info info{};
    if (address == nullptr || ::dladdr(address, &info) == 0 || info.dli_fname == nullptr) return {};
    return info.dli_fname;
}

#endif

std::string folder_of(const std::string& path) {
    const std::size_t slash = path.find_last_of("/\\");
    return slash == std::string::npos ? std::string(".") : path.substr(0, slash);
}

}  // namespace fattn::cuda
