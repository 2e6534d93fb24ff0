// Programs of the caller's own at the C boundary: compile, find kernels, launch.
#include <algorithm>
#include <cstring>

#include "api/growing.h"
#include "api/work.h"
#include "backend/device_program.h"
#include "backend/text.h"

struct fattn_module : fattn::api::DeviceHandle<fattn::DeviceProgram> {
    using DeviceHandle::DeviceHandle;
};

struct fattn_kernel : fattn::api::Counted {
    fattn_kernel(fattn_module* owner, std::unique_ptr<fattn::DeviceKernel> object)
        : module(owner), made(std::move(object)) {}

    const fattn::api::Reference<fattn_module> module;  // outlives its kernels
    const std::unique_ptr<fattn::DeviceKernel> made;
};

namespace fattn::api {
namespace {

/// More than any program has; a count above it is a length that was not set.
constexpr uint64 kMostTexts = 65536;

/// A list of texts of the arguments.
Status read_texts(const char* name, const char* const* texts, uint64 count,
                  std::vector<std::string>* out) {
    if (count == 0) return {};
    if (count > kMostTexts) {
        return invalid(
            text("args->num_", name, " is ", count, "; allowed are at most ", kMostTexts));
    }
    if (texts == nullptr) {
        return invalid(text("args->", name, " is NULL; needed are ", count, " texts"));
    }
    for (uint64 i = 0; i < count; ++i) {
        if (texts[i] == nullptr) return invalid(text("args->", name, "[", i, "] is NULL"));
        out->emplace_back(texts[i]);
    }
    return {};
}

Status read_source(const fattn_compile_args& args, ProgramSource* source) {
    constexpr uint32 kKnown = FATTN_COMPILE_NO_CACHE;
    if ((args.flags & ~kKnown) != 0) {
        return unsupported(text("args->flags is ", args.flags, "; this library knows 0 and ",
                                kKnown, " (FATTN_COMPILE_NO_CACHE)"));
    }
    if (args.source == nullptr) return invalid("args->source is NULL; a program is needed");
    if (args.log == nullptr && args.log_bytes != 0) {
        return invalid(
            text("args->log is NULL with log_bytes ", args.log_bytes, "; give both or neither"));
    }
    source->text = args.source;
    source->name = args.source_name == nullptr ? "program.cu" : args.source_name;
    source->target = args.target == nullptr ? "" : args.target;
    source->use_cache = (args.flags & FATTN_COMPILE_NO_CACHE) == 0;
    FATTN_RETURN_IF_ERROR(read_texts("options", args.options, args.num_options, &source->options));
    FATTN_RETURN_IF_ERROR(
        read_texts("expressions", args.expressions, args.num_expressions, &source->expressions));
    std::vector<std::string> names, texts;
    FATTN_RETURN_IF_ERROR(read_texts("headers", args.header_names, args.num_headers, &names));
    FATTN_RETURN_IF_ERROR(read_texts("headers", args.header_texts, args.num_headers, &texts));
    for (std::size_t i = 0; i < names.size(); ++i) {
        source->headers.emplace_back(std::move(names[i]), std::move(texts[i]));
    }
    return {};
}

void write_log(const std::string& log, const fattn_compile_args& args) {
    if (args.log_bytes == 0) return;
    const std::size_t length = std::min<std::size_t>(log.size(), args.log_bytes - 1);
    std::memcpy(args.log, log.data(), length);
    args.log[length] = '\0';
}

Status compile(fattn_device* device, const fattn_compile_args* given, fattn_module** out) {
    if (out == nullptr) return invalid("module is NULL; a place for the handle is needed");
    *out = nullptr;
    DeviceWork* work = nullptr;
    fattn_compile_args args;
    ProgramSource source;
    FATTN_RETURN_IF_ERROR(work_of(device, "programs", &work));
    FATTN_RETURN_IF_ERROR(read_growing(given, "args", "fattn_compile_args", &args));
    FATTN_RETURN_IF_ERROR(read_source(args, &source));
    std::string log;
    std::unique_ptr<DeviceProgram> program;
    const Status status = work->compile(source, &log, &program);
    write_log(log, args);
    FATTN_RETURN_IF_ERROR(status);
    *out = new fattn_module(device, std::move(program));
    return {};
}

Status describe_module(const fattn_module& module, fattn_module_description* out) {
    const DeviceProgram& program = *module.made;
    const bool has_cubin = !program.cubin().empty();
    return write_growing(
        fattn_module_description{.struct_size = 0,
                                 .flags = 0,
                                 .target = program.target().c_str(),
                                 .ptx = program.ptx().c_str(),
                                 .cubin = has_cubin ? program.cubin().data() : nullptr,
                                 .cubin_bytes = program.cubin().size(),
                                 .from_cache = program.from_cache() ? 1U : 0U,
                                 .nvrtc_version = static_cast<uint32>(program.compiler_version())},
        "description", "fattn_module_description", out);
}

Status find_kernel(fattn_module* module, const char* name, fattn_kernel** out) {
    if (out == nullptr) return invalid("kernel is NULL; a place for the handle is needed");
    *out = nullptr;
    if (module == nullptr) return invalid("module is NULL");
    if (name == nullptr) return invalid("name is NULL; a kernel's name is needed");
    std::unique_ptr<DeviceKernel> found;
    FATTN_RETURN_IF_ERROR(module->made->kernel(name, &found));
    *out = new fattn_kernel(module, std::move(found));
    return {};
}

Status describe_kernel(const fattn_kernel& kernel, fattn_kernel_description* out) {
    const KernelFigures figures = kernel.made->figures();
    return write_growing(
        fattn_kernel_description{.struct_size = 0,
                                 .flags = 0,
                                 .registers = figures.registers,
                                 .static_shared_bytes = figures.static_shared_bytes,
                                 .local_bytes = figures.local_bytes,
                                 .max_threads_per_block = figures.max_threads_per_block,
                                 .num_parameters = figures.num_parameters,
                                 .reserved = 0},
        "description", "fattn_kernel_description", out);
}

Status check_extents(const char* name, const uint32_t (&extents)[3]) {
    if (extents[0] != 0 && extents[1] != 0 && extents[2] != 0) return {};
    return invalid(text("args->", name, " is ", extents[0], " x ", extents[1], " x ", extents[2],
                        "; each must be at least 1"));
}

Status check_launch(const fattn_launch_args& args) {
    constexpr uint32 kKnown = FATTN_LAUNCH_COOPERATIVE;
    if ((args.flags & ~kKnown) != 0) {
        return unsupported(text("args->flags is ", args.flags, "; this library knows 0 and ",
                                kKnown, " (FATTN_LAUNCH_COOPERATIVE)"));
    }
    FATTN_RETURN_IF_ERROR(check_extents("grid", args.grid));
    FATTN_RETURN_IF_ERROR(check_extents("block", args.block));
    const bool has_cluster = args.cluster[0] != 0 || args.cluster[1] != 0 || args.cluster[2] != 0;
    if (has_cluster) FATTN_RETURN_IF_ERROR(check_extents("cluster", args.cluster));
    if (args.num_arguments > 0 && args.arguments == nullptr) {
        return invalid(
            text("args->arguments is NULL; needed are ", args.num_arguments, " addresses"));
    }
    for (uint64 i = 0; i < args.num_arguments; ++i) {
        if (args.arguments[i] == nullptr) {
            return invalid(text("args->arguments[", i, "] is NULL; it is the address of a value"));
        }
    }
    return {};
}

Status launch(fattn_kernel* kernel, const fattn_launch_args* given, fattn_stream* stream) {
    if (kernel == nullptr) return invalid("kernel is NULL");
    if (stream == nullptr) return invalid("stream is NULL");
    const Reference held(kernel);  // a release during the launch is safe
    fattn_launch_args args;
    FATTN_RETURN_IF_ERROR(read_growing(given, "args", "fattn_launch_args", &args));
    FATTN_RETURN_IF_ERROR(check_launch(args));
    FATTN_RETURN_IF_ERROR(
        check_same_device(&*kernel->module->device, &*stream->device, "kernel and stream"));
    return kernel->made->launch(*stream->made,
                                {.grid = {args.grid[0], args.grid[1], args.grid[2]},
                                 .block = {args.block[0], args.block[1], args.block[2]},
                                 .cluster = {args.cluster[0], args.cluster[1], args.cluster[2]},
                                 .dynamic_shared_bytes = args.dynamic_shared_bytes,
                                 .cooperative = (args.flags & FATTN_LAUNCH_COOPERATIVE) != 0,
                                 .arguments = args.arguments,
                                 .argument_bytes = args.argument_bytes,
                                 .num_arguments = args.num_arguments});
}

}  // namespace
}  // namespace fattn::api

