// The devices of the fake driver for fuzz programs that need one; the program says where it lies.
#pragma once

#include <cstdlib>

#include "fuzz_input.h"

namespace fattn::fuzz {

/// One of two devices, opened once.
inline fattn_device* fake_device(int index) {
    static fattn_device* opened[2] = {};
    if (opened[0] == nullptr) {
        setenv("FATTN_CUDA_DRIVER", FATTN_FAKE_DRIVER, 1);
        setenv("FATTN_NVRTC", FATTN_FAKE_DRIVER, 1);
        setenv("FATTN_CUDA_CACHE", "off", 1);
        for (int n = 0; n < 2; ++n) {
            require(fattn_device_open(FATTN_DEVICE_KIND_CUDA, n, nullptr, &opened[n]) ==
                    FATTN_STATUS_OK);
        }
    }
    return opened[index];
}

/// As check(), of calls that may also find no memory.
inline void check_work(fattn_status status) {
    if (status == FATTN_STATUS_OUT_OF_MEMORY) {
        require(*fattn_last_error() != '\0');
        return;
    }
    check(status);
}

}  // namespace fattn::fuzz
