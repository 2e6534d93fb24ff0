/*
 * The values that every part of the C interface is made of: statuses, element types, enumerations,
 * handles, layouts; included by all other files of this folder.
 */
#ifndef FUSED_ATTENTION_TYPES_H
#define FUSED_ATTENTION_TYPES_H

#include <stdint.h>

#if defined(_WIN32)
#if defined(FATTN_BUILDING_LIBRARY)
#define FATTN_API __declspec(dllexport)
#elif defined(FATTN_STATIC_LIBRARY)
#define FATTN_API
#else
#define FATTN_API __declspec(dllimport)
#endif
#else
#define FATTN_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/** Result of a call; see fattn_status_values. */
typedef uint32_t fattn_status;
enum fattn_status_values {
    /** The call did what was asked. */
    FATTN_STATUS_OK = 0,
    /** An argument is wrong; nothing was written. */
    FATTN_STATUS_INVALID_ARGUMENT = 1,
    /** The request is well-formed, but this library version or device cannot do it. */
    FATTN_STATUS_UNSUPPORTED = 2,
    /** Memory could not be had. */
    FATTN_STATUS_OUT_OF_MEMORY = 3,
    /** The caller's cancel flag was seen; outputs are undefined. */
    FATTN_STATUS_CANCELLED = 4,
    /** The device or its driver is absent. */
    FATTN_STATUS_DEVICE_UNAVAILABLE = 5,
    /** The device reported a fault, possibly of an earlier asynchronous call. */
    FATTN_STATUS_DEVICE_FAULT = 6,
    /** The workspace given is smaller than the plan asks for, or misaligned. */
    FATTN_STATUS_WORKSPACE_TOO_SMALL = 7,
    /** A defect of the library. */
    FATTN_STATUS_INTERNAL = 8
};

/** Element type; see fattn_dtype_values. Zero means "the default of that place". */
typedef uint32_t fattn_dtype;
enum fattn_dtype_values {
    /** Not given. */
    FATTN_DTYPE_DEFAULT = 0,
    /** IEEE binary32. */
    FATTN_DTYPE_F32 = 1,
    /** IEEE binary16. */
    FATTN_DTYPE_F16 = 2,
    /** bfloat16: the upper half of a binary32. */
    FATTN_DTYPE_BF16 = 3,
    /** 32-bit signed integer. */
    FATTN_DTYPE_I32 = 4,
    /** Unsigned byte; in masks zero means hidden, anything else visible. */
    FATTN_DTYPE_U8 = 5,
    /** One bit an element, lowest bit of a byte first; 1 means visible. Strides count bits. */
    FATTN_DTYPE_BIT = 6,
    /** 8-bit float with 4 exponent bits (reserved for quantised caches). */
    FATTN_DTYPE_F8_E4M3 = 7,
    /** 8-bit float with 5 exponent bits (reserved for quantised caches). */
    FATTN_DTYPE_F8_E5M2 = 8,
    /** 8-bit signed integer (reserved for quantised caches). */
    FATTN_DTYPE_I8 = 9
};

/** Kind of device; see fattn_device_kind_values. */
typedef uint32_t fattn_device_kind;
enum fattn_device_kind_values {
    /** The host processor. */
    FATTN_DEVICE_KIND_CPU = 0,
    /** An NVIDIA GPU. */
    FATTN_DEVICE_KIND_CUDA = 1
};

/** Instruction set of the CPU kernels; see fattn_cpu_target_values. */
typedef uint32_t fattn_cpu_target;
enum fattn_cpu_target_values {
    /** The best one this processor can run. */
    FATTN_CPU_TARGET_BEST = 0,
    /** Portable C++ without vector instructions of its own. */
    FATTN_CPU_TARGET_SCALAR = 1,
    /** x86-64 with AVX2, FMA and F16C. */
    FATTN_CPU_TARGET_AVX2 = 2,
    /** x86-64 with AVX-512 F, BW, DQ and VL. */
    FATTN_CPU_TARGET_AVX512 = 3,
    /** AVX-512 with bfloat16 dot products. */
    FATTN_CPU_TARGET_AVX512_BF16 = 4,
    /** 64-bit Arm with NEON. */
    FATTN_CPU_TARGET_NEON = 5
};

/** Attention family of a plan; see fattn_family_values. */
typedef uint32_t fattn_family;
enum fattn_family_values {
    /** Softmax (or sigmoid) attention over all keys that the predicate shows. */
    FATTN_FAMILY_DENSE = 0,
    /** Neighborhood attention in one to three dimensions. */
    FATTN_FAMILY_NEIGHBORHOOD = 1,
    /** Linear attention with per-head decay. */
    FATTN_FAMILY_LIGHTNING = 2,
    /** Block-sparse attention with keys permuted inside segments. */
    FATTN_FAMILY_PERMUTED_BLOCK = 3,
    /** Sharded local-stride attention. */
    FATTN_FAMILY_S2 = 4
};

/** Direction of a run; see fattn_pass_values. */
typedef uint32_t fattn_pass;
enum fattn_pass_values {
    /** Outputs from inputs. */
    FATTN_PASS_FORWARD = 0,
    /** Gradients from outputs and their gradients. */
    FATTN_PASS_BACKWARD = 1
};

/** Where query 0 stands relative to key 0; see fattn_alignment_values. */
typedef uint32_t fattn_alignment;
enum fattn_alignment_values {
    /** The last query stands at the last key: query i has position i + Lk - Lq. */
    FATTN_ALIGNMENT_BOTTOM_RIGHT = 0,
    /** The first query stands at the first key: query i has position i. */
    FATTN_ALIGNMENT_TOP_LEFT = 1
};

/** How scores become weights; see fattn_weights_values. */
typedef uint32_t fattn_weights;
enum fattn_weights_values {
    /** exp(s) over the row's sum. */
    FATTN_WEIGHTS_SOFTMAX = 0,
    /** sigmoid(s + sigmoid_bias), no normaliser; there is no LSE. */
    FATTN_WEIGHTS_SIGMOID = 1
};

/** Reference-counted handle of a device. */
typedef struct fattn_device fattn_device;

/** Reference-counted handle of a plan. */
typedef struct fattn_plan fattn_plan;

/** Reference-counted handle of a score or mask program (reserved). */
typedef struct fattn_program fattn_program;

/**
 * Shape and place of a tensor, in the logical order [B, H, L, D]. Frozen: never grows.
 * Rank 0 means "not given". strides count elements; the last one is 1 unless its extent is 1.
 */
typedef struct fattn_layout {
    /** Extents; entries past rank are ignored. */
    int64_t shape[4];
    /** Distance between neighbours, in elements. Inputs may use 0 to broadcast. */
    int64_t strides[4];
    /** Element type. */
    fattn_dtype dtype;
    /** Number of dimensions, 0 to 4. */
    uint32_t rank;
} fattn_layout;

#ifdef __cplusplus
}
#endif

#endif /* FUSED_ATTENTION_TYPES_H */
