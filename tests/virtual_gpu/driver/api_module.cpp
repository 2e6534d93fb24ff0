// The module and library functions. Called by programs through the driver API.
#include <algorithm>
#include <fstream>
#include <sstream>

#include "driver/device.h"
#include "driver/entry.h"
#include "driver/exports.h"
#include "driver/module.h"

namespace fattn::vgpu::cuda {
namespace {

using driver::call;
using driver::call_in_context;
using driver::call_outside_capture;
using driver::Context;
using driver::Driver;
using driver::fail;
using driver::Kernel;
using driver::Library;
using driver::LoadedModule;
using driver::require_results;

// The kernel of a name, which the library's text must have.
CUkernel kernel_of(Driver& state, const std::shared_ptr<Library>& library, const char* name) {
    const auto known = library->kernels.find(std::string_view(name));
    if (known != library->kernels.end()) return known->second;
    auto kernel = std::make_shared<Kernel>();
    kernel->library = library.get();
    kernel->name = name;
    kernel->handle = state.kernels.add(kernel);
    library->kernels.emplace(name, kernel->handle);
    return kernel->handle;
}

// Whether a PTX text that no context has loaded yet declares an entry.
bool declares_entry(const std::string& ptx, const std::string& name) {
    const auto in_name = [](char c) {
        return c == '_' || c == '$' || c == '%' || (c >= '0' && c <= '9') ||
               ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
    };
    for (size_t at = ptx.find(".entry"); at != std::string::npos; at = ptx.find(".entry", at + 1)) {
        const size_t begin = ptx.find_first_not_of(" \t\r\n", at + 6);
        if (begin != std::string::npos && ptx.compare(begin, name.size(), name) == 0 &&
            (begin + name.size() == ptx.size() || !in_name(ptx[begin + name.size()]))) {
            return true;
        }
    }
    return false;
}

void load_now(Driver& state, Context& context, CUmodule* module, const void* image,
              const driver::JitOptions& options) {
    require_results(module);
    *module = driver::load_module(state, context, driver::ptx_of_image(image), options)->handle;
}

}  // namespace

extern "C" {

CUresult cuModuleLoad(CUmodule* module, const char* path) {
    return call_outside_capture("cuModuleLoad", [&](Driver& state, Context& context) {
        require_results(module, path);
        std::ifstream file(path, std::ios::binary);
        if (!file) fail(CUDA_ERROR_FILE_NOT_FOUND, "%s cannot be opened", path);
        std::stringstream text;
        text << file.rdbuf();
        load_now(state, context, module, text.str().c_str(), {});
    });
}

CUresult cuModuleLoadData(CUmodule* module, const void* image) {
    return call_outside_capture("cuModuleLoadData", [&](Driver& state, Context& context) {
        load_now(state, context, module, image, {});
    });
}

CUresult cuModuleLoadDataEx(CUmodule* module, const void* image, unsigned count,
                            CUjit_option* options, void** values) {
    return call_outside_capture("cuModuleLoadDataEx", [&](Driver& state, Context& context) {
        load_now(state, context, module, image, driver::parse_jit_options(count, options, values));
    });
}

CUresult cuModuleUnload(CUmodule handle) {
    return call_outside_capture("cuModuleUnload", [&](Driver& state, Context&) {
        const std::shared_ptr<LoadedModule> module = state.modules.require(handle);
        bool of_library = false;
        state.libraries.for_each([&](const Library& library) {
            for (const auto& [context, loaded] : library.modules) of_library |= loaded == module;
        });
        if (of_library) {
            fail(CUDA_ERROR_NOT_PERMITTED,
                 "the module belongs to a library; cuLibraryUnload ends it");
        }
        driver::unload_module(state, *module);
    });
}

CUresult cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name) {
    return call_in_context("cuModuleGetFunction", [&](Driver& state, Context&) {
        require_results(function, name);
        *function = driver::function_of(state, state.modules.require(module), name)->handle;
    });
}

CUresult cuModuleGetFunctionCount(unsigned* count, CUmodule module) {
    return call_in_context("cuModuleGetFunctionCount", [&](Driver& state, Context&) {
        require_results(count);
        *count = static_cast<unsigned>(state.modules.require(module)->code->entries().size());
    });
}

CUresult cuModuleEnumerateFunctions(CUfunction* functions, unsigned count, CUmodule handle) {
    return call_in_context("cuModuleEnumerateFunctions", [&](Driver& state, Context&) {
        require_results(functions);
        const std::shared_ptr<LoadedModule> module = state.modules.require(handle);
        const auto entries = module->code->entries();
        for (size_t at = 0; at < std::min<size_t>(count, entries.size()); ++at) {
            functions[at] = driver::function_of(state, module, entries[at].name.c_str())->handle;
        }
    });
}

CUresult cuModuleGetGlobal_v2(CUdeviceptr* address, size_t* bytes, CUmodule module,
                              const char* name) {
    return call_in_context("cuModuleGetGlobal_v2", [&](Driver& state, Context&) {
        require_results(name);
        const auto& place = driver::variable_of(*state.modules.require(module), name);
        if (address != nullptr) *address = place.block.base;
        if (bytes != nullptr) *bytes = place.block.size;
    });
}

CUresult cuModuleGetLoadingMode(CUmoduleLoadingMode* mode) {
    return call("cuModuleGetLoadingMode", [&](Driver&) {
        require_results(mode);
        *mode = CU_MODULE_EAGER_LOADING;
    });
}

CUresult cuLibraryLoadData(CUlibrary* handle, const void* image, CUjit_option* jit_options,
                           void** jit_values, unsigned num_jit_options, CUlibraryOption* options,
                           void**, unsigned num_options) {
    return call("cuLibraryLoadData", [&](Driver& state) {
        require_results(handle);
        const driver::JitOptions jit =
            driver::parse_jit_options(num_jit_options, jit_options, jit_values);
        for (unsigned at = 0; at < num_options; ++at) {
            require_results(options);
            // Preserved images are a promise of the caller; the text is copied all the same.
            if (options[at] != CU_LIBRARY_BINARY_IS_PRESERVED) {
                fail(CUDA_ERROR_NOT_SUPPORTED,
                     "library option %d is not offered by the virtual GPU",
                     static_cast<int>(options[at]));
            }
        }
        auto library = std::make_shared<Library>();
        library->image = driver::ptx_of_image(image);
        // A library belongs to no context; what is wrong with its text is said at once where there
        // is one.
        const auto& current = driver::this_thread().current;
        if (!current.empty() && current.back()) {
            Context& context = driver::current_context(state);
            driver::check_capture_allows(state, "cuLibraryLoadData");
            library->modules[&context] = driver::load_module(state, context, library->image, jit);
        }
        library->handle = state.libraries.add(library);
        *handle = library->handle;
    });
}

CUresult cuLibraryUnload(CUlibrary handle) {
    return call("cuLibraryUnload", [&](Driver& state) {
        const std::shared_ptr<Library> library = state.libraries.require(handle);
        for (const auto& [context, module] : library->modules) {
            driver::unload_module(state, *module);
        }
        for (const auto& [name, kernel] : library->kernels) state.kernels.remove(kernel);
        state.libraries.remove(handle);
    });
}

CUresult cuLibraryGetKernel(CUkernel* kernel, CUlibrary handle, const char* name) {
    return call("cuLibraryGetKernel", [&](Driver& state) {
        require_results(kernel, name);
        const std::shared_ptr<Library> library = state.libraries.require(handle);
        if (!library->modules.empty()) {
            driver::function_of(state, library->modules.begin()->second, name);
        } else if (!declares_entry(library->image, name)) {
            fail(CUDA_ERROR_NOT_FOUND, "the library has no kernel \"%s\"", name);
        }
        *kernel = kernel_of(state, library, name);
    });
}

CUresult cuLibraryGetModule(CUmodule* module, CUlibrary library) {
    return call_in_context("cuLibraryGetModule", [&](Driver& state, Context& context) {
        require_results(module);
        *module = driver::library_module(state, context, *state.libraries.require(library))->handle;
    });
}

CUresult cuLibraryGetGlobal(CUdeviceptr* address, size_t* bytes, CUlibrary library,
                            const char* name) {
    return call_in_context("cuLibraryGetGlobal", [&](Driver& state, Context& context) {
        require_results(name);
        const auto module =
            driver::library_module(state, context, *state.libraries.require(library));
        const auto& place = driver::variable_of(*module, name);
        if (address != nullptr) *address = place.block.base;
        if (bytes != nullptr) *bytes = place.block.size;
    });
}

CUresult cuLibraryGetKernelCount(unsigned* count, CUlibrary library) {
    return call_in_context("cuLibraryGetKernelCount", [&](Driver& state, Context& context) {
        require_results(count);
        const auto module =
            driver::library_module(state, context, *state.libraries.require(library));
        *count = static_cast<unsigned>(module->code->entries().size());
    });
}

CUresult cuLibraryEnumerateKernels(CUkernel* kernels, unsigned count, CUlibrary handle) {
    return call_in_context("cuLibraryEnumerateKernels", [&](Driver& state, Context& context) {
        require_results(kernels);
        const std::shared_ptr<Library> library = state.libraries.require(handle);
        const auto module = driver::library_module(state, context, *library);
        const auto entries = module->code->entries();
        for (size_t at = 0; at < std::min<size_t>(count, entries.size()); ++at) {
            kernels[at] = kernel_of(state, library, entries[at].name.c_str());
        }
    });
}

CUresult cuKernelGetFunction(CUfunction* function, CUkernel kernel) {
    return call_in_context("cuKernelGetFunction", [&](Driver& state, Context& context) {
        require_results(function);
        *function = driver::kernel_function(state, context, *state.kernels.require(kernel))->handle;
    });
}

CUresult cuKernelGetName(const char** name, CUkernel kernel) {
    return call("cuKernelGetName", [&](Driver& state) {
        require_results(name);
        *name = state.kernels.require(kernel)->name.c_str();
    });
}

CUresult cuKernelGetAttribute(int* value, CUfunction_attribute attribute, CUkernel kernel,
                              CUdevice device) {
    return call_in_context("cuKernelGetAttribute", [&](Driver& state, Context& context) {
        require_results(value);
        if (&driver::require_device(state, device) != context.device) {
            fail(CUDA_ERROR_NOT_SUPPORTED,
                 "attributes of kernels on another device than the current one are not offered");
        }
        *value = driver::function_attribute(
            *driver::kernel_function(state, context, *state.kernels.require(kernel)), attribute);
    });
}

CUresult cuKernelSetAttribute(CUfunction_attribute attribute, int value, CUkernel handle,
                              CUdevice ordinal) {
    return call_in_context("cuKernelSetAttribute", [&](Driver& state, Context& context) {
        const driver::Device& device = driver::require_device(state, ordinal);
        const std::shared_ptr<Kernel> kernel = state.kernels.require(handle);
        if (&device != context.device) {
            fail(CUDA_ERROR_NOT_SUPPORTED,
                 "attributes of kernels on another device than the current one are not offered");
        }
        driver::set_function_attribute(*driver::kernel_function(state, context, *kernel), attribute,
                                       value);
        // Contexts of the device that have not loaded the kernel yet begin with it.
        kernel->attributes[ordinal][attribute] = value;
        for (const auto& [other, module] : kernel->library->modules) {
            if (other->device != &device || !module->functions.contains(kernel->name)) continue;
            driver::set_function_attribute(
                *driver::function_of(state, module, kernel->name.c_str()), attribute, value);
        }
    });
}

}  // extern "C"
}  // namespace fattn::vgpu::cuda
