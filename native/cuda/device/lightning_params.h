// What the host hands to the kernels of linear attention, and the tile that each key works with:
// plain structs and one table that both sides include.
//
// Output and gradients are one decayed sum with other operands (native/notes/0024-lightning.md):
//   result_i = factor (weight sum_{j<=i} e^(-l (i-j)) (left_i . right_j) values_j
//                      + e^(-l (i+1-shift)) left_i . S)
#pragma once

#include "core/feature_map.h"
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
constexpr int32 kLightningPlaceBytes = 32;
/// Left and right rows, the state as it is read, values, the block's place, and powers of the
/// decay.
FATTN_HD constexpr int32 lightning_bytes(int32 element_bytes, int32 head_dim) {
    const int32 chunk = lightning_chunk(element_bytes, head_dim);
    return (3 * chunk * head_dim + chunk * chunk) * element_bytes + kLightningPlaceBytes +
           (chunk + 1) * 4;
}

/// Rows [B, heads, L, extent] of an operand.
struct LightningRows {
    const void* data;
    TensorLayout layout;
    bool of_q_heads;  // otherwise of the query head's key head
    bool wide;        // rows start at multiples of 16 bytes
};

/// States [segments, B, Hq, ...] in the order of the walk: a row for each number of right, a column
/// for each of values.
struct LightningStates {
    float* data;             // null: there are none, or zeros
    int64 segment_elements;  // from one segment's to the next; 0: one for all
    int64 head_elements;
    int64 row_elements;
    int64 column_elements;
};

struct LightningParams {
    LightningRows left;
    LightningRows right;
    LightningRows values;
    const float* slopes;      // [Hq]
    LightningStates initial;  // only read
    LightningStates final;
    int32 batch;
    int32 num_q_heads;
    int32 num_kv_heads;
    int32 len;
    int32 num_segments;    // of the tokens, in the order of the walk, each by blocks of its own
    int32 segment_tokens;  // of all but the last, a multiple of every chunk
    int32 extent;          // of left and right
    int32 value_extent;    // of values and results
    int32 num_slices;      // of the values' columns
    float weight;
    float factor;
    int32 shift;
    bool strict;              // j < i
    bool backwards;           // in time
    bool per_kv_head;         // results are summed over the query heads of a key head
    bool adds;                // to what sums holds
    bool stores;              // results, once they are complete
    float* sums;              // [B, heads, L, value_extent] of incomplete results; null: none are
    void* out;                // null: the states alone are wanted
    TensorLayout out_layout;  // may lack the last columns of values, which then join states alone
    bool wide_out;
};

/// Threads of the small kernels around the sums, and blocks at most, which go through all rows.
constexpr int32 kLightningRowThreads = 128;
constexpr int32 kMostLightningRowBlocks = 1 << 16;

/// States that segments leave by themselves become those that they start from, and the last one is
/// stored.
struct PassStatesParams {
    const float* slopes;  // [Hq]
    LightningStates initial;
    LightningStates segments;
    LightningStates final;
    int32 num_heads;  // B Hq
    int32 num_q_heads;
    int32 len;
    int32 num_segments;
    int32 segment_tokens;
    int32 rows;
    int32 columns;
    int32 num_blocks;
};

/// Constants of FeatureMap::kTaylor2.
struct TaylorFactors {
    float first;   // D^(-1/4)
    float mixed;   // D^(-1/2)
    float square;  // (2 D)^(-1/2)
};

/// Rows [B, heads, L, D] become features, compact rows of another tensor.
struct FeatureRowsParams {
    FeatureMap map;
    TaylorFactors taylor;
    const void* x;
    TensorLayout layout;
    void* features;  // f32 or bf16
    DType dtype;
    bool extra;  // with a 1 behind the features
    int32 num_blocks;
};

/// Gradients of features, compact f32 rows, become those of rows.
struct FeatureGradientsParams {
    FeatureMap map;
    TaylorFactors taylor;
    const float* d_features;
    const void* x;  // null with the identity
    TensorLayout layout;
    void* d_x;
    TensorLayout d_x_layout;
    int32 num_blocks;
};

/// Sums with their weight as last column, compact f32 rows [B, Hq, L, Dv + 1], become quotients,
/// or gradients of quotients those of sums.
struct QuotientsParams {
    const float* sums;
    const void* d_o;  // null: quotients
    TensorLayout d_o_layout;
    void* out;  // [B, Hq, L, Dv], or [B, Hq, L, Dv + 1] in f32 for gradients
    TensorLayout out_layout;
    int32 num_blocks;
};

}  // namespace fattn::cuda
