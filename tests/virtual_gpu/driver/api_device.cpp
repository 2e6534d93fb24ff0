// The device functions. Called by programs through the driver API.
#include <cstring>

#include "driver/device.h"
#include "driver/entry.h"
#include "driver/exports.h"

namespace fattn::vgpu::cuda {
namespace {

using driver::call;
using driver::Driver;
using driver::fail;
using driver::require_device;
using driver::require_results;

void copy_text(const std::string& text, char* out, int size) {
    require_results(out);
    if (size < 1)
        fail(CUDA_ERROR_INVALID_VALUE, "the buffer has %d bytes; it needs 1 or more", size);
    const size_t length = std::min(text.size(), static_cast<size_t>(size) - 1);
    std::memcpy(out, text.data(), length);
    out[length] = '\0';
}

CUresult get_uuid(const char* function, CUuuid* uuid, CUdevice ordinal) {
    return call(function, [&](Driver& state) {
        require_results(uuid);
        const driver::Device& device = require_device(state, ordinal);
        const char bytes[16] = {'f',
                                'a',
                                't',
                                't',
                                'n',
                                '-',
                                'v',
                                'i',
                                'r',
                                't',
                                'u',
                                'a',
                                'l',
                                static_cast<char>(device.model->compute_major),
                                static_cast<char>(device.model->compute_minor),
                                static_cast<char>(ordinal)};
        std::memcpy(uuid->bytes, bytes, sizeof(bytes));
    });
}

}  // namespace

extern "C" {

CUresult cuDeviceGetCount(int* count) {
    return call("cuDeviceGetCount", [&](Driver& state) {
        require_results(count);
        *count = static_cast<int>(state.devices.size());
    });
}

CUresult cuDeviceGet(CUdevice* device, int ordinal) {
    return call("cuDeviceGet", [&](Driver& state) {
        require_results(device);
        *device = require_device(state, ordinal).ordinal;
    });
}

CUresult cuDeviceGetName(char* name, int size, CUdevice ordinal) {
    return call("cuDeviceGetName", [&](Driver& state) {
        copy_text(require_device(state, ordinal).model->name, name, size);
    });
}

CUresult cuDeviceGetUuid(CUuuid* uuid, CUdevice ordinal) {
    return get_uuid("cuDeviceGetUuid", uuid, ordinal);
}

CUresult cuDeviceGetUuid_v2(CUuuid* uuid, CUdevice ordinal) {
    return get_uuid("cuDeviceGetUuid_v2", uuid, ordinal);
}

CUresult cuDeviceGetPCIBusId(char* text, int size, CUdevice ordinal) {
    return call("cuDeviceGetPCIBusId", [&](Driver& state) {
        const int bus = require_device(state, ordinal).ordinal + 1;
        copy_text(driver::format_text("0000:%02x:00.0", static_cast<unsigned>(bus)), text, size);
    });
}

CUresult cuDeviceTotalMem_v2(size_t* bytes, CUdevice ordinal) {
    return call("cuDeviceTotalMem_v2", [&](Driver& state) {
        require_results(bytes);
        *bytes = require_device(state, ordinal).memory_bytes;
    });
}

CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice ordinal) {
    return call("cuDeviceGetAttribute", [&](Driver& state) {
        require_results(value);
        const std::optional<int> known =
            driver::device_attribute(require_device(state, ordinal), attribute);
        if (!known) {
            fail(CUDA_ERROR_NOT_SUPPORTED, "device attribute %d is not known to the virtual GPU",
                 static_cast<int>(attribute));
        }
        *value = *known;
    });
}

CUresult cuDeviceComputeCapability(int* major, int* minor, CUdevice ordinal) {
    return call("cuDeviceComputeCapability", [&](Driver& state) {
        require_results(major, minor);
        const DeviceModel& model = *require_device(state, ordinal).model;
        *major = static_cast<int>(model.compute_major);
        *minor = static_cast<int>(model.compute_minor);
    });
}

CUresult cuDeviceCanAccessPeer(int* can, CUdevice ordinal, CUdevice peer) {
    return call("cuDeviceCanAccessPeer", [&](Driver& state) {
        require_results(can);
        require_device(state, ordinal);
        require_device(state, peer);
        *can = 0;
    });
}

CUresult cuDeviceGetDefaultMemPool(CUmemoryPool* pool, CUdevice ordinal) {
    return call("cuDeviceGetDefaultMemPool", [&](Driver& state) {
        require_results(pool);
        *pool = require_device(state, ordinal).pool->handle;
    });
}

CUresult cuDeviceGetMemPool(CUmemoryPool* pool, CUdevice ordinal) {
    return call("cuDeviceGetMemPool", [&](Driver& state) {
        require_results(pool);
        *pool = require_device(state, ordinal).pool->handle;
    });
}

}  // extern "C"
}  // namespace fattn::vgpu::cuda
