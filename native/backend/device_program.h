// Programs of the caller's own on a device: compiled, loaded, launched; implemented by cuda/host,
// called by api/ through backend/device_work.h.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "backend/status.h"
#include "core/types.h"

namespace fattn {

class DeviceStream;

/// What is compiled; fields as in fattn_compile_args.
struct ProgramSource {
    std::string name;
    std::string text;
    std::vector<std::pair<std::string, std::string>> headers;  // name, text
    std::vector<std::string> options;
    std::vector<std::string> expressions;
    std::string target;  // empty: what suits the device
    bool use_cache = true;
};

struct KernelFigures {
    int32 registers = 0;
    int32 static_shared_bytes = 0;
    int32 local_bytes = 0;
    int32 max_threads_per_block = 0;
    int32 num_parameters = -1;  // -1: unknown
};

/// One launch; fields as in fattn_launch_args.
struct KernelLaunch {
    uint32 grid[3];
    uint32 block[3];
    uint32 cluster[3];
    uint32 dynamic_shared_bytes;
    bool cooperative;
    const void* const* arguments;
    const uint64* argument_bytes;  // may be null
    uint64 num_arguments;
};

/// Must not outlive its program.
class DeviceKernel {
  public:
    virtual ~DeviceKernel() = default;
    virtual KernelFigures figures() const = 0;
    /// Grid and block have no extent of 0.
    virtual Status launch(const DeviceStream& stream, const KernelLaunch& launch) const = 0;
};

class DeviceProgram {
  public:
    virtual ~DeviceProgram() = default;
    virtual const std::string& target() const = 0;
    virtual const std::string& ptx() const = 0;
    virtual const std::string& cubin() const = 0;
    virtual bool from_cache() const = 0;
    virtual int32 compiler_version() const = 0;  // as 12040
    virtual Status kernel(const std::string& name, std::unique_ptr<DeviceKernel>* kernel) const = 0;
};

}  // namespace fattn
