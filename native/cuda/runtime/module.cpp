// Loads images through cuLibraryLoadData, or through modules on drivers older than 12.0.
#include "cuda/runtime/module.h"

#include "backend/text.h"
#include "cuda/runtime/error.h"

namespace fattn::cuda {
namespace {

constexpr std::size_t kLogBytes = 8192;

/// Whether the driver offers libraries, all of their functions.
bool has_libraries(const DriverFunctions& call) {
    return call.library_load_data != nullptr && call.library_unload != nullptr &&
           call.library_get_kernel != nullptr && call.kernel_get_function != nullptr;
}

/// Another image of the same kernels may work where this one did not.
bool depends_on_image(Result result) {
    return result == Result::kNoBinaryForGpu || result == Result::kUnsupportedPtxVersion ||
           result == Result::kInvalidPtx || result == Result::kInvalidImage ||
           result == Result::kJitCompilerNotFound || result == Result::kJitCompilationDisabled;
}

std::string trimmed(const std::string& log) {
    const std::size_t end = log.find_last_not_of(std::string("\n\r \t\0", 5));
    return end == std::string::npos ? std::string() : log.substr(0, end + 1);
}

}  // namespace

Status Module::load(std::shared_ptr<const Device> device, const std::string& name,
                    const std::string& image, std::unique_ptr<const Module>* module) {
    const DriverFunctions& call = device->call();
    const ContextScope scope(*device);
    FATTN_CUDA_RETURN_IF_ERROR(scope.status());
    std::unique_ptr<Module> loaded(new Module(device, name));

    std::string log(kLogBytes, '\0');
    JitOption options[] = {JitOption::kErrorLogBuffer, JitOption::kErrorLogBytes};
    void* values[] = {log.data(), reinterpret_cast<void*>(std::uintptr_t{kLogBytes})};
    // PTX ends with a zero, which std::string keeps behind its text.
    const Result result =
        has_libraries(call)
            ? call.library_load_data(&loaded->library_, image.c_str(), options, values, 2, nullptr,
                                     nullptr, 0)
            : call.module_load_data(&loaded->module_, image.c_str(), 2, options, values);
    if (result == Result::kSuccess) {
        *module = std::move(loaded);
        return {};
    }
    const Status failed = check(call, result, text("loading module ", name));
    const std::string words = trimmed(log);
    return {depends_on_image(result) ? StatusCode::kUnsupported : failed.code(),
            words.empty() ? failed.message()
                          : text(failed.message(), "; the driver's compiler says: ", words)};
}

Module::~Module() {
    const ContextScope scope(*device_);
    if (!scope.status().ok()) return;
    if (library_ != nullptr) static_cast<void>(device_->call().library_unload(library_));
    if (module_ != nullptr) static_cast<void>(device_->call().module_unload(module_));
}

Status Module::function(const std::string& kernel, Function* function) const {
    const DriverFunctions& call = device_->call();
    const ContextScope scope(*device_);
    FATTN_CUDA_RETURN_IF_ERROR(scope.status());

    FunctionHandle handle = nullptr;
    Result result = Result::kSuccess;
    if (library_ != nullptr) {
        KernelHandle of_library = nullptr;
        result = call.library_get_kernel(&of_library, library_, kernel.c_str());
        if (result == Result::kSuccess) result = call.kernel_get_function(&handle, of_library);
    } else {
        result = call.module_get_function(&handle, module_, kernel.c_str());
    }
    if (result == Result::kNotFound) {
        return {StatusCode::kInvalidArgument,
                text("module ", name_, " has no kernel named ", kernel)};
    }
    const std::string operation = text("finding kernel ", kernel, " in module ", name_);
    FATTN_CUDA_RETURN_IF_ERROR(check(call, result, operation));

    Function found;
    const struct {
        FunctionAttribute attribute;
        int* value;
    } wanted[] = {
        {FunctionAttribute::kRegisters, &found.registers_},
        {FunctionAttribute::kSharedBytes, &found.static_shared_bytes_},
        {FunctionAttribute::kLocalBytes, &found.local_bytes_},
        {FunctionAttribute::kMaxThreadsPerBlock, &found.max_threads_per_block_},
    };
    for (const auto& [attribute, value] : wanted) {
        FATTN_CUDA_RETURN_IF_ERROR(
            check(call, call.function_get_attribute(value, attribute, handle), operation));
    }
    found.device_ = device_;
    found.name_ = kernel;
    found.handle_ = handle;
    *function = std::move(found);
    return {};
}

Status Function::allow_dynamic_shared(int bytes) const {
    const int allowed = device_->properties().shared_bytes_per_block - static_shared_bytes_;
    if (bytes > allowed) {
        return {StatusCode::kUnsupported,
                text("kernel ", name_, " needs ", bytes,
                     " bytes of dynamic shared memory a block; CUDA device ",
                     device_->properties().ordinal, " allows ", allowed)};
    }
    const ContextScope scope(*device_);
    FATTN_CUDA_RETURN_IF_ERROR(scope.status());
    return check(device_->call(),
                 device_->call().function_set_attribute(
                     handle_, FunctionAttribute::kMaxDynamicSharedBytes, bytes),
                 text("setting the shared memory of kernel ", name_));
}

Status Function::read_parameters(std::vector<std::size_t>* bytes, bool* known) const {
    const auto param_info = device_->call().function_get_param_info;
    *known = param_info != nullptr;
    bytes->clear();
    if (!*known) return {};
    const ContextScope scope(*device_);
    FATTN_CUDA_RETURN_IF_ERROR(scope.status());
    while (true) {
        std::size_t offset = 0, size = 0;
        const Result result = param_info(handle_, bytes->size(), &offset, &size);
        if (result == Result::kInvalidValue) return {};  // past the last one
        FATTN_CUDA_RETURN_IF_ERROR(
            check(device_->call(), result, text("asking for the parameters of kernel ", name_)));
        bytes->push_back(size);
    }
}

Status Function::occupancy(int threads_per_block, int dynamic_shared_bytes, int* blocks) const {
    const ContextScope scope(*device_);
    FATTN_CUDA_RETURN_IF_ERROR(scope.status());
    return check(device_->call(),
                 device_->call().occupancy_blocks(blocks, handle_, threads_per_block,
                                                  static_cast<std::size_t>(dynamic_shared_bytes)),
                 text("asking for the occupancy of kernel ", name_));
}

}  // namespace fattn::cuda
