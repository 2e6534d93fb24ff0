// The table of kernels that one instruction-set target exports, and the plain task structs they
// take; filled by target_*.cpp, called by the CPU backend's host code.
#pragma once

#include "core/problem.h"
#include "core/types.h"

namespace fattn::cpu {

/// One share of a forward run: consecutive query heads of one sequence that use the same key and
/// value head, a range of their rows, and a range of keys. Rows are folded: row r is query r %
/// q_len of head first_head + r / q_len.
struct ForwardTask {
    const DenseProblem* problem;
    const DenseForwardArgs* args;
    Sequence sequence;
    int64 first_head;
    int64 num_heads;
    int64 row_begin;  // folded rows [row_begin, row_end)
    int64 row_end;
    int64 key_begin;  // keys [key_begin, key_end); all of them unless the keys are split
    int64 key_end;
    /// Null: write o and lse. Otherwise the unnormalised state of every row goes here, for
    /// merge_partials: [num_rows] max in base 2, [num_rows] sum, [num_rows, round_up(head_dim_v,
    /// 16)] weighted values, all f32.
    float* partial;
    void* scratch;  // at least forward_scratch bytes, 64-byte aligned
    const int32* cancel;
};

/// Merges the partial states of consecutive key ranges, in order, and writes o and lse.
struct MergePartialsTask {
    const DenseProblem* problem;
    const DenseForwardArgs* args;
    Sequence sequence;
    int64 first_head;
    int64 num_heads;
    int64 row_begin;
    int64 row_end;
    int64 num_parts;
    int64 part_stride;  // floats from one part to the next
    float* partial;     // first part; the others follow; overwritten
};

/// Measured loops that tell what the machine can do.
struct MeasureTask {
    int64 iterations;
    const float* data;  // read loop only
    int64 num_floats;
    float sink;  // keeps the work alive
};

struct KernelTable {
    const char* name;
    int32 tile_q;   // rows of a score tile
    int32 tile_kv;  // keys of a score tile
    bool bf16_dot;  // products of 16-bit bf16 data stay in bf16 pairs
    uint64 (*forward_scratch)(const DenseProblem& problem, int64 num_rows);
    void (*forward)(const ForwardTask& task);
    int32 decode_rows;  // most rows of a decode task
    int64 decode_keys;  // most keys of a decode task
    /// Few rows, few keys, no packing; the same contract as forward.
    void (*decode)(const ForwardTask& task);
    uint64 (*decode_scratch)(const DenseProblem& problem);
    void (*merge_partials)(const MergePartialsTask& task);
    /// Rows [row_begin, row_end) of the flattened B*H*L rows of a public merge.
    void (*merge)(const MergeProblem& problem, int64 row_begin, int64 row_end);
    double (*peak_f32)(MeasureTask& task);   // returns operations done
    double (*peak_bf16)(MeasureTask& task);  // returns operations done
    double (*peak_read)(MeasureTask& task);  // returns bytes read
};

}  // namespace fattn::cpu
