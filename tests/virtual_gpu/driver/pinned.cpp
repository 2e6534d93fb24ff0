// Page-locked host memory. Called by cuMemHostAlloc, cuMemFreeHost and the end of contexts.
#include "driver/pinned.h"

#include <sys/mman.h>
#include <unistd.h>

#include "driver/failure.h"

namespace fattn::vgpu::driver {
namespace {

constexpr std::byte kCanary{0xc5};

uint64_t page_bytes() {
    static const uint64_t bytes = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
    return bytes;
}

uint64_t data_pages_bytes(uint64_t bytes) {
    return (bytes + page_bytes() - 1) / page_bytes() * page_bytes();
}

// Away from the generic addresses of shared, local and parameter memory, which look like host
// addresses.
void* hint() {
    static uint64_t next = 0x6000'0000'0000;
    next += uint64_t{1} << 30;
    return reinterpret_cast<void*>(next);
}

}  // namespace

Allocation& map_pinned(Driver& state, Context& context, uint64_t bytes, unsigned flags,
                       const char* function) {
    const uint64_t mapped = data_pages_bytes(bytes) + 2 * page_bytes();
    void* const mapping =
        mmap(hint(), mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED) {
        fail(cuda::CUDA_ERROR_OUT_OF_MEMORY, "the host cannot map %llu bytes",
             static_cast<unsigned long long>(mapped));
    }
    auto* const data = static_cast<std::byte*>(mapping) + page_bytes();
    if (mprotect(data, data_pages_bytes(bytes), PROT_READ | PROT_WRITE) != 0) {
        munmap(mapping, mapped);
        fail(cuda::CUDA_ERROR_OUT_OF_MEMORY, "the host has no %llu bytes to pin",
             static_cast<unsigned long long>(bytes));
    }
    fill_poison(data, bytes);
    for (uint64_t at = bytes; at < data_pages_bytes(bytes); ++at) data[at] = kCanary;
    Allocation& allocation =
        state.memory.adopt(&context, data, bytes, BlockKind::kPinned, function);
    allocation.host_flags = flags;
    return allocation;
}

std::string overwritten_behind(const Allocation& allocation) {
    for (uint64_t at = allocation.block.size; at < data_pages_bytes(allocation.block.size); ++at) {
        if (allocation.block.data[at] == kCanary) continue;
        return format_text("the host has written %llu bytes past the end of %s",
                           static_cast<unsigned long long>(at - allocation.block.size),
                           allocation.name().c_str());
    }
    return {};
}

void unmap_pinned(const Allocation& allocation) {
    munmap(allocation.block.data - page_bytes(),
           data_pages_bytes(allocation.block.size) + 2 * page_bytes());
}

}  // namespace fattn::vgpu::driver
