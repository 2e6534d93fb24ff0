// Modules, libraries and functions made from PTX text. Called by the module and library functions
// and by launches.
#pragma once

#include <span>

#include "driver/driver.h"

namespace fattn::vgpu::driver {

// Where a caller wants the compiler's words, and how long it took.
struct JitOptions {
    char* error_log = nullptr;
    size_t error_log_bytes = 0;
    void** error_log_written = nullptr;
    char* info_log = nullptr;
    size_t info_log_bytes = 0;
    void** info_log_written = nullptr;
    void** wall_time = nullptr;
};
// Fails for options that would change what code does and that are not offered.
JitOptions parse_jit_options(unsigned count, const cuda::CUjit_option* options, void** values);

// The PTX text of an image, which ends with a zero. Fails for cubins, fat binaries and anything
// else.
std::string ptx_of_image(const void* image);

std::shared_ptr<LoadedModule> load_module(Driver& state, Context& context, const std::string& ptx,
                                          const JitOptions& options);
void unload_module(Driver& state, LoadedModule& module);

std::shared_ptr<Function> function_of(Driver& state, const std::shared_ptr<LoadedModule>& module,
                                      const char* name);
// A variable's place; fails when there is none of the name.
Allocation& variable_of(LoadedModule& module, const char* name);

// The library's module in a context, loaded when it is first asked for.
std::shared_ptr<LoadedModule> library_module(Driver& state, Context& context, Library& library);
std::shared_ptr<Function> kernel_function(Driver& state, Context& context, Kernel& kernel);

// A function of the context, by its own handle or by that of a kernel, as launches allow.
std::shared_ptr<Function> launchable(Driver& state, Context& context, CUfunction handle);

int function_attribute(const Function& function, cuda::CUfunction_attribute attribute);
void set_function_attribute(Function& function, cuda::CUfunction_attribute attribute, int value);

}  // namespace fattn::vgpu::driver
