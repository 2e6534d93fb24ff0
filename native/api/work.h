// Handles of streams, events and memory, and the way from a device to its work; used by stream.cpp
// and memory.cpp.
#pragma once

#include <memory>

#include "api/device.h"
#include "api/status.h"

namespace fattn::api {

/// The work of a CUDA device. what names the request in the error of the CPU device, as "streams".
Status work_of(fattn_device* device, const char* what, DeviceWork** work);

/// Ok for two objects of one device; on_what says in the error what was asked.
Status check_same_device(fattn_device* a, fattn_device* b, const char* on_what);

/// A handle of something that a device made, which keeps the device.
template <class Made>
struct DeviceHandle : Counted {
    DeviceHandle(fattn_device* owner, std::unique_ptr<Made> object)
        : device(owner), made(std::move(object)) {}

    const Reference<fattn_device> device;  // outlives what it made
    const std::unique_ptr<Made> made;
};

}  // namespace fattn::api

struct fattn_stream : fattn::api::DeviceHandle<fattn::DeviceStream> {
    using DeviceHandle::DeviceHandle;
};
struct fattn_event : fattn::api::DeviceHandle<fattn::DeviceEvent> {
    using DeviceHandle::DeviceHandle;
};
struct fattn_memory : fattn::api::DeviceHandle<fattn::DeviceBlock> {
    using DeviceHandle::DeviceHandle;
};
