/*
 * Programs of the caller's own: CUDA C++ compiled at run time by NVRTC, and launches of their
 * kernels, for callers that put work of their own between runs.
 */
#ifndef FUSED_ATTENTION_MODULE_H
#define FUSED_ATTENTION_MODULE_H

#include "fused_attention/stream.h"
#include "fused_attention/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Reference-counted handle of a compiled program that a device has loaded. */
typedef struct fattn_module fattn_module;

/** Reference-counted handle of a kernel of a module. */
typedef struct fattn_kernel fattn_kernel;

/** Bits of fattn_compile_args.flags. */
enum fattn_compile_flags {
    /** Neither look into the cache of compiled programs nor add to it. */
    FATTN_COMPILE_NO_CACHE = 1
};

/** What is compiled, and how. Texts are zero-terminated UTF-8. */
typedef struct fattn_compile_args {
    /** sizeof(fattn_compile_args). */
    uint32_t struct_size;
    /** Bits of fattn_compile_flags. */
    uint32_t flags;
    /** CUDA C++. */
    const char* source;
    /** Its name in messages of the compiler; NULL: "program.cu". */
    const char* source_name;
    /** Options of NVRTC but the architecture, as "--use_fast_math". */
    const char* const* options;
    /** Length of options. */
    uint64_t num_options;
    /** Names by which #include lines find header_texts. No other file is seen unless an option
     * names a folder. */
    const char* const* header_names;
    /** Texts of the headers. */
    const char* const* header_texts;
    /** Length of header_names and header_texts. */
    uint64_t num_headers;
    /** Kernels that are instances of templates, as "scale<float>"; found by these names. */
    const char* const* expressions;
    /** Length of expressions. */
    uint64_t num_expressions;
    /** What is compiled for, as "sm_80" or "compute_80"; NULL: what suits the device. */
    const char* target;
    /** Room for the compiler's log, or NULL. It is written when the program compiles (warnings) and
     * when it does not, cut to the room, with a zero at its end. */
    char* log;
    /** Bytes of log. */
    uint64_t log_bytes;
} fattn_compile_args;

/** What a module is. The texts live as long as the module. Written by fattn_module_info. */
typedef struct fattn_module_description {
    /** In: sizeof(fattn_module_description). Out: bytes written. */
    uint32_t struct_size;
    /** Zero. */
    uint32_t flags;
    /** What it was compiled for. */
    const char* target;
    /** Its PTX. */
    const char* ptx;
    /** Its machine code; NULL where the target is no machine. */
    const void* cubin;
    /** Bytes of cubin. */
    uint64_t cubin_bytes;
    /** 1 when the cache had it, else 0. */
    uint32_t from_cache;
    /** Version of the compiler, as 12040 for 12.4. */
    uint32_t nvrtc_version;
} fattn_module_description;

/** What the compiler made of a kernel. Written by fattn_kernel_info. */
typedef struct fattn_kernel_description {
    /** In: sizeof(fattn_kernel_description). Out: bytes written. */
    uint32_t struct_size;
    /** Zero. */
    uint32_t flags;
    /** Registers of a thread. */
    int32_t registers;
    /** Shared memory of a block that the source declares, in bytes. */
    int32_t static_shared_bytes;
    /** Local memory of a thread, in bytes; more than 0 means spilled registers or arrays. */
    int32_t local_bytes;
    /** Most threads of a block. */
    int32_t max_threads_per_block;
    /** Parameters, or -1 when the driver (before 12.4) does not tell. */
    int32_t num_parameters;
    /** Zero. */
    uint32_t reserved;
} fattn_kernel_description;

/** Bits of fattn_launch_args.flags. */
enum fattn_launch_flags {
    /** All blocks are on the device at once, so that they can wait for each other. */
    FATTN_LAUNCH_COOPERATIVE = 1
};

/** One launch of a kernel. */
typedef struct fattn_launch_args {
    /** sizeof(fattn_launch_args). */
    uint32_t struct_size;
    /** Bits of fattn_launch_flags. */
    uint32_t flags;
    /** Blocks in x, y, z, each at least 1. */
    uint32_t grid[3];
    /** Threads of a block in x, y, z, each at least 1. */
    uint32_t block[3];
    /** Blocks of a cluster in x, y, z (compute capability 9.0); zeros: no clusters. */
    uint32_t cluster[3];
    /** Shared memory beside what the source declares, in bytes. */
    uint32_t dynamic_shared_bytes;
    /** Where each argument's value lies; it is copied before the call returns. */
    const void* const* arguments;
    /** Size of each value in bytes, compared with the kernel's parameters where the driver tells
     * them; NULL: not compared. */
    const uint64_t* argument_bytes;
    /** Length of arguments. */
    uint64_t num_arguments;
} fattn_launch_args;

/**
 * Compiles a program for a device and loads it, or takes it from the cache of compiled programs.
 * Errors: INVALID_ARGUMENT for NULL, and with the compiler's words for a program or an option that
 * is wrong (args->log has all of them); UNSUPPORTED for unknown flags, on the CPU device, and for a
 * target that the device or NVRTC lacks; DEVICE_UNAVAILABLE without NVRTC, saying what was tried.
 * Cost: some tenths of a second; from the cache some milliseconds.
 */
FATTN_API fattn_status fattn_module_compile(fattn_device* device, const fattn_compile_args* args,
                                            fattn_module** module);

/** Adds a reference. Errors: INVALID_ARGUMENT for NULL. */
FATTN_API fattn_status fattn_module_retain(fattn_module* module);

/** Drops a reference; NULL is allowed. Kernels hold references of their own; launches under way
 * end before the code is unloaded. */
FATTN_API void fattn_module_release(fattn_module* module);

/** Describes a module. Errors: INVALID_ARGUMENT for NULL or a struct_size that no version has. */
FATTN_API fattn_status fattn_module_info(fattn_module* module,
                                         fattn_module_description* description);

/** Finds a kernel: by its extern "C" name, by one of the program's expressions, or by its symbol.
 * Errors: INVALID_ARGUMENT for NULL or a name that the module has not. */
FATTN_API fattn_status fattn_module_kernel(fattn_module* module, const char* name,
                                           fattn_kernel** kernel);

/** Adds a reference. Errors: INVALID_ARGUMENT for NULL. */
FATTN_API fattn_status fattn_kernel_retain(fattn_kernel* kernel);

/** Drops a reference; NULL is allowed. */
FATTN_API void fattn_kernel_release(fattn_kernel* kernel);

/** Describes a kernel. Errors: INVALID_ARGUMENT for NULL or a struct_size that no version has. */
FATTN_API fattn_status fattn_kernel_info(fattn_kernel* kernel,
                                         fattn_kernel_description* description);

/**
 * Queues a launch in a stream of the module's device.
 * Errors: INVALID_ARGUMENT for NULL, an extent of 0, more threads than a block of this kernel can
 * have, arguments whose number or sizes are not the kernel's, another device's stream; UNSUPPORTED
 * for unknown flags, clusters or shared memory that the device lacks; DEVICE_FAULT for a fault of
 * earlier work. What the kernel does wrong is reported by a later call.
 */
FATTN_API fattn_status fattn_kernel_launch(fattn_kernel* kernel, const fattn_launch_args* args,
                                           fattn_stream* stream);

#ifdef __cplusplus
}
#endif

#endif /* FUSED_ATTENTION_MODULE_H */
