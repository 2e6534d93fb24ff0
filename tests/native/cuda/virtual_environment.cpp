// Before any test of this program runs: its CUDA driver is the virtual GPU's, its NVRTC the
// toolkit's, and no cache of the user is read or written.
#include <gtest/gtest.h>
#include <stdlib.h>

namespace {

class VirtualEnvironment : public ::testing::Environment {
  public:
    void SetUp() override {
#if defined(FATTN_VIRTUAL_DRIVER)
        ::setenv("FATTN_CUDA_DRIVER", FATTN_VIRTUAL_DRIVER, 0);
        ::setenv("FATTN_VIRTUAL_GPU_MODELS", "sm_80,sm_89,sm_90a", 0);
        ::setenv("FATTN_VIRTUAL_GPU_MEMORY", "256M", 0);
        ::setenv("FATTN_VIRTUAL_GPU_REPORT", "none", 0);
        ::setenv("FATTN_VIRTUAL_GPU_REGISTERS", FATTN_REGISTER_TABLE, 0);
#endif
#if defined(FATTN_TOOLKIT_NVRTC)
        ::setenv("FATTN_NVRTC", FATTN_TOOLKIT_NVRTC, 0);
#endif
        ::setenv("FATTN_CUDA_CACHE", "off", 1);
    }
};

const ::testing::Environment* const kEnvironment =
    ::testing::AddGlobalTestEnvironment(new VirtualEnvironment);

}  // namespace
