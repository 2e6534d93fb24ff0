// Stream capture and its rules. Called by enqueue, by the stream and event functions, and by every
// call that a capture forbids.
#include "driver/capture.h"

#include <algorithm>

#include "driver/entry.h"
#include "driver/failure.h"

namespace fattn::vgpu::driver {
namespace {

void leave(Capture& capture) {
    for (Stream* stream : capture.streams) {
        stream->capture.reset();
        stream->capture_after.clear();
    }
    capture.streams.clear();
    capture.ended = true;
}

// Whether every node of `wanted` comes before or is one of `last`.
bool joined(const Graph& graph, const std::vector<size_t>& last,
            const std::vector<size_t>& wanted) {
    std::vector<bool> before(graph.nodes.size(), false);
    for (size_t node : last) before[node] = true;
    for (size_t node = graph.nodes.size(); node-- > 0;) {
        if (!before[node]) continue;
        for (size_t earlier : graph.nodes[node].after) before[earlier] = true;
    }
    return std::all_of(wanted.begin(), wanted.end(), [&](size_t node) { return before[node]; });
}

void join(std::vector<size_t>& after, const std::vector<size_t>& more) {
    after.insert(after.end(), more.begin(), more.end());
    std::sort(after.begin(), after.end());
    after.erase(std::unique(after.begin(), after.end()), after.end());
}

}  // namespace

void check_capture_valid(const Stream& stream) {
    if (stream.capture && stream.capture->invalidated) {
        fail(cuda::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED,
             "the stream's capture was invalidated by an earlier error");
    }
}

void fail_capture(Capture& capture, CUresult code, const std::string& text) {
    capture.invalidated = true;
    throw Failure{.code = code, .text = text + "; the capture is invalid now"};
}

void begin_capture(Driver& state, Stream& stream, cuda::CUstreamCaptureMode mode) {
    if (mode < cuda::CU_STREAM_CAPTURE_MODE_GLOBAL || mode > cuda::CU_STREAM_CAPTURE_MODE_RELAXED) {
        fail(cuda::CUDA_ERROR_INVALID_VALUE, "the capture mode is %d; it may be 0, 1 or 2",
             static_cast<int>(mode));
    }
    if (stream.legacy) {
        fail(cuda::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "the legacy stream cannot capture");
    }
    if (stream.capture) fail(cuda::CUDA_ERROR_ILLEGAL_STATE, "the stream is already capturing");
    auto capture = std::make_shared<Capture>();
    capture->id = state.next_id++;
    capture->mode = mode;
    capture->thread = std::this_thread::get_id();
    capture->origin = &stream;
    capture->streams.insert(&stream);
    capture->graph = std::make_shared<Graph>();
    capture->graph->context = stream.context;
    capture->graph->handle = state.graphs.add(capture->graph);
    state.captures.push_back(capture);
    stream.capture = std::move(capture);
    stream.capture_after.clear();
}

std::shared_ptr<Graph> end_capture(Driver& state, Stream& stream) {
    if (!stream.capture) fail(cuda::CUDA_ERROR_ILLEGAL_STATE, "the stream is not capturing");
    const std::shared_ptr<Capture> capture = stream.capture;
    if (capture->origin != &stream) {
        fail_capture(*capture, cuda::CUDA_ERROR_STREAM_CAPTURE_UNMATCHED,
                     "the capture was begun on another stream");
    }
    if (capture->mode != cuda::CU_STREAM_CAPTURE_MODE_RELAXED &&
        capture->thread != std::this_thread::get_id()) {
        fail(cuda::CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD,
             "the capture was begun by another thread and its mode is not relaxed");
    }
    const bool unjoined =
        std::any_of(capture->streams.begin(), capture->streams.end(), [&](const Stream* other) {
            return !joined(*capture->graph, stream.capture_after, other->capture_after);
        });
    leave(*capture);
    std::erase(state.captures, capture);
    if (capture->invalidated || unjoined) {
        state.graphs.remove(capture->graph->handle);
        if (capture->invalidated) {
            fail(cuda::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED,
                 "the stream's capture was invalidated by an earlier error");
        }
        fail(cuda::CUDA_ERROR_STREAM_CAPTURE_UNJOINED,
             "a stream that was forked into the capture has work that nothing joins to the stream "
             "of its begin");
    }
    return capture->graph;
}

void capture_work(Driver& state, Stream& stream, Work work) {
    check_capture_valid(stream);
    Graph& graph = *stream.capture->graph;
    const CUgraphNode handle = state.graph_nodes.add(stream.capture->graph);
    graph.nodes.push_back(
        {.handle = handle, .work = std::move(work), .after = stream.capture_after});
    stream.capture_after = {graph.nodes.size() - 1};
}

void capture_event_record(Stream& stream, Event& event) {
    check_capture_valid(stream);
    event.recorded.reset();
    event.capture = stream.capture;
    event.capture_after = stream.capture_after;
}

void capture_event_wait(Stream& stream, Event& event) {
    check_capture_valid(stream);
    if (!event.capture) {
        fail_capture(*stream.capture, cuda::CUDA_ERROR_STREAM_CAPTURE_ISOLATION,
                     "a capturing stream waits for an event that was recorded outside the capture");
    }
    if (event.capture->ended) {
        fail(cuda::CUDA_ERROR_CAPTURED_EVENT,
             "the event was last recorded in a capture that has ended");
    }
    if (stream.capture && stream.capture != event.capture) {
        event.capture->invalidated = true;
        fail_capture(*stream.capture, cuda::CUDA_ERROR_STREAM_CAPTURE_MERGE,
                     "a capturing stream waits for an event of another capture");
    }
    if (stream.legacy) {
        fail_capture(*event.capture, cuda::CUDA_ERROR_STREAM_CAPTURE_IMPLICIT,
                     "the legacy stream waits for an event of a capture");
    }
    if (!stream.capture) {
        stream.capture = event.capture;
        stream.capture->streams.insert(&stream);
    }
    join(stream.capture_after, event.capture_after);
}

void check_no_implicit_dependency(Driver& state, const Context& context) {
    for (const std::shared_ptr<Capture>& capture : state.captures) {
        for (const Stream* stream : capture->streams) {
            if (stream->context == &context && stream->blocking()) {
                fail_capture(*capture, cuda::CUDA_ERROR_STREAM_CAPTURE_IMPLICIT,
                             "work on the legacy stream would wait for a stream that is capturing");
            }
        }
    }
}

void check_no_capture_in(Driver& state, const Context& context) {
    bool found = false;
    for (const std::shared_ptr<Capture>& capture : state.captures) {
        if (capture->origin->context == &context) found = capture->invalidated = true;
    }
    if (found) {
        fail(cuda::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
             "a stream of the context is capturing, so the context cannot be waited for; the "
             "capture is invalid now");
    }
}

void check_capture_allows(Driver& state, const char* function) {
    const cuda::CUstreamCaptureMode own_mode = this_thread().capture_mode;
    if (own_mode == cuda::CU_STREAM_CAPTURE_MODE_RELAXED) return;
    bool forbidden = false;
    for (const std::shared_ptr<Capture>& capture : state.captures) {
        const bool own = capture->thread == std::this_thread::get_id() &&
                         capture->mode != cuda::CU_STREAM_CAPTURE_MODE_RELAXED;
        const bool global = own_mode == cuda::CU_STREAM_CAPTURE_MODE_GLOBAL &&
                            capture->mode == cuda::CU_STREAM_CAPTURE_MODE_GLOBAL;
        if (own || global) forbidden = capture->invalidated = true;
    }
    if (forbidden) {
        fail(cuda::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
             "%s is not permitted while a stream is capturing; the capture is invalid now",
             function);
    }
}

}  // namespace fattn::vgpu::driver
