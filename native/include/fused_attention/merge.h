/* Merging partial results over disjoint sets of keys, for callers that cut the keys among runs. */
#ifndef FUSED_ATTENTION_MERGE_H
#define FUSED_ATTENTION_MERGE_H

#include "fused_attention/run.h"
#include "fused_attention/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Partial results over disjoint sets of keys, to be merged by fattn_merge. */
typedef struct fattn_merge_args {
    /** sizeof(fattn_merge_args). */
    uint32_t struct_size;
    /** Zero. */
    uint32_t flags;
    /** Layout of every part's output, [B, H, L, Dv]. */
    fattn_layout part;
    /** Layout of the merged output. Rank 0: contiguous, dtype of the parts. */
    fattn_layout o_layout;
    /** Number of parts, at least 1. */
    int64_t num_parts;
    /** [num_parts] pointers to outputs. */
    const void* const* o_parts;
    /** [num_parts] pointers to [B, H, L] f32 contiguous. */
    const float* const* lse_parts;
    /** Merged output. */
    void* o;
    /** Merged LSE, [B, H, L] f32, or NULL. */
    float* lse;
} fattn_merge_args;

/**
 * Merges partial results: LSE = log sum_r exp(LSE_r), O = sum_r exp(LSE_r - LSE) O_r. Parts with
 * LSE -inf count as absent; a row absent everywhere is O = 0, LSE = -inf. Backward: run each part's
 * own backward with the merged O and LSE and the same d_o. Outputs may be the same memory as one
 * part when the layouts are equal. run may be NULL.
 * Errors: INVALID_ARGUMENT for NULL, num_parts outside 1 to 65536, layouts that do not fit,
 * missing, misaligned or overlapping tensors; UNSUPPORTED for flags; CANCELLED.
 * Bounds: error at most twice that of the sum above in f32 against double precision. Parts are
 * taken in their order, so the same bits for any number of threads. Needs no workspace.
 * Source: the merge of softmax states of Milakov and Gimelshein 2018, arXiv:1805.02867, section
 * 3.1.
 */
FATTN_API fattn_status fattn_merge(fattn_device* device, const fattn_merge_args* args,
                                   const fattn_run* run);

#ifdef __cplusplus
}
#endif

#endif /* FUSED_ATTENTION_MERGE_H */
