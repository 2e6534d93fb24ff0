// Copies and fills. Called by the copy functions; the work runs from the queue.
#include "driver/copy.h"

#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "driver/failure.h"

namespace fattn::vgpu::driver {
namespace {

using cuda::CUDA_ERROR_ILLEGAL_ADDRESS;
using cuda::CUDA_ERROR_INVALID_VALUE;
using cuda::CUDA_ERROR_LAUNCH_FAILED;

unsigned long long number(uint64_t value) { return value; }

// Virtual microseconds: a start, and a bus or memory of fixed speed.
constexpr double kCopyStartUs = 2.0;
constexpr double kBusBytesPerUs = 25e3;
constexpr double kMemoryBytesPerUs = 1e6;

std::string describe_copy(const Copy& copy) {
    std::string text =
        format_text("%s of %llu bytes", copy.function, number(copy.width * copy.height));
    if (copy.height != 1) {
        text += format_text(" (%llu rows of %llu)", number(copy.height), number(copy.width));
    }
    return text;
}

// Memory that the host may have unmapped since the copy was issued is reached through the system,
// which says so instead of stopping the process.
void reach_pageable(const Copy& copy, std::byte* ours, uint64_t theirs, uint64_t bytes,
                    bool write) {
    while (bytes > 0) {
        const iovec local = {ours, bytes};
        const iovec remote = {reinterpret_cast<void*>(theirs), bytes};
        const ssize_t done = write ? process_vm_writev(getpid(), &local, 1, &remote, 1, 0)
                                   : process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
        if (done < 0 && (errno == EPERM || errno == ENOSYS)) {
            // The system offers no such call: then a wrong address stops the process.
            void* const host = reinterpret_cast<void*>(theirs);
            std::memcpy(write ? host : ours, write ? ours : host, bytes);
            return;
        }
        if (done <= 0) {
            fail(CUDA_ERROR_ILLEGAL_ADDRESS,
                 "%s: the host memory at %#llx was not there when the copy ran; it must stay until "
                 "the copy has been waited for",
                 describe_copy(copy).c_str(), number(theirs));
        }
        ours += done;
        theirs += static_cast<uint64_t>(done);
        bytes -= static_cast<uint64_t>(done);
    }
}

struct Bytes {
    std::byte* data;
    uint8_t* initialised;  // null: all are
};

Bytes known_bytes(Driver& state, const Context& context, const Copy& copy, uint64_t address,
                  CUresult code) {
    const Allocation& allocation =
        require_range(state.memory, context, address, copy.width, code, describe_copy(copy));
    const uint64_t offset = address - allocation.block.base;
    uint8_t* const initialised = allocation.block.initialised;
    return {.data = allocation.block.data + offset,
            .initialised = initialised == nullptr ? nullptr : initialised + offset};
}

void check_initialised(Driver& state, const Copy& copy, const Bytes& source, uint64_t address) {
    if (!state.settings.checks.uninitialised || source.initialised == nullptr) return;
    const void* const first = std::memchr(source.initialised, 0, copy.width);
    if (first == nullptr) return;
    const uint64_t at =
        address + static_cast<uint64_t>(static_cast<const uint8_t*>(first) - source.initialised);
    fail(CUDA_ERROR_LAUNCH_FAILED,
         "%s takes bytes to the host that nothing has written, first at %#llx, %s",
         describe_copy(copy).c_str(), number(at), state.memory.describe(at).c_str());
}

bool is_host(Driver& state, const CopySide& side) {
    if (side.pageable) return true;
    const Allocation* const allocation = state.memory.find(side.address);
    return allocation != nullptr && allocation->on_host();
}

void copy_row(Driver& state, const Context& context, const Copy& copy, uint64_t row,
              const std::byte* staged, bool to_host) {
    const uint64_t from = copy.source.address + row * copy.source.pitch;
    const uint64_t to = copy.destination.address + row * copy.destination.pitch;
    if (staged != nullptr) {
        const Bytes out = known_bytes(state, context, copy, to, CUDA_ERROR_ILLEGAL_ADDRESS);
        std::memcpy(out.data, staged + row * copy.width, copy.width);
        if (out.initialised != nullptr) std::memset(out.initialised, 0xff, copy.width);
        return;
    }
    if (copy.source.pageable && copy.destination.pageable) {
        std::memmove(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), copy.width);
        return;
    }
    if (copy.source.pageable) {
        const Bytes out = known_bytes(state, context, copy, to, CUDA_ERROR_ILLEGAL_ADDRESS);
        reach_pageable(copy, out.data, from, copy.width, false);
        if (out.initialised != nullptr) std::memset(out.initialised, 0xff, copy.width);
        return;
    }
    const Bytes in = known_bytes(state, context, copy, from, CUDA_ERROR_ILLEGAL_ADDRESS);
    if (to_host) check_initialised(state, copy, in, from);
    if (copy.destination.pageable) {
        reach_pageable(copy, in.data, to, copy.width, true);
        return;
    }
    const Bytes out = known_bytes(state, context, copy, to, CUDA_ERROR_ILLEGAL_ADDRESS);
    std::memmove(out.data, in.data, copy.width);
    if (out.initialised == nullptr) return;
    if (in.initialised == nullptr) {
        std::memset(out.initialised, 0xff, copy.width);
    } else {
        std::memmove(out.initialised, in.initialised, copy.width);
    }
}

Work::Range rows_of(const CopySide& side, const Copy& copy) {
    return {.begin = side.address,
            .end = side.address + (copy.height - 1) * side.pitch + copy.width};
}

}  // namespace

