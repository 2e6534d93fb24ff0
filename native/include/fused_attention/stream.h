/*
 * Streams and events of CUDA devices, for callers that order their own work around runs.
 */
#ifndef FUSED_ATTENTION_STREAM_H
#define FUSED_ATTENTION_STREAM_H

#include "fused_attention/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Reference-counted handle of a stream: a queue of work on a CUDA device. */
typedef struct fattn_stream fattn_stream;

/** Reference-counted handle of an event: a mark in a stream that can be waited for. */
typedef struct fattn_event fattn_event;

/**
 * Makes a stream, which does not wait for the legacy default stream. Streams of lower priority
 * numbers run first; the driver clamps the number.
 * Errors: INVALID_ARGUMENT for NULL; UNSUPPORTED on the CPU device; DEVICE_UNAVAILABLE,
 * DEVICE_FAULT.
 */
FATTN_API fattn_status fattn_stream_create(fattn_device* device, int32_t priority,
                                           fattn_stream** stream);

/**
 * Takes a stream that another library made (a CUstream or cudaStream_t) in the device's context;
 * NULL is the legacy default stream, (void*)2 the calling thread's. It is never destroyed here and
 * must live as long as the handle.
 * Errors: INVALID_ARGUMENT for NULL handles and for a stream of another context; UNSUPPORTED on the
 * CPU device.
 */
FATTN_API fattn_status fattn_stream_borrow(fattn_device* device, void* native,
                                           fattn_stream** stream);

/** Adds a reference. Errors: INVALID_ARGUMENT for NULL. */
FATTN_API fattn_status fattn_stream_retain(fattn_stream* stream);

/** Drops a reference; NULL is allowed. Work already in the stream still finishes; where the stream
 * was prepared for plans its workspace goes after that work, which is waited for. */
FATTN_API void fattn_stream_release(fattn_stream* stream);

/** The CUstream, for fattn_run.stream and for other libraries. Errors: INVALID_ARGUMENT for NULL.
 */
FATTN_API fattn_status fattn_stream_native(fattn_stream* stream, void** native);

/** Writes 1 when nothing is left to do in the stream, else 0. Errors: INVALID_ARGUMENT for NULL;
 * DEVICE_FAULT for a fault of earlier work. */
FATTN_API fattn_status fattn_stream_query(fattn_stream* stream, int32_t* done);

/** Waits until everything in the stream is done. Errors: as fattn_stream_query. */
FATTN_API fattn_status fattn_stream_synchronize(fattn_stream* stream);

/** Makes later work of the stream wait for the event's last mark, of the same device; an event that
 * was never recorded makes it wait for nothing. Errors: INVALID_ARGUMENT for NULL or another
 * device's event. */
FATTN_API fattn_status fattn_stream_wait(fattn_stream* stream, fattn_event* event);

/** Bits of the flags of fattn_event_create. */
enum fattn_event_flags {
    /** fattn_event_elapsed may be asked; such an event costs a little more. */
    FATTN_EVENT_TIMING = 1
};

/** Makes an event. Errors: INVALID_ARGUMENT for NULL; UNSUPPORTED for unknown flags and on the CPU
 * device. */
FATTN_API fattn_status fattn_event_create(fattn_device* device, uint32_t flags,
                                          fattn_event** event);

/** Adds a reference. Errors: INVALID_ARGUMENT for NULL. */
FATTN_API fattn_status fattn_event_retain(fattn_event* event);

/** Drops a reference; NULL is allowed. Streams that wait for the mark still do. */
FATTN_API void fattn_event_release(fattn_event* event);

/** The CUevent, for other libraries. Errors: INVALID_ARGUMENT for NULL. */
FATTN_API fattn_status fattn_event_native(fattn_event* event, void** native);

/** Marks the work that is in a stream of the same device now. Errors: INVALID_ARGUMENT for NULL or
 * another device's stream. */
FATTN_API fattn_status fattn_event_record(fattn_event* event, fattn_stream* stream);

/** Writes 1 when the marked work is done or nothing was marked, else 0. Never waits. Errors:
 * INVALID_ARGUMENT for NULL; DEVICE_FAULT for a fault of earlier work. */
FATTN_API fattn_status fattn_event_query(fattn_event* event, int32_t* done);

/** Waits until the marked work is done. Errors: as fattn_event_query. */
FATTN_API fattn_status fattn_event_synchronize(fattn_event* event);

/** Time from one mark to another. Errors: INVALID_ARGUMENT for NULL, events of two devices, made
 * without FATTN_EVENT_TIMING, never recorded, or not both done. */
FATTN_API fattn_status fattn_event_elapsed(fattn_event* start, fattn_event* end,
                                           float* milliseconds);

#ifdef __cplusplus
}
#endif

#endif /* FUSED_ATTENTION_STREAM_H */
