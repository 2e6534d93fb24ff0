// Properties and primary contexts of GPUs.
#include "cuda/runtime/device.h"

#include "backend/text.h"
#include "cuda/runtime/error.h"

namespace fattn::cuda {
namespace {

Status find_device(const Driver& driver, int ordinal, DeviceId* id) {
    int count = 0;
    FATTN_CUDA_RETURN_IF_ERROR(count_devices(driver, &count));
    if (ordinal < 0 || ordinal >= count) {
        return {StatusCode::kDeviceUnavailable,
                count == 0
                    ? text("CUDA device ", ordinal, " was asked for; the driver shows no GPU")
                    : text("CUDA device ", ordinal, " was asked for; the driver shows ", count,
                           ", numbered from 0")};
    }
    return check(driver.call(), driver.call().device_get(id, ordinal),
                 text("asking for CUDA device ", ordinal));
}

}  // namespace

Status count_devices(const Driver& driver, int* count) {
    return check(driver.call(), driver.call().device_get_count(count), "counting CUDA devices");
}

Status describe_device(const Driver& driver, int ordinal, DeviceProperties* properties) {
    const DriverFunctions& call = driver.call();
    DeviceId id = 0;
    FATTN_CUDA_RETURN_IF_ERROR(find_device(driver, ordinal, &id));
    const std::string operation = text("reading the properties of CUDA device ", ordinal);

    DeviceProperties found;
    found.ordinal = ordinal;
    char name[256] = {};
    FATTN_CUDA_RETURN_IF_ERROR(
        check(call, call.device_get_name(name, static_cast<int>(sizeof(name)) - 1, id), operation));
    found.name = name;
    FATTN_CUDA_RETURN_IF_ERROR(
        check(call, call.device_total_mem(&found.total_bytes, id), operation));
    if (call.device_get_uuid != nullptr) {
        FATTN_CUDA_RETURN_IF_ERROR(check(call, call.device_get_uuid(&found.uuid, id), operation));
    }

    int major = 0, minor = 0, clusters = 0, tensor_maps = 0;
    const struct {
        DeviceAttribute attribute;
        int* value;
        bool since_hopper;  // drivers older than the attribute answer with an error: absent
    } wanted[] = {
        {DeviceAttribute::kComputeCapabilityMajor, &major, false},
        {DeviceAttribute::kComputeCapabilityMinor, &minor, false},
        {DeviceAttribute::kMultiprocessorCount, &found.num_multiprocessors, false},
        {DeviceAttribute::kMaxThreadsPerBlock, &found.max_threads_per_block, false},
        {DeviceAttribute::kMaxThreadsPerMultiprocessor, &found.max_threads_per_multiprocessor,
         false},
        {DeviceAttribute::kMaxRegistersPerMultiprocessor, &found.registers_per_multiprocessor,
         false},
        {DeviceAttribute::kMaxSharedBytesPerBlockOptin, &found.shared_bytes_per_block, false},
        {DeviceAttribute::kMaxSharedBytesPerMultiprocessor, &found.shared_bytes_per_multiprocessor,
         false},
        {DeviceAttribute::kL2CacheBytes, &found.l2_bytes, false},
        {DeviceAttribute::kClockKilohertz, &found.clock_kilohertz, false},
        {DeviceAttribute::kMemoryClockKilohertz, &found.memory_clock_kilohertz, false},
        {DeviceAttribute::kMemoryBusBits, &found.memory_bus_bits, false},
        {DeviceAttribute::kClusterLaunch, &clusters, true},
        {DeviceAttribute::kTensorMapAccess, &tensor_maps, true},
    };
    for (const auto& [attribute, value, since_hopper] : wanted) {
        const Result result = call.device_get_attribute(value, attribute, id);
        if (since_hopper && result != Result::kSuccess) continue;
        FATTN_CUDA_RETURN_IF_ERROR(check(call, result, operation));
    }
    found.architecture = 10 * major + minor;
    found.cluster_launch = clusters != 0;
    found.tensor_maps = tensor_maps != 0;
    *properties = std::move(found);
    return {};
}

Status Device::open(const Driver& driver, int ordinal, std::shared_ptr<const Device>* device) {
    DeviceProperties properties;
    FATTN_CUDA_RETURN_IF_ERROR(describe_device(driver, ordinal, &properties));
    std::shared_ptr<Device> opened(new Device(driver, std::move(properties)));
    FATTN_CUDA_RETURN_IF_ERROR(find_device(driver, ordinal, &opened->id_));
    FATTN_CUDA_RETURN_IF_ERROR(
        check(driver.call(), driver.call().primary_context_retain(&opened->context_, opened->id_),
              text("making the context of CUDA device ", ordinal)));
    *device = std::move(opened);
    return {};
}

Status Device::attach(const Driver& driver, ContextHandle context,
                      std::shared_ptr<const Device>* device) {
    const DriverFunctions& call = driver.call();
    if (context == nullptr) {
        FATTN_CUDA_RETURN_IF_ERROR(
            check(call, call.context_get_current(&context), "asking for the current context"));
    }
    if (context == nullptr) {
        return {StatusCode::kInvalidArgument,
                "no CUDA context was given, and none is current on this thread"};
    }
    // Only a current context can be asked for its device.
    FATTN_CUDA_RETURN_IF_ERROR(
        check(call, call.context_push(context), "making the given context current"));
    DeviceId id = 0;
    ContextHandle popped = nullptr;
    const Result found = call.context_get_device(&id);
    static_cast<void>(call.context_pop(&popped));
    FATTN_CUDA_RETURN_IF_ERROR(check(call, found, "asking the given context for its device"));

    int count = 0;
    FATTN_CUDA_RETURN_IF_ERROR(count_devices(driver, &count));
    for (int ordinal = 0; ordinal < count; ++ordinal) {
        DeviceId of_ordinal = 0;
        FATTN_CUDA_RETURN_IF_ERROR(find_device(driver, ordinal, &of_ordinal));
        if (of_ordinal != id) continue;
        DeviceProperties properties;
        FATTN_CUDA_RETURN_IF_ERROR(describe_device(driver, ordinal, &properties));
        std::shared_ptr<Device> opened(new Device(driver, std::move(properties)));
        opened->id_ = id;
        opened->context_ = context;
        opened->attached_ = true;
        *device = std::move(opened);
        return {};
    }
    return {StatusCode::kDeviceUnavailable,
            text("the given context is of a GPU that is none of the ", count,
                 " which the driver shows")};
}

std::string Device::context_name() const {
    return text(
        attached_ ? "the attached context of CUDA device " : "the primary context of CUDA device ",
        properties_.ordinal);
}

Device::~Device() {
    // A context that a fault or another library has ended cannot be released; nothing is left to
    // do.
    if (context_ != nullptr && !attached_) static_cast<void>(call().primary_context_release(id_));
}

Status Device::memory(std::size_t* free_bytes, std::size_t* total_bytes) const {
    const ContextScope scope(*this);
    FATTN_CUDA_RETURN_IF_ERROR(scope.status());
    return check(call(), call().mem_get_info(free_bytes, total_bytes), "asking for free memory");
}

Status Device::synchronize() const {
    const ContextScope scope(*this);
    FATTN_CUDA_RETURN_IF_ERROR(scope.status());
    return check(call(), call().context_synchronize(), "waiting for the device");
}

ContextScope::ContextScope(const Device& device)
    : device_(device),
      status_(check(
          device.call(), device.call().context_push(device.context()),
          text("making the context of CUDA device ", device.properties().ordinal, " current"))) {}

ContextScope::~ContextScope() {
    ContextHandle popped = nullptr;
    if (status_.ok()) static_cast<void>(device_.call().context_pop(&popped));
}

}  // namespace fattn::cuda
