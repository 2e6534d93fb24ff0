/*
 * Devices, on which every caller makes plans: how they are opened, described, measured, released.
 */
#ifndef FUSED_ATTENTION_DEVICE_H
#define FUSED_ATTENTION_DEVICE_H

#include "fused_attention/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/** How a device is opened. NULL in place of a pointer to it means all defaults. */
typedef struct fattn_device_options {
    /** sizeof(fattn_device_options). */
    uint32_t struct_size;
    /** Zero. */
    uint32_t flags;
    /** Instruction set to use; one that the processor lacks is an error. */
    fattn_cpu_target cpu_target;
    /** Threads of a run that does not say; 0 for one per processor this process may use. */
    int32_t num_threads;
} fattn_device_options;

/** What a device is. Written by fattn_device_info. */
typedef struct fattn_device_description {
    /** In: sizeof(fattn_device_description). Out: bytes written. */
    uint32_t struct_size;
    /** Zero. */
    uint32_t flags;
    /** CPU or CUDA. */
    fattn_device_kind kind;
    /** CUDA ordinal; 0 for the CPU. */
    int32_t index;
    /** Instruction set in use (CPU). */
    fattn_cpu_target cpu_target;
    /** Instruction sets this build holds and this processor runs: bit n for value n of
     * fattn_cpu_target (CPU). */
    uint32_t cpu_targets_available;
    /** Instruction sets this build holds: bit n for value n of fattn_cpu_target (CPU). */
    uint32_t cpu_targets_built;
    /** Threads of a run that does not say. */
    int32_t num_threads;
    /** Name of the processor or GPU, zero-terminated UTF-8. */
    char name[128];
    /** Why this instruction set was chosen, a sentence; of a GPU, what is used there. */
    char reason[256];
    /** Compute capability, as 90 for 9.0 (CUDA). */
    int32_t architecture;
    /** Multiprocessors (CUDA). */
    int32_t num_multiprocessors;
    /** Bytes of device memory (CUDA). */
    uint64_t memory_bytes;
    /** Bytes of shared memory that a block of threads can have at most (CUDA). */
    int32_t shared_bytes_per_block;
    /** Bytes of the second-level cache (CUDA). */
    int32_t l2_bytes;
    /** What tells this GPU from all others (CUDA). */
    uint8_t uuid[16];
} fattn_device_description;

/** What fattn_device_measure measures; see fattn_peak_values. */
typedef uint32_t fattn_peak;
enum fattn_peak_values {
    /** Multiply-adds in f32 on registers, in 1e9 floating-point operations per second. */
    FATTN_PEAK_F32 = 0,
    /** Multiply-adds of bfloat16 pairs on registers (the f32 rate where the target has none). */
    FATTN_PEAK_BF16 = 1,
    /** Reading memory that no cache holds, in 1e9 bytes per second. */
    FATTN_PEAK_READ = 2
};

/**
 * The process-wide CPU device with default options (environment FATTN_CPU_TARGET is honoured), with
 * a reference for the caller. All calls give the same device, also at the same time.
 * Errors: INVALID_ARGUMENT for NULL or a FATTN_CPU_TARGET that names no target; UNSUPPORTED for one
 * that this build or this processor lacks.
 * Cost: the first call asks the processor what it is; later ones take a lock.
 */
FATTN_API fattn_status fattn_device_cpu(fattn_device** device);

/**
 * Opens a device, with a reference for the caller. options may be NULL.
 * Errors: INVALID_ARGUMENT for NULL, an unknown kind or options out of range; UNSUPPORTED for flags
 * or an instruction set that this build or this processor lacks; DEVICE_UNAVAILABLE with the reason
 * for a device that is not there.
 * Cost: threads are started by runs, not here, and shared by all CPU devices.
 */
FATTN_API fattn_status fattn_device_open(fattn_device_kind kind, int32_t index,
                                         const fattn_device_options* options,
                                         fattn_device** device);

/**
 * Opens the GPU of a CUDA context (a CUcontext) that another library made, with a reference for the
 * caller. Plans, streams and memory of this handle live in that context, which must not be
 * destroyed before them; NULL is the context that is current on the calling thread.
 * fattn_device_open works in the primary context, which it shares with the CUDA runtime.
 * Errors: INVALID_ARGUMENT for a NULL place, no current context, or a handle that is no context;
 * UNSUPPORTED, DEVICE_UNAVAILABLE as fattn_device_open.
 */
FATTN_API fattn_status fattn_device_attach(void* context, fattn_device** device);

/** Adds a reference. Errors: INVALID_ARGUMENT for NULL. */
FATTN_API fattn_status fattn_device_retain(fattn_device* device);

/** Drops a reference; NULL is allowed. Plans hold references of their own, so the order in which
 * handles are released does not matter. */
FATTN_API void fattn_device_release(fattn_device* device);

/** Describes a device. Errors: INVALID_ARGUMENT for NULL or a struct_size that no version has. */
FATTN_API fattn_status fattn_device_info(fattn_device* device,
                                         fattn_device_description* description);

/** The CUcontext that a device works in, for other libraries. Errors: INVALID_ARGUMENT for NULL;
 * UNSUPPORTED on the CPU device. */
FATTN_API fattn_status fattn_device_context(fattn_device* device, void** context);

/** Bytes of device memory that are free at this moment, and all of them; either result may be NULL.
 * Errors: INVALID_ARGUMENT for a NULL device; UNSUPPORTED on the CPU device; DEVICE_FAULT. */
FATTN_API fattn_status fattn_device_memory(fattn_device* device, uint64_t* free_bytes,
                                           uint64_t* total_bytes);

/** Waits for everything that was queued on a device, by any library in its context. Errors:
 * INVALID_ARGUMENT for NULL; UNSUPPORTED on the CPU device; DEVICE_FAULT for a fault of earlier
 * work. */
FATTN_API fattn_status fattn_device_synchronize(fattn_device* device);

/**
 * Returns idle workspace memory to the system; runs under way keep theirs.
 * Errors: INVALID_ARGUMENT for NULL.
 */
FATTN_API fattn_status fattn_device_trim(fattn_device* device);

/**
 * Measures a machine peak with num_threads threads (0: the device's own number) for about the given
 * seconds, so that a benchmark can state what share of the machine it reached in the same run.
 * Errors: INVALID_ARGUMENT for NULL, an unknown peak, num_threads outside 0 to 1024, seconds that
 * are not above 0 and at most 60.
 * Cost: the seconds, on every thread; FATTN_PEAK_READ also takes 256 MiB.
 */
FATTN_API fattn_status fattn_device_measure(fattn_device* device, fattn_peak peak,
                                            int32_t num_threads, double seconds, double* result);

#ifdef __cplusplus
}
#endif

#endif /* FUSED_ATTENTION_DEVICE_H */
