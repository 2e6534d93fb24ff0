/* Writing new tokens into the pages of a cache of keys or values, for callers that decode. */
#ifndef FUSED_ATTENTION_CACHE_H
#define FUSED_ATTENTION_CACHE_H

#include "fused_attention/run.h"
#include "fused_attention/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/** New keys or values and the pages that take them. */
typedef struct fattn_cache_append_args {
    /** sizeof(fattn_cache_append_args). */
    uint32_t struct_size;
    /** Zero. */
    uint32_t flags;
    /** Layout of the new tokens, [B, H, n, D], f32, f16 or bf16. */
    fattn_layout tokens_layout;
    /** Layout of the pages, [num_pages, page_size, H, D] as a paged dense plan takes them, or with
     * one head, where every head has pages of its own. dtype 0: that of the tokens. */
    fattn_layout pages_layout;
    /** The new tokens. */
    const void* tokens;
    /** The pages. What no slot names stays as it is. */
    void* pages;
    /** Where each token goes, page * page_size + place in the page, and below 0 nowhere: [B, n],
     * or [B, H, n] where the pages have one head. Lies where the tensors lie. */
    const int32_t* slots;
} fattn_cache_append_args;

/**
 * Copies new tokens of a cache to their slots. One call is for keys or for values. Slots of one
 * call should differ: which token a slot named twice gets is not said. run may be NULL.
 * Errors: INVALID_ARGUMENT for NULL, layouts that do not fit, missing, misaligned or overlapping
 * tensors, and on the CPU for slots outside the pages, before anything is written; on CUDA tokens
 * of such slots are left out, and the call only queues. UNSUPPORTED for flags. CANCELLED.
 * Needs no workspace. Source: pages of Kwon et al. 2023, arXiv:2309.06180, section 4.1.
 */
FATTN_API fattn_status fattn_cache_append(fattn_device* device, const fattn_cache_append_args* args,
                                          const fattn_run* run);

#ifdef __cplusplus
}
#endif

#endif /* FUSED_ATTENTION_CACHE_H */
