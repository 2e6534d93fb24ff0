// The result codes of the CUDA driver API with a sentence for each. Included by cuda_types.h, and
// expanded by cuGetErrorName and cuGetErrorString.
#pragma once

// X(name, value, sentence)
#define FATTN_CUDA_RESULTS(X)                                                                      \
    X(CUDA_SUCCESS, 0, "no error")                                                                 \
    X(CUDA_ERROR_INVALID_VALUE, 1, "an argument is outside what the function allows")              \
    X(CUDA_ERROR_OUT_OF_MEMORY, 2, "there is not enough memory")                                   \
    X(CUDA_ERROR_NOT_INITIALIZED, 3, "cuInit has not been called")                                 \
    X(CUDA_ERROR_DEINITIALIZED, 4, "the driver is shutting down")                                  \
    X(CUDA_ERROR_STUB_LIBRARY, 34, "the loaded library is a stub")                                 \
    X(CUDA_ERROR_NO_DEVICE, 100, "there is no device")                                             \
    X(CUDA_ERROR_INVALID_DEVICE, 101, "there is no device of this number")                         \
    X(CUDA_ERROR_INVALID_IMAGE, 200, "the image is neither PTX nor a binary for a device")         \
    X(CUDA_ERROR_INVALID_CONTEXT, 201, "no context is current, or the context is not valid")       \
    X(CUDA_ERROR_NO_BINARY_FOR_GPU, 209, "the image holds no code that this device can run")       \
    X(CUDA_ERROR_UNSUPPORTED_LIMIT, 215, "the device does not have this limit")                    \
    X(CUDA_ERROR_PEER_ACCESS_UNSUPPORTED, 217, "the devices cannot reach each other's memory")     \
    X(CUDA_ERROR_INVALID_PTX, 218, "the PTX text could not be compiled")                           \
    X(CUDA_ERROR_UNSUPPORTED_PTX_VERSION, 222,                                                     \
      "the PTX text is of a version newer than the driver")                                        \
    X(CUDA_ERROR_FILE_NOT_FOUND, 301, "the file was not found")                                    \
    X(CUDA_ERROR_OPERATING_SYSTEM, 304, "a call of the operating system failed")                   \
    X(CUDA_ERROR_INVALID_HANDLE, 400, "the handle is not valid")                                   \
    X(CUDA_ERROR_ILLEGAL_STATE, 401, "the object is in a state that does not allow this")          \
    X(CUDA_ERROR_NOT_FOUND, 500, "the named symbol was not found")                                 \
    X(CUDA_ERROR_NOT_READY, 600, "work before this point has not finished")                        \
    X(CUDA_ERROR_ILLEGAL_ADDRESS, 700, "an access to memory that is not there")                    \
    X(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, 701, "the launch needs more than a multiprocessor has")  \
    X(CUDA_ERROR_LAUNCH_TIMEOUT, 702, "the kernel did not come to an end")                         \
    X(CUDA_ERROR_PEER_ACCESS_NOT_ENABLED, 705, "access between these devices is not enabled")      \
    X(CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE, 708, "the primary context is already in use")             \
    X(CUDA_ERROR_CONTEXT_IS_DESTROYED, 709, "the current context has been destroyed")              \
    X(CUDA_ERROR_ASSERT, 710, "an assertion failed in a kernel")                                   \
    X(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, 712, "the host memory is already registered")     \
    X(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, 713, "the host memory is not registered")             \
    X(CUDA_ERROR_ILLEGAL_INSTRUCTION, 715, "a kernel met an instruction that it may not execute")  \
    X(CUDA_ERROR_MISALIGNED_ADDRESS, 716, "an access at an address of the wrong alignment")        \
    X(CUDA_ERROR_LAUNCH_FAILED, 719, "a kernel or copy broke a rule while it ran")                 \
    X(CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE, 720, "the blocks do not fit on the device at once") \
    X(CUDA_ERROR_NOT_PERMITTED, 800, "the call is not permitted here")                             \
    X(CUDA_ERROR_NOT_SUPPORTED, 801, "the virtual GPU does not offer this")                        \
    X(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, 900, "not permitted while a stream is capturing")     \
    X(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, 901, "an earlier error has invalidated the capture")  \
    X(CUDA_ERROR_STREAM_CAPTURE_MERGE, 902, "two captures would become one")                       \
    X(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, 903, "the capture was not begun on this stream")        \
    X(CUDA_ERROR_STREAM_CAPTURE_UNJOINED, 904,                                                     \
      "a forked stream was not joined before the capture's end")                                   \
    X(CUDA_ERROR_STREAM_CAPTURE_ISOLATION, 905, "a dependency would cross the capture's border")   \
    X(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, 906,                                                     \
      "the legacy stream would depend on a capturing stream")                                      \
    X(CUDA_ERROR_CAPTURED_EVENT, 907, "the event was last recorded in a capture")                  \
    X(CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD, 908, "the capture was begun by another thread")      \
    X(CUDA_ERROR_INVALID_CLUSTER_SIZE, 912, "the cluster dimensions are not possible")             \
    X(CUDA_ERROR_UNKNOWN, 999, "an internal error")
