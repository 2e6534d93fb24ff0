/*
 * The public C interface of FusedAttention: every caller (the C# bindings, C and C++ programs,
 * tests) includes this file and nothing else.
 *
 * Conventions that hold for every function:
 *  - Functions return a fattn_status. When it is not FATTN_STATUS_OK, fattn_last_error() gives a
 *    sentence that says what was asked, what was found and what is allowed.
 *  - Tensors are described in the logical order [B, H, L, D] (batch, heads, tokens, head dim)
 *    whatever their order in memory; strides say where things lie. Strides count elements.
 *  - Growing structs begin with struct_size and flags. Set struct_size to sizeof the struct; zero
 *    every other field you do not use. Zero is the default of every field; where zero is also a
 *    value, a flag bit says that the field was given. (fattn_abi_description alone has the version
 *    in the place of flags: it takes no choice, and a caller of any version must find it there.)
 *  - A plan is immutable and thread-safe, holds no tensor pointers, and may be run many times,
 *    concurrently, with distinct outputs. Handles are reference-counted.
 *  - Every function may be called on any thread, beside any other call, as long as the handles it
 *    is given are held until it returns. A call that fails because of its arguments has written
 *    nothing but the text of fattn_last_error and, where it makes a handle, NULL.
 *  - Any call may end in FATTN_STATUS_OUT_OF_MEMORY, and a defect shows as FATTN_STATUS_INTERNAL;
 *    "Errors" of a function names what it may answer beside these two.
 */
#ifndef FUSED_ATTENTION_H
#define FUSED_ATTENTION_H

/* The order of the parts is the order of the declarations. */
/* clang-format off */
#include "fused_attention/types.h"
#include "fused_attention/run.h"
#include "fused_attention/dense.h"
#include "fused_attention/neighborhood.h"
#include "fused_attention/lightning.h"
#include "fused_attention/permuted_block.h"
#include "fused_attention/s2.h"
#include "fused_attention/block_pattern.h"
#include "fused_attention/device.h"
#include "fused_attention/cuda.h"
#include "fused_attention/stream.h"
#include "fused_attention/memory.h"
#include "fused_attention/module.h"
#include "fused_attention/plan.h"
#include "fused_attention/abi.h"
#include "fused_attention/merge.h"
#include "fused_attention/cache.h"
/* clang-format on */

#endif /* FUSED_ATTENTION_H */
