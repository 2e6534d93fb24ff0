// The address space of the virtual devices. Called by allocation functions, copies, and by the
// interpreter for every block that a kernel touches.
#include "driver/memory.h"

#include <cstring>

#include "driver/failure.h"

namespace fattn::vgpu::driver {
namespace {

// So many freed blocks are remembered by name.
constexpr size_t kRememberedBlocks = 65536;

unsigned long long memory_number(uint64_t value) { return value; }

}  // namespace

void fill_poison(std::byte* data, uint64_t bytes) {
    const std::byte pattern[2] = {std::byte{kPoison & 0xff}, std::byte{kPoison >> 8}};
    uint64_t filled = bytes < 2 ? bytes : 2;
    std::memcpy(data, pattern, filled);
    while (filled < bytes) {
        const uint64_t more = filled < bytes - filled ? filled : bytes - filled;
        std::memcpy(data + filled, data, more);
        filled += more;
    }
}

std::string Allocation::name() const {
    return format_text("the %llu-byte block of %s", memory_number(block.size), origin.c_str());
}

Allocation& AddressSpace::allocate(Context* context, uint64_t bytes, BlockKind kind,
                                   const char* function) {
    auto allocation = std::make_unique<Allocation>();
    allocation->data_storage.reset(std::malloc(bytes));
    allocation->initialised_storage.reset(std::calloc(bytes, 1));
    if (!allocation->data_storage || !allocation->initialised_storage) {
        fail(cuda::CUDA_ERROR_OUT_OF_MEMORY,
             "the host has no memory for a virtual device's block of %llu bytes",
             memory_number(bytes));
    }
    auto* const data = static_cast<std::byte*>(allocation->data_storage.get());
    fill_poison(data, bytes);
    allocation->block = {
        .base = next_,
        .size = bytes,
        .data = data,
        .initialised = static_cast<uint8_t*>(allocation->initialised_storage.get()),
        .read_only = false,
    };
    // The next base is an odd multiple of the alignment.
    const uint64_t unit = 2 * kBlockAlignment;
    next_ = (next_ + bytes + kGuardBytes + unit - 1) / unit * unit + kBlockAlignment;

    allocation->kind = kind;
    allocation->context = context;
    allocation->serial = next_serial_++;
    allocation->origin = format_text("%s #%llu", function, memory_number(allocation->serial));
    return *blocks_.emplace(allocation->block.base, std::move(allocation)).first->second;
}

Allocation& AddressSpace::adopt(Context* context, void* memory, uint64_t bytes, BlockKind kind,
                                const char* function) {
    auto allocation = std::make_unique<Allocation>();
    allocation->block = {
        .base = reinterpret_cast<uint64_t>(memory),
        .size = bytes,
        .data = static_cast<std::byte*>(memory),
        .initialised = nullptr,
        .read_only = false,
    };
    allocation->kind = kind;
    allocation->context = context;
    allocation->serial = next_serial_++;
    allocation->origin = format_text("%s #%llu", function, memory_number(allocation->serial));
    return *blocks_.emplace(allocation->block.base, std::move(allocation)).first->second;
}

void AddressSpace::release(Allocation& allocation, const std::string& freed_by) {
    last_found_ = nullptr;
    if (allocation.on_host()) {
        blocks_.erase(allocation.block.base);
        return;
    }
    allocation.freed_by = freed_by;
    allocation.block.data = nullptr;
    allocation.block.initialised = nullptr;
    allocation.data_storage.reset();
    allocation.initialised_storage.reset();
    allocation.context = nullptr;
    freed_.push_back(allocation.block.base);
    if (freed_.size() > kRememberedBlocks) {
        blocks_.erase(freed_.front());
        freed_.pop_front();
    }
}

Allocation* AddressSpace::find(uint64_t address) {
    if (last_found_ != nullptr && address - last_found_->block.base < last_found_->block.size) {
        return last_found_;
    }
    auto above = blocks_.upper_bound(address);
    if (above == blocks_.begin()) return nullptr;
    Allocation* const below = std::prev(above)->second.get();
    if (address - below->block.base >= below->block.size) return nullptr;
    return last_found_ = below;
}

Allocation* AddressSpace::find_host_overlap(uint64_t begin, uint64_t end) {
    const auto at_or_above = blocks_.lower_bound(begin);
    if (at_or_above != blocks_.end() && at_or_above->second->block.base < end) {
        return at_or_above->second.get();
    }
    return find(begin);
}

std::string AddressSpace::describe(uint64_t address) {
    if (const Allocation* inside = find(address)) {
        const uint64_t offset = address - inside->block.base;
        if (!inside->live()) {
            return format_text("at byte %llu of %s, which %s has freed", memory_number(offset),
                               inside->name().c_str(), inside->freed_by.c_str());
        }
        if (!inside->usable) {
            return format_text(
                "at byte %llu of %s, whose allocation has not yet come in its stream's order",
                memory_number(offset), inside->name().c_str());
        }
        return format_text("at byte %llu of %s", memory_number(offset), inside->name().c_str());
    }
    if (address < kDeviceBase) {
        return address < 4096 ? "a null pointer, or close to one"
                              : "a host address that is neither pinned nor registered";
    }
    const auto above = blocks_.upper_bound(address);
    const Allocation* const before =
        above == blocks_.begin() ? nullptr : std::prev(above)->second.get();
    const bool before_is_near = before != nullptr && address - before->end() < kGuardBytes / 2;
    if (before_is_near) {
        return format_text("%llu bytes past the end of %s%s",
                           memory_number(address - before->end()), before->name().c_str(),
                           before->live() ? "" : ", which is freed");
    }
    if (above != blocks_.end() && above->second->block.base - address < kGuardBytes / 2) {
        const Allocation& after = *above->second;
        return format_text("%llu bytes before %s%s", memory_number(after.block.base - address),
                           after.name().c_str(), after.live() ? "" : ", which is freed");
    }
    return "far from every block of device memory";
}

}  // namespace fattn::vgpu::driver
