// Which rows a block has, which tiles of columns it visits, which tokens stand in them, and what
// each row sees of them; asked by the gathered kernels.
//
// Rows are queries and columns keys, or the other way round. Nothing is read from lists: a tile is
// found, and what a row sees of it drawn, from the closed form of a pattern or from the masks of
// the run, so that a plan holds no device memory. (native/notes/0037-cuda-gathered-tiles.md)
#pragma once

#include "core/problem.h"
#include "core/types.h"
#include "cuda/device/gathered_blocks.h"
#include "cuda/device/gathered_boxes.h"
#include "cuda/device/gathered_memory.h"
#include "cuda/device/gathered_params.h"
#include "cuda/device/prim/lanes.h"
#include "cuda/device/prim/memory.h"
#include "cuda/device/tile_walk.h"

namespace fattn::cuda {

template <Side kSide, int kRows, int kColumns, int kThreads>
class GatheredTiles : public GatheredMemory<kSide, kRows, kColumns, kThreads> {
  public:
    using Memory = GatheredMemory<kSide, kRows, kColumns, kThreads>;
    using Memory::kNoToken;

    __device__ GatheredTiles(const GatheredPattern& pattern, const DenseProblem& problem,
                             uint32 s_memory)
        : Memory(pattern, problem, s_memory), walk_(Memory::s_info_ + kGatheredInfoBytes) {}

    /// Writes what the block's rows see; all threads, and a barrier has to follow. positions: rows
    /// of a tile before they repeat for the next head.
    __device__ void begin(const RowTileAt& at, int32 positions) const {
        if (has_boxes()) {
            Boxes(*this).begin(at, positions);
        } else {
            Blocks(*this).begin(at, positions);
        }
        walk_.begin();
    }

    /// The next tile of columns that some row meets, by all lanes of a warp; -1 after the last.
    __device__ int32 next_tile(bool* full) const {
        return walk_.next(Memory::num_column_tiles(), full,
                          [this](int32 tile) { return state(tile); });
    }

    /// First token of a tile's columns where they are a run, which needs no list: all of them exist
    /// and follow each other in steps of run_step(); kNoToken: they are none.
    __device__ int32 run_of(int32 tile) const {
        return has_boxes() ? Boxes(*this).run_of(tile) : Blocks(*this).run_of(tile);
    }
    /// The next tile and its run; found for 32 tiles at a time, one a lane.
    __device__ int32 next_tile(bool* full, int32* run) const {
        const int32 tile = walk_.next(Memory::num_column_tiles(), full, [this](int32 asked) {
            const TileState found = state(asked);
            walk_.note(found == TileState::kSkipped ? kNoToken : run_of(asked));
            return found;
        });
        *run = tile < 0 ? kNoToken : walk_.noted(tile);
        return tile;
    }

    /// Writes the tokens of a tile's columns into one of two buffers; all threads. They are there
    /// behind a barrier that follows the thread's group of copies: what stands in device memory is
    /// copied as it is.
    __device__ void list_columns(int32 tile, uint32 buffer) const {
        const int32* listed = has_boxes() ? nullptr : Blocks(*this).tokens_of_columns();
        const int32 columns = Memory::info(Memory::kColumnsInAll);
        for (uint32 n = prim::thread_idx(); n < kColumns; n += kThreads) {
            const int32 column = tile * kColumns + narrow<int32>(n);
            const uint32 s_token = Memory::s_tokens_ + (buffer * kColumns + n) * 4;
            if (column < columns && listed != nullptr) {
                prim::copy_async_4(s_token, listed + column);
                continue;
            }
            int32 token = kNoToken;
            if (column < columns) {
                token =
                    has_boxes() ? Boxes(*this).token_of(column) : Blocks(*this).token_of(column);
            }
            prim::store_shared(s_token, narrow<uint32>(token));
        }
    }

    /// Token of a column in one of two buffers; below 0: the column does not exist. A permutation
    /// that names no token gives wrong results, and no access outside.
    __device__ int32 column_token(uint32 buffer, int32 column) const {
        return min_of(Memory::listed_token(buffer, column), last_token());
    }

    /// What a row sees of 32 columns of a tile, the first or the second: a bit for each.
    __device__ uint32 seen(int32 row, int32 tile, uint32 half, uint32 buffer) const {
        if (half * 32 >= kColumns) return 0;
        const int32 first = tile * kColumns + narrow<int32>(half * 32);
        return has_boxes() ? Boxes(*this).seen(row, first)
                           : Blocks(*this).seen(row, first, half, buffer);
    }

  private:
    using Boxes = GatheredBoxes<kSide, kRows, kColumns, kThreads>;
    using Blocks = GatheredBlocks<kSide, kRows, kColumns, kThreads>;

    __device__ TileState state(int32 tile) const {
        return has_boxes() ? Boxes(*this).state(tile) : Blocks(*this).state(tile);
    }
    /// The last token that a column may have: permutations come from device memory.
    __device__ int32 last_token() const {
        const bool listed = !Memory::kKeys && Memory::pattern_.kind == PatternKind::kPermutedBlock;
        return listed ? narrow<int32>(Memory::problem_.kv_len) - 1 : 0x7FFFFFFF;
    }
    __device__ bool has_boxes() const { return Memory::pattern_.kind == PatternKind::kBox; }

    const TileWalk<kThreads / 32> walk_;
};

}  // namespace fattn::cuda
