// Modules and libraries. Called by the module and library functions.
#include "driver/module.h"

#include <chrono>
#include <cstring>

#include "driver/context.h"
#include "driver/device.h"
#include "driver/failure.h"

namespace fattn::vgpu::driver {
namespace {

using cuda::CUDA_ERROR_INVALID_PTX;
using cuda::CUDA_ERROR_NO_BINARY_FOR_GPU;
using cuda::CUDA_ERROR_NOT_SUPPORTED;

void write_log(char* log, size_t capacity, void** written, const std::string& text) {
    if (written != nullptr) *written = reinterpret_cast<void*>(uintptr_t{0});
    if (log == nullptr || capacity == 0) return;
    const size_t copied = std::min(text.size(), capacity - 1);
    std::memcpy(log, text.data(), copied);
    log[copied] = '\0';
    if (written != nullptr) *written = reinterpret_cast<void*>(copied + 1);
}

CUresult code_of(LoadError::Reason reason) {
    switch (reason) {
        case LoadError::Reason::kUnsupported:
            return CUDA_ERROR_NOT_SUPPORTED;
        case LoadError::Reason::kWrongTarget:
            return CUDA_ERROR_NO_BINARY_FOR_GPU;
        case LoadError::Reason::kSyntax:
        case LoadError::Reason::kUnknownInstruction:
        case LoadError::Reason::kTooLarge:
            break;
    }
    return CUDA_ERROR_INVALID_PTX;
}

void place_variables(Driver& state, Context& context, LoadedModule& module) {
    std::vector<uint64_t> addresses;
    for (const VariableInfo& variable : module.code->variables()) {
        const uint64_t bytes = std::max<uint64_t>(variable.size, 1);
        const uint64_t accounted = reserve_memory(state, context, bytes);
        Allocation& place =
            state.memory.allocate(&context, bytes, BlockKind::kVariable, variable.name.c_str());
        place.accounted = accounted;
        place.block.read_only = variable.constant;
        module.variables.push_back(&place);
        addresses.push_back(place.block.base);
    }
    for (size_t at = 0; at < module.variables.size(); ++at) {
        const VariableInfo& variable = module.code->variables()[at];
        std::vector<std::byte> initial = variable.initial;
        for (const VariableInfo::Relocation& relocation : variable.relocations) {
            const uint64_t address =
                addresses[relocation.variable] + static_cast<uint64_t>(relocation.addend);
            std::memcpy(initial.data() + relocation.offset, &address, sizeof(address));
        }
        const MemoryBlock& block = module.variables[at]->block;
        std::memcpy(block.data, initial.data(), initial.size());
        std::memset(block.initialised, 0xff, initial.size());
    }
    module.code->place_variables(addresses);
}

}  // namespace

JitOptions parse_jit_options(unsigned count, const cuda::CUjit_option* options, void** values) {
    JitOptions result;
    if (count > 0 && (options == nullptr || values == nullptr)) {
        fail(cuda::CUDA_ERROR_INVALID_VALUE, "%u options were announced and a list of them is null",
             count);
    }
    for (unsigned at = 0; at < count; ++at) {
        switch (options[at]) {
            case cuda::CU_JIT_WALL_TIME:
                result.wall_time = &values[at];
                break;
            case cuda::CU_JIT_INFO_LOG_BUFFER:
                result.info_log = static_cast<char*>(values[at]);
                break;
            case cuda::CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES:
                result.info_log_bytes = reinterpret_cast<uintptr_t>(values[at]) & 0xffffffff;
                result.info_log_written = &values[at];
                break;
            case cuda::CU_JIT_ERROR_LOG_BUFFER:
                result.error_log = static_cast<char*>(values[at]);
                break;
            case cuda::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES:
                result.error_log_bytes = reinterpret_cast<uintptr_t>(values[at]) & 0xffffffff;
                result.error_log_written = &values[at];
                break;
            // These choose between ways of generating code with the same meaning.
            case cuda::CU_JIT_MAX_REGISTERS:
            case cuda::CU_JIT_THREADS_PER_BLOCK:
            case cuda::CU_JIT_OPTIMIZATION_LEVEL:
            case cuda::CU_JIT_TARGET_FROM_CUCONTEXT:
            case cuda::CU_JIT_TARGET:
            case cuda::CU_JIT_FALLBACK_STRATEGY:
            case cuda::CU_JIT_GENERATE_DEBUG_INFO:
            case cuda::CU_JIT_LOG_VERBOSE:
            case cuda::CU_JIT_GENERATE_LINE_INFO:
            case cuda::CU_JIT_CACHE_MODE:
                break;
            default:
                fail(CUDA_ERROR_NOT_SUPPORTED, "JIT option %d is not offered by the virtual GPU",
                     static_cast<int>(options[at]));
        }
    }
    return result;
}

std::string ptx_of_image(const void* image) {
    if (image == nullptr) fail(cuda::CUDA_ERROR_INVALID_VALUE, "the image is null");
    unsigned char head[4] = {};
    const auto* const bytes = static_cast<const unsigned char*>(image);
    for (size_t at = 0; at < sizeof(head) && (at == 0 || head[at - 1] != 0); ++at) {
        head[at] = bytes[at];
    }
    if (std::memcmp(head, "\177ELF", 4) == 0) {
        fail(CUDA_ERROR_NO_BINARY_FOR_GPU,
             "the image is a cubin; the virtual GPU interprets PTX, so the PTX of the same key is "
             "needed");
    }
    if (std::memcmp(head, "\x50\xed\x55\xba", 4) == 0) {
        fail(CUDA_ERROR_NO_BINARY_FOR_GPU,
             "the image is a fat binary; the virtual GPU interprets PTX text, so that is needed");
    }
    std::string text(static_cast<const char*>(image));
    if (text.find(".version") == std::string::npos) {
        fail(cuda::CUDA_ERROR_INVALID_IMAGE,
             "the image of %zu bytes up to its first zero is no PTX text: it has no .version",
             text.size());
    }
    return text;
}

std::shared_ptr<LoadedModule> load_module(Driver& state, Context& context, const std::string& ptx,
                                          const JitOptions& options) {
    write_log(options.error_log, options.error_log_bytes, options.error_log_written, "");
    write_log(options.info_log, options.info_log_bytes, options.info_log_written, "");
    const auto begin = std::chrono::steady_clock::now();
    auto module = std::make_shared<LoadedModule>();
    module->context = &context;
    const std::string file =
        format_text("module %llu", static_cast<unsigned long long>(state.next_id++));
    try {
        module->code = Module::load(ptx, file, *context.device->model);
    } catch (const LoadError& error) {
        write_log(options.error_log, options.error_log_bytes, options.error_log_written,
                  error.what());
        throw Failure{.code = code_of(error.reason), .text = error.what()};
    }
    try {
        place_variables(state, context, *module);
    } catch (...) {
        for (Allocation* place : module->variables) free_block(state, *place, "a failed load");
        throw;
    }
    module->handle = state.modules.add(module);
    if (options.wall_time != nullptr) {
        const std::chrono::duration<float, std::milli> time =
            std::chrono::steady_clock::now() - begin;
        const float milliseconds = time.count();
        std::memcpy(options.wall_time, &milliseconds, sizeof(milliseconds));
    }
    return module;
}

void unload_module(Driver& state, LoadedModule& module) {
    module.unloaded = true;
    for (Allocation* place : module.variables) free_block(state, *place, "cuModuleUnload");
    module.variables.clear();
    state.functions.remove_if(
        [&](const Function& function) { return function.module.get() == &module; });
    state.modules.remove(module.handle);
}

std::shared_ptr<Function> function_of(Driver& state, const std::shared_ptr<LoadedModule>& module,
                                      const char* name) {
    const auto known = module->functions.find(std::string_view(name));
    if (known != module->functions.end()) return state.functions.require(known->second);
    const EntryInfo* entry = nullptr;
    try {
        entry = module->code->find_entry(name);
    } catch (const LoadError& error) {
        throw Failure{.code = code_of(error.reason), .text = error.what()};
    }
    if (entry == nullptr) {
        std::string names;
        for (const EntryInfo& other : module->code->entries()) {
            names += (names.empty() ? "" : ", ") + other.name;
        }
        fail(cuda::CUDA_ERROR_NOT_FOUND, "the module has no kernel \"%s\"; it has: %s", name,
             names.empty() ? "none" : names.c_str());
    }
    auto function = std::make_shared<Function>();
    function->module = module;
    function->entry = entry;
    // What the device offers without opting in, less what the kernel has already.
    const uint32_t offered = module->context->device->model->shared_bytes_per_block;
    function->max_dynamic_shared =
        offered > entry->static_shared_bytes ? offered - entry->static_shared_bytes : 0;
    function->handle = state.functions.add(function);
    module->functions.emplace(name, function->handle);
    return function;
}

Allocation& variable_of(LoadedModule& module, const char* name) {
    for (size_t at = 0; at < module.variables.size(); ++at) {
        if (module.code->variables()[at].name == name) return *module.variables[at];
    }
    fail(cuda::CUDA_ERROR_NOT_FOUND, "the module has no variable \"%s\"", name);
}

std::shared_ptr<LoadedModule> library_module(Driver& state, Context& context, Library& library) {
    std::shared_ptr<LoadedModule>& module = library.modules[&context];
    if (!module) module = load_module(state, context, library.image, {});
    return module;
}

std::shared_ptr<Function> kernel_function(Driver& state, Context& context, Kernel& kernel) {
    const std::shared_ptr<LoadedModule> module = library_module(state, context, *kernel.library);
    const bool is_new = !module->functions.contains(kernel.name);
    std::shared_ptr<Function> function = function_of(state, module, kernel.name.c_str());
    if (is_new) {
        for (const auto& [attribute, value] : kernel.attributes[context.device->ordinal]) {
            set_function_attribute(*function, attribute, value);
        }
    }
    return function;
}

std::shared_ptr<Function> launchable(Driver& state, Context& context, CUfunction handle) {
    if (const auto kernel = state.kernels.find(reinterpret_cast<CUkernel>(handle))) {
        return kernel_function(state, context, *kernel);
    }
    std::shared_ptr<Function> function = state.functions.require(handle);
    if (function->module->context != &context) {
        fail(cuda::CUDA_ERROR_INVALID_HANDLE,
             "the function %s was loaded in context %llu; the current one is %llu",
             function->entry->name.c_str(),
             static_cast<unsigned long long>(function->module->context->id),
             static_cast<unsigned long long>(context.id));
    }
    return function;
}

int function_attribute(const Function& function, cuda::CUfunction_attribute attribute) {
    const EntryInfo& entry = *function.entry;
    const DeviceModel& model = function.module->code->model();
    switch (attribute) {
        case cuda::CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK: {
            const uint32_t registers = std::max(entry.registers, 1u);
            const uint32_t by_registers = model.registers_per_sm / registers / 32 * 32;
            return static_cast<int>(std::min(entry.max_threads, std::max(by_registers, 32u)));
        }
        case cuda::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES:
            return static_cast<int>(entry.static_shared_bytes);
        case cuda::CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES:
            return static_cast<int>(entry.local_bytes);
        case cuda::CU_FUNC_ATTRIBUTE_NUM_REGS:
            return static_cast<int>(entry.registers);
        case cuda::CU_FUNC_ATTRIBUTE_PTX_VERSION:
        case cuda::CU_FUNC_ATTRIBUTE_BINARY_VERSION:
            return static_cast<int>(model.compute_major * 10 + model.compute_minor);
        case cuda::CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES:
        case cuda::CU_FUNC_ATTRIBUTE_CACHE_MODE_CA:
            return 0;
        case cuda::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
            return static_cast<int>(function.max_dynamic_shared);
        case cuda::CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
            return function.carveout;
        case cuda::CU_FUNC_ATTRIBUTE_CLUSTER_SIZE_MUST_BE_SET:
            return entry.explicit_cluster ? 1 : 0;
        case cuda::CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH:
            return static_cast<int>(entry.required_cluster.x);
        case cuda::CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_HEIGHT:
            return static_cast<int>(entry.required_cluster.y);
        case cuda::CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_DEPTH:
            return static_cast<int>(entry.required_cluster.z);
        case cuda::CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED:
            return function.non_portable_cluster ? 1 : 0;
        case cuda::CU_FUNC_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
            return function.cluster_policy;
    }
    fail(cuda::CUDA_ERROR_INVALID_VALUE, "function attribute %d is not one of 0 to 15",
         static_cast<int>(attribute));
}

void set_function_attribute(Function& function, cuda::CUfunction_attribute attribute, int value) {
    const DeviceModel& model = function.module->code->model();
    switch (attribute) {
        case cuda::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: {
            const int64_t most = int64_t{model.shared_bytes_per_block_optin} -
                                 int64_t{function.entry->static_shared_bytes};
            if (value < 0 || value > most) {
                fail(cuda::CUDA_ERROR_INVALID_VALUE,
                     "%d bytes of dynamic shared memory were asked for %s; with its %u static ones "
                     "%lld are allowed on %s",
                     value, function.entry->name.c_str(), function.entry->static_shared_bytes,
                     static_cast<long long>(most), model.name);
            }
            function.max_dynamic_shared = static_cast<uint32_t>(value);
            return;
        }
        case cuda::CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
            if (value < -1 || value > 100) {
                fail(cuda::CUDA_ERROR_INVALID_VALUE, "the carveout is %d; -1 to 100 are allowed",
                     value);
            }
            function.carveout = value;
            return;
        case cuda::CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED:
            function.non_portable_cluster = value != 0;
            return;
        case cuda::CU_FUNC_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
            if (value < 0 || value > 2) {
                fail(cuda::CUDA_ERROR_INVALID_VALUE, "the policy is %d; 0 to 2 are allowed", value);
            }
            function.cluster_policy = value;
            return;
        default:
            fail(cuda::CUDA_ERROR_INVALID_VALUE, "function attribute %d cannot be set",
                 static_cast<int>(attribute));
    }
}

}  // namespace fattn::vgpu::driver
