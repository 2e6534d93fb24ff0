// Before any test of this program runs: its CUDA driver is the virtual GPU's, its NVRTC the
// toolkit's, and no cache of the user is read or written.
#include <gtest/gtest.h>
#include <stdlib.h>

namespace {

/// What is there already stays, unless it has to go.
void set(const char* name, const char* value, bool replaces) {
#if defined(_WIN32)
    if (replaces || ::getenv(name) == nullptr) ::_putenv_s(name, value);
#else
    ::setenv(name, value, replaces ? 1 : 0);
#endif
}

class VirtualEnvironment : public ::testing::Environment {
  public:
    void SetUp() override {
#if defined(FATTN_VIRTUAL_DRIVER)
        set("FATTN_CUDA_DRIVER", FATTN_VIRTUAL_DRIVER, false);
        set("FATTN_VIRTUAL_GPU_MODELS", "sm_80,sm_89,sm_90a", false);
        set("FATTN_VIRTUAL_GPU_MEMORY", "256M", false);
        set("FATTN_VIRTUAL_GPU_REPORT", "none", false);
        set("FATTN_VIRTUAL_GPU_REGISTERS", FATTN_REGISTER_TABLE, false);
#endif
#if defined(FATTN_TOOLKIT_NVRTC)
        set("FATTN_NVRTC", FATTN_TOOLKIT_NVRTC, false);
#endif
        set("FATTN_CUDA_CACHE", "off", true);
    }
};

const ::testing::Environment* const kEnvironment =
    ::testing::AddGlobalTestEnvironment(new VirtualEnvironment);

}  // namespace
