// Device memory, pinned memory and copies at the C boundary.
#include "api/work.h"
#include "backend/text.h"

namespace fattn::api {
namespace {

static_assert(FATTN_MEMORY_DEVICE == static_cast<fattn_memory_kind>(MemoryKind::kDevice));
static_assert(FATTN_MEMORY_PINNED == static_cast<fattn_memory_kind>(MemoryKind::kPinned));
static_assert(FATTN_COPY_TO_DEVICE == static_cast<fattn_copy>(CopyKind::kToDevice));
static_assert(FATTN_COPY_TO_HOST == static_cast<fattn_copy>(CopyKind::kToHost));
static_assert(FATTN_COPY_ON_DEVICE == static_cast<fattn_copy>(CopyKind::kOnDevice));

Status allocate(fattn_device* device, fattn_memory_kind kind, uint64_t bytes, fattn_memory** out) {
    if (out == nullptr) return invalid("memory is NULL; a place for the handle is needed");
    *out = nullptr;
    if (kind > FATTN_MEMORY_PINNED) {
        return invalid(text("kind is ", kind, "; allowed are 0 (device) and 1 (pinned)"));
    }
    DeviceWork* work = nullptr;
    FATTN_RETURN_IF_ERROR(work_of(device, "blocks of memory", &work));
    std::unique_ptr<DeviceBlock> made;
    FATTN_RETURN_IF_ERROR(work->allocate(static_cast<MemoryKind>(kind), bytes, &made));
    *out = new fattn_memory(device, std::move(made));
    return {};
}

Status check_range(fattn_device* device, const void* address, uint64_t bytes) {
    DeviceWork* work = nullptr;
    FATTN_RETURN_IF_ERROR(work_of(device, "addresses of device memory", &work));
    return work->check_range(address, bytes, "address");
}

Status copy(fattn_stream* stream, fattn_copy kind, void* to, const void* from, uint64_t bytes) {
    if (stream == nullptr) return invalid("stream is NULL");
    if (kind > FATTN_COPY_ON_DEVICE) {
        return invalid(text("kind is ", kind,
                            "; allowed are 0 (to the device), 1 (to the host) and 2 (on the "
                            "device)"));
    }
    if (bytes > 0 && (to == nullptr || from == nullptr)) {
        return invalid(
            text(to == nullptr ? "to" : "from", " is NULL; ", bytes, " bytes were to be copied"));
    }
    return stream->device->backend->work()->copy(
        *stream->made,
        {.kind = static_cast<CopyKind>(kind), .to = to, .from = from, .bytes = bytes});
}

Status fill(fattn_stream* stream, void* to, uint32_t value, uint64_t bytes) {
    if (stream == nullptr) return invalid("stream is NULL");
    if (value > 255) return invalid(text("value is ", value, "; allowed are 0 to 255, one byte"));
    if (bytes > 0 && to == nullptr) {
        return invalid(text("to is NULL; ", bytes, " bytes were to be filled"));
    }
    return stream->device->backend->work()->fill(*stream->made, to, static_cast<uint8>(value),
                                                 bytes);
}

}  // namespace
}  // namespace fattn::api

using fattn::Status;
using fattn::api::guarded;
using fattn::api::invalid;

fattn_status fattn_memory_allocate(fattn_device* device, fattn_memory_kind kind, uint64_t bytes,
                                   fattn_memory** memory) {
    return guarded([&] { return fattn::api::allocate(device, kind, bytes, memory); });
}

fattn_status fattn_memory_retain(fattn_memory* memory) {
    return guarded([&] {
        if (memory == nullptr) return invalid("memory is NULL");
        fattn::api::retain(memory);
        return Status();
    });
}

void fattn_memory_release(fattn_memory* memory) {
    if (memory != nullptr) fattn::api::release(memory);
}

fattn_status fattn_memory_address(fattn_memory* memory, void** address, uint64_t* bytes) {
    return guarded([&] {
        if (memory == nullptr) return invalid("memory is NULL");
        if (address != nullptr) *address = memory->made->address();
        if (bytes != nullptr) *bytes = memory->made->bytes();
        return Status();
    });
}

fattn_status fattn_memory_check(fattn_device* device, const void* address, uint64_t bytes) {
    return guarded([&] { return fattn::api::check_range(device, address, bytes); });
}

fattn_status fattn_stream_copy(fattn_stream* stream, fattn_copy kind, void* to, const void* from,
                               uint64_t bytes) {
    return guarded([&] { return fattn::api::copy(stream, kind, to, from, bytes); });
}

fattn_status fattn_stream_fill(fattn_stream* stream, void* to, uint32_t value, uint64_t bytes) {
    return guarded([&] { return fattn::api::fill(stream, to, value, bytes); });
}
