/*
 * What the library finds of CUDA in this process, for callers that want to know why a GPU is or is
 * not used.
 */
#ifndef FUSED_ATTENTION_CUDA_H
#define FUSED_ATTENTION_CUDA_H

#include "fused_attention/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Driver, compiler, kernels and cache of this process. Texts are zero-terminated UTF-8 and cut to
 * their room. Written by fattn_cuda_info. */
typedef struct fattn_cuda_description {
    /** In: sizeof(fattn_cuda_description). Out: bytes written. */
    uint32_t struct_size;
    /** Zero. */
    uint32_t flags;
    /** Newest CUDA version that the driver serves, as 12040 for 12.4; 0 without a driver. */
    int32_t driver_version;
    /** GPUs that the driver shows. */
    int32_t num_devices;
    /** Version of NVRTC, as 12040 for 12.4; 0 without NVRTC. */
    int32_t nvrtc_version;
    /** Kernel images that the library holds. */
    int32_t num_images;
    /** Compiled programs in the cache. */
    int32_t num_cache_entries;
    /** Zero. */
    uint32_t reserved;
    /** Bytes of the cache. */
    uint64_t cache_bytes;
    /** The driver library, or why there is none. */
    char driver[512];
    /** The NVRTC library, or why there is none. */
    char nvrtc[512];
    /** Folder of the cache, or why there is none. */
    char cache[512];
    /** What the images were made for, as "sm_80, sm_90a, compute_80"; "none" without images. */
    char image_targets[128];
    /** File of PTX that is looked at before the images (FATTN_PTX_PACK), or why it is not; empty
     * when none was asked for. */
    char ptx_pack[512];
} fattn_cuda_description;

/**
 * Looks for driver, NVRTC and cache, and says what was found. What is absent is described, not an
 * error; so is a library that was built without its CUDA backend.
 * Errors: INVALID_ARGUMENT for NULL or a struct_size that no version has.
 * Cost: the first call loads the libraries.
 */
FATTN_API fattn_status fattn_cuda_info(fattn_cuda_description* description);

#ifdef __cplusplus
}
#endif

#endif /* FUSED_ATTENTION_CUDA_H */
