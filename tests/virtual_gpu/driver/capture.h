// Stream capture: operations become nodes of a graph. Called by enqueue and by the stream
// functions.
#pragma once

#include "driver/driver.h"

namespace fattn::vgpu::driver {

void begin_capture(Driver& state, Stream& stream, cuda::CUstreamCaptureMode mode);
// The captured graph; fails when the capture was invalid, after ending it.
std::shared_ptr<Graph> end_capture(Driver& state, Stream& stream);

// Adds work as a node behind what the stream has captured so far.
void capture_work(Driver& state, Stream& stream, Work work);
void capture_event_record(Stream& stream, Event& event);
// A wait of `stream` for an event, at least one of which is part of a capture.
void capture_event_wait(Stream& stream, Event& event);

// Fails with CUDA_ERROR_STREAM_CAPTURE_INVALIDATED if the stream's capture has been.
void check_capture_valid(const Stream& stream);
// For calls that a capturing stream forbids, as waiting for it: invalidates and fails with `code`.
[[noreturn]] void fail_capture(Capture& capture, CUresult code, const std::string& text);
// For work on the legacy stream while a blocking stream of the context captures.
void check_no_implicit_dependency(Driver& state, const Context& context);
// For cuCtxSynchronize.
void check_no_capture_in(Driver& state, const Context& context);

}  // namespace fattn::vgpu::driver
