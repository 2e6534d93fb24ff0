// The event functions. Called by programs through the driver API.
#include "driver/capture.h"
#include "driver/entry.h"
#include "driver/exports.h"

namespace fattn::vgpu::cuda {
namespace {

using driver::call;
using driver::call_in_context;
using driver::Context;
using driver::Driver;
using driver::Event;
using driver::fail;
using driver::require_results;
using driver::Stream;

void check_askable(const Event& event) {
    if (!event.capture) return;
    if (!event.capture->ended) event.capture->invalidated = true;
    fail(CUDA_ERROR_CAPTURED_EVENT, "the event was last recorded in a capture");
}

void check_healthy(const Event& event) {
    if (event.context->sticky == CUDA_SUCCESS) return;
    fail(event.context->sticky, "a fault has ended the event's context: %s",
         event.context->sticky_text.c_str());
}

}  // namespace

extern "C" {

CUresult cuEventCreate(CUevent* handle, unsigned flags) {
    return call_in_context("cuEventCreate", [&](Driver& state, Context& context) {
        require_results(handle);
        if ((flags & CU_EVENT_INTERPROCESS) != 0) {
            fail(CUDA_ERROR_NOT_SUPPORTED,
                 "events between processes are not offered by the virtual GPU");
        }
        if (flags > (CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING)) {
            fail(CUDA_ERROR_INVALID_VALUE, "the event flags are %#x; 1 and 2 are allowed", flags);
        }
        auto event = std::make_shared<Event>();
        event->context = &context;
        event->flags = flags;
        event->handle = state.events.add(event);
        *handle = event->handle;
    });
}

CUresult cuEventDestroy_v2(CUevent handle) {
    return call("cuEventDestroy_v2", [&](Driver& state) {
        state.events.require(handle);
        state.events.remove(handle);
    });
}

CUresult cuEventRecordWithFlags(CUevent handle, CUstream stream_handle, unsigned flags) {
    return call_in_context("cuEventRecord", [&](Driver& state, Context& context) {
        if (flags != 0) {
            fail(CUDA_ERROR_NOT_SUPPORTED,
                 "cuEventRecordWithFlags with flags %u: only 0 is offered by the virtual GPU",
                 flags);
        }
        const std::shared_ptr<Event> event = state.events.require(handle);
        Stream& stream = driver::stream_in(state, context, stream_handle);
        if (event->context != &context) {
            fail(CUDA_ERROR_INVALID_HANDLE,
                 "the event belongs to context %llu, the stream to context %llu",
                 static_cast<unsigned long long>(event->context->id),
                 static_cast<unsigned long long>(context.id));
        }
        if (stream.capture) {
            driver::capture_event_record(stream, *event);
            return;
        }
        event->capture.reset();
        event->recorded = driver::enqueue(state, stream, {.what = "cuEventRecord"});
    });
}

CUresult cuEventRecord(CUevent event, CUstream stream) {
    return cuEventRecordWithFlags(event, stream, 0);
}

CUresult cuEventQuery(CUevent handle) {
    return call("cuEventQuery", [&](Driver& state) {
        const std::shared_ptr<Event> event = state.events.require(handle);
        check_askable(*event);
        check_healthy(*event);
        const bool done = state.queue.approach(event->recorded);
        check_healthy(*event);
        if (!done) {
            throw driver::Failure{CUDA_ERROR_NOT_READY, "the work before the event has not ended"};
        }
    });
}

CUresult cuEventSynchronize(CUevent handle) {
    return call("cuEventSynchronize", [&](Driver& state) {
        const std::shared_ptr<Event> event = state.events.require(handle);
        check_askable(*event);
        check_healthy(*event);
        if (const driver::OperationRef recorded = event->recorded) state.queue.force(recorded);
        check_healthy(*event);
    });
}

CUresult cuEventElapsedTime(float* milliseconds, CUevent begin_handle, CUevent end_handle) {
    return call("cuEventElapsedTime", [&](Driver& state) {
        require_results(milliseconds);
        const std::shared_ptr<Event> begin = state.events.require(begin_handle);
        const std::shared_ptr<Event> end = state.events.require(end_handle);
        for (const Event* event : {begin.get(), end.get()}) {
            check_askable(*event);
            check_healthy(*event);
            if ((event->flags & CU_EVENT_DISABLE_TIMING) != 0 || !event->recorded) {
                fail(CUDA_ERROR_INVALID_HANDLE, "an event %s",
                     event->recorded ? "was created without timing" : "has not been recorded");
            }
        }
        if (!begin->recorded->done() || !end->recorded->done()) {
            throw driver::Failure{CUDA_ERROR_NOT_READY, "the work before an event has not ended"};
        }
        *milliseconds =
            static_cast<float>((end->recorded->end_us - begin->recorded->end_us) / 1000);
    });
}

}  // extern "C"
}  // namespace fattn::vgpu::cuda
