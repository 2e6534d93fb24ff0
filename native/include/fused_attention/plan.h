/*
 * What plans of all families share, for every caller: lifetime, description, workspace, schedule.
 */
#ifndef FUSED_ATTENTION_PLAN_H
#define FUSED_ATTENTION_PLAN_H

#include "fused_attention/types.h"

#ifdef __cplusplus
extern "C" {
#endif

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
    /** Bytes of host workspace of a forward run with the device's own number of threads. */
    uint64_t forward_workspace_bytes;
    /** Bytes of host workspace of a backward run; 0 when the plan was made without
     * FATTN_*_BACKWARD. */
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
    /** Bytes of device memory of a forward run at most (CUDA). */
    uint64_t forward_device_workspace_bytes;
    /** Bytes of device memory of a backward run at most (CUDA). */
    uint64_t backward_device_workspace_bytes;
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
 * Makes the pool of a CUDA stream (as fattn_run.stream) large enough for runs of this pass that
 * bring no workspace; growing it waits for the stream. Runs in one stream follow each other and
 * share the pool's block; a run never grows it. On the CPU, whose pool grows by itself, it does
 * nothing; stream is then NULL.
 * Errors: INVALID_ARGUMENT for a NULL plan, an unknown pass, a backward pass that the plan was made
 * without, a stream of another context, a stream that is being captured; OUT_OF_MEMORY.
 */
FATTN_API fattn_status fattn_plan_prepare(fattn_plan* plan, fattn_pass pass, void* stream);

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

#endif /* FUSED_ATTENTION_PLAN_H */
