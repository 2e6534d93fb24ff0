// The kernels of linear attention that one instruction-set target exports, and the plain task
// structs they take; filled by generic/linear_*.h, called by the host code of linear attention.
//
// One sum serves the output and every gradient: for rows i of a scan
//     result_i = weight * sum over j <= i of e^(-slope (i - j)) (left_i . right_j) values_j
//              + e^(-slope (i + 1 - shift)) left_i . state
//     state after n rows = e^(-slope n) state
//              + weight * sum over j of e^(-slope (n - 1 - j + shift)) right_j values_j^T
// The scan may run through the tokens in either direction; shift is 0 where the state stands for
// rows before the first and 1 where it is the gradient of the state that the first row leaves.
#pragma once

#include "core/lightning.h"
#include "core/types.h"

namespace fattn::cpu {

/// The rows of one head of a tensor in the order of a scan, as features.
struct LinearRows {
    const char* data;  // row 0 of the scan
    int64 stride;      // bytes from row to row, negative where time runs backwards
    DType dtype;
    int64 extent;  // elements of a row in memory
    FeatureMap map;
    bool extra;            // one more column: the second factor of the row, 1 without factors
    const float* factors;  // pairs: all elements are multiplied by the first; null: 1
    int64 factor_stride;   // floats from pair to pair
    FATTN_HD constexpr int64 size() const { return num_features(map, extent) + (extra ? 1 : 0); }
    /// Whether rows can be used where they lie.
    FATTN_HD constexpr bool plain() const {
        return map == FeatureMap::kIdentity && !extra && factors == nullptr;
    }
};

struct LinearHead {
    LinearRows left;
    LinearRows right;
    LinearRows values;
    float slope;
    float* state;  // in the kernels' own order, state_floats; updated
};

/// What becomes of the results, summed over the heads of a task.
enum class LinearResult {
    kNone,           // only states are wanted
    kStore,          // times factor, the first columns that the tensor has
    kStoreQuotient,  // divided by the last column, 0 where that is 0
    kStoreThrough,   // times factor, as gradient of the rows `through` that became features
    /// Pairs for the gradient of a quotient: 1 / last column, and - d_o . result / (last column)^2.
    kQuotientFactors,
    kPartial  // f32 rows of round_up(columns, 16), to be added to by another scan
};

struct LinearOutput {
    LinearResult kind;
    char* data;  // row 0 of the scan
    int64 stride;
    DType dtype;
    int64 extent;
    float factor;
    LinearRows through;    // kStoreThrough: the rows before their map; kQuotientFactors: d_o
    float* factors;        // kQuotientFactors
    int64 factor_stride;   // floats
    float* partial;        // kPartial: written; otherwise added to the results unless null
    int64 partial_stride;  // floats from row to row of the scan
};

struct LinearScanTask {
    int64 num_rows;
    LinearHead* heads;
    int64 num_heads;
    float weight;
    int64 shift;
    bool strict;  // j < i instead of j <= i
    LinearOutput out;
    void* scratch;  // at least scratch bytes, 64-byte aligned
    const int32* cancel;
};

/// One token of one head: state = e^-slope state + k v^T, o = q . state.
struct LinearStepTask {
    LinearRows q;
    LinearRows k;
    LinearRows v;
    float slope;
    const float* state;  // [features, columns] or null for 0
    float* new_state;    // the same place or another, or null
    LinearOutput out;    // kStore or kStoreQuotient
    void* scratch;       // at least step_scratch bytes
};

struct LinearKernels {
    /// Scratch of a scan whose left rows have num_rows features and whose values have num_columns.
    uint64 (*scratch)(int64 num_rows, int64 num_columns);
    int64 (*state_floats)(int64 num_rows, int64 num_columns);
    /// From and to [num_rows, num_columns], or its transpose in memory.
    void (*load_state)(const float* from, bool transposed, int64 num_rows, int64 num_columns,
                       float* state);
    void (*store_state)(const float* state, bool transposed, int64 num_rows, int64 num_columns,
                        float* to);
    void (*scan)(const LinearScanTask& task);
    uint64 (*step_scratch)(int64 num_rows, int64 num_columns);
    void (*step)(const LinearStepTask& task);
};

}  // namespace fattn::cpu
