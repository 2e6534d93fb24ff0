// Codes and hints of driver errors.
#include "cuda/runtime/error.h"

#include "backend/text.h"

namespace fattn::cuda {
namespace {

const char* hint_of(Result result) {
    switch (result) {
        case Result::kInvalidValue:
            return "an argument is out of the driver's range";
        case Result::kOutOfMemory:
            return "device memory is exhausted; release buffers, trim the device or run a smaller "
                   "problem";
        case Result::kStubLibrary:
            return "the library found is the toolkit's stub for linking; put the driver's own "
                   "libcuda before it on the search path";
        case Result::kDeviceUnavailable:
            return "another process holds the device exclusively";
        case Result::kNoDevice:
            return "the driver sees no GPU; check CUDA_VISIBLE_DEVICES and nvidia-smi";
        case Result::kInvalidDevice:
            return "the driver has no device with this number";
        case Result::kInvalidImage:
            return "the kernel image is damaged or of another format";
        case Result::kInvalidContext:
        case Result::kContextIsDestroyed:
            return "the device's context was destroyed or reset; open the device again";
        case Result::kNoBinaryForGpu:
            return "the image holds no code that this GPU can run";
        case Result::kInvalidPtx:
            return "the driver's compiler rejected the PTX";
        case Result::kJitCompilerNotFound:
            return "the driver's PTX compiler library is not installed; only prebuilt machine code "
                   "can be used";
        case Result::kUnsupportedPtxVersion:
            return "the PTX was made by a compiler newer than this driver; update the driver or "
                   "use an NVRTC that is no newer than it";
        case Result::kJitCompilationDisabled:
            return "compiling PTX is switched off (CUDA_DISABLE_PTX_JIT)";
        case Result::kInvalidHandle:
            return "a handle is not, or no longer, one of the driver's";
        case Result::kNotFound:
            return "the image has nothing of this name";
        case Result::kLaunchOutOfResources:
            return "the kernel needs more registers or shared memory than a multiprocessor has";
        case Result::kLaunchTimeout:
            return "the kernel ran longer than the display's watchdog allows";
        case Result::kCooperativeLaunchTooLarge:
            return "a cooperative grid must fit on the device at once";
        case Result::kNotPermitted:
            return "the operation is not permitted, by the system or inside a callback";
        case Result::kNotSupported:
            return "this driver or device does not offer the operation";
        case Result::kSystemNotReady:
            return "the system's GPU services have not started (fabric manager, persistence)";
        case Result::kSystemDriverMismatch:
            return "the driver library and the loaded kernel module are of different versions; "
                   "reboot after a driver update";
        case Result::kCompatNotSupportedOnDevice:
            return "the forward-compatibility driver does not serve this GPU; take it off the "
                   "search path";
        case Result::kStreamCaptureUnsupported:
        case Result::kStreamCaptureInvalidated:
        case Result::kStreamCaptureImplicit:
            return "the operation may not happen while a stream is being captured into a graph; "
                   "prepare before the capture begins";
        default:
            return is_sticky(result)
                       ? "this reports the fault of a kernel that ran earlier; the context is lost"
                       : "see the CUDA driver's documentation";
    }
}

}  // namespace

bool is_sticky(Result result) {
    switch (result) {
        case Result::kEccUncorrectable:
        case Result::kIllegalAddress:
        case Result::kLaunchTimeout:
        case Result::kAssert:
        case Result::kHardwareStackError:
        case Result::kIllegalInstruction:
        case Result::kMisalignedAddress:
        case Result::kInvalidAddressSpace:
        case Result::kInvalidPc:
        case Result::kLaunchFailed:
            return true;
        default:
            return false;
    }
}

StatusCode code_of(Result result) {
    switch (result) {
        case Result::kOutOfMemory:
            return StatusCode::kOutOfMemory;
        case Result::kNotInitialized:
        case Result::kDeinitialized:
        case Result::kStubLibrary:
        case Result::kDeviceUnavailable:
        case Result::kNoDevice:
        case Result::kInvalidDevice:
        case Result::kInvalidContext:
        case Result::kContextIsDestroyed:
        case Result::kOperatingSystem:
        case Result::kSystemNotReady:
        case Result::kSystemDriverMismatch:
        case Result::kCompatNotSupportedOnDevice:
            return StatusCode::kDeviceUnavailable;
        case Result::kNoBinaryForGpu:
        case Result::kJitCompilerNotFound:
        case Result::kUnsupportedPtxVersion:
        case Result::kJitCompilationDisabled:
        case Result::kNotSupported:
        case Result::kNotPermitted:
        case Result::kCooperativeLaunchTooLarge:
        case Result::kLaunchOutOfResources:
            return StatusCode::kUnsupported;
        case Result::kInvalidHandle:
        case Result::kStreamCaptureUnsupported:
        case Result::kStreamCaptureInvalidated:
        case Result::kStreamCaptureImplicit:
            return StatusCode::kInvalidArgument;
        default:
            return is_sticky(result) ? StatusCode::kDeviceFault : StatusCode::kInternal;
    }
}

Status check(const DriverFunctions& call, Result result, std::string_view operation) {
    if (result == Result::kSuccess) return {};
    const char* name = nullptr;
    const char* words = nullptr;
    // Neither function needs an initialised driver; a code it does not know leaves null.
    if (call.get_error_name != nullptr) static_cast<void>(call.get_error_name(result, &name));
    if (call.get_error_string != nullptr) static_cast<void>(call.get_error_string(result, &words));
    std::string message =
        text(operation, " failed with CUDA error ", static_cast<int>(result), " (",
             name == nullptr ? "a code that this driver does not name" : name);
    if (words != nullptr) message += text(": ", words);
    message += text("); ", hint_of(result));
    return {code_of(result), std::move(message)};
}

}  // namespace fattn::cuda
