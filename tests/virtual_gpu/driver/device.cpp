// Devices: attributes and memory accounts. Called by the device and allocation functions.
#include "driver/device.h"

#include "driver/failure.h"

namespace fattn::vgpu::driver {

Device& require_device(Driver& state, CUdevice ordinal) {
    if (ordinal < 0 || static_cast<size_t>(ordinal) >= state.devices.size()) {
        fail(cuda::CUDA_ERROR_INVALID_DEVICE, "device %d was asked for; there are %zu, from 0",
             ordinal, state.devices.size());
    }
    return *state.devices[static_cast<size_t>(ordinal)];
}

std::optional<int> device_attribute(const Device& device, cuda::CUdevice_attribute attribute) {
    using namespace cuda;
    const DeviceModel& model = *device.model;
    const bool hopper = model.compute_major >= 9;
    switch (attribute) {
        case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
            return static_cast<int>(model.max_threads_per_block);
        case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X:
        case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y:
            return 1024;
        case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z:
            return 64;
        case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X:
            return 2147483647;
        case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y:
        case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z:
            return 65535;
        case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK:
            return static_cast<int>(model.shared_bytes_per_block);
        case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
            return static_cast<int>(model.shared_bytes_per_block_optin);
        case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR:
            return static_cast<int>(model.shared_bytes_per_sm);
        case CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK:
            return static_cast<int>(model.reserved_shared_bytes_per_block);
        case CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY:
            return 65536;
        case CU_DEVICE_ATTRIBUTE_WARP_SIZE:
            return 32;
        case CU_DEVICE_ATTRIBUTE_MAX_PITCH:
            return 2147483647;
        case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK:
        case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR:
            return static_cast<int>(model.registers_per_sm);
        // Virtual time runs at 1 GHz.
        case CU_DEVICE_ATTRIBUTE_CLOCK_RATE:
        case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE:
            return 1000000;
        case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH:
            return 4096;
        case CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT:
            return 512;
        case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
            return static_cast<int>(model.num_sms);
        case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR:
            return static_cast<int>(model.max_threads_per_sm);
        case CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR:
            return static_cast<int>(model.max_blocks_per_sm);
        case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE:
            return 40 << 20;
        case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT:
            return 3;
        case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
            return static_cast<int>(model.compute_major);
        case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
            return static_cast<int>(model.compute_minor);
        case CU_DEVICE_ATTRIBUTE_PCI_BUS_ID:
            return device.ordinal + 1;
        case CU_DEVICE_ATTRIBUTE_GPU_OVERLAP:
        case CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY:
        case CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS:
        case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
        case CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED:
        case CU_DEVICE_ATTRIBUTE_GLOBAL_L1_CACHE_SUPPORTED:
        case CU_DEVICE_ATTRIBUTE_LOCAL_L1_CACHE_SUPPORTED:
        case CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM:
        case CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH:
        case CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED:
        case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED:
            return 1;
        case CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH:
        case CU_DEVICE_ATTRIBUTE_TENSOR_MAP_ACCESS_SUPPORTED:
            return hopper ? 1 : 0;
        case CU_DEVICE_ATTRIBUTE_KERNEL_EXEC_TIMEOUT:
        case CU_DEVICE_ATTRIBUTE_INTEGRATED:
        case CU_DEVICE_ATTRIBUTE_COMPUTE_MODE:
        case CU_DEVICE_ATTRIBUTE_ECC_ENABLED:
        case CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID:
        case CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID:
        case CU_DEVICE_ATTRIBUTE_TCC_DRIVER:
        case CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY:
        case CU_DEVICE_ATTRIBUTE_MULTI_GPU_BOARD:
        case CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS:
        case CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS:
        case CU_DEVICE_ATTRIBUTE_COMPUTE_PREEMPTION_SUPPORTED:
        case CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED:
        case CU_DEVICE_ATTRIBUTE_MAX_PERSISTING_L2_CACHE_SIZE:
        case CU_DEVICE_ATTRIBUTE_MAX_ACCESS_POLICY_WINDOW_SIZE:
        case CU_DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED:
        case CU_DEVICE_ATTRIBUTE_MULTICAST_SUPPORTED:
            return 0;
    }
    return std::nullopt;
}

uint64_t reserve_memory(Driver& state, Context& context, uint64_t bytes) {
    Device& device = *context.device;
    if (bytes > device.memory_bytes) {
        fail(cuda::CUDA_ERROR_OUT_OF_MEMORY, "%llu bytes were asked for; device %d has %llu",
             static_cast<unsigned long long>(bytes), device.ordinal,
             static_cast<unsigned long long>(device.memory_bytes));
    }
    const uint64_t accounted = (bytes + kAccountingUnit - 1) / kAccountingUnit * kAccountingUnit;
    if (device.used_bytes + accounted > device.memory_bytes) state.queue.force_context(context);
    if (device.used_bytes + accounted > device.memory_bytes) {
        fail(cuda::CUDA_ERROR_OUT_OF_MEMORY,
             "%llu bytes were asked for; %llu of the %llu bytes of device %d are free",
             static_cast<unsigned long long>(bytes),
             static_cast<unsigned long long>(device.memory_bytes - device.used_bytes),
             static_cast<unsigned long long>(device.memory_bytes), device.ordinal);
    }
    device.used_bytes += accounted;
    return accounted;
}

}  // namespace fattn::vgpu::driver