using fattn::Status;
using fattn::api::guarded;
using fattn::api::invalid;

fattn_status fattn_module_compile(fattn_device* device, const fattn_compile_args* args,
                                  fattn_module** module) {
    return guarded([&] { return fattn::api::compile(device, args, module); });
}

fattn_status fattn_module_retain(fattn_module* module) {
    return guarded([&] {
        if (module == nullptr) return invalid("module is NULL");
        fattn::api::retain(module);
        return Status();
    });
}

void fattn_module_release(fattn_module* module) {
    if (module != nullptr) fattn::api::release(module);
}

fattn_status fattn_module_info(fattn_module* module, fattn_module_description* description) {
    return guarded([&] {
        if (module == nullptr) return invalid("module is NULL");
        return fattn::api::describe_module(*module, description);
    });
}

fattn_status fattn_module_kernel(fattn_module* module, const char* name, fattn_kernel** kernel) {
    return guarded([&] { return fattn::api::find_kernel(module, name, kernel); });
}

fattn_status fattn_kernel_retain(fattn_kernel* kernel) {
    return guarded([&] {
        if (kernel == nullptr) return invalid("kernel is NULL");
        fattn::api::retain(kernel);
        return Status();
    });
}

void fattn_kernel_release(fattn_kernel* kernel) {
    if (kernel != nullptr) fattn::api::release(kernel);
}

fattn_status fattn_kernel_info(fattn_kernel* kernel, fattn_kernel_description* description) {
    return guarded([&] {
        if (kernel == nullptr) return invalid("kernel is NULL");
        return fattn::api::describe_kernel(*kernel, description);
    });
}

fattn_status fattn_kernel_launch(fattn_kernel* kernel, const fattn_launch_args* args,
                                 fattn_stream* stream) {
    return guarded([&] { return fattn::api::launch(kernel, args, stream); });
}
