// Streams and events at the C boundary.
#include "api/work.h"
#include "backend/text.h"

namespace fattn::api {
namespace {

template <class Make>
Status make_stream(fattn_device* device, fattn_stream** out, const Make& make) {
    if (out == nullptr) return invalid("stream is NULL; a place for the handle is needed");
    *out = nullptr;
    DeviceWork* work = nullptr;
    FATTN_RETURN_IF_ERROR(work_of(device, "streams", &work));
    std::unique_ptr<DeviceStream> made;
    FATTN_RETURN_IF_ERROR(make(work, &made));
    *out = new fattn_stream(device, std::move(made));
    return {};
}

Status make_event(fattn_device* device, uint32_t flags, fattn_event** out) {
    if (out == nullptr) return invalid("event is NULL; a place for the handle is needed");
    *out = nullptr;
    constexpr uint32 kKnown = FATTN_EVENT_TIMING;
    if ((flags & ~kKnown) != 0) {
        return unsupported(text("flags is ", flags, "; this library knows 0 and ", kKnown,
                                " (FATTN_EVENT_TIMING)"));
    }
    DeviceWork* work = nullptr;
    FATTN_RETURN_IF_ERROR(work_of(device, "events", &work));
    std::unique_ptr<DeviceEvent> made;
    FATTN_RETURN_IF_ERROR(work->make_event((flags & FATTN_EVENT_TIMING) != 0, &made));
    *out = new fattn_event(device, std::move(made));
    return {};
}

template <class Handle>
Status write_native(const Handle* handle, const char* name, void** native) {
    if (handle == nullptr) return invalid(text(name, " is NULL"));
    if (native == nullptr) return invalid("native is NULL; a place for the handle is needed");
    *native = handle->made->native();
    return {};
}

template <class Handle>
Status write_done(const Handle* handle, const char* name, int32_t* done) {
    if (handle == nullptr) return invalid(text(name, " is NULL"));
    if (done == nullptr) return invalid("done is NULL; a place for the answer is needed");
    bool is_done = false;
    FATTN_RETURN_IF_ERROR(handle->made->query(&is_done));
    *done = is_done ? 1 : 0;
    return {};
}

/// An event and a stream, both there and of one device.
Status check_pair(fattn_event* event, fattn_stream* stream) {
    if (event == nullptr) return invalid("event is NULL");
    if (stream == nullptr) return invalid("stream is NULL");
    return check_same_device(&*event->device, &*stream->device, "event and stream");
}

Status write_elapsed(fattn_event* start, fattn_event* end, float* milliseconds) {
    if (start == nullptr) return invalid("start is NULL");
    if (end == nullptr) return invalid("end is NULL");
    if (milliseconds == nullptr) {
        return invalid("milliseconds is NULL; a place for the time is needed");
    }
    FATTN_RETURN_IF_ERROR(check_same_device(&*start->device, &*end->device, "start and end"));
    return end->made->elapsed_milliseconds(*start->made, milliseconds);
}

}  // namespace
}  // namespace fattn::api

using fattn::Status;
using fattn::api::guarded;
using fattn::api::invalid;

fattn_status fattn_stream_create(fattn_device* device, int32_t priority, fattn_stream** stream) {
    return guarded([&] {
        return fattn::api::make_stream(device, stream, [&](fattn::DeviceWork* work, auto* made) {
            return work->make_stream(priority, made);
        });
    });
}

fattn_status fattn_stream_borrow(fattn_device* device, void* native, fattn_stream** stream) {
    return guarded([&] {
        return fattn::api::make_stream(device, stream, [&](fattn::DeviceWork* work, auto* made) {
            return work->borrow_stream(native, made);
        });
    });
}

fattn_status fattn_stream_retain(fattn_stream* stream) {
    return guarded([&] {
        if (stream == nullptr) return invalid("stream is NULL");
        fattn::api::retain(stream);
        return Status();
    });
}

void fattn_stream_release(fattn_stream* stream) {
    if (stream != nullptr) fattn::api::release(stream);
}

fattn_status fattn_stream_native(fattn_stream* stream, void** native) {
    return guarded([&] { return fattn::api::write_native(stream, "stream", native); });
}

fattn_status fattn_stream_query(fattn_stream* stream, int32_t* done) {
    return guarded([&] { return fattn::api::write_done(stream, "stream", done); });
}

fattn_status fattn_stream_synchronize(fattn_stream* stream) {
    return guarded([&] {
        if (stream == nullptr) return invalid("stream is NULL");
        return stream->made->synchronize();
    });
}

fattn_status fattn_stream_wait(fattn_stream* stream, fattn_event* event) {
    return guarded([&] {
        FATTN_RETURN_IF_ERROR(fattn::api::check_pair(event, stream));
        return stream->made->wait(*event->made);
    });
}

fattn_status fattn_event_create(fattn_device* device, uint32_t flags, fattn_event** event) {
    return guarded([&] { return fattn::api::make_event(device, flags, event); });
}

fattn_status fattn_event_retain(fattn_event* event) {
    return guarded([&] {
        if (event == nullptr) return invalid("event is NULL");
        fattn::api::retain(event);
        return Status();
    });
}

void fattn_event_release(fattn_event* event) {
    if (event != nullptr) fattn::api::release(event);
}

fattn_status fattn_event_native(fattn_event* event, void** native) {
    return guarded([&] { return fattn::api::write_native(event, "event", native); });
}

fattn_status fattn_event_record(fattn_event* event, fattn_stream* stream) {
    return guarded([&] {
        FATTN_RETURN_IF_ERROR(fattn::api::check_pair(event, stream));
        return event->made->record(*stream->made);
    });
}

fattn_status fattn_event_query(fattn_event* event, int32_t* done) {
    return guarded([&] { return fattn::api::write_done(event, "event", done); });
}

fattn_status fattn_event_synchronize(fattn_event* event) {
    return guarded([&] {
        if (event == nullptr) return invalid("event is NULL");
        return event->made->synchronize();
    });
}

fattn_status fattn_event_elapsed(fattn_event* start, fattn_event* end, float* milliseconds) {
    return guarded([&] { return fattn::api::write_elapsed(start, end, milliseconds); });
}
