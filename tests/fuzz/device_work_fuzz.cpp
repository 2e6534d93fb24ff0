// Fuzz target: the input is a list of calls over streams, events and memory of two devices, with
// handles, addresses and sizes right and wrong. A call succeeds or is refused with a sentence, a
// copy that succeeds stays within memory and moves the bytes, and nothing is left at the end.
#include <cstring>
#include <vector>

#include "fake_device.h"

namespace fattn::fuzz {
namespace {

constexpr int kSlots = 4;
constexpr uint64_t kHostBytes = 96;

struct BlockOfFuzz {
    fattn_memory* memory = nullptr;
    char* address = nullptr;
    uint64_t bytes = 0;
    bool pinned = false;
};

/// Handles that live during one input.
struct Handles {
    fattn_stream* streams[kSlots] = {};
    fattn_event* events[kSlots] = {};
    BlockOfFuzz blocks[kSlots];

    ~Handles() {
        for (int n = 0; n < kSlots; ++n) {
            fattn_stream_release(streams[n]);
            fattn_event_release(events[n]);
            fattn_memory_release(blocks[n].memory);
        }
    }
};

fattn_device* choose_device(Choices& in) {
    const uint8_t choice = in.byte();
    return choice < 120   ? fake_device(0)
           : choice < 230 ? fake_device(1)
           : choice < 245 ? cpu()
                          : nullptr;
}

int slot(Choices& in) { return static_cast<int>(in.number(0, kSlots - 1)); }

/// Sizes around those of blocks, now and then huge.
uint64_t choose_bytes(Choices& in) {
    const uint8_t choice = in.byte();
    if (choice < 240) return static_cast<uint64_t>(in.number(0, 95));
    return choice < 250 ? uint64_t{1} << 40 : ~uint64_t{0} - in.byte();
}

/// In a block or beside it, or no memory of a device at all.
char* choose_address(Choices& in, const Handles& all, char* host) {
    const BlockOfFuzz& block = all.blocks[slot(in)];
    const uint8_t choice = in.byte();
    if (choice < 200) return block.address == nullptr ? nullptr : block.address + choice % 100;
    if (choice < 230) return host;
    return reinterpret_cast<char*>(static_cast<uintptr_t>(choice - 230));
}

void make_block(Choices& in, fattn_device* device, BlockOfFuzz* block) {
    fattn_memory_release(block->memory);
    *block = {};
    const auto kind = static_cast<fattn_memory_kind>(in.index(in.flag()));
    const uint64_t bytes = choose_bytes(in);
    const fattn_status status = fattn_memory_allocate(device, kind, bytes, &block->memory);
    check_work(status);
    require((status == FATTN_STATUS_OK) == (block->memory != nullptr));
    if (block->memory == nullptr) return;
    void* address = nullptr;
    require(fattn_memory_address(block->memory, &address, &block->bytes) == FATTN_STATUS_OK);
    block->address = static_cast<char*>(address);
    block->pinned = kind == FATTN_MEMORY_PINNED;
    if (block->bytes > 0) std::memset(block->address, in.byte(), block->bytes);
}

void make(Choices& in, Handles* all) {
    const int at = slot(in);
    fattn_device* const device = choose_device(in);
    switch (in.number(0, 2)) {
        case 0: {
            fattn_stream_release(all->streams[at]);
            const int32_t priority = in.index(0);
            const bool own = in.byte() < 200;
            return check(own ? fattn_stream_create(device, priority, &all->streams[at])
                             : fattn_stream_borrow(device, nullptr, &all->streams[at]));
        }
        case 1: {
            fattn_event_release(all->events[at]);
            const auto flags = static_cast<uint32_t>(in.index(in.flag()));
            return check(fattn_event_create(device, flags, &all->events[at]));
        }
        default:
            make_block(in, device, &all->blocks[at]);
    }
}

/// Whether a range of device memory lies in a block: what the library has to find out.
bool lies_in_a_block(const Handles& all, const char* address, uint64_t bytes) {
    for (const BlockOfFuzz& block : all.blocks) {
        if (block.pinned || block.address == nullptr || address < block.address) continue;
        const auto offset = static_cast<uint64_t>(address - block.address);
        if (offset <= block.bytes && bytes <= block.bytes - offset) return true;
    }
    return false;
}

void copy(Choices& in, const Handles& all) {
    std::vector<char> host(kHostBytes, static_cast<char>(in.byte()));
    fattn_stream* const stream = all.streams[slot(in)];
    const auto kind = static_cast<fattn_copy>(in.index(in.number(0, 2)));
    // Host memory is not looked at: what is given as such is as large as the call says.
    uint64_t bytes = choose_bytes(in);
    char* to = choose_address(in, all, host.data());
    char* from = choose_address(in, all, host.data());
    if (kind == FATTN_COPY_TO_DEVICE) from = host.data();
    if (kind == FATTN_COPY_TO_HOST) to = host.data();
    if (kind != FATTN_COPY_ON_DEVICE && bytes > kHostBytes) bytes = kHostBytes;
    const fattn_status status = fattn_stream_copy(stream, kind, to, from, bytes);
    check(status);
    if (status != FATTN_STATUS_OK || bytes == 0) return;
    require(kind == FATTN_COPY_TO_HOST || lies_in_a_block(all, to, bytes));
    require(kind == FATTN_COPY_TO_DEVICE || lies_in_a_block(all, from, bytes));
    if (kind != FATTN_COPY_ON_DEVICE) require(std::memcmp(to, from, bytes) == 0);
}

void fill(Choices& in, const Handles& all) {
    char* const to = choose_address(in, all, nullptr);
    const uint64_t bytes = choose_bytes(in);
    const auto value = static_cast<uint32_t>(in.index(in.byte()));
    const fattn_status status = fattn_stream_fill(all.streams[slot(in)], to, value, bytes);
    check(status);
    if (status != FATTN_STATUS_OK || bytes == 0) return;
    require(lies_in_a_block(all, to, bytes));
    require(static_cast<unsigned char>(to[bytes - 1]) == value);
}

void ask(Choices& in, const Handles& all) {
    fattn_stream* const stream = all.streams[slot(in)];
    fattn_event* const event = all.events[slot(in)];
    int32_t done = 0;
    void* native = nullptr;
    float milliseconds = 0;
    switch (in.number(0, 8)) {
        case 0:
            return check(fattn_stream_query(stream, &done));
        case 1:
            return check(fattn_stream_synchronize(stream));
        case 2:
            return check(fattn_stream_wait(stream, event));
        case 3:
            return check(fattn_event_record(event, stream));
        case 4:
            return check(fattn_event_query(event, &done));
        case 5:
            return check(fattn_event_elapsed(event, all.events[slot(in)], &milliseconds));
        case 6:
            return check(fattn_stream_native(stream, in.flag() ? &native : nullptr));
        case 7:
            return check(fattn_event_synchronize(event));
        default: {
            fattn_device* const device = choose_device(in);
            const char* const address = choose_address(in, all, nullptr);
            return check(fattn_memory_check(device, address, choose_bytes(in)));
        }
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
    constexpr int kMostCalls = 40;
    Choices in(data, size);
    Handles all;
    const auto calls = static_cast<int>(in.number(1, kMostCalls));
    for (int n = 0; n < calls; ++n) {
        switch (in.number(0, 4)) {
            case 0:
            case 1:
                make(in, &all);
                break;
            case 2:
                copy(in, all);
                break;
            case 3:
                fill(in, all);
                break;
            default:
                ask(in, all);
        }
    }
    return 0;
}

}  // namespace fattn::fuzz
