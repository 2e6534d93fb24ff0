// What the host hands to the kernels of linear attention, and the tile that each key works with:
// plain structs and one table that both sides include.
//
// Output and gradients are one decayed sum with other operands (native/notes/0024-lightning.md):
//   result_i = factor (weight sum_{j<=i} e^(-l (i-j)) (left_i . right_j) values_j
//                      + e^(-l (i+1-shift)) left_i . S)
#pragma once

#include "core/tensor_view.h"
#include "core/types.h"

namespace fattn::cuda {

/// Head dims that have kernels.
constexpr int32 kLightningHeadDims[] = {64, 128, 256};

/// Tokens of a chunk, which are also the columns of the state that a block has.
FATTN_HD constexpr int32 lightning_chunk(int32 element_bytes, int32 head_dim) {
    if (element_bytes == 4) return head_dim > 128 ? 16 : 32;
    return head_dim > 128 ? 32 : 64;
}
FATTN_HD constexpr int32 lightning_threads(int32 chunk) { return chunk * 2; }
/// Left and right rows, the state as it is read, values, and powers of the decay.
FATTN_HD constexpr int32 lightning_bytes(int32 element_bytes, int32 head_dim) {
    const int32 chunk = lightning_chunk(element_bytes, head_dim);
    return (3 * chunk * head_dim + chunk * chunk) * element_bytes + (chunk + 1) * 4;
}

/// Rows [B, heads, L, extent] of an operand.
struct LightningRows {
    const void* data;
    TensorLayout layout;
    bool of_q_heads;  // otherwise of the query head's key head
    bool wide;        // rows start at multiples of 16 bytes
};

struct LightningParams {
    LightningRows left;
    LightningRows right;
    LightningRows values;
    const float* slopes;         // [Hq]
    const float* initial_state;  // [B, Hq, D, Dv], or null for zeros
    float* final_state;          // the same, or null
    bool transposed_state;       // rows of the state belong to values, columns to right
    int32 batch;
    int32 num_q_heads;
    int32 num_kv_heads;
    int32 len;
    int32 extent;        // of left and right
    int32 value_extent;  // of values and results
    int32 num_slices;    // of the values' columns
    float weight;
    float factor;
    int32 shift;
    bool strict;       // j < i
    bool backwards;    // in time
    bool per_kv_head;  // results are summed over the query heads of a key head
    bool adds;         // to what sums holds
    bool stores;       // results, once they are complete
    float* sums;       // [B, heads, L, value_extent] of incomplete results; null: none are
    void* out;         // null: the states alone are wanted
    TensorLayout out_layout;
    bool wide_out;
};

}  // namespace fattn::cuda
