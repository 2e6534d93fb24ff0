// The driver's state and the checks that exported functions share. Called by entry.h.
#include "driver/driver.h"

#include <cstdio>

#include "driver/capture.h"
#include "driver/entry.h"

namespace fattn::vgpu::driver {

Driver& driver() {
    static Driver* const state = new Driver;
    return *state;
}

ThreadState& this_thread() {
    thread_local ThreadState state;
    return state;
}

void Driver::publish(std::string text) {
    report = std::move(text);
    if (settings.report != Settings::Report::kNone) {
        std::fprintf(stderr, "virtual GPU: %s\n", report.c_str());
    }
}

CUresult note_failure(const char* function, const Failure& failure) noexcept {
    try {
        this_thread().last_error =
            format_text("%s: %s (%s)", function, failure.text.c_str(), result_name(failure.code));
        const std::lock_guard lock(driver().mutex);
        const Settings::Report wanted = driver().settings.report;
        if (wanted == Settings::Report::kAll || (wanted == Settings::Report::kFaults &&
                                                 failure.code == cuda::CUDA_ERROR_NOT_SUPPORTED)) {
            std::fprintf(stderr, "virtual GPU: %s\n", this_thread().last_error.c_str());
        }
    } catch (const std::bad_alloc&) {
        // The code alone must do.
    }
    return failure.code;
}

void check_callable(const Driver& state) {
    if (!state.initialised) fail(cuda::CUDA_ERROR_NOT_INITIALIZED, "cuInit has not been called");
    if (this_thread().in_host_function) {
        fail(cuda::CUDA_ERROR_NOT_PERMITTED, "a host function of a stream may not call the driver");
    }
}

Context& current_context(Driver&) {
    const ThreadState& thread = this_thread();
    if (thread.current.empty() || thread.current.back() == nullptr) {
        fail(cuda::CUDA_ERROR_INVALID_CONTEXT, "this thread has no current context");
    }
    Context& context = *thread.current.back();
    if (context.destroyed) {
        fail(cuda::CUDA_ERROR_CONTEXT_IS_DESTROYED, "the current context has been destroyed");
    }
    if (context.sticky != cuda::CUDA_SUCCESS) {
        fail(context.sticky, "an earlier fault has ended this context: %s",
             context.sticky_text.c_str());
    }
    return context;
}

namespace {

std::shared_ptr<Stream> special_stream(Driver& state, Context& context, CUstream handle) {
    if (handle == nullptr || handle == cuda::kLegacyStream) return context.legacy;
    if (handle != cuda::kPerThreadStream) return nullptr;
    std::shared_ptr<Stream>& stream = context.per_thread[std::this_thread::get_id()];
    if (!stream) {
        stream = std::make_shared<Stream>();
        stream->handle = cuda::kPerThreadStream;
        stream->context = &context;
        stream->id = state.next_id++;
    }
    return stream;
}

}  // namespace

Stream& stream_in(Driver& state, Context& context, CUstream handle) {
    if (const auto special = special_stream(state, context, handle)) return *special;
    const std::shared_ptr<Stream> stream = state.streams.require(handle);
    if (stream->context != &context) {
        fail(cuda::CUDA_ERROR_INVALID_HANDLE,
             "the stream belongs to context %llu; the current one is %llu",
             static_cast<unsigned long long>(stream->context->id),
             static_cast<unsigned long long>(context.id));
    }
    return *stream;
}

std::shared_ptr<Stream> any_stream(Driver& state, CUstream handle) {
    if (handle == nullptr || handle == cuda::kLegacyStream || handle == cuda::kPerThreadStream) {
        return special_stream(state, current_context(state), handle);
    }
    std::shared_ptr<Stream> stream = state.streams.require(handle);
    if (stream->context->sticky != cuda::CUDA_SUCCESS) {
        fail(stream->context->sticky, "an earlier fault has ended the stream's context: %s",
             stream->context->sticky_text.c_str());
    }
    return stream;
}

}  // namespace fattn::vgpu::driver
