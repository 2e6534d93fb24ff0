// Opening, describing, measuring and releasing devices.
#include "api/device.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <mutex>

#include "api/growing.h"
#include "api/text_field.h"
#include "api/work.h"
#include "cpu/backend.h"
#include "cpu/parallel.h"
#if defined(FATTN_HAS_CUDA)
#include "cuda/host/cuda_backend.h"
#endif

namespace fattn::api {
namespace {

#define FATTN_SAME_TARGET(name, core) \
    static_assert(FATTN_CPU_TARGET_##name == static_cast<fattn_cpu_target>(cpu::Target::core))
FATTN_SAME_TARGET(BEST, kBest);
FATTN_SAME_TARGET(SCALAR, kScalar);
FATTN_SAME_TARGET(AVX2, kAvx2);
FATTN_SAME_TARGET(AVX512, kAvx512);
FATTN_SAME_TARGET(AVX512_BF16, kAvx512Bf16);
FATTN_SAME_TARGET(NEON, kNeon);

static_assert(FATTN_PEAK_F32 == static_cast<fattn_peak>(Peak::kF32));
static_assert(FATTN_PEAK_BF16 == static_cast<fattn_peak>(Peak::kBF16));
static_assert(FATTN_PEAK_READ == static_cast<fattn_peak>(Peak::kRead));

Status open_cpu(int32_t index, const fattn_device_options& options, fattn_device** out) {
    if (index != 0) {
        return {StatusCode::kDeviceUnavailable,
                text("CPU device ", index, " was asked for; there is one, with index 0")};
    }
    cpu::Choice choice;
    FATTN_RETURN_IF_ERROR(
        cpu::choose_target(static_cast<cpu::Target>(options.cpu_target), &choice));

    auto device = std::make_unique<fattn_device>();
    const int num_threads =
        options.num_threads > 0 ? options.num_threads : cpu::default_num_threads();
    fattn_device_description& description = device->description;
    description.kind = FATTN_DEVICE_KIND_CPU;
    description.cpu_target = static_cast<fattn_cpu_target>(choice.target);
    description.cpu_targets_available = cpu::targets_available();
    description.cpu_targets_built = cpu::targets_built();
    description.num_threads = num_threads;
    copy_text(cpu::processor_name(), description.name);
    copy_text(choice.reason, description.reason);
    device->backend = std::make_unique<cpu::CpuBackend>(std::move(choice), num_threads);
    *out = device.release();
    return {};
}

#if defined(FATTN_HAS_CUDA)
fattn_device* cuda_handle(std::unique_ptr<cuda::CudaBackend> backend) {
    auto device = std::make_unique<fattn_device>();
    const cuda::DeviceProperties& properties = backend->device().properties();
    fattn_device_description& description = device->description;
    description.kind = FATTN_DEVICE_KIND_CUDA;
    description.index = properties.ordinal;
    copy_text(properties.name, description.name);
    copy_text(backend->reason(), description.reason);
    description.architecture = properties.architecture;
    description.num_multiprocessors = properties.num_multiprocessors;
    description.memory_bytes = properties.total_bytes;
    description.shared_bytes_per_block = properties.shared_bytes_per_block;
    description.l2_bytes = properties.l2_bytes;
    std::copy(std::begin(properties.uuid.bytes), std::end(properties.uuid.bytes),
              std::begin(description.uuid));
    device->backend = std::move(backend);
    return device.release();
}
#else
Status built_without_cuda(const std::string& asked) {
    return {StatusCode::kDeviceUnavailable,
            text(asked,
                 " was asked for; this library was built without its CUDA backend "
                 "(FATTN_CUDA=OFF)")};
}
#endif

Status open_cuda(int32_t index, const fattn_device_options& options,
                 [[maybe_unused]] fattn_device** out) {
    if (options.cpu_target != FATTN_CPU_TARGET_BEST || options.num_threads != 0) {
        return invalid(
            "options.cpu_target and options.num_threads are of CPU devices; allowed is 0");
    }
#if defined(FATTN_HAS_CUDA)
    std::unique_ptr<cuda::CudaBackend> backend;
    FATTN_RETURN_IF_ERROR(cuda::CudaBackend::open(index, &backend));
    *out = cuda_handle(std::move(backend));
    return {};
#else
    return built_without_cuda(text("CUDA device ", index));
#endif
}

Status attach(void* context, fattn_device** out) {
    if (out == nullptr) return invalid("device is NULL; a place for the handle is needed");
    *out = nullptr;
#if defined(FATTN_HAS_CUDA)
    std::unique_ptr<cuda::CudaBackend> backend;
    FATTN_RETURN_IF_ERROR(cuda::CudaBackend::attach(context, &backend));
    *out = cuda_handle(std::move(backend));
    return {};
#else
    static_cast<void>(context);
    return built_without_cuda("the device of a CUDA context");
#endif
}

Status check_options(const fattn_device_options& options) {
    if (options.flags != 0) {
        return unsupported(text("options.flags is ", options.flags, "; this library knows none"));
    }
    if (options.cpu_target > FATTN_CPU_TARGET_NEON) {
        return invalid(text("options.cpu_target is ", options.cpu_target, "; allowed are 0 to ",
                            static_cast<uint32>(FATTN_CPU_TARGET_NEON)));
    }
    if (options.num_threads < 0 || options.num_threads > cpu::kMostThreads) {
        return invalid(text("options.num_threads is ", options.num_threads, "; allowed are 0 to ",
                            cpu::kMostThreads, ", 0 for one per processor"));
    }
    return {};
}

Status open(fattn_device_kind kind, int32_t index, const fattn_device_options* given,
            fattn_device** out) {
    if (out == nullptr) return invalid("device is NULL; a place for the handle is needed");
    *out = nullptr;
    fattn_device_options options{};
    if (given != nullptr) {
        FATTN_RETURN_IF_ERROR(read_growing(given, "options", "fattn_device_options", &options));
    }
    FATTN_RETURN_IF_ERROR(check_options(options));
    if (kind == FATTN_DEVICE_KIND_CPU) return open_cpu(index, options, out);
    if (kind == FATTN_DEVICE_KIND_CUDA) {
        return open_cuda(index, options, out);
    }
    return invalid(text("kind is ", kind, "; allowed are 0 (CPU) and 1 (CUDA)"));
}

/// The shared CPU device; it keeps one reference of its own for as long as the process lives. Tried
/// again after a failure.
Status process_wide_cpu(fattn_device** out) {
    if (out == nullptr) return invalid("device is NULL; a place for the handle is needed");
    *out = nullptr;
    static std::mutex mutex;
    static fattn_device* shared = nullptr;
    const std::lock_guard lock(mutex);
    if (shared == nullptr) {
        FATTN_RETURN_IF_ERROR(open_cpu(0, fattn_device_options{}, &shared));
    }
    retain(shared);
    *out = shared;
    return {};
}

Status measure(fattn_device* device, fattn_peak peak, int32_t num_threads, double seconds,
               double* result) {
    if (device == nullptr) return invalid("device is NULL");
    if (result == nullptr) return invalid("result is NULL; a place for the rate is needed");
    if (peak > FATTN_PEAK_READ) {
        return invalid(
            text("peak is ", peak, "; allowed are 0 to ", static_cast<uint32>(FATTN_PEAK_READ)));
    }
    if (num_threads < 0 || num_threads > cpu::kMostThreads) {
        return invalid(
            text("num_threads is ", num_threads, "; allowed are 0 to ", cpu::kMostThreads));
    }
    if (!(seconds > 0 && seconds <= 60)) {
        return invalid(text("seconds is ", seconds, "; allowed are more than 0 and at most 60"));
    }
    const Reference held(device);
    return device->backend->measure(static_cast<Peak>(peak), num_threads, seconds, result);
}

Status write_context(fattn_device* device, void** context) {
    if (context == nullptr) return invalid("context is NULL; a place for the handle is needed");
    DeviceWork* work = nullptr;
    FATTN_RETURN_IF_ERROR(work_of(device, "contexts", &work));
    *context = work->context();
    return {};
}

Status write_memory(fattn_device* device, uint64_t* free_bytes, uint64_t* total_bytes) {
    DeviceWork* work = nullptr;
    FATTN_RETURN_IF_ERROR(work_of(device, "figures of device memory", &work));
    uint64_t free_now = 0, total = 0;
    FATTN_RETURN_IF_ERROR(work->memory(&free_now, &total));
    if (free_bytes != nullptr) *free_bytes = free_now;
    if (total_bytes != nullptr) *total_bytes = total;
    return {};
}

Status synchronize(fattn_device* device) {
    DeviceWork* work = nullptr;
    FATTN_RETURN_IF_ERROR(work_of(device, "waits for a device", &work));
    return work->synchronize();
}

}  // namespace

}  // namespace fattn::api

using fattn::Status;
using fattn::api::guarded;
using fattn::api::invalid;

fattn_status fattn_device_cpu(fattn_device** device) {
    return guarded([&] { return fattn::api::process_wide_cpu(device); });
}

fattn_status fattn_device_open(fattn_device_kind kind, int32_t index,
                               const fattn_device_options* options, fattn_device** device) {
    return guarded([&] { return fattn::api::open(kind, index, options, device); });
}

fattn_status fattn_device_attach(void* context, fattn_device** device) {
    return guarded([&] { return fattn::api::attach(context, device); });
}

fattn_status fattn_device_context(fattn_device* device, void** context) {
    return guarded([&] { return fattn::api::write_context(device, context); });
}

fattn_status fattn_device_memory(fattn_device* device, uint64_t* free_bytes,
                                 uint64_t* total_bytes) {
    return guarded([&] { return fattn::api::write_memory(device, free_bytes, total_bytes); });
}

fattn_status fattn_device_synchronize(fattn_device* device) {
    return guarded([&] { return fattn::api::synchronize(device); });
}

fattn_status fattn_device_retain(fattn_device* device) {
    return guarded([&] {
        if (device == nullptr) return invalid("device is NULL");
        fattn::api::retain(device);
        return Status();
    });
}

void fattn_device_release(fattn_device* device) {
    if (device != nullptr) fattn::api::release(device);
}

fattn_status fattn_device_info(fattn_device* device, fattn_device_description* description) {
    return guarded([&] {
        if (device == nullptr) return invalid("device is NULL");
        return fattn::api::write_growing(device->description, "description",
                                         "fattn_device_description", description);
    });
}

fattn_status fattn_device_trim(fattn_device* device) {
    return guarded([&] {
        if (device == nullptr) return invalid("device is NULL");
        device->backend->trim();
        return Status();
    });
}

fattn_status fattn_device_measure(fattn_device* device, fattn_peak peak, int32_t num_threads,
                                  double seconds, double* result) {
    return guarded([&] { return fattn::api::measure(device, peak, num_threads, seconds, result); });
}
