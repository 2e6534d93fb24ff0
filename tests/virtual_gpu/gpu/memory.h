// How the interpreter reaches device memory: the driver owns the blocks, the interpreter asks for
// the one an address lies in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace fattn::vgpu {

// A live block of memory that a kernel may touch. Its storage must stay in place while a grid runs.
struct MemoryBlock {
    uint64_t base;         // device address of data[0]
    uint64_t size;         // bytes
    std::byte* data;       // host storage of the contents
    uint8_t* initialised;  // one byte for each byte of data, 0 or 0xff; null when everything counts
                           // as initialised
    bool read_only;        // a store is a fault
};

class DeviceMemory {
  public:
    virtual ~DeviceMemory() = default;

    // The live block that holds `address`, or null. The pointer stays valid until the grid has
    // ended.
    virtual const MemoryBlock* find(uint64_t address) = 0;

    // For a fault whose address is in no live block or leaves one: what is known about it, as "16
    // bytes past the end of the 4096-byte block of cuMemAlloc #7" or "inside a block that cuMemFree
    // has freed".
    virtual std::string describe(uint64_t address) const = 0;
    virtual bool was_freed(uint64_t address) const = 0;
};

// Generic addresses of shared and local memory lie in these windows; device memory must not.
inline constexpr uint64_t kSharedWindow = 0x7e0000000000;
inline constexpr uint64_t kLocalWindow = 0x7d0000000000;
inline constexpr uint64_t kParamWindow = 0x7c0000000000;
// What a cooperative launch has for barriers of the whole grid.
inline constexpr uint64_t kWorkspaceWindow = 0x7b0000000000;
inline constexpr uint64_t kWindowBytes = 0x10000000000;

}  // namespace fattn::vgpu
