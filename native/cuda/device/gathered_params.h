// What the host hands to the kernels that walk over chosen tiles of gathered rows: which pairs a
// run computes, in closed form or as masks in device memory, and the runs themselves; plain structs
// that both sides include.
#pragma once

#include "core/neighborhood.h"
#include "core/problem.h"
#include "core/s2.h"
#include "core/types.h"
#include "cuda/device/backward_tile.h"
#include "cuda/device/forward_tile.h"

namespace fattn::cuda {

/// Head dims that have kernels.
constexpr int32 kGatheredHeadDims[] = {64, 128, 256};

/// Who says which pairs are computed.
enum class PatternKind : uint32 {
    kS2 = 0,             // S2Pattern
    kPermutedBlock = 1,  // permutation and block mask of the run
    kBox = 2             // windows along the axes of a grid
};

/// Block-sparse attention over key slots. Every number is checked to fit.
struct PermutedBlocks {
    const int32* permutation;    // [B, Hq, Lk] token of each slot; null: the slot itself
    const int32* slot_of_token;  // [B, Hq, Lk] its inverse; null: rows of keys are slots
    const uint8* block_mask;     // [B, Hq, nQ, nK]; null: every block is kept
    int32 block;
    int32 segment;
    int32 query_block;
    int32 num_query_blocks;
    int32 num_key_blocks;
    bool causal;
};

/// Neighborhoods: a tile of rows is a patch of the grid, its columns the box of tokens that one of
/// its rows meets, line after line, and the additional keys behind them.
struct GridBoxes {
    NeighborhoodGrid grid;
    int32 patch[PatchGrid::kAxes];        // in-group coordinates of a row tile
    int32 num_patches[PatchGrid::kAxes];  // of every dilation group
    int32 num_tokens;
    int32 num_additional;
    TensorLayout additional_k;
    TensorLayout additional_v;
    TensorLayout d_additional_k;
    TensorLayout d_additional_v;
    const void* k;  // the additional keys of the run
    const void* v;
    void* d_k;
    void* d_v;
    bool wide;  // rows of all of these start at multiples of 16 bytes
};

struct GatheredPattern {
    PatternKind kind;
    int32 first_position;  // of query 0, counted from key 0; not with kBox
    S2Pattern s2;
    PermutedBlocks blocks;
    GridBoxes boxes;
};

/// How the rows of a tile are numbered: positions of a tile for each of some consecutive query
/// heads, which see the same keys.
struct RowNumbers {
    int32 num_tiles;   // of positions
    int32 positions;   // of a tile; with kBox tokens of a patch
    int32 heads;       // of a tile
    int32 num_groups;  // of heads, per entry of the batch
};

struct GatheredForwardParams {
    DenseProblem problem;
    DenseForwardArgs args;
    GatheredPattern pattern;
    RowNumbers rows;
    TokenBytes token_bytes;
    WideRows wide;
    bool last_tile_first;     // later queries see more keys, and the longest work starts first
    const uint32* row_order;  // [blocks] which block of the numbering a block is; null: itself
};

/// The permutation [rows, length] whose inverse a small kernel writes.
struct InvertParams {
    const int32* permutation;
    int32* inverse;
    int64 rows;
    int64 length;
};

/// Whose gradients blocks of keys compute, as in SoftmaxBackwardParams.
struct KeyGroups {
    int32 num_k_blocks;
    bool both_sums;
};

struct GatheredBackwardParams {
    DenseProblem problem;
    DenseBackwardArgs args;
    GatheredPattern pattern;
    RowNumbers rows;        // queries; keys have one head a tile
    const RowTerms* terms;  // [B, Hq, Lq]
    WideGradients wide;
    bool last_tile_first;
    KeyGroups groups;
    const uint32* row_order;  // as in GatheredForwardParams
};

/// Bytes of shared memory behind a kernel's tiles: the rows' places and what they see, the columns'
/// tokens of two tiles, what all threads look up, and where each warp's walk stands; in the forward
/// of 16 bits a note of each warp about each of 32 tiles.
constexpr int32 kGatheredRowBytes = 32;
constexpr int32 kGatheredInfoBytes = 144;
constexpr int32 kGatheredWalkBytes = 16;
constexpr int32 kGatheredNoteBytes = 32 * 4;
FATTN_HD constexpr bool gathered_notes(int32 element_bytes) { return element_bytes == 2; }

FATTN_HD constexpr int32 gathered_bytes(int32 rows, int32 columns, int32 num_warps) {
    return rows * kGatheredRowBytes + 2 * columns * 4 + kGatheredInfoBytes +
           num_warps * kGatheredWalkBytes;
}

/// The tile of the general dense keys, which have 16 rows a warp. Registers are what is left by as
/// many blocks as shared memory lets in. Keys with 32 rows a warp read keys and values from shared
/// memory half as often, in half as many warps.
FATTN_HD constexpr ForwardTile gathered_forward_tile(int32 element_bytes, int32 head_dim,
                                                     int32 warp_rows) {
    if (warp_rows == 32) return {head_dim, 64, 64, 2, element_bytes, 4};
    ForwardTile tile = forward_tile(element_bytes, head_dim, Features::kGeneral);
    if (element_bytes == 2 && head_dim <= 128) tile.min_blocks = 3;
    return tile;
}
FATTN_HD constexpr int32 gathered_forward_bytes(const ForwardTile& tile) {
    return tile.q_bytes() + 2 * tile.kv_bytes() +
           gathered_bytes(tile.tile_q, tile.tile_kv, tile.num_warps) +
           (gathered_notes(tile.element_bytes) ? tile.num_warps * kGatheredNoteBytes : 0);
}
FATTN_HD constexpr int32 gathered_backward_bytes(const BackwardTile& tile) {
    return 2 * tile.row_tile_bytes() + 2 * tile.column_tile_bytes() + tile.num_terms() * 8 +
           gathered_bytes(tile.rows, tile.columns, tile.num_threads() / 32);
}

}  // namespace fattn::cuda
