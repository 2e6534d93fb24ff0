/* How one run is carried out: the last argument of every operation that takes data. */
#ifndef FUSED_ATTENTION_RUN_H
#define FUSED_ATTENTION_RUN_H

#include "fused_attention/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/** How one run is carried out. NULL in place of a pointer to it means all defaults. */
typedef struct fattn_run {
    /** sizeof(fattn_run). */
    uint32_t struct_size;
    /** None defined; zero. */
    uint32_t flags;
    /** Most threads the run may use, 0 for the device's own number; above 1024 it counts as 1024.
     * Never changes results. */
    int32_t max_threads;
    /** Zero. */
    uint32_t reserved;
    /** CUDA stream; must be NULL on the CPU, where the call returns when the work is done. */
    void* stream;
    /** Memory of at least the plan's workspace size, 64-byte aligned, or NULL for the device's own
     * pool. On CUDA devices there is no pool: a forward run without workspace does not split the
     * keys of few queries, and a backward run that needs one is refused. */
    void* workspace;
    /** Size of workspace in bytes. */
    uint64_t workspace_bytes;
    /** CPU: polled between tiles, by all threads of the run, so write it atomically; a nonzero
     * value ends the run with FATTN_STATUS_CANCELLED and outputs undefined. 4-byte aligned. May be
     * NULL.
     */
    const int32_t* cancel;
} fattn_run;

#ifdef __cplusplus
}
#endif

#endif /* FUSED_ATTENTION_RUN_H */
