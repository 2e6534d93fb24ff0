// The virtual GPU for tests: loaded once a process in place of a driver, with a device of each
// model.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "cuda/runtime/device.h"

namespace fattn::cuda {

enum VirtualModel { kVirtualSm80 = 0, kVirtualSm89 = 1, kVirtualSm90 = 2 };

/// The process's driver when it is that of the virtual GPU (virtual_environment.cpp), or null with
/// the reason.
inline const Driver* virtual_driver(std::string* reason) {
#if defined(FATTN_VIRTUAL_DRIVER)
    const Driver* driver = nullptr;
    *reason = process_driver(&driver).message();
    return driver;
#else
    *reason = "the build has no virtual GPU (FATTN_BUILD_VIRTUAL_GPU is off)";
    return nullptr;
#endif
}

/// A test on a device of the virtual GPU; skipped with the reason where the build has none.
class OnVirtualDevice : public ::testing::Test {
  protected:
    void SetUp() override {
        std::string reason;
        driver = virtual_driver(&reason);
        if (driver == nullptr) GTEST_SKIP() << reason;
        device = open(kVirtualSm80);
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
