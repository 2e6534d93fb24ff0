// The frame of every exported function: the lock, the checks that all share, and exceptions turned
// into result codes.
#pragma once

#include <exception>
#include <mutex>
#include <new>

#include "driver/driver.h"
#include "driver/failure.h"

namespace fattn::vgpu::driver {

// Remembers the text for this thread and reports it as the settings say; gives the code.
CUresult note_failure(const char* function, const Failure& failure) noexcept;

// Fails unless cuInit has been called and the call does not come from a host function.
void check_callable(const Driver& state);
// The thread's context: valid, and not ended by a fault.
Context& current_context(Driver& state);
// Fails when the calling thread may not make potentially unsafe calls because of a capture, which
// the call then ends.
void check_capture_allows(Driver& state, const char* function);

template <class Body>
CUresult call_anytime(const char* function, Body&& body) noexcept {
    try {
        Driver& state = driver();
        const std::lock_guard lock(state.mutex);
        body(state);
        return cuda::CUDA_SUCCESS;
    } catch (const Failure& failure) {
        return note_failure(function, failure);
    } catch (const std::bad_alloc&) {
        return note_failure(function, {cuda::CUDA_ERROR_OUT_OF_MEMORY, "the host has no memory"});
    } catch (const std::exception& error) {
        return note_failure(function, {cuda::CUDA_ERROR_UNKNOWN, error.what()});
    }
}

// For functions that need no context.
template <class Body>
CUresult call(const char* function, Body&& body) noexcept {
    return call_anytime(function, [&](Driver& state) {
        check_callable(state);
        body(state);
    });
}

// For functions of the current context.
template <class Body>
CUresult call_in_context(const char* function, Body&& body) noexcept {
    return call(function, [&](Driver& state) { body(state, current_context(state)); });
}

// For those among them that a capture forbids.
template <class Body>
CUresult call_outside_capture(const char* function, Body&& body) noexcept {
    return call_in_context(function, [&](Driver& state, Context& context) {
        check_capture_allows(state, function);
        body(state, context);
    });
}

// Fails with CUDA_ERROR_INVALID_VALUE when a result has no place.
template <class... Pointers>
void require_results(Pointers*... pointers) {
    if (((pointers == nullptr) || ...)) {
        fail(cuda::CUDA_ERROR_INVALID_VALUE, "a pointer for a result is null");
    }
}

// The stream that a handle names in a context: null and 1 are the legacy stream, 2 the thread's
// own.
Stream& stream_in(Driver& state, Context& context, CUstream handle);
// The same for functions that take streams of any context.
std::shared_ptr<Stream> any_stream(Driver& state, CUstream handle);

}  // namespace fattn::vgpu::driver
