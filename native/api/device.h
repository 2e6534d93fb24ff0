// The device behind the fattn_device handle; used by plans and by operations that run on a device
// directly.
#pragma once

#include <memory>

#include "api/handle.h"
#include "backend/backend.h"
#include "fused_attention/fused_attention.h"

struct fattn_device : fattn::api::Counted {
    fattn_device_description description{};
    std::unique_ptr<fattn::Backend> backend;
};
