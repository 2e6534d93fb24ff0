// What a device does besides attention: memory, streams, events, copies and programs as a caller
// asks for them; implemented by cuda/host, called by api/.
#pragma once

#include <memory>

#include "backend/device_program.h"
#include "backend/status.h"
#include "core/types.h"

namespace fattn {

class DeviceEvent;

/// A queue of work, own or borrowed. Destroyed while work is in it, that work still finishes.
class DeviceStream {
  public:
    virtual ~DeviceStream() = default;
    /// The driver's handle.
    virtual void* native() const = 0;
    virtual Status query(bool* done) const = 0;
    virtual Status synchronize() const = 0;
    /// Makes later work wait for the mark of an event of the same device.
    virtual Status wait(const DeviceEvent& event) const = 0;
};

/// A mark in a stream of the same device.
class DeviceEvent {
  public:
    virtual ~DeviceEvent() = default;
    virtual void* native() const = 0;
    virtual Status record(const DeviceStream& stream) const = 0;
    virtual Status query(bool* done) const = 0;
    virtual Status synchronize() const = 0;
    /// Time from start, an event of the same device, to this one.
    virtual Status elapsed_milliseconds(const DeviceEvent& start, float* milliseconds) const = 0;
};

enum class MemoryKind : unsigned { kDevice = 0, kPinned = 1 };

/// Memory that is freed with the object, once the device has done what it was given before.
class DeviceBlock {
  public:
    virtual ~DeviceBlock() = default;
    virtual void* address() const = 0;
    virtual uint64 bytes() const = 0;
};

enum class CopyKind : unsigned { kToDevice = 0, kToHost = 1, kOnDevice = 2 };

struct CopyRequest {
    CopyKind kind;
    void* to;
    const void* from;
    uint64 bytes;
};

/// What a backend offers beside its kernels. Streams, events and memory must not outlive it.
class DeviceWork {
  public:
    virtual ~DeviceWork() = default;
    virtual void* context() const = 0;
    virtual Status memory(uint64* free_bytes, uint64* total_bytes) const = 0;
    virtual Status synchronize() const = 0;

    virtual Status make_stream(int32 priority, std::unique_ptr<DeviceStream>* stream) = 0;
    virtual Status borrow_stream(void* native, std::unique_ptr<DeviceStream>* stream) = 0;
    virtual Status make_event(bool timing, std::unique_ptr<DeviceEvent>* event) = 0;
    virtual Status allocate(MemoryKind kind, uint64 bytes, std::unique_ptr<DeviceBlock>* block) = 0;
    /// Whether the address is memory of some device, which the host must not read.
    virtual bool is_device_memory(const void* address) const = 0;
    /// Not ok, naming what, unless the range is memory of this device.
    virtual Status check_range(const void* address, uint64 bytes, const char* what) const = 0;
    virtual Status copy(const DeviceStream& stream, const CopyRequest& request) const = 0;
    virtual Status fill(const DeviceStream& stream, void* to, uint8 value, uint64 bytes) const = 0;
    /// *log is written on success and when the compiler refuses the program.
    virtual Status compile(const ProgramSource& source, std::string* log,
                           std::unique_ptr<DeviceProgram>* program) = 0;
};

}  // namespace fattn
