// What the host hands to the kernels that select blocks: plain structs that both sides include.
#pragma once

#include "core/permuted_block.h"
#include "core/types.h"

namespace fattn::cuda {

constexpr uint32 kSelectThreads = 128;
/// What one block sorts in shared memory: longer segments are sorted in runs, which are merged.
constexpr int64 kMostSortedKeys = 8192;
/// Key blocks of a row that a block chooses from in shared memory. Longer rows lie in the
/// workspace, two numbers for each key block of as many rows as are chosen at once.
constexpr int64 kMostSharedBlocks = 8192;
constexpr int64 kMostChoosers = 512;

/// Who says which blocks of a row are kept.
enum class BlockChoice : uint32 { kCover = 0, kMoba = 1, kTopK = 2, kThreshold = 3 };

/// Query heads that share have one selection: a unit. Without sharing each head is one.
struct BlockSelectParams {
    PermutedBlockProblem problem;
    BlockChoice choice;
    const void* q;
    const void* k;
    const float* importance;  // [B, units, num_sorted]; null: every key weighs the same
    const float* scores;  // [B, Hq, nQ, nK] of the caller's; null: pooled query times pooled key
    float* pooled_q;      // [B, Hq, nQ, D]
    float* pooled_k;      // [B, units, nK, D]
    int32* permutation;   // [B, Hq, Lk]; null with a gate: slots are tokens
    uint8* block_mask;    // [B, Hq, nQ, nK]
    float* coverage;      // [B, Hq, nQ]; may be null
    int64 top_k;
    float threshold;
    int32 sort_size;        // keys that a block sorts, a power of two
    int64 runs_of_segment;  // of sort_size keys, the last one shorter
    uint64* runs;           // [B, units, num_sorted]; null: a segment is one run
    int64 num_choosers;     // blocks that choose rows
    float* long_rows;       // [num_choosers, 2, nK]; null: rows fit shared memory

    FATTN_HD constexpr int64 num_units() const {
        return problem.shared ? problem.num_k_heads : problem.num_q_heads;
    }
    FATTN_HD constexpr int64 first_head(int64 unit) const {
        return problem.shared ? problem.first_q_head(unit) : unit;
    }
};

/// Numbers of a 16-bit or 32-bit type that all become 1.
struct OnesParams {
    DType dtype;
    void* data;
    int64 count;
};

/// Shared bytes of the kernel that sorts a segment, and of the one that chooses a row's blocks.
FATTN_HD constexpr int32 sort_bytes(int32 sort_size) { return sort_size * 8; }
FATTN_HD constexpr int32 choose_bytes(int64 num_blocks, int64 head_dim) {
    const int64 numbers = num_blocks > kMostSharedBlocks ? 0 : 2 * num_blocks;
    return narrow<int32>((kSelectThreads + 4 + head_dim + numbers) * 4);
}

}  // namespace fattn::cuda
