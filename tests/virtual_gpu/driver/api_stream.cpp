// The stream functions. Called by programs through the driver API.
#include <algorithm>

#include "driver/capture.h"
#include "driver/entry.h"
#include "driver/exports.h"

namespace fattn::vgpu::cuda {
namespace {

using driver::any_stream;
using driver::call;
using driver::call_in_context;
using driver::Context;
using driver::Driver;
using driver::fail;
using driver::require_results;
using driver::Stream;

constexpr int kGreatestPriority = -5;

CUresult create(const char* function, CUstream* handle, unsigned flags, int priority) {
    return call_in_context(function, [&](Driver& state, Context& context) {
        require_results(handle);
        if (flags > CU_STREAM_NON_BLOCKING) {
            fail(CUDA_ERROR_INVALID_VALUE, "the stream flags are %#x; 0 and 1 are allowed", flags);
        }
        auto stream = std::make_shared<Stream>();
        stream->context = &context;
        stream->flags = flags;
        stream->priority = std::clamp(priority, kGreatestPriority, 0);
        stream->id = state.next_id++;
        stream->handle = state.streams.add(stream);
        *handle = stream->handle;
    });
}

// The last operation that a wait for the stream waits for. For the legacy stream that is one of its
// own behind all others.
driver::OperationRef end_of(Driver& state, Stream& stream) {
    if (!stream.legacy) return stream.last;
    driver::check_no_implicit_dependency(state, *stream.context);
    return state.queue.submit(stream, {.what = "a wait for the legacy stream"});
}

// An operation that a query of the stream finds unfinished, or null.
driver::OperationRef first_open(const Driver& state, const Stream& stream) {
    const auto open = [](const driver::OperationRef& last) { return last && !last->done(); };
    if (!stream.legacy || open(stream.last)) return stream.last;
    const Context& context = *stream.context;
    for (const driver::OperationRef& last : context.abandoned) {
        if (open(last)) return last;
    }
    for (const auto& [thread, own] : context.per_thread) {
        if (open(own->last)) return own->last;
    }
    driver::OperationRef found;
    state.streams.for_each([&](const Stream& other) {
        if (!found && other.context == &context && other.blocking() && open(other.last)) {
            found = other.last;
        }
    });
    return found;
}

void check_can_wait(const Stream& stream) {
    driver::check_capture_valid(stream);
    if (stream.capture) {
        driver::fail_capture(*stream.capture, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
                             "a capturing stream cannot be waited for");
    }
}

void check_healthy(const Context& context) {
    if (context.sticky == CUDA_SUCCESS) return;
    fail(context.sticky, "a fault has ended the context: %s", context.sticky_text.c_str());
}

}  // namespace

extern "C" {

CUresult cuStreamCreate(CUstream* stream, unsigned flags) {
    return create("cuStreamCreate", stream, flags, 0);
}

CUresult cuStreamCreateWithPriority(CUstream* stream, unsigned flags, int priority) {
    return create("cuStreamCreateWithPriority", stream, flags, priority);
}

CUresult cuStreamDestroy_v2(CUstream handle) {
    return call("cuStreamDestroy_v2", [&](Driver& state) {
        const std::shared_ptr<Stream> stream = state.streams.require(handle);
        if (stream->capture) {
            driver::fail_capture(*stream->capture, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
                                 "a capturing stream cannot be destroyed");
        }
        // Its operations stay in the queue, and work on the legacy stream still waits for them.
        if (stream->blocking() && stream->last && !stream->last->done()) {
            stream->context->abandoned.push_back(stream->last);
        }
        state.streams.remove(handle);
    });
}

CUresult cuStreamGetPriority(CUstream handle, int* priority) {
    return call("cuStreamGetPriority", [&](Driver& state) {
        require_results(priority);
        *priority = any_stream(state, handle)->priority;
    });
}

CUresult cuStreamGetFlags(CUstream handle, unsigned* flags) {
    return call("cuStreamGetFlags", [&](Driver& state) {
        require_results(flags);
        *flags = any_stream(state, handle)->flags;
    });
}

CUresult cuStreamGetId(CUstream handle, unsigned long long* id) {
    return call("cuStreamGetId", [&](Driver& state) {
        require_results(id);
        *id = any_stream(state, handle)->id;
    });
}

CUresult cuStreamGetCtx(CUstream handle, CUcontext* context) {
    return call("cuStreamGetCtx", [&](Driver& state) {
        require_results(context);
        *context = any_stream(state, handle)->context->handle;
    });
}

CUresult cuStreamSynchronize(CUstream handle) {
    return call("cuStreamSynchronize", [&](Driver& state) {
        const std::shared_ptr<Stream> stream = any_stream(state, handle);
        check_can_wait(*stream);
        Context& context = *stream->context;
        if (const driver::OperationRef last = end_of(state, *stream)) state.queue.force(last);
        check_healthy(context);
    });
}

CUresult cuStreamQuery(CUstream handle) {
    return call("cuStreamQuery", [&](Driver& state) {
        const std::shared_ptr<Stream> stream = any_stream(state, handle);
        check_can_wait(*stream);
        Context& context = *stream->context;
        const bool done = state.queue.approach(first_open(state, *stream));
        check_healthy(context);
        if (!done) throw driver::Failure{CUDA_ERROR_NOT_READY, "the stream has work to do"};
    });
}

CUresult cuStreamWaitEvent(CUstream handle, CUevent event_handle, unsigned flags) {
    return call_in_context("cuStreamWaitEvent", [&](Driver& state, Context& context) {
        if (flags != 0) {
            fail(CUDA_ERROR_NOT_SUPPORTED,
                 "cuStreamWaitEvent with flags %u: only 0 is offered by the virtual GPU", flags);
        }
        Stream& stream = driver::stream_in(state, context, handle);
        const std::shared_ptr<driver::Event> event = state.events.require(event_handle);
        if (stream.capture || event->capture) {
            driver::capture_event_wait(stream, *event);
            return;
        }
        if (stream.legacy) driver::check_no_implicit_dependency(state, context);
        if (!event->recorded) return;
        state.queue.submit(stream, {.what = "cuStreamWaitEvent"}, {event->recorded});
    });
}

CUresult cuLaunchHostFunc(CUstream handle, CUhostFn function, void* argument) {
    return call_in_context("cuLaunchHostFunc", [&](Driver& state, Context& context) {
        if (function == nullptr) fail(CUDA_ERROR_INVALID_VALUE, "the function is null");
        driver::enqueue(state, driver::stream_in(state, context, handle),
                        {.kind = CU_GRAPH_NODE_TYPE_HOST,
                         .what = "cuLaunchHostFunc",
                         .host_function = function,
                         .host_argument = argument});
    });
}

CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode* mode) {
    return call("cuThreadExchangeStreamCaptureMode", [&](Driver&) {
        require_results(mode);
        if (*mode < CU_STREAM_CAPTURE_MODE_GLOBAL || *mode > CU_STREAM_CAPTURE_MODE_RELAXED) {
            fail(CUDA_ERROR_INVALID_VALUE, "the capture mode is %d; it may be 0, 1 or 2",
                 static_cast<int>(*mode));
        }
        std::swap(*mode, driver::this_thread().capture_mode);
    });
}

CUresult cuStreamBeginCapture_v2(CUstream handle, CUstreamCaptureMode mode) {
    return call_in_context("cuStreamBeginCapture_v2", [&](Driver& state, Context& context) {
        driver::begin_capture(state, driver::stream_in(state, context, handle), mode);
    });
}

CUresult cuStreamEndCapture(CUstream handle, CUgraph* graph) {
    return call_in_context("cuStreamEndCapture", [&](Driver& state, Context& context) {
        require_results(graph);
        *graph = nullptr;
        *graph = driver::end_capture(state, driver::stream_in(state, context, handle))->handle;
    });
}

CUresult cuStreamGetCaptureInfo_v2(CUstream handle, CUstreamCaptureStatus* status, uint64_t* id,
                                   CUgraph* graph, const CUgraphNode** nodes, size_t* num_nodes) {
    return call_in_context("cuStreamGetCaptureInfo_v2", [&](Driver& state, Context& context) {
        require_results(status);
        const Stream& stream = driver::stream_in(state, context, handle);
        if (stream.legacy) driver::check_no_implicit_dependency(state, context);
        *status = !stream.capture               ? CU_STREAM_CAPTURE_STATUS_NONE
                  : stream.capture->invalidated ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
                                                : CU_STREAM_CAPTURE_STATUS_ACTIVE;
        if (*status != CU_STREAM_CAPTURE_STATUS_ACTIVE) return;
        if (id != nullptr) *id = stream.capture->id;
        if (graph != nullptr) *graph = stream.capture->graph->handle;
        if (nodes != nullptr) {
            // The API lends this list until the stream is used again.
            thread_local std::vector<CUgraphNode> lent;
            lent.clear();
            for (size_t node : stream.capture_after) {
                lent.push_back(stream.capture->graph->nodes[node].handle);
            }
            *nodes = lent.data();
        }
        if (num_nodes != nullptr) *num_nodes = stream.capture_after.size();
    });
}

CUresult cuStreamIsCapturing(CUstream handle, CUstreamCaptureStatus* status) {
    return cuStreamGetCaptureInfo_v2(handle, status, nullptr, nullptr, nullptr, nullptr);
}

}  // extern "C"
}  // namespace fattn::vgpu::cuda
