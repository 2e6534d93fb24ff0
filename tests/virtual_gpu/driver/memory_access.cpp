// Who may touch which block: the rules of contexts over the address space. Called by copies and by
// the interpreter.
#include "driver/failure.h"
#include "driver/memory.h"
#include "driver/objects.h"

namespace fattn::vgpu::driver {
namespace {

bool reachable(const Allocation& allocation, const Context& context) {
    return allocation.live() && allocation.usable &&
           (allocation.on_host() || allocation.context == &context);
}

std::string describe_for(AddressSpace& space, const Context& context, uint64_t address) {
    std::string text = space.describe(address);
    const Allocation* const inside = space.find(address);
    if (inside != nullptr && inside->live() && inside->usable && !reachable(*inside, context)) {
        text += format_text(", which belongs to another context (device %d)",
                            inside->context->device->ordinal);
    }
    return text;
}

}  // namespace

const MemoryBlock* KernelMemory::find(uint64_t address) {
    const Allocation* const allocation = space_.find(address);
    return allocation != nullptr && reachable(*allocation, context_) ? &allocation->block : nullptr;
}

std::string KernelMemory::describe(uint64_t address) const {
    return describe_for(space_, context_, address);
}

bool KernelMemory::was_freed(uint64_t address) const {
    const Allocation* const allocation = space_.find(address);
    return allocation != nullptr && !allocation->live();
}

Allocation& require_range(AddressSpace& space, const Context& context, uint64_t address,
                          uint64_t bytes, cuda::CUresult code, const std::string& what) {
    Allocation* const allocation = space.find(address);
    if (allocation == nullptr || !reachable(*allocation, context)) {
        fail(code, "%s: %#llx is %s", what.c_str(), static_cast<unsigned long long>(address),
             describe_for(space, context, address).c_str());
    }
    if (bytes > allocation->end() - address) {
        fail(code, "%s: the %llu bytes at %#llx go past the end of %s, of which %llu are left",
             what.c_str(), static_cast<unsigned long long>(bytes),
             static_cast<unsigned long long>(address), allocation->name().c_str(),
             static_cast<unsigned long long>(allocation->end() - address));
    }
    return *allocation;
}

}  // namespace fattn::vgpu::driver