CopySide copy_side(Driver& state, const Context& context, const Copy& copy, uint64_t address,
                   uint64_t pitch, Side side, const char* noun) {
    if (copy.height > 1 && pitch < copy.width) {
        fail(CUDA_ERROR_INVALID_VALUE, "%s: the pitch of the %s is %llu bytes, less than a row",
             describe_copy(copy).c_str(), noun, number(pitch));
    }
    const CopySide result = {.address = address,
                             .pitch = pitch,
                             .pageable = address < kDeviceBase && side != Side::kDevice &&
                                         state.memory.find(address) == nullptr};
    if (copy.width == 0 || copy.height == 0) return result;
    if (side == Side::kHost && address >= kDeviceBase) {
        fail(CUDA_ERROR_INVALID_VALUE, "%s: the %s must be host memory; %#llx is %s",
             describe_copy(copy).c_str(), noun, number(address),
             state.memory.describe(address).c_str());
    }
    if (result.pageable) {
        if (address < 4096) {
            fail(CUDA_ERROR_INVALID_VALUE, "%s: the %s is null", describe_copy(copy).c_str(), noun);
        }
        return result;
    }
    // A stream-ordered block counts before its operation has run: then the order of the streams
    // decides.
    Allocation* const allocation = state.memory.find(address);
    const bool waiting = allocation != nullptr && allocation->live() && !allocation->usable;
    const std::string what = describe_copy(copy) + ", " + noun;
    for (uint64_t row = 0; row < copy.height && !waiting; ++row) {
        require_range(state.memory, context, address + row * pitch, copy.width,
                      CUDA_ERROR_INVALID_VALUE, what);
    }
    return result;
}

Work copy_work(Driver& state, Context& context, const Copy& copy, bool read_source_now) {
    Work work = {.kind = cuda::CU_GRAPH_NODE_TYPE_MEMCPY, .what = describe_copy(copy)};
    if (copy.width == 0 || copy.height == 0) return work;

    std::shared_ptr<std::vector<std::byte>> staged;
    if (read_source_now && copy.source.pageable && !copy.destination.pageable) {
        staged = std::make_shared<std::vector<std::byte>>(copy.width * copy.height);
        for (uint64_t row = 0; row < copy.height; ++row) {
            reach_pageable(copy, staged->data() + row * copy.width,
                           copy.source.address + row * copy.source.pitch, copy.width, false);
        }
    }
    const bool from_host = is_host(state, copy.source);
    const bool to_host = is_host(state, copy.destination);
    if (from_host && !staged) work.host_read = rows_of(copy.source, copy);
    if (to_host) {
        work.host_write = rows_of(copy.destination, copy);
        work.poison_host_write = [copy] {
            for (uint64_t row = 0; row < copy.height; ++row) {
                const uint64_t to = copy.destination.address + row * copy.destination.pitch;
                fill_poison(reinterpret_cast<std::byte*>(to), copy.width);
            }
        };
    }
    const double speed = from_host || to_host ? kBusBytesPerUs : kMemoryBytesPerUs;
    const double duration_us = kCopyStartUs + static_cast<double>(copy.width * copy.height) / speed;
    work.run = [&state, &context, copy, staged, to_host, duration_us] {
        for (uint64_t row = 0; row < copy.height; ++row) {
            copy_row(state, context, copy, row, staged ? staged->data() : nullptr, to_host);
        }
        return duration_us;
    };
    return work;
}

