// What a virtual device says about itself. Called by the device functions and by launches.
#pragma once

#include <optional>

#include "driver/driver.h"

namespace fattn::vgpu::driver {

Device& require_device(Driver& state, CUdevice ordinal);

// Null for an attribute that the virtual GPU does not know.
std::optional<int> device_attribute(const Device& device, cuda::CUdevice_attribute attribute);

// Takes bytes of the device's memory into account, after trying to free what waits to be freed;
// fails when there is not enough.
uint64_t reserve_memory(Driver& state, Context& context, uint64_t bytes);

}  // namespace fattn::vgpu::driver
