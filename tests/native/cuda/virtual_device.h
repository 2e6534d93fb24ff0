// The virtual GPU for tests: loaded once a process in place of a driver, with a device of each
// model.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "cuda/runtime/device.h"

namespace fattn::cuda {

enum VirtualModel { kVirtualSm80 = 0, kVirtualSm89 = 1, kVirtualSm90 = 2 };

/// A test on the first device of the virtual GPU, which virtual_environment.cpp makes the driver of
/// this process; skipped where the build has none.
class OnVirtualDevice : public ::testing::Test {
  protected:
    void SetUp() override {
#if defined(FATTN_VIRTUAL_DRIVER)
        const Status status = process_driver(&driver);
        ASSERT_TRUE(status.ok()) << status.message();
        device = open(kVirtualSm80);
        ASSERT_NE(device, nullptr);
#else
        GTEST_SKIP() << "the build has no virtual GPU (FATTN_BUILD_VIRTUAL_GPU is off)";
#endif
    }

    std::shared_ptr<const Device> open(int ordinal) {
        std::shared_ptr<const Device> opened;
        const Status status = Device::open(*driver, ordinal, &opened);
        EXPECT_TRUE(status.ok()) << status.message();
        return opened;
    }

    const Driver* driver = nullptr;
    std::shared_ptr<const Device> device;
};

}  // namespace fattn::cuda

/// A Status that has to be ok.
#define ASSERT_STATUS_OK(expression)                                  \
    do {                                                              \
        const ::fattn::Status status_of_test = (expression);          \
        ASSERT_TRUE(status_of_test.ok()) << status_of_test.message(); \
    } while (false)

/// A Status that has to have failed with this code and these words.
#define EXPECT_STATUS(expression, expected_code, words)                      \
    do {                                                                     \
        const ::fattn::Status status_of_test = (expression);                 \
        EXPECT_EQ(status_of_test.code(), ::fattn::StatusCode::expected_code) \
            << status_of_test.message();                                     \
        EXPECT_NE(status_of_test.message().find(words), std::string::npos)   \
            << status_of_test.message();                                     \
    } while (false)
