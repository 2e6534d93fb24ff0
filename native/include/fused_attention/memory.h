/*
 * Memory of CUDA devices, page-locked host memory, and copies between them, for callers that bring
 * no memory of their own.
 */
#ifndef FUSED_ATTENTION_MEMORY_H
#define FUSED_ATTENTION_MEMORY_H

#include "fused_attention/stream.h"
#include "fused_attention/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Reference-counted handle of a block of memory. */
typedef struct fattn_memory fattn_memory;

/** Where a block lies; see fattn_memory_kind_values. */
typedef uint32_t fattn_memory_kind;
enum fattn_memory_kind_values {
    /** Device memory, 256-byte aligned. */
    FATTN_MEMORY_DEVICE = 0,
    /** Page-locked host memory: copies from and to it run beside other work. */
    FATTN_MEMORY_PINNED = 1
};

/** Direction of a copy; see fattn_copy_values. */
typedef uint32_t fattn_copy;
enum fattn_copy_values {
    /** From host memory to device memory. */
    FATTN_COPY_TO_DEVICE = 0,
    /** From device memory to host memory. */
    FATTN_COPY_TO_HOST = 1,
    /** Within one device's memory. */
    FATTN_COPY_ON_DEVICE = 2
};

/**
 * Allocates memory of undefined contents. 0 bytes give a block at address NULL.
 * Errors: INVALID_ARGUMENT for NULL or an unknown kind; UNSUPPORTED on the CPU device;
 * OUT_OF_MEMORY saying how much was asked and how much is free.
 */
FATTN_API fattn_status fattn_memory_allocate(fattn_device* device, fattn_memory_kind kind,
                                             uint64_t bytes, fattn_memory** memory);

/** Adds a reference. Errors: INVALID_ARGUMENT for NULL. */
FATTN_API fattn_status fattn_memory_retain(fattn_memory* memory);

/** Drops a reference; NULL is allowed. The last one waits for everything that the device was given
 * before and then frees the block, so work in flight never loses its memory. */
FATTN_API void fattn_memory_release(fattn_memory* memory);

/** First byte and size of a block; either result may be NULL. Errors: INVALID_ARGUMENT for NULL. */
FATTN_API fattn_status fattn_memory_address(fattn_memory* memory, void** address, uint64_t* bytes);

/**
 * Whether bytes from an address on are memory of this device, as allocated here or by another
 * library in the same context.
 * Errors: INVALID_ARGUMENT, saying what the address is instead: host memory, memory of another
 * context, or a range that leaves its block; UNSUPPORTED on the CPU device.
 */
FATTN_API fattn_status fattn_memory_check(fattn_device* device, const void* address,
                                          uint64_t bytes);

/**
 * Queues a copy in the stream. Both memories must stay as they are until the stream has come there;
 * with host memory that is not page-locked the call may return only then. Followed by
 * fattn_stream_synchronize it is a copy that waits.
 * Errors: INVALID_ARGUMENT for NULL, an unknown kind, or an address in device memory that
 * fattn_memory_check would refuse.
 */
FATTN_API fattn_status fattn_stream_copy(fattn_stream* stream, fattn_copy kind, void* to,
                                         const void* from, uint64_t bytes);

/** Queues filling device memory with one byte, 0 to 255. Errors: as fattn_stream_copy. */
FATTN_API fattn_status fattn_stream_fill(fattn_stream* stream, void* to, uint32_t value,
                                         uint64_t bytes);

#ifdef __cplusplus
}
#endif

#endif /* FUSED_ATTENTION_MEMORY_H */
