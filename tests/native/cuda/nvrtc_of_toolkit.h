// The NVRTC that tests compile with: the one that FATTN_NVRTC names, or that of the toolkit which
// the build found.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include "cuda/runtime/nvrtc.h"

namespace fattn::cuda {

/// Loaded once; null with the reason where there is none.
inline const Nvrtc* nvrtc_of_toolkit(std::string* reason) {
    static std::unique_ptr<Nvrtc> nvrtc;
    static const Status status = [] {
        const char* named = ::getenv("FATTN_NVRTC");
#if defined(FATTN_TOOLKIT_NVRTC)
        return Nvrtc::load(named != nullptr ? named : FATTN_TOOLKIT_NVRTC, 0, &nvrtc);
#else
        return Nvrtc::load(named != nullptr ? named : "", 0, &nvrtc);
#endif
    }();
    *reason = status.message();
    return nvrtc.get();
}

}  // namespace fattn::cuda

/// Declares the compiler, or skips the test with the reason.
#define FATTN_NEEDS_NVRTC(name)                                                               \
    std::string name##_reason;                                                                \
    const ::fattn::cuda::Nvrtc* const name = ::fattn::cuda::nvrtc_of_toolkit(&name##_reason); \
    if (name == nullptr) GTEST_SKIP() << name##_reason
