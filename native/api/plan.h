// The plan behind the fattn_plan handle: a checked problem bound to a device; made by the family
// files, run many times.
#pragma once

#include <memory>

#include "api/dense_check.h"
#include "api/device.h"

struct fattn_plan : fattn::api::Counted {
    explicit fattn_plan(fattn_device* owner) : device(owner) {}

    const fattn::api::Reference<fattn_device> device;  // outlives the kernel
    fattn_family family = FATTN_FAMILY_DENSE;
    fattn::api::CheckedDense dense;
    std::unique_ptr<fattn::DenseKernel> dense_kernel;
};
