// The one address space of all virtual devices: blocks, the gaps between them, what was freed. Used
// by allocation functions, copies and, through KernelMemory, by the interpreter.
#pragma once

#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <string>

#include "driver/cuda_types.h"
#include "gpu/memory.h"

namespace fattn::vgpu::driver {

struct Context;

// Device addresses start here: no host address is that large, and a host access to one stops at
// once.
inline constexpr uint64_t kDeviceBase = 0x0d00'0000'0000'0000;
// At least so many addresses between two blocks belong to neither.
inline constexpr uint64_t kGuardBytes = uint64_t{1} << 20;
// CUDA promises 256-byte alignment; blocks get that and no more, so that code which needs more is
// seen.
inline constexpr uint64_t kBlockAlignment = 256;
// Memory is accounted in such units.
inline constexpr uint64_t kAccountingUnit = 512;

// A signalling NaN as f32 and bf16, a NaN as f16 and as e4m3.
inline constexpr uint16_t kPoison = 0x7fa1;
void fill_poison(std::byte* data, uint64_t bytes);

enum class BlockKind { kDevice, kVariable, kPinned, kRegistered };

struct Allocation {
    MemoryBlock block{};
    BlockKind kind = BlockKind::kDevice;
    Context* context = nullptr;  // whose block it is
    uint64_t serial = 0;
    std::string origin;       // "cuMemAlloc_v2 #7"
    unsigned host_flags = 0;  // of pinned and registered memory
    uint64_t accounted = 0;   // bytes of the device's memory
    bool stream_ordered = false;
    bool usable = true;        // false until a stream-ordered allocation's operation has run
    bool free_issued = false;  // a cuMemFreeAsync for it is under way
    std::string freed_by;      // empty while the block lives

    bool live() const { return freed_by.empty(); }
    bool on_host() const { return kind == BlockKind::kPinned || kind == BlockKind::kRegistered; }
    uint64_t end() const { return block.base + block.size; }
    // A name for messages: "the 4096-byte block of cuMemAlloc_v2 #7".
    std::string name() const;

    struct Free {
        void operator()(void* memory) const { std::free(memory); }
    };
    std::unique_ptr<void, Free> data_storage;
    std::unique_ptr<void, Free> initialised_storage;
};

class AddressSpace {
  public:
    // A new block with poison in it. Fails with CUDA_ERROR_OUT_OF_MEMORY when the host has no more.
    Allocation& allocate(Context* context, uint64_t bytes, BlockKind kind, const char* function);
    // Host memory that becomes known under its own address. The caller has looked for overlaps.
    Allocation& adopt(Context* context, void* memory, uint64_t bytes, BlockKind kind,
                      const char* function);
    // Ends a block; the addresses of device blocks stay known as freed.
    void release(Allocation& allocation, const std::string& freed_by);

    // The block that holds the address, freed ones included, or null.
    Allocation* find(uint64_t address);
    // A host block that shares a byte with the range, or null.
    Allocation* find_host_overlap(uint64_t begin, uint64_t end);
    std::string describe(uint64_t address);

    template <class Visit>
    void for_each_live(Visit&& visit) {
        for (auto& [base, allocation] : blocks_) {
            if (allocation->live()) visit(*allocation);
        }
    }

  private:
    std::map<uint64_t, std::unique_ptr<Allocation>> blocks_;
    std::deque<uint64_t> freed_;  // bases, oldest first
    uint64_t next_ = kDeviceBase + kBlockAlignment;
    uint64_t next_serial_ = 1;
    Allocation* last_found_ = nullptr;
};

// What a kernel of one context can reach.
class KernelMemory : public DeviceMemory {
  public:
    KernelMemory(AddressSpace& space, const Context& context) : space_(space), context_(context) {}

    const MemoryBlock* find(uint64_t address) override;
    std::string describe(uint64_t address) const override;
    bool was_freed(uint64_t address) const override;

  private:
    AddressSpace& space_;
    const Context& context_;
};

// The live, usable block of `context` that holds all of [address, address + bytes), or a failure
// with `code` that begins with `what`.
Allocation& require_range(AddressSpace& space, const Context& context, uint64_t address,
                          uint64_t bytes, cuda::CUresult code, const std::string& what);

}  // namespace fattn::vgpu::driver
