// Checks launches and runs their grids. Called by the launch functions; the work runs from the
// queue.
#include "driver/launch.h"

#include <cstdio>
#include <cstring>

#include "driver/failure.h"

namespace fattn::vgpu::driver {
namespace {

using cuda::CUDA_ERROR_INVALID_CLUSTER_SIZE;
using cuda::CUDA_ERROR_INVALID_VALUE;
using cuda::CUDA_ERROR_NOT_SUPPORTED;

// Virtual time: a launch, and warp instructions at one a cycle of 1 ns on each of a
// multiprocessor's four schedulers.
constexpr double kLaunchUs = 3.0;
constexpr double kInstructionsPerUsAndSm = 4000.0;

std::string dims(const Dim3& dim) { return format_text("%ux%ux%u", dim.x, dim.y, dim.z); }

void check_cluster(const Function& function, const LaunchRequest& request) {
    const EntryInfo& entry = *function.entry;
    const DeviceModel& model = function.module->code->model();
    const uint64_t size = request.cluster.count();
    if (size == 0) {
        fail(CUDA_ERROR_INVALID_VALUE, "%s: the cluster is %s; every dimension is 1 or more",
             entry.name.c_str(), dims(request.cluster).c_str());
    }
    if (size > 1 && model.compute_major < 9) {
        fail(CUDA_ERROR_NOT_SUPPORTED,
             "%s: clusters of blocks need compute capability 9.0; %s has %u.%u", entry.name.c_str(),
             model.name, model.compute_major, model.compute_minor);
    }
    if (entry.explicit_cluster && !request.cluster_given) {
        fail(CUDA_ERROR_INVALID_CLUSTER_SIZE,
             "%s: the kernel needs a launch with cluster dimensions", entry.name.c_str());
    }
    if (entry.required_cluster.count() != 0 && !(request.cluster == entry.required_cluster)) {
        fail(CUDA_ERROR_INVALID_CLUSTER_SIZE, "%s: the cluster is %s; the kernel requires %s",
             entry.name.c_str(), dims(request.cluster).c_str(),
             dims(entry.required_cluster).c_str());
    }
    const uint64_t most = function.non_portable_cluster ? 16 : 8;
    if (size > most) {
        fail(CUDA_ERROR_INVALID_CLUSTER_SIZE, "%s: a cluster has %llu blocks; %llu are allowed",
             entry.name.c_str(), static_cast<unsigned long long>(size),
             static_cast<unsigned long long>(most));
    }
    if (request.grid.x % request.cluster.x != 0 || request.grid.y % request.cluster.y != 0 ||
        request.grid.z % request.cluster.z != 0) {
        fail(CUDA_ERROR_INVALID_VALUE, "%s: the grid of %s is no multiple of the cluster of %s",
             entry.name.c_str(), dims(request.grid).c_str(), dims(request.cluster).c_str());
    }
}

std::vector<std::byte> parameters_of(const EntryInfo& entry, const LaunchRequest& request) {
    std::vector<std::byte> bytes(entry.parameter_bytes);
    if (request.parameters != nullptr && request.extra != nullptr) {
        fail(CUDA_ERROR_INVALID_VALUE, "%s: parameters were given as a list and as a buffer",
             entry.name.c_str());
    }
    if (request.extra != nullptr) {
        const void* buffer = nullptr;
        const size_t* size = nullptr;
        for (void** at = request.extra; *at != cuda::kLaunchParamEnd; at += 2) {
            if (*at == cuda::kLaunchParamBufferPointer) {
                buffer = at[1];
            } else if (*at == cuda::kLaunchParamBufferSize) {
                size = static_cast<const size_t*>(at[1]);
            } else {
                fail(CUDA_ERROR_INVALID_VALUE, "%s: %p among the extra options is none of 0, 1, 2",
                     entry.name.c_str(), *at);
            }
        }
        if (buffer == nullptr || size == nullptr || *size != bytes.size()) {
            fail(CUDA_ERROR_INVALID_VALUE,
                 "%s: the parameter buffer has %zu bytes; the kernel takes %zu", entry.name.c_str(),
                 size == nullptr ? 0 : *size, bytes.size());
        }
        std::memcpy(bytes.data(), buffer, bytes.size());
        return bytes;
    }
    if (request.parameters == nullptr && !entry.parameters.empty()) {
        fail(CUDA_ERROR_INVALID_VALUE, "%s: no parameters were given; the kernel takes %zu",
             entry.name.c_str(), entry.parameters.size());
    }
    for (size_t at = 0; at < entry.parameters.size(); ++at) {
        const ParameterInfo& parameter = entry.parameters[at];
        if (request.parameters[at] == nullptr) {
            fail(CUDA_ERROR_INVALID_VALUE, "%s: the pointer to parameter %zu of %zu is null",
                 entry.name.c_str(), at, entry.parameters.size());
        }
        std::memcpy(bytes.data() + parameter.offset, request.parameters[at], parameter.size);
    }
    return bytes;
}

CUresult code_of(FaultKind kind) {
    switch (kind) {
        case FaultKind::kOutOfBounds:
        case FaultKind::kUseAfterFree:
        case FaultKind::kReadOnly:
            return cuda::CUDA_ERROR_ILLEGAL_ADDRESS;
        case FaultKind::kMisaligned:
            return cuda::CUDA_ERROR_MISALIGNED_ADDRESS;
        case FaultKind::kDeadlock:
        case FaultKind::kLivelock:
            return cuda::CUDA_ERROR_LAUNCH_TIMEOUT;
        case FaultKind::kIllegal:
            return cuda::CUDA_ERROR_ILLEGAL_INSTRUCTION;
        case FaultKind::kLaunch:
            return cuda::CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
        case FaultKind::kNotModelled:
            return cuda::CUDA_ERROR_NOT_SUPPORTED;
        case FaultKind::kUninitialised:
        case FaultKind::kRace:
        case FaultKind::kMissingProxyFence:
        case FaultKind::kInFlight:
        case FaultKind::kDivergence:
        case FaultKind::kBarrier:
        case FaultKind::kTrap:
            break;
    }
    return cuda::CUDA_ERROR_LAUNCH_FAILED;
}

struct Grid {
    std::shared_ptr<Function> function;
    LaunchRequest request;
    std::vector<std::byte> parameters;
    std::shared_ptr<GridOrder> order;
};

// Grids further back than this have ended when another begins.
constexpr size_t kMostOverlapping = 4;

// One line of JSON at the end of the file, for each launch in the order in which they ran.
void write_statistics(const std::string& file, const Launch& launch, const LaunchResult& result) {
    const auto dims = [](const Dim3& d) { return format_text("[%u, %u, %u]", d.x, d.y, d.z); };
    const std::string line =
        "{\"name\": \"" + launch.entry->name + "\", \"grid\": " + dims(launch.grid) +
        ", \"block\": " + dims(launch.block) + ", \"cluster\": " + dims(launch.cluster) +
        ", \"shared_bytes\": " + std::to_string(launch.dynamic_shared_bytes) +
        ", \"faulted\": " + (result.fault ? "true" : "false") +
        ", \"statistics\": " + result.statistics.json() + "}\n";
    std::FILE* out = std::fopen(file.c_str(), "a");
    const bool written = out != nullptr && std::fputs(line.c_str(), out) >= 0;
    if ((out != nullptr && std::fclose(out) != 0) || !written) {
        fail(cuda::CUDA_ERROR_INVALID_VALUE,
             "the virtual GPU's setting statistics names %s, which cannot be written to",
             file.c_str());
    }
}

double run(Driver& state, Context& context, const Grid& grid) {
    const LoadedModule& module = *grid.function->module;
    if (module.unloaded) {
        fail(cuda::CUDA_ERROR_LAUNCH_FAILED,
             "%s ran after its module was unloaded: the launch must be "
             "waited for before that",
             grid.function->entry->name.c_str());
    }
    const Settings& settings = state.settings;
    Launch launch;
    launch.module = module.code.get();
    launch.entry = grid.function->entry;
    launch.grid = grid.request.grid;
    launch.block = grid.request.block;
    launch.cluster = grid.request.cluster;
    launch.dynamic_shared_bytes = grid.request.dynamic_shared_bytes;
    launch.cooperative = grid.request.cooperative;
    launch.parameters = grid.parameters;
    GridOrder& order = *grid.order;
    if (order.before) launch.before = order.before->traces;
    if (!order.in_graph) order.before.reset();
    launch.keep_trace =
        order.keeps_traces && (state.has_programmatic || launch.entry->launches_dependents);
    launch.options.checks = settings.checks;
    launch.options.asynchrony = settings.order;
    launch.options.mma_round_to_nearest = settings.mma_round_to_nearest;
    launch.options.print = [](const std::string& text) {
        std::fputs(text.c_str(), stdout);
        std::fflush(stdout);
    };
    std::optional<Trace> trace = settings.trace;
    if (trace) {
        trace->write = [](const std::string& text) { std::fputs(text.c_str(), stderr); };
        launch.options.trace = &*trace;
    }
    const std::string& name = grid.function->entry->name;
    // Each launch of a kernel draws its own schedule.
    launch.options.seed = settings.seed * 0x9e3779b97f4a7c15 + state.num_launches[name]++;

    KernelMemory memory(state.memory, context);
    const LaunchResult result = run_grid(launch, memory);
    order.traces.clear();
    if (result.trace) {
        order.traces = std::move(launch.before);
        order.traces.insert(order.traces.begin(), result.trace);
        order.traces.resize(std::min(order.traces.size(), kMostOverlapping));
    }
    state.statistics[name].add(result.statistics);
    if (!settings.statistics_file.empty())
        write_statistics(settings.statistics_file, launch, result);
    if (result.fault) throw Failure{code_of(result.fault->kind), result.fault->text()};
    return kLaunchUs + static_cast<double>(result.statistics.warp_instructions) /
                           (kInstructionsPerUsAndSm * context.device->model->num_sms);
}

}  // namespace

LaunchRequest request_of(const cuda::CUlaunchConfig& config) {
    LaunchRequest request;
    request.grid = {config.gridDimX, config.gridDimY, config.gridDimZ};
    request.block = {config.blockDimX, config.blockDimY, config.blockDimZ};
    request.dynamic_shared_bytes = config.sharedMemBytes;
    if (config.numAttrs > 0 && config.attrs == nullptr) {
        fail(CUDA_ERROR_INVALID_VALUE, "%u attributes were announced and their list is null",
             config.numAttrs);
    }
    for (unsigned at = 0; at < config.numAttrs; ++at) {
        const cuda::CUlaunchAttribute& attribute = config.attrs[at];
        switch (attribute.id) {
            case cuda::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION:
                request.cluster = {attribute.value.clusterDim.x, attribute.value.clusterDim.y,
                                   attribute.value.clusterDim.z};
                request.cluster_given = true;
                break;
            case cuda::CU_LAUNCH_ATTRIBUTE_COOPERATIVE:
                request.cooperative = attribute.value.cooperative != 0;
                break;
            // An early start is allowed, never promised: here a grid begins when the one before it
            // has ended, and its threads know of that once they have waited for it.
            case cuda::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION:
                request.programmatic = attribute.value.programmaticStreamSerializationAllowed != 0;
                break;
            // Hints that change no result.
            case cuda::CU_LAUNCH_ATTRIBUTE_IGNORE:
            case cuda::CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW:
            case cuda::CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY:
            case cuda::CU_LAUNCH_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
            case cuda::CU_LAUNCH_ATTRIBUTE_PRIORITY:
                break;
            default:
                fail(CUDA_ERROR_NOT_SUPPORTED,
                     "launch attribute %d is not offered by the virtual GPU",
                     static_cast<int>(attribute.id));
        }
    }
    return request;
}

uint32_t resident_blocks(const Function& function, uint32_t block_threads,
                         uint32_t dynamic_shared_bytes) {
    return resident_blocks_per_sm(*function.module->code, *function.entry, block_threads,
                                  dynamic_shared_bytes);
}

void check_launch(const Function& function, const LaunchRequest& request) {
    const EntryInfo& entry = *function.entry;
    const DeviceModel& model = function.module->code->model();
    const char* const name = entry.name.c_str();
    const Dim3& grid = request.grid;
    const Dim3& block = request.block;
    if (grid.count() == 0 || grid.x > 0x7fffffff || grid.y > 65535 || grid.z > 65535) {
        fail(CUDA_ERROR_INVALID_VALUE,
             "%s: the grid is %s; 1x1x1 to 2147483647x65535x65535 are allowed", name,
             dims(grid).c_str());
    }
    if (block.count() == 0 || block.x > 1024 || block.y > 1024 || block.z > 64 ||
        block.count() > model.max_threads_per_block) {
        fail(CUDA_ERROR_INVALID_VALUE,
             "%s: the block is %s; 1x1x1 to 1024x1024x64 with %u threads in all are allowed", name,
             dims(block).c_str(), model.max_threads_per_block);
    }
    const auto threads = static_cast<uint32_t>(block.count());
    if (entry.required_block.count() != 0 && !(block == entry.required_block)) {
        fail(CUDA_ERROR_INVALID_VALUE, "%s: the block is %s; the kernel requires %s", name,
             dims(block).c_str(), dims(entry.required_block).c_str());
    }
    if (threads > entry.max_threads) {
        fail(CUDA_ERROR_INVALID_VALUE,
             "%s: the block has %u threads; the kernel was compiled for %u", name, threads,
             entry.max_threads);
    }
    if (request.dynamic_shared_bytes > function.max_dynamic_shared) {
        fail(CUDA_ERROR_INVALID_VALUE,
             "%s: %u bytes of dynamic shared memory; %u are allowed (the attribute "
             "MAX_DYNAMIC_SHARED_SIZE_BYTES raises that)",
             name, request.dynamic_shared_bytes, function.max_dynamic_shared);
    }
    if (request.cluster_given || entry.explicit_cluster || entry.required_cluster.count() != 0) {
        LaunchRequest with_cluster = request;
        if (!request.cluster_given && entry.required_cluster.count() != 0) {
            with_cluster.cluster = entry.required_cluster;
            with_cluster.cluster_given = true;
        }
        check_cluster(function, with_cluster);
    }
    const uint32_t resident = resident_blocks(function, threads, request.dynamic_shared_bytes);
    if (resident == 0) {
        fail(cuda::CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES,
             "%s: no block of %u threads, %u registers each, and %u bytes of shared memory fits on "
             "a "
             "multiprocessor",
             name, threads, entry.registers,
             entry.static_shared_bytes + request.dynamic_shared_bytes);
    }
    if (request.cooperative && grid.count() > uint64_t{resident} * model.num_sms) {
        fail(cuda::CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE,
             "%s: a cooperative grid of %llu blocks; %u multiprocessors hold %u each", name,
             static_cast<unsigned long long>(grid.count()), model.num_sms, resident);
    }
}

Work launch_work(Driver& state, Context& context, const std::shared_ptr<Function>& function,
                 const LaunchRequest& request) {
    check_launch(*function, request);
    Grid grid = {.function = function,
                 .request = request,
                 .parameters = parameters_of(*function->entry, request),
                 .order = std::make_shared<GridOrder>()};
    grid.order->programmatic = request.programmatic;
    state.has_programmatic |= request.programmatic;
    const std::shared_ptr<GridOrder> order = grid.order;
    if (!request.cluster_given && function->entry->required_cluster.count() != 0) {
        grid.request.cluster = function->entry->required_cluster;
    }
    const std::string what =
        format_text("launch of %s, %s blocks of %s threads", function->entry->name.c_str(),
                    dims(request.grid).c_str(), dims(request.block).c_str());
    return {.kind = cuda::CU_GRAPH_NODE_TYPE_KERNEL,
            .what = what,
            .run = [&state, &context, grid = std::move(grid)] { return run(state, context, grid); },
            .order = order};
}

}  // namespace fattn::vgpu::driver
