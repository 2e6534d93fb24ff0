// One GPU of this process: what it is, and its primary context, which every other object of the
// runtime works in.
#pragma once

#include <memory>
#include <string>

#include "backend/status.h"
#include "cuda/runtime/driver.h"

namespace fattn::cuda {

/// Compute capability, as 90 for 9.0.
using Architecture = int;

/// What a GPU is; bytes, hertz and counts as the driver states them.
struct DeviceProperties {
    int ordinal = 0;
    std::string name;
    Uuid uuid{};
    std::size_t total_bytes = 0;
    Architecture architecture = 0;
    int num_multiprocessors = 0;
    int max_threads_per_block = 0;
    int max_threads_per_multiprocessor = 0;
    int registers_per_multiprocessor = 0;
    int shared_bytes_per_block = 0;  // the most that a kernel can opt into
    int shared_bytes_per_multiprocessor = 0;
    int l2_bytes = 0;
    int clock_kilohertz = 0;
    int memory_clock_kilohertz = 0;
    int memory_bus_bits = 0;
    bool cluster_launch = false;
    bool tensor_maps = false;
};

/// Number of GPUs that the driver shows.
Status count_devices(const Driver& driver, int* count);

/// Reads the properties of a GPU without making a context on it.
Status describe_device(const Driver& driver, int ordinal, DeviceProperties* properties);

/// A GPU with a context: its primary one, which it shares with the CUDA runtime and with other
/// libraries in the process, or one that another library made. Immutable; every object made on the
/// device keeps it alive.
class Device {
  public:
    /// DEVICE_UNAVAILABLE for an ordinal that the driver does not have, saying how many it has.
    static Status open(const Driver& driver, int ordinal, std::shared_ptr<const Device>* device);
    /// The GPU of another library's context, which must live as long; null: the calling thread's
    /// current one. INVALID_ARGUMENT when there is none.
    static Status attach(const Driver& driver, ContextHandle context,
                         std::shared_ptr<const Device>* device);
    ~Device();
    Device(const Device&) = delete;
    Device& operator=(const Device&) = delete;

    const Driver& driver() const { return driver_; }
    const DriverFunctions& call() const { return driver_.call(); }
    const DeviceProperties& properties() const { return properties_; }
    ContextHandle context() const { return context_; }
    /// "the primary context of CUDA device 0", or "the attached context of ...".
    std::string context_name() const;

    /// Free and total memory of the device at this moment.
    Status memory(std::size_t* free_bytes, std::size_t* total_bytes) const;

    /// Waits for everything on the device.
    Status synchronize() const;

  private:
    Device(const Driver& driver, DeviceProperties properties)
        : driver_(driver), properties_(std::move(properties)) {}

    const Driver& driver_;
    DeviceProperties properties_;
    DeviceId id_ = 0;
    ContextHandle context_ = nullptr;
    bool attached_ = false;
};

/// Makes the device's context the calling thread's for as long as the object lives; what was
/// current before is current again afterwards, on every path.
class ContextScope {
  public:
    explicit ContextScope(const Device& device);
    ~ContextScope();
    ContextScope(const ContextScope&) = delete;
    ContextScope& operator=(const ContextScope&) = delete;

    /// Not ok when the context could not be made current; then no driver call may follow.
    const Status& status() const { return status_; }

  private:
    const Device& device_;
    Status status_;
};

}  // namespace fattn::cuda
