/*
 * What the library says of its failures and of its own build, for every caller and for bindings
 * that check their structs.
 */
#ifndef FUSED_ATTENTION_ABI_H
#define FUSED_ATTENTION_ABI_H

#include "fused_attention/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Version of this interface; fattn_abi_describe reports the one the library was built with. */
#define FATTN_ABI_VERSION 1

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

#ifdef __cplusplus
}
#endif

#endif /* FUSED_ATTENTION_ABI_H */
