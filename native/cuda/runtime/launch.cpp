// Launches, plain and with attributes.
#include "cuda/runtime/launch.h"

#include "backend/text.h"
#include "cuda/runtime/error.h"

namespace fattn::cuda {
namespace {

/// A launch as the driver takes it; attributes live beside it.
struct RawLaunch {
    LaunchAttribute attributes[3];
    RawLaunchConfig config;
};

void fill(const LaunchConfig& from, StreamHandle stream, RawLaunch* to) {
    unsigned count = 0;
    const auto add = [&](LaunchAttributeId id) -> LaunchAttributeValue& {
        LaunchAttribute& attribute = to->attributes[count++];
        attribute = LaunchAttribute{id, 0, {}};
        return attribute.value;
    };
    if (from.cluster.x != 0) {
        add(LaunchAttributeId::kClusterDimension).cluster = {from.cluster.x, from.cluster.y,
                                                             from.cluster.z};
    }
    if (from.programmatic) {
        add(LaunchAttributeId::kProgrammaticStreamSerialization).programmatic_stream_serialization =
            1;
    }
    if (from.cooperative) add(LaunchAttributeId::kCooperative).cooperative = 1;
    to->config = {.grid_x = from.grid.x,
                  .grid_y = from.grid.y,
                  .grid_z = from.grid.z,
                  .block_x = from.block.x,
                  .block_y = from.block.y,
                  .block_z = from.block.z,
                  .dynamic_shared_bytes = from.dynamic_shared_bytes,
                  .stream = stream,
                  .attributes = to->attributes,
                  .num_attributes = count};
}

Status check_cluster(const Function& function, const Extent3& cluster) {
    if (cluster.x == 0 || function.device().properties().cluster_launch) return {};
    return {
        StatusCode::kUnsupported,
        text("kernel ", function.name(), " is launched in clusters of ", cluster.x, " x ",
             cluster.y, " x ", cluster.z, "; CUDA device ", function.device().properties().ordinal,
             " (compute capability ", function.device().properties().architecture / 10, ".",
             function.device().properties().architecture % 10, ") has none, 9.0 and newer have")};
}

}  // namespace

Status launch(const Function& function, const LaunchConfig& config, const Stream& stream,
              void** arguments) {
    if (config.grid.x == 0 || config.grid.y == 0 || config.grid.z == 0) return {};
    FATTN_CUDA_RETURN_IF_ERROR(check_cluster(function, config.cluster));
    const Device& device = stream.device();
    const DriverFunctions& call = device.call();
    const ContextScope scope(device);
    FATTN_CUDA_RETURN_IF_ERROR(scope.status());

    RawLaunch raw;
    fill(config, stream.handle(), &raw);
    Result result;
    if (raw.config.num_attributes == 0) {
        result =
            call.launch_kernel(function.handle(), config.grid.x, config.grid.y, config.grid.z,
                               config.block.x, config.block.y, config.block.z,
                               config.dynamic_shared_bytes, stream.handle(), arguments, nullptr);
    } else if (call.launch_kernel_with != nullptr) {
        result = call.launch_kernel_with(&raw.config, function.handle(), arguments, nullptr);
    } else {
        return {StatusCode::kUnsupported,
                text("kernel ", function.name(), " needs launch attributes; the driver is of CUDA ",
                     version_text(device.driver().version()), ", 11.8 and newer have them")};
    }
    return check(call, result, text("launching kernel ", function.name()));
}

Status occupancy_of_clusters(const Function& function, const LaunchConfig& config, int* clusters) {
    FATTN_CUDA_RETURN_IF_ERROR(check_cluster(function, config.cluster));
    const Device& device = function.device();
    if (device.call().occupancy_clusters == nullptr) {
        return {StatusCode::kUnsupported,
                text("the driver is of CUDA ", version_text(device.driver().version()),
                     "; counting clusters needs 11.8")};
    }
    const ContextScope scope(device);
    FATTN_CUDA_RETURN_IF_ERROR(scope.status());
    RawLaunch raw;
    fill(config, nullptr, &raw);
    return check(device.call(),
                 device.call().occupancy_clusters(clusters, function.handle(), &raw.config),
                 text("asking for the clusters of kernel ", function.name()));
}

}  // namespace fattn::cuda
