/*
 * Devices and plans, the handles that every operation works with, beside the texts of errors and
 * what the library says of its own build; read by every caller.
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
    /** Why this instruction set was chosen, a sentence. */
    char reason[256];
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

/** What a plan is. Written by fattn_plan_info. */
typedef struct fattn_plan_description {
    /** In: sizeof(fattn_plan_description). Out: bytes written. */
    uint32_t struct_size;
    /** Zero. */
    uint32_t flags;
    /** Family of the plan. */
    fattn_family family;
    /** Device kind. */
    fattn_device_kind device_kind;
    /** Bytes of workspace of a forward run with the device's own number of threads. */
    uint64_t forward_workspace_bytes;
    /** Bytes of workspace of a backward run; 0 when the plan was made without FATTN_*_BACKWARD. */
    uint64_t backward_workspace_bytes;
    /** Floating-point operations of a forward run over the visited tiles (capacities where lengths
     * come later). */
    double forward_flops;
    /** Floating-point operations of a backward run. */
    double backward_flops;
    /** Kernel that forward runs use, zero-terminated. */
    char forward_kernel[64];
    /** Kernel that backward runs use, zero-terminated. */
    char backward_kernel[64];
} fattn_plan_description;

/** Sums over the schedule of a plan. Written by fattn_plan_schedule_stats. */
typedef struct fattn_schedule_stats {
    /** In: sizeof(fattn_schedule_stats). Out: bytes written. */
    uint32_t struct_size;
    /** Zero. */
    uint32_t flags;
    /** Rows of a tile. */
    int64_t tile_q;
    /** Keys of a tile. */
    int64_t tile_kv;
    /** Tiles along the queries. */
    int64_t num_q_tiles;
    /** Tiles along the keys. */
    int64_t num_kv_tiles;
    /** Tiles whose every pair is visible, over all batch entries and heads. */
    int64_t full_tiles;
    /** Tiles with some visible pair that are not full. */
    int64_t partial_tiles;
    /** Tiles that are not visited. */
    int64_t skipped_tiles;
    /** Visible (query, key) pairs. */
    double needed_pairs;
    /** Pairs of all visited tiles; in families that gather single keys (neighborhood), those that
     * groups of neighbouring rows compute in a forward run. A backward run of such a family visits
     * other pairs; fattn_plan_description.backward_flops counts them. */
    double visited_pairs;
} fattn_schedule_stats;

/** State of a tile in the map of fattn_plan_schedule_tiles; see fattn_tile_values. */
typedef uint32_t fattn_tile;
enum fattn_tile_values {
    /** Not visited. */
    FATTN_TILE_SKIPPED = 0,
    /** Visited, the predicate decides pair by pair. */
    FATTN_TILE_PARTIAL = 1,
    /** Visited, every pair is visible. */
    FATTN_TILE_FULL = 2
};

/**
 * Text of the calling thread's last failing call, UTF-8, at most 1023 bytes; empty when none
 * failed. Never NULL. Valid until that thread's next failing call.
 * Threads: each has its own text.
 */
FATTN_API const char* fattn_last_error(void);

/** Name of a status, for example "invalid argument", static; "unknown status" for other values.
 * Never NULL. */
FATTN_API const char* fattn_status_name(fattn_status status);

/** Place of one field (or, with field NULL, size of a whole struct) as the library was built. */
typedef struct fattn_abi_entry {
    /** Struct name. */
    const char* structure;
    /** Field name or NULL. */
    const char* field;
    /** Bytes from the start of the struct. */
    uint32_t offset;
    /** Size in bytes. */
    uint32_t size;
} fattn_abi_entry;

/** The library's own view of this header. Written by fattn_abi_describe. */
typedef struct fattn_abi_description {
    /** In: sizeof(fattn_abi_description). Out: bytes written. */
    uint32_t struct_size;
    /** FATTN_ABI_VERSION of the library. In the place that other growing structs give to flags. */
    uint32_t abi_version;
    /** Version of the library, for example "0.1.0". */
    const char* library_version;
    /** Table of all structs and fields, static. */
    const fattn_abi_entry* entries;
    /** Length of entries. */
    uint64_t num_entries;
} fattn_abi_description;

/**
 * Reports version and struct layout, so that a caller can refuse a library that does not match its
 * header. The texts and the table live as long as the library.
 * Errors: INVALID_ARGUMENT for NULL or a struct_size that no version has.
 */
FATTN_API fattn_status fattn_abi_describe(fattn_abi_description* description);

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

/** Adds a reference. Errors: INVALID_ARGUMENT for NULL. */
FATTN_API fattn_status fattn_device_retain(fattn_device* device);

/** Drops a reference; NULL is allowed. Plans hold references of their own, so the order in which
 * handles are released does not matter. */
FATTN_API void fattn_device_release(fattn_device* device);

/** Describes a device. Errors: INVALID_ARGUMENT for NULL or a struct_size that no version has. */
FATTN_API fattn_status fattn_device_info(fattn_device* device,
                                         fattn_device_description* description);

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

/** Adds a reference. Errors: INVALID_ARGUMENT for NULL. */
FATTN_API fattn_status fattn_plan_retain(fattn_plan* plan);

/** Drops a reference; NULL is allowed. Safe while a run of the plan is under way on the CPU. */
FATTN_API void fattn_plan_release(fattn_plan* plan);

/**
 * Describes a plan.
 * Errors: INVALID_ARGUMENT for NULL or a struct_size that no version has.
 * Cost: the operations are counted over the schedule.
 */
FATTN_API fattn_status fattn_plan_info(fattn_plan* plan, fattn_plan_description* description);

/**
 * Bytes that a run needs at most: in host memory, and in device memory (0 on the CPU). max_threads
 * as in fattn_run; either result may be NULL.
 * Errors: INVALID_ARGUMENT for a NULL plan, an unknown pass, a backward pass that the plan was made
 * without, a negative max_threads.
 * Bounds: dense, forward: independent of the lengths for many queries, linear in the keys for few;
 * dense, backward: linear in queries plus keys. Proportional to the threads at most.
 */
FATTN_API fattn_status fattn_plan_workspace(fattn_plan* plan, fattn_pass pass, int32_t max_threads,
                                            uint64_t* host_bytes, uint64_t* device_bytes);

/**
 * Sums over the schedule, at capacity where lengths come with the run.
 * Errors: INVALID_ARGUMENT for NULL or a struct_size that no version has; UNSUPPORTED for a family
 * without a schedule (lightning).
 * Cost: walks the tiles of the schedule; nothing is kept.
 */
FATTN_API fattn_status fattn_plan_schedule_stats(fattn_plan* plan, fattn_schedule_stats* stats);

/**
 * Tile map of one batch entry and query head, [num_q_tiles, num_kv_tiles] bytes of
 * fattn_tile_values, row-major. num_bytes is the size of tiles and must be at least num_q_tiles *
 * num_kv_tiles of the stats.
 * Errors: INVALID_ARGUMENT for NULL, a batch or head that the plan lacks, too small a num_bytes;
 * UNSUPPORTED for a family without a schedule (lightning).
 * Cost: proportional to the map.
 */
FATTN_API fattn_status fattn_plan_schedule_tiles(fattn_plan* plan, int64_t batch, int64_t head,
                                                 uint8_t* tiles, uint64_t num_bytes);

#ifdef __cplusplus
}
#endif

#endif /* FUSED_ATTENTION_DEVICE_H */
