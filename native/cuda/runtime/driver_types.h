// Types and constants of the CUDA driver interface, declared here so that no CUDA header is needed;
// used by all of cuda/runtime, compared with cuda.h by tests/native/cuda/runtime.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fattn::cuda {

using DeviceId = int;
using DevicePointer = unsigned long long;
using ContextHandle = struct ContextObject*;
using StreamHandle = struct StreamObject*;
using EventHandle = struct EventObject*;
using ModuleHandle = struct ModuleObject*;
using LibraryHandle = struct LibraryObject*;
using KernelHandle = struct KernelObject*;
using FunctionHandle = struct FunctionObject*;

/// Stream handles with a meaning of their own.
inline constexpr std::uintptr_t kLegacyStream = 1;
inline constexpr std::uintptr_t kPerThreadStream = 2;

/// The codes that the runtime tells apart; any other value passes through.
enum class Result : int {
    kSuccess = 0,
    kInvalidValue = 1,
    kOutOfMemory = 2,
    kNotInitialized = 3,
    kDeinitialized = 4,
    kStubLibrary = 34,
    kDeviceUnavailable = 46,
    kNoDevice = 100,
    kInvalidDevice = 101,
    kInvalidImage = 200,
    kInvalidContext = 201,
    kNoBinaryForGpu = 209,
    kEccUncorrectable = 214,
    kInvalidPtx = 218,
    kJitCompilerNotFound = 221,
    kUnsupportedPtxVersion = 222,
    kJitCompilationDisabled = 223,
    kOperatingSystem = 304,
    kInvalidHandle = 400,
    kNotFound = 500,
    kNotReady = 600,
    kIllegalAddress = 700,
    kLaunchOutOfResources = 701,
    kLaunchTimeout = 702,
    kContextIsDestroyed = 709,
    kAssert = 710,
    kHardwareStackError = 714,
    kIllegalInstruction = 715,
    kMisalignedAddress = 716,
    kInvalidAddressSpace = 717,
    kInvalidPc = 718,
    kLaunchFailed = 719,
    kCooperativeLaunchTooLarge = 720,
    kNotPermitted = 800,
    kNotSupported = 801,
    kSystemNotReady = 802,
    kSystemDriverMismatch = 803,
    kCompatNotSupportedOnDevice = 804,
    kStreamCaptureUnsupported = 900,
    kStreamCaptureInvalidated = 901,
    kStreamCaptureImplicit = 906,
    kUnknown = 999
};

enum class DeviceAttribute : int {
    kMaxThreadsPerBlock = 1,
    kMaxSharedBytesPerBlock = 8,
    kWarpSize = 10,
    kMaxRegistersPerBlock = 12,
    kClockKilohertz = 13,
    kMultiprocessorCount = 16,
    kIntegrated = 18,
    kMemoryClockKilohertz = 36,
    kMemoryBusBits = 37,
    kL2CacheBytes = 38,
    kMaxThreadsPerMultiprocessor = 39,
    kComputeCapabilityMajor = 75,
    kComputeCapabilityMinor = 76,
    kMaxSharedBytesPerMultiprocessor = 81,
    kMaxRegistersPerMultiprocessor = 82,
    kMaxSharedBytesPerBlockOptin = 97,
    kClusterLaunch = 120,
    kTensorMapAccess = 127
};

enum class FunctionAttribute : int {
    kMaxThreadsPerBlock = 0,
    kSharedBytes = 1,
    kLocalBytes = 3,
    kRegisters = 4,
    kPtxVersion = 5,
    kBinaryVersion = 6,
    kMaxDynamicSharedBytes = 8,
    kPreferredSharedCarveout = 9,
    kNonPortableClusterSizeAllowed = 14
};

enum class JitOption : int {
    kInfoLogBuffer = 3,
    kInfoLogBytes = 4,
    kErrorLogBuffer = 5,
    kErrorLogBytes = 6
};

enum class PointerAttribute : int { kContext = 1, kMemoryType = 2, kDeviceOrdinal = 9 };
enum class MemoryType : unsigned { kHost = 1, kDevice = 2, kArray = 3, kUnified = 4 };
enum class CaptureStatus : int { kNone = 0, kActive = 1, kInvalidated = 2 };

enum StreamFlags : unsigned { kStreamDefault = 0, kStreamNonBlocking = 1 };
enum EventFlags : unsigned { kEventDefault = 0, kEventBlockingSync = 1, kEventDisableTiming = 2 };
enum HostAllocFlags : unsigned { kHostAllocPortable = 1 };

enum class LaunchAttributeId : int {
    kCooperative = 2,
    kClusterDimension = 4,
    kProgrammaticStreamSerialization = 6
};

/// Value of a launch attribute: 64 bytes, of which the one that its id names is set.
union LaunchAttributeValue {
    char bytes[64];
    int cooperative;
    struct {
        unsigned x, y, z;
    } cluster;
    int programmatic_stream_serialization;
};

struct LaunchAttribute {
    LaunchAttributeId id;
    int reserved;
    LaunchAttributeValue value;
};

struct RawLaunchConfig {
    unsigned grid_x, grid_y, grid_z;
    unsigned block_x, block_y, block_z;
    unsigned dynamic_shared_bytes;
    StreamHandle stream;
    LaunchAttribute* attributes;
    unsigned num_attributes;
};

/// What the hardware reads to copy a box of a tensor; passed to kernels by value.
struct alignas(64) TensorMap {
    std::uint64_t opaque[16];
};

enum class TensorMapType : int {
    kU8 = 0,
    kU16 = 1,
    kU32 = 2,
    kI32 = 3,
    kU64 = 4,
    kI64 = 5,
    kF16 = 6,
    kF32 = 7,
    kF64 = 8,
    kBF16 = 9
};
enum class TensorMapInterleave : int { kNone = 0 };
enum class TensorMapSwizzle : int { kNone = 0, k32B = 1, k64B = 2, k128B = 3 };
enum class TensorMapL2Promotion : int { kNone = 0, k64B = 1, k128B = 2, k256B = 3 };
enum class TensorMapFill : int { kZero = 0, kNan = 1 };

struct Uuid {
    unsigned char bytes[16];
};

}  // namespace fattn::cuda