Work fill_work(Driver& state, Context& context, const Fill& fill) {
    const uint64_t row_bytes = fill.width * fill.element_bytes;
    const uint64_t pitch = fill.height == 1 ? row_bytes : fill.pitch;
    const std::string what =
        format_text("%s of %llu bytes", fill.function, number(row_bytes * fill.height));
    if (fill.width > UINT64_MAX / 4 || (fill.height > 1 && pitch < row_bytes)) {
        fail(CUDA_ERROR_INVALID_VALUE, "%s: the pitch is %llu bytes and a row has %llu",
             what.c_str(), number(pitch), number(row_bytes));
    }
    if (fill.address % fill.element_bytes != 0 || pitch % fill.element_bytes != 0) {
        fail(CUDA_ERROR_INVALID_VALUE, "%s: address %#llx or pitch %llu is no multiple of %u bytes",
             what.c_str(), number(fill.address), number(pitch), fill.element_bytes);
    }
    Work work = {.kind = cuda::CU_GRAPH_NODE_TYPE_MEMSET, .what = what};
    if (row_bytes == 0 || fill.height == 0) return work;

    const Allocation* const allocation = state.memory.find(fill.address);
    const bool waiting = allocation != nullptr && allocation->live() && !allocation->usable;
    for (uint64_t row = 0; row < fill.height && !waiting; ++row) {
        require_range(state.memory, context, fill.address + row * pitch, row_bytes,
                      CUDA_ERROR_INVALID_VALUE, what);
    }
    if (allocation != nullptr && allocation->on_host()) {
        work.host_write = {.begin = fill.address,
                           .end = fill.address + (fill.height - 1) * pitch + row_bytes};
    }
    work.run = [&state, &context, fill, pitch, row_bytes, what] {
        for (uint64_t row = 0; row < fill.height; ++row) {
            const uint64_t address = fill.address + row * pitch;
            const Allocation& block = require_range(state.memory, context, address, row_bytes,
                                                    CUDA_ERROR_ILLEGAL_ADDRESS, what);
            const uint64_t offset = address - block.block.base;
            std::byte* const data = block.block.data + offset;
            for (uint64_t at = 0; at < row_bytes; at += fill.element_bytes) {
                std::memcpy(data + at, &fill.value, fill.element_bytes);
            }
            if (block.block.initialised != nullptr) {
                std::memset(block.block.initialised + offset, 0xff, row_bytes);
            }
        }
        return kCopyStartUs + static_cast<double>(row_bytes * fill.height) / kMemoryBytesPerUs;
    };
    return work;
}

Work poison_work(Driver& state, Context& context, uint64_t address, uint64_t bytes) {
    const std::string what =
        format_text("fattnVirtualGpuMarkUndefined of %llu bytes", number(bytes));
    Work work = {.kind = cuda::CU_GRAPH_NODE_TYPE_MEMSET, .what = what};
    if (bytes == 0) return work;
    require_range(state.memory, context, address, bytes, CUDA_ERROR_INVALID_VALUE, what);
    work.run = [&state, &context, address, bytes, what] {
        const Allocation& block =
            require_range(state.memory, context, address, bytes, CUDA_ERROR_ILLEGAL_ADDRESS, what);
        const uint64_t offset = address - block.block.base;
        fill_poison(block.block.data + offset, bytes);
        if (block.block.initialised != nullptr) {
            std::memset(block.block.initialised + offset, 0, bytes);
        }
        return 0.0;
    };
    return work;
}

}  // namespace fattn::vgpu::driver
