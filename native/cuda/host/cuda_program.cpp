// Programs and kernels as the C interface knows them, over NVRTC and modules of cuda/runtime.
#include "cuda/host/cuda_program.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "backend/text.h"
#include "cuda/host/cuda_work.h"
#include "cuda/runtime/error.h"
#include "cuda/runtime/launch.h"

namespace fattn::cuda {
namespace {

/// What every kernel may ask for without being told so.
constexpr int kAlwaysAllowedShared = 48 << 10;

std::string sizes_text(const std::vector<std::size_t>& sizes) {
    std::string list;
    for (const std::size_t size : sizes) list += text(list.empty() ? "" : ", ", size);
    return list.empty() ? "none" : text(list, " bytes");
}

class ProgramKernel final : public DeviceKernel {
  public:
    Status find(const Module& module, const std::string& name) {
        FATTN_CUDA_RETURN_IF_ERROR(module.function(name, &function_));
        return function_.read_parameters(&parameters_, &knows_parameters_);
    }

    KernelFigures figures() const override {
        return {.registers = function_.registers(),
                .static_shared_bytes = function_.static_shared_bytes(),
                .local_bytes = function_.local_bytes(),
                .max_threads_per_block = function_.max_threads_per_block(),
                .num_parameters = knows_parameters_ ? static_cast<int32>(parameters_.size()) : -1};
    }

    Status launch(const DeviceStream& stream, const KernelLaunch& wanted) const override {
        FATTN_CUDA_RETURN_IF_ERROR(check_threads(wanted.block));
        FATTN_CUDA_RETURN_IF_ERROR(check_arguments(wanted));
        const auto shared = static_cast<int>(
            std::min<uint32>(wanted.dynamic_shared_bytes, std::numeric_limits<int32>::max()));
        if (shared + function_.static_shared_bytes() > kAlwaysAllowedShared) {
            FATTN_CUDA_RETURN_IF_ERROR(function_.allow_dynamic_shared(shared));
        }
        const LaunchConfig config{
            .grid = {wanted.grid[0], wanted.grid[1], wanted.grid[2]},
            .block = {wanted.block[0], wanted.block[1], wanted.block[2]},
            .dynamic_shared_bytes = wanted.dynamic_shared_bytes,
            .cluster = {wanted.cluster[0], wanted.cluster[1], wanted.cluster[2]},
            .cooperative = wanted.cooperative};
        // The driver reads the values and its signature does not say so.
        return fattn::cuda::launch(function_, config, stream_of(stream),
                                   const_cast<void**>(wanted.arguments));
    }

  private:
    Status check_threads(const uint32 (&block)[3]) const {
        const uint64 threads = uint64{block[0]} * block[1] * block[2];
        const auto most = static_cast<uint64>(function_.max_threads_per_block());
        if (block[0] <= most && block[1] <= most && block[2] <= most && threads <= most) return {};
        return {StatusCode::kInvalidArgument,
                text("args->block is ", block[0], " x ", block[1], " x ", block[2],
                     " threads; a block of kernel ", function_.name(), " has at most ", most)};
    }

    Status check_arguments(const KernelLaunch& wanted) const {
        if (!knows_parameters_) return {};
        bool fits = wanted.num_arguments == parameters_.size();
        for (std::size_t i = 0; fits && wanted.argument_bytes != nullptr && i < parameters_.size();
             ++i) {
            fits = wanted.argument_bytes[i] == parameters_[i];
        }
        if (fits) return {};
        std::vector<std::size_t> given;
        for (std::size_t i = 0; wanted.argument_bytes != nullptr && i < wanted.num_arguments; ++i) {
            given.push_back(wanted.argument_bytes[i]);
        }
        return {
            StatusCode::kInvalidArgument,
            text(wanted.num_arguments, " arguments were given",
                 given.empty() ? std::string() : text(" of ", sizes_text(given)), "; kernel ",
                 function_.name(), " takes ", parameters_.size(), ": ", sizes_text(parameters_))};
    }

    Function function_;
    std::vector<std::size_t> parameters_;
    bool knows_parameters_ = false;
};

class LoadedProgram final : public DeviceProgram {
  public:
    const std::string& target() const override { return program.target; }
    const std::string& ptx() const override { return compiled.ptx; }
    const std::string& cubin() const override { return compiled.cubin; }
    bool from_cache() const override { return was_cached; }
    int32 compiler_version() const override { return version; }

    Status kernel(const std::string& name, std::unique_ptr<DeviceKernel>* kernel) const override {
        const auto& expressions = program.expressions;
        const auto at = std::find(expressions.begin(), expressions.end(), name);
        const std::string& symbol =
            at == expressions.end()
                ? name
                : compiled.symbols[static_cast<std::size_t>(at - expressions.begin())];
        auto found = std::make_unique<ProgramKernel>();
        FATTN_CUDA_RETURN_IF_ERROR(found->find(*module, symbol));
        *kernel = std::move(found);
        return {};
    }

    Program program;
    CompiledProgram compiled;
    std::unique_ptr<const Module> module;
    bool was_cached = false;
    int32 version = 0;
};

Program program_of(const ProgramSource& source) {
    Program program{.source = {source.name, source.text},
                    .headers = {},
                    .options = source.options,
                    .target = source.target,
                    .expressions = source.expressions};
    for (const auto& [name, text_of_header] : source.headers) {
        program.headers.push_back({name, text_of_header});
    }
    return program;
}

}  // namespace

Status compile_program(std::shared_ptr<const Device> device, const ImageOrigins& origins,
                       const ProgramSource& source, std::string* log,
                       std::unique_ptr<DeviceProgram>* program) {
    if (origins.nvrtc == nullptr) return origins.nvrtc_status;
    const Nvrtc& nvrtc = *origins.nvrtc;
    auto loaded = std::make_unique<LoadedProgram>();
    loaded->program = program_of(source);
    if (source.target.empty()) {
        FATTN_CUDA_RETURN_IF_ERROR(
            nvrtc.target_for(device->properties().architecture, false, &loaded->program.target));
    }
    loaded->version = nvrtc.major() * 1000 + nvrtc.minor() * 10;
    const Status compiled = compile_cached(nvrtc, source.use_cache ? origins.cache : nullptr,
                                           loaded->program, &loaded->compiled, &loaded->was_cached);
    *log = loaded->compiled.log;
    FATTN_CUDA_RETURN_IF_ERROR(compiled);
    FATTN_CUDA_RETURN_IF_ERROR(
        load_compiled(device, source.name, loaded->compiled, &loaded->module));
    *program = std::move(loaded);
    return {};
}

}  // namespace fattn::cuda
