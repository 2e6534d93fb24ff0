// Loading the driver where there is none, and where a library is not one.
#include "cuda/runtime/driver.h"

#include <gtest/gtest.h>

#include "cuda/runtime/error.h"

namespace fattn::cuda {
namespace {

TEST(Driver, AMissingLibraryIsToldInWords) {
    std::unique_ptr<Driver> driver;
    const Status status = Driver::load("/nowhere/libcuda_of_nobody.so", &driver);
    EXPECT_EQ(status.code(), StatusCode::kDeviceUnavailable);
    EXPECT_EQ(driver, nullptr);
    EXPECT_NE(status.message().find("named by FATTN_CUDA_DRIVER cannot be loaded"),
              std::string::npos)
        << status.message();
    EXPECT_NE(status.message().find("libcuda_of_nobody.so"), std::string::npos) << status.message();
}

TEST(Driver, ALibraryThatIsNoDriverIsToldInWords) {
    std::unique_ptr<Driver> driver;
    const Status status = Driver::load("libm.so.6", &driver);
    EXPECT_EQ(status.code(), StatusCode::kDeviceUnavailable);
    EXPECT_NE(status.message().find("lacks cuGetErrorName, cuGetErrorString, cuInit"),
              std::string::npos)
        << status.message();
    EXPECT_NE(status.message().find("CUDA 11.0 or newer"), std::string::npos) << status.message();
}

TEST(Driver, TheSystemsDriverIsFoundOrItsAbsenceExplained) {
    std::unique_ptr<Driver> driver;
    const Status status = Driver::load("", &driver);
    if (status.ok()) {
        EXPECT_GE(driver->version(), 11000);
        EXPECT_FALSE(driver->named());
        return;
    }
    EXPECT_EQ(status.code(), StatusCode::kDeviceUnavailable);
    EXPECT_NE(status.message().find("driver"), std::string::npos) << status.message();
}

TEST(Driver, TheProcessGivesOneAnswerToAll) {
    const Driver* first = nullptr;
    const Driver* second = nullptr;
    const Status a = process_driver(&first), b = process_driver(&second);
    EXPECT_EQ(a.code(), b.code());
    EXPECT_EQ(a.message(), b.message());
    EXPECT_EQ(first, second);
    EXPECT_EQ(a.ok(), first != nullptr);
}

TEST(Driver, VersionsAreWrittenAsPeopleDo) {
    EXPECT_EQ(version_text(12040), "12.4");
    EXPECT_EQ(version_text(13000), "13.0");
}

/// Names as a driver gives them, so that messages can be seen without one.
Result name_of(Result result, const char** name) {
    *name =
        result == Result::kUnsupportedPtxVersion ? "CUDA_ERROR_UNSUPPORTED_PTX_VERSION" : nullptr;
    return *name == nullptr ? Result::kInvalidValue : Result::kSuccess;
}
Result words_of(Result result, const char** words) {
    *words = result == Result::kUnsupportedPtxVersion ? "unsupported toolchain" : nullptr;
    return *words == nullptr ? Result::kInvalidValue : Result::kSuccess;
}

TEST(Error, SaysOperationNameAndHint) {
    DriverFunctions call;
    call.get_error_name = name_of;
    call.get_error_string = words_of;
    const Status status = check(call, Result::kUnsupportedPtxVersion, "loading module dense");
    EXPECT_EQ(status.code(), StatusCode::kUnsupported);
    EXPECT_EQ(status.message(),
              "loading module dense failed with CUDA error 222 "
              "(CUDA_ERROR_UNSUPPORTED_PTX_VERSION: unsupported toolchain); the PTX was made by a "
              "compiler newer than this driver; update the driver or use an NVRTC that is no newer "
              "than it");
    EXPECT_TRUE(check(call, Result::kSuccess, "anything").ok());
}

TEST(Error, ACodeThatNobodyNamesStillHasItsNumber) {
    DriverFunctions call;
    call.get_error_name = name_of;
    call.get_error_string = words_of;
    const Status status = check(call, static_cast<Result>(12345), "waiting");
    EXPECT_EQ(status.code(), StatusCode::kInternal);
    EXPECT_NE(status.message().find("12345 (a code that this driver does not name)"),
              std::string::npos);
}

TEST(Error, FaultsOfKernelsSayThatTheyAreEarlierOnes) {
    const DriverFunctions call;
    for (const Result fault :
         {Result::kIllegalAddress, Result::kLaunchFailed, Result::kMisalignedAddress,
          Result::kIllegalInstruction, Result::kAssert}) {
        const Status status = check(call, fault, "waiting for a stream");
        EXPECT_EQ(status.code(), StatusCode::kDeviceFault);
        EXPECT_NE(status.message().find("a kernel that ran earlier"), std::string::npos);
    }
    EXPECT_EQ(check(call, Result::kOutOfMemory, "x").code(), StatusCode::kOutOfMemory);
    EXPECT_EQ(check(call, Result::kNoDevice, "x").code(), StatusCode::kDeviceUnavailable);
}

}  // namespace
}  // namespace fattn::cuda
