// The table of kernels that one instruction-set target exports, and the plain task structs they
// take; filled by target_*.cpp, called by the CPU backend's host code.
#pragma once

#include "core/problem.h"
#include "core/types.h"
#include "cpu/gathered_tile.h"
#include "cpu/lane_group.h"
#include "cpu/linear_kernels.h"
#include "cpu/select_tasks.h"

namespace fattn::cpu {

/// One share of a forward run: consecutive query heads of one sequence that use the same key and
/// value head, a range of their rows, and a range of keys. Rows are folded: row r is query r %
/// q_len of head first_head + r / q_len. When gathered, rows are folded likewise over the rows of
/// the tile, and keys are its slots.
struct ForwardTask {
    const DenseProblem* problem;
    const DenseForwardArgs* args;
    const Gathered* gathered;  // null: dense
    Sequence sequence;
    int64 first_head;
    int64 num_heads;
    int64 row_begin;  // folded rows [row_begin, row_end)
    int64 row_end;
    int64 key_begin;  // keys [key_begin, key_end); all of them unless the keys are split
    int64 key_end;
    int64
        next_key_end;  // decode: keys [key_end, next_key_end) will be read next by the same thread
    /// Null: write o and lse. Otherwise the unnormalised state of every row goes here, for
    /// merge_partials: [num_rows] max in base 2, [num_rows] sum, [num_rows, round_up(head_dim_v,
    /// 16)] weighted values, all f32.
    float* partial;
    void* scratch;  // at least forward_scratch bytes, 64-byte aligned
    const int32* cancel;
};

/// The forward of one group of lanes for consecutive query heads that use the same key and value
/// head.
struct LaneTask {
    const DenseProblem* problem;
    const DenseForwardArgs* args;
    const LaneGroup* group;
    const LaneGroup* next;  // whose rows the caches are asked for meanwhile; without lanes: none
    const AdditionalKeys* additional;
    const AdditionalKeyArgs* additional_args;
    Sequence sequence;
    int64 first_head;
    int64 num_heads;
    void* scratch;  // at least lanes_scratch bytes, 64-byte aligned
};

/// The backward of one group of lanes for consecutive query heads that use the same key and value
/// head: query gradients where lanes are queries; key and value gradients, any of which may be
/// null, summed over the heads where they are keys.
struct LaneBackwardTask {
    const DenseProblem* problem;
    const DenseBackwardArgs* args;
    const LaneGroup* group;  // without additional keys
    const LaneGroup* next;   // as in LaneTask
    Sequence sequence;
    int64 first_head;
    int64 num_heads;
    const float* delta;  // [B, Hq, Lq] from backward_delta; may be null when only d_v is wanted
    void* scratch;       // at least lanes_backward_scratch bytes, 64-byte aligned
};

/// Merges the partial states of consecutive key ranges, in order, and writes o and lse.
struct MergePartialsTask {
    const DenseProblem* problem;
    const DenseForwardArgs* args;
    const Gathered* gathered;  // as in ForwardTask
    Sequence sequence;
    int64 first_head;
    int64 num_heads;
    int64 row_begin;
    int64 row_end;
    int64 num_parts;
    int64 part_stride;  // floats from one part to the next
    float* partial;     // first part; the others follow; overwritten
};

/// One share of a backward run: query heads of one sequence that no other task's heads share a key
/// or value head with, and a range of keys. Writes their key and value gradients, and the bias
/// gradient of a bias that nobody shares.
struct BackwardTask {
    const DenseProblem* problem;
    const DenseBackwardArgs* args;
    Sequence sequence;
    int64 first_head;
    int64 num_heads;
    int64 key_begin;  // keys [key_begin, key_end), key_begin a multiple of backward_tile_kv
    int64 key_end;
    const float* delta;  // [B, Hq, Lq] from backward_delta; may be null with sigmoid weights
    /// Sums of the query gradients, unscaled: heads d_q_head_stride floats apart, rows of
    /// round_up(head_dim, 16) floats, and 16 rows of room after each head's.
    float* d_q;
    int64 d_q_head_stride;
    bool partial;  // the sums stay in d_q for merge_d_q; otherwise they are written to args
    bool stores_d_bias;
    void* scratch;  // at least backward_scratch bytes, 64-byte aligned
    const int32* cancel;
};

/// delta of queries [row_begin, row_end) of one head.
struct BackwardDeltaTask {
    const DenseProblem* problem;
    const DenseBackwardArgs* args;
    Sequence sequence;
    int64 head;
    int64 row_begin;
    int64 row_end;
    float* delta;  // [B, Hq, Lq]
};

/// Adds up the parts of d_q of one head that BackwardTask::partial left, ascending, and writes
/// queries [row_begin, row_end).
struct MergeDqTask {
    const DenseProblem* problem;
    const DenseBackwardArgs* args;
    Sequence sequence;
    int64 head;
    int64 row_begin;
    int64 row_end;
    int64 num_parts;
    int64 part_stride;  // floats from one part to the next
    float* parts;       // first part of the head; overwritten
};

/// f32 sums of rows of round_up(extent, 16) floats, by token. A row is undefined as long as its
/// byte is 0: nothing has been added to it.
struct TokenSums {
    float* sums;  // null: not wanted
    uint8* touched;
};

/// One key tile of a gathered backward run: rows folded over heads that share a key head and a
/// value head, as in ForwardTask.
struct GatheredBackwardTask {
    const DenseProblem* problem;
    const DenseBackwardArgs* args;
    const Gathered* gathered;
    Sequence sequence;
    int64 first_head;
    int64 num_heads;
    const float* delta;  // as in BackwardTask
    TokenSums d_q;       // unscaled; of first_head, the other heads q_len rows apart
    TokenSums d_k;       // unscaled; of the key head: the problem's keys, then the additional ones
    TokenSums d_v;       // of the value head
    void* scratch;       // at least gathered_backward_scratch bytes, 64-byte aligned
    const int32* cancel;
};

/// Writes rows [row_begin, row_end) of one head of a tensor as factor times the sum of their parts.
struct WriteSumsTask {
    const TensorLayout* layout;
    void* data;
    int64 first;  // element offset of row 0
    int64 row_begin;
    int64 row_end;
    float factor;
    int64 num_parts;
    int64 part_rows;    // from one part to the next
    TokenSums sums;     // from row 0 of the first part on; overwritten
    bool writes_zeros;  // rows that no part has touched become 0; otherwise they stay as they are
};

/// The gradient of rows [row, row + backward_tile_q) of a bias that entries [entry_begin,
/// entry_end) and heads [head_begin, head_end) share; adds to d_bias in ascending order.
struct BackwardBiasTask {
    const DenseProblem* problem;
    const DenseBackwardArgs* args;
    int64 entry_begin;
    int64 entry_end;
    int64 head_begin;
    int64 head_end;
    int64 row;
    const float* delta;  // as in BackwardTask
    void* scratch;       // at least backward_bias_scratch bytes, 64-byte aligned
    const int32* cancel;
};

/// Measured loops that tell what the machine can do.
struct MeasureTask {
    int64 iterations;
    const float* data;  // read loop only
    int64 num_floats;
    float sink;  // keeps the work alive
};

/// Row tiles of a forward task at most, which share one packing of K and V.
constexpr int64 kMostTilesInBlock = 6;

struct KernelTable {
    const char* name;
    int32 tile_q;   // rows of a score tile
    int32 tile_kv;  // keys of a score tile
    bool bf16_dot;  // products of 16-bit bf16 data stay in bf16 pairs
    uint64 (*forward_scratch)(const DenseProblem& problem, int64 num_rows);
    void (*forward)(const ForwardTask& task);
    uint64 (*lanes_scratch)(const DenseProblem& problem, int64 num_heads);
    void (*lanes)(const LaneTask& task);
    /// What a pair of lanes costs, of a pair of forward.
    int32 (*lane_percent)(const DenseProblem& problem);
    uint64 (*lanes_backward_scratch)(const DenseProblem& problem);
    void (*lanes_backward)(const LaneBackwardTask& task, LaneSide side);
    /// What a pair of lanes costs in the backward, of a pair of gathered_backward.
    int32 (*lane_backward_percent)(const DenseProblem& problem);
    int32 decode_rows;  // most rows of a decode task
    int64 decode_keys;  // most keys of a decode task
    /// Few rows, few keys, no packing; the same contract as forward.
    void (*decode)(const ForwardTask& task);
    uint64 (*decode_scratch)(const DenseProblem& problem);
    void (*merge_partials)(const MergePartialsTask& task);
    /// Rows [row_begin, row_end) of the flattened B*H*L rows of a public merge.
    void (*merge)(const MergeProblem& problem, int64 row_begin, int64 row_end);
    int32 backward_tile_q;
    int32 backward_tile_kv;
    /// Keys that one packing of rows serves: some tiles.
    int64 (*backward_keys)(const DenseProblem& problem);
    uint64 (*backward_scratch)(const DenseProblem& problem);
    void (*backward)(const BackwardTask& task);
    void (*backward_delta)(const BackwardDeltaTask& task);
    void (*merge_d_q)(const MergeDqTask& task);
    uint64 (*gathered_backward_scratch)(const DenseProblem& problem, int64 num_slots);
    void (*gathered_backward)(const GatheredBackwardTask& task);
    void (*write_sums)(const WriteSumsTask& task);
    uint64 (*backward_bias_scratch)(const DenseProblem& problem);
    void (*backward_bias)(const BackwardBiasTask& task);
    /// How much the last queries look at keys; block selection.
    uint64 (*judge_scratch)(const PermutedBlockProblem& problem);
    void (*judge_sums)(const JudgeTask& task);
    void (*judge_weights)(const JudgeTask& task);
    void (*pool_block)(const PoolTask& task);
    void (*block_scores)(const BlockScoreTask& task);
    LinearKernels linear;
    double (*peak_f32)(MeasureTask& task);   // returns operations done
    double (*peak_bf16)(MeasureTask& task);  // returns operations done
    double (*peak_read)(MeasureTask& task);  // returns bytes read
};

}  // namespace fattn::cpu
