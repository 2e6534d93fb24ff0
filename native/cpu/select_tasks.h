// The plain structs of block selection's kernels: how the last queries weigh keys, and how pooled
// blocks score; made by permuted_block_select.cpp, read by cpu/generic/select_*.h.
#pragma once

#include "core/permuted_block.h"
#include "core/types.h"

namespace fattn::cpu {

/// Keys [key_begin, key_end) of a head as its judges, the last queries, see them.
struct JudgeTask {
    const PermutedBlockProblem* problem;
    const void* q;
    const void* k;
    int64 batch_idx;
    int64 q_head;
    int64 key_begin;
    int64 key_end;
    /// First pass, written: [num_judges] maximum of the judge's logits in base 2, and [num_judges]
    /// sum of 2^(logit - maximum).
    float* max;
    float* sum;
    /// Second pass, read: [num_judges] base-2 logarithm of a judge's sum over all keys.
    const float* log_sum;
    /// Second pass, written: [key_end - key_begin] sum over the judges of 2^(logit - log_sum).
    float* weights;
    void* scratch;  // at least judge_scratch bytes, 64-byte aligned
};

/// Rows of a head pooled to one.
struct PoolTask {
    const void* data;  // row of token 0
    int64 stride;      // bytes from token to token
    DType dtype;
    int64 extent;         // elements of a row
    const int32* tokens;  // [num_rows], or null: first_token and those after it
    int64 first_token;
    int64 num_rows;     // at least 1
    int64 padded_rows;  // rows past num_rows are zeros, which count too
    bool maximum;       // instead of the mean
    float* out;         // [pooled_stride(extent)], zeros past extent
};

/// Floats from one pooled row to the next, the same for every target.
FATTN_HD constexpr int64 pooled_stride(int64 extent) { return round_up<int64>(extent, 16); }

/// One pooled query against pooled keys [begin, end).
struct BlockScoreTask {
    const float* query;  // [stride]
    const float* keys;   // [end, stride]
    int64 stride;
    int64 begin;
    int64 end;
    float scale;
    float* scores;  // [end], of which [begin, end) are written
};

}  // namespace fattn::cpu
