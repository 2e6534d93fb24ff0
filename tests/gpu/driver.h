// The part of the CUDA driver that device programs need, loaded at run time; every call is checked.
// Used by the programs of tests/gpu, which must run where nothing but the driver is installed.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace fattn::gpu {

using DevicePointer = unsigned long long;

/// A device's first context, current on the calling thread from construction on.
class Device {
  public:
    explicit Device(int ordinal);
    ~Device();
    Device(const Device&) = delete;
    Device& operator=(const Device&) = delete;

    const std::string& name() const { return name_; }
    /// Compute capability as in sm_90: 90.
    int architecture() const { return architecture_; }
    int num_multiprocessors() const { return num_multiprocessors_; }

  private:
    int device_ = 0;
    std::string name_;
    int architecture_ = 0;
    int num_multiprocessors_ = 0;
};

/// Device memory with its own copies. Copies wait for what was launched before.
class Buffer {
  public:
    explicit Buffer(std::size_t num_bytes);
    ~Buffer();
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;

    void* pointer() const;
    std::size_t size() const { return num_bytes_; }
    void write(const void* from);
    void read(void* to) const;
    void fill(unsigned char byte);

  private:
    DevicePointer address_ = 0;
    std::size_t num_bytes_;
};

struct Grid {
    unsigned num_blocks;
    unsigned num_threads;
    unsigned shared_bytes;
};

/// A compiled translation unit.
class Module {
  public:
    explicit Module(const std::string& cubin_path);

    /// An entry point by its name, allowed to use shared_bytes of dynamic shared memory.
    void* function(const std::string& name, unsigned shared_bytes) const;

  private:
    void* module_ = nullptr;
};

/// Enqueues a kernel whose only parameter is a struct.
void launch(void* function, const Grid& grid, const void* params, std::size_t params_bytes);
/// Waits for everything enqueued. An error of a kernel appears here.
void synchronize();
/// Milliseconds that what enqueue() enqueues takes on the device.
class Timer {
  public:
    Timer();
    ~Timer();
    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;
    void start();
    float stop();

  private:
    void* begin_ = nullptr;
    void* end_ = nullptr;
};

}  // namespace fattn::gpu
