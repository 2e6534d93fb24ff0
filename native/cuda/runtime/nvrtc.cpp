// Finds NVRTC with its builtins, and says which targets it has.
#include "cuda/runtime/nvrtc.h"

#include <algorithm>
#include <type_traits>

#include "backend/text.h"
#include "cuda/runtime/driver.h"
#include "cuda/runtime/environment.h"
#include "cuda/runtime/error.h"
#include "cuda/runtime/nvrtc_functions.h"

namespace fattn::cuda {
namespace {

/// The files of an NVRTC version: the compiler's name is that of the first version with its
/// interface, the builtins carry the exact version.
#if defined(_WIN32)
constexpr struct {
    int major;
    const char* name;
} kNames[] = {{13, "nvrtc64_130_0.dll"}, {12, "nvrtc64_120_0.dll"}, {11, "nvrtc64_112_0.dll"}};

std::string builtins_name(int major, int minor) {
    return text("nvrtc-builtins64_", major, minor, ".dll");
}
#else
constexpr struct {
    int major;
    const char* name;
} kNames[] = {{13, "libnvrtc.so.13"}, {12, "libnvrtc.so.12"}, {11, "libnvrtc.so.11.2"}};

std::string builtins_name(int major, int minor) {
    return text("libnvrtc-builtins.so.", major, ".", minor);
}
#endif

}  // namespace

Nvrtc::Nvrtc() : call_(std::make_unique<NvrtcFunctions>()) {}
Nvrtc::~Nvrtc() = default;

Status Nvrtc::open(const std::string& name) {
    FATTN_CUDA_RETURN_IF_ERROR(DynamicLibrary::open(name, &library_));
    std::string missing;
    const auto load = [&](auto* member, const char* symbol) {
        *member =
            reinterpret_cast<std::remove_pointer_t<decltype(member)>>(library_.symbol(symbol));
        if (*member == nullptr) missing += text(missing.empty() ? "" : ", ", symbol);
    };
    load(&call_->error_string, "nvrtcGetErrorString");
#define FATTN_LOAD_FUNCTION(member, symbol, parameters) load(&call_->member, symbol);
    FATTN_NVRTC_FUNCTIONS(FATTN_LOAD_FUNCTION)
#undef FATTN_LOAD_FUNCTION
    if (!missing.empty()) {
        return {StatusCode::kDeviceUnavailable,
                text(name, " lacks ", missing, "; NVRTC 11.2 or newer is needed")};
    }

    int count = 0;
    if (call_->version(&major_, &minor_) != NvrtcResult::kSuccess ||
        call_->num_architectures(&count) != NvrtcResult::kSuccess || count <= 0) {
        return {StatusCode::kDeviceUnavailable, text(name, " does not say what it is")};
    }
    architectures_.resize(static_cast<std::size_t>(count));
    if (call_->architectures(architectures_.data()) != NvrtcResult::kSuccess) {
        return {StatusCode::kDeviceUnavailable,
                text(name, " does not say which architectures it compiles for")};
    }
    std::sort(architectures_.begin(), architectures_.end());

    path_ = library_.path_of("nvrtcVersion");
    if (path_.empty()) path_ = name;
    // NVRTC asks the system for its builtins by name when it first compiles; loaded from beside it
    // they are found there. Where they lie elsewhere the system's own search still stands.
    const std::string builtins = text(folder_of(path_), "/", builtins_name(major_, minor_));
    static_cast<void>(DynamicLibrary::open(builtins, &builtins_).ok());
    return {};
}

Status Nvrtc::load(const std::string& library, int cuda_major, std::unique_ptr<Nvrtc>* nvrtc) {
    std::vector<std::string> names;
    if (!library.empty()) {
        names.push_back(library);
    } else {
        for (const auto& known : kNames) {
            const bool first = known.major == cuda_major;
            names.insert(first ? names.begin() : names.end(), known.name);
        }
    }
    std::string tried;
    for (const std::string& name : names) {
        std::unique_ptr<Nvrtc> loaded(new Nvrtc);
        const Status status = loaded->open(name);
        if (status.ok()) {
            *nvrtc = std::move(loaded);
            return {};
        }
        tried += text(tried.empty() ? "" : "; ", status.message());
    }
    return {StatusCode::kDeviceUnavailable,
            library.empty()
                ? text("NVRTC was not found (", tried,
                       "); it comes with a CUDA toolkit, and FATTN_NVRTC can name it")
                : text("the NVRTC library named by FATTN_NVRTC cannot be used (", tried, ")")};
}

Status Nvrtc::target_for(int architecture, bool specific, std::string* target) const {
    const auto above = std::upper_bound(architectures_.begin(), architectures_.end(), architecture);
    if (above == architectures_.begin()) {
        return {StatusCode::kUnsupported,
                text("NVRTC ", major_, ".", minor_, " compiles for sm_", architectures_.front(),
                     " and newer; the device is sm_", architecture)};
    }
    const int newest = *(above - 1);
    if (newest == architecture) {
        *target = text("sm_", newest, specific ? "a" : "");
        return {};
    }
    if (specific) {
        return {StatusCode::kUnsupported,
                text("NVRTC ", major_, ".", minor_, " does not know sm_", architecture, "a")};
    }
    *target = text("compute_", newest);
    return {};
}

Status process_nvrtc(const Nvrtc** nvrtc) {
    struct Loaded {
        Loaded() {
            const Driver* driver = nullptr;
            const int major = process_driver(&driver).ok() ? driver->version() / 1000 : 0;
            status = Nvrtc::load(environment_variable("FATTN_NVRTC"), major, &nvrtc);
        }
        std::unique_ptr<Nvrtc> nvrtc;
        Status status;
    };
    static const Loaded* const loaded = new Loaded;
    *nvrtc = loaded->nvrtc.get();
    return loaded->status;
}

}  // namespace fattn::cuda
