// Finds the driver library, loads its functions, initialises it.
#include "cuda/runtime/driver.h"

#include <type_traits>

#include "backend/text.h"
#include "cuda/runtime/environment.h"
#include "cuda/runtime/error.h"

namespace fattn::cuda {
namespace {

#if defined(_WIN32)
constexpr const char* kSystemDriver = "nvcuda.dll";
#else
constexpr const char* kSystemDriver = "libcuda.so.1";
#endif

enum Need { kRequired, kOptional };

/// The two signatures that cuGetProcAddress has had.
using GetProcAddress = Result (*)(const char*, void**, int, std::uint64_t);
using GetProcAddressWithStatus = Result (*)(const char*, void**, int, std::uint64_t, int*);

/// Asks for functions as of the version in which this program knows them.
class FunctionFinder {
  public:
    explicit FunctionFinder(const DynamicLibrary& library)
        : library_(library),
          with_status_(
              reinterpret_cast<GetProcAddressWithStatus>(library.symbol("cuGetProcAddress_v2"))),
          plain_(reinterpret_cast<GetProcAddress>(library.symbol("cuGetProcAddress"))) {}

    void* find(const char* name, const std::string& exported, int version) const {
        void* function = nullptr;
        if (with_status_ != nullptr) {
            int status = 0;
            if (with_status_(name, &function, version, 0, &status) == Result::kSuccess &&
                function != nullptr) {
                return function;
            }
        } else if (plain_ != nullptr) {
            if (plain_(name, &function, version, 0) == Result::kSuccess && function != nullptr) {
                return function;
            }
        }
        return library_.symbol(exported.c_str());
    }

  private:
    const DynamicLibrary& library_;
    GetProcAddressWithStatus with_status_;
    GetProcAddress plain_;
};

}  // namespace

std::string version_text(int version) { return text(version / 1000, ".", version % 1000 / 10); }

Status Driver::load_functions() {
    const FunctionFinder finder(library_);
    std::string missing;
    const auto load = [&](auto* member, const char* name, const char* suffix, int version,
                          Need need) {
        *member = reinterpret_cast<std::remove_pointer_t<decltype(member)>>(
            finder.find(name, text(name, suffix), version));
        if (*member == nullptr && need == kRequired) {
            missing += text(missing.empty() ? "" : ", ", name);
        }
    };
#define FATTN_LOAD_FUNCTION(member, name, suffix, version, need, parameters) \
    load(&functions_.member, name, suffix, version, need);
    FATTN_CUDA_DRIVER_FUNCTIONS(FATTN_LOAD_FUNCTION)
#undef FATTN_LOAD_FUNCTION
    if (missing.empty()) return {};
    return {StatusCode::kDeviceUnavailable,
            text("the CUDA driver library ", path_, " lacks ", missing,
                 "; a driver for CUDA 11.0 or newer is needed")};
}

Status Driver::load(const std::string& library, std::unique_ptr<Driver>* driver) {
    auto loaded = std::make_unique<Driver>();
    loaded->named_ = !library.empty();
    const std::string name = loaded->named_ ? library : std::string(kSystemDriver);
    if (const Status opened = DynamicLibrary::open(name, &loaded->library_); !opened.ok()) {
        return {StatusCode::kDeviceUnavailable,
                loaded->named_
                    ? text("the CUDA driver library named by FATTN_CUDA_DRIVER cannot be loaded (",
                           opened.message(), ")")
                    : text("no CUDA driver was found (", opened.message(),
                           "); machines with an NVIDIA GPU have it from the driver's package")};
    }
    loaded->path_ = loaded->library_.path_of("cuInit");
    if (loaded->path_.empty()) loaded->path_ = name;
    FATTN_CUDA_RETURN_IF_ERROR(loaded->load_functions());

    const DriverFunctions& call = loaded->call();
    FATTN_CUDA_RETURN_IF_ERROR(
        check(call, call.init(0), text("initialising the CUDA driver ", loaded->path_)));
    FATTN_CUDA_RETURN_IF_ERROR(check(call, call.driver_get_version(&loaded->version_),
                                     "asking the CUDA driver for its version"));
    *driver = std::move(loaded);
    return {};
}

Status process_driver(const Driver** driver) {
    struct Loaded {
        Loaded() : status(Driver::load(environment_variable("FATTN_CUDA_DRIVER"), &driver)) {}
        std::unique_ptr<Driver> driver;
        Status status;
    };
    // Never destroyed: handles released while the process ends still call the driver.
    static const Loaded* const loaded = new Loaded;
    *driver = loaded->driver.get();
    return loaded->status;
}

}  // namespace fattn::cuda
