// What the threads of a gathered block have in shared memory: its rows with what they see, the
// tokens of its columns, and what all of them look up; kept by gathered_pattern.h.
#pragma once

#include "core/problem.h"
#include "core/types.h"
#include "cuda/device/gathered_params.h"
#include "cuda/device/prim/lanes.h"
#include "cuda/device/prim/memory.h"

namespace fattn::cuda {

/// Bits [begin, end) of 32, as far as they are there.
__device__ inline uint32 bits_of_interval(int32 begin, int32 end) {
    begin = clamp_to(begin, 0, 32);
    end = clamp_to(end, begin, 32);
    const uint32 below_end = end == 32 ? ~0u : (1u << end) - 1;
    return begin == 32 ? 0 : below_end & ~((1u << begin) - 1);
}

/// Some columns, or positions, of a tile: [begin, end).
struct TileRange {
    int32 begin;
    int32 end;
};

/// Which rows a block has.
struct RowTileAt {
    int32 tile;
    int32 first_head;  // query head of the first rows; of the columns where rows are keys
    int32 num_heads;
    int32 entry;
};

template <Side kSide, int kRows, int kColumns, int kThreads>
class GatheredMemory {
  public:
    static constexpr bool kKeys = kSide == Side::kKeys;
    static constexpr int32 kNoToken = -1;

    __device__ GatheredMemory(const GatheredPattern& pattern, const DenseProblem& problem,
                              uint32 s_memory)
        : pattern_(pattern),
          problem_(problem),
          s_rows_(s_memory),
          s_tokens_(s_rows_ + kRows * kGatheredRowBytes),
          s_info_(s_tokens_ + 2 * kColumns * 4) {}

    /// Token of a row, counted over keys and additional keys; kNoToken: the row does not exist.
    __device__ int32 row_token(int32 row) const {
        return narrow<int32>(prim::load_shared(at_row(row)));
    }
    /// Tokens from one column of a run (gathered_pattern.h) to the next.
    __device__ int32 run_step() const { return info(kStep + 2); }
    /// Of the batch, the block's.
    __device__ int32 entry() const { return info(kEntry); }
    /// What the block writes down, two numbers; one thread, and a barrier has to follow.
    __device__ void set_note(uint32 n, int32 x) const { set_info(kNote + n, x); }
    __device__ int32 note(uint32 n) const { return info(kNote + n); }
    /// One of two places in device memory that the block writes down, likewise.
    __device__ void set_address(uint32 n, const uint8* at) const {
        const auto bits = reinterpret_cast<uint64>(at);
        prim::store_shared_8(s_info_ + (kAddress + 2 * n) * 4, static_cast<uint32>(bits),
                             static_cast<uint32>(bits >> 32));
    }
    __device__ const uint8* address(uint32 n) const {
        const prim::WordPair bits = prim::load_shared_8(s_info_ + (kAddress + 2 * n) * 4);
        return reinterpret_cast<const uint8*>(bits.x | uint64{bits.y} << 32);
    }
    /// Query head of a row that is a query.
    __device__ int32 row_head(int32 row) const {
        return narrow<int32>(prim::load_shared(at_row(row) + 4));
    }

  protected:
    /// As it was listed in one of two buffers.
    __device__ int32 listed_token(uint32 buffer, int32 column) const {
        return narrow<int32>(
            prim::load_shared(s_tokens_ + (buffer * kColumns + narrow<uint32>(column)) * 4));
    }
    /// Words of the block's information.
    enum Info : uint32 {
        kColumnsInAll = 0,
        kFirstRow = 1,    // position of the first row, or its token
        kLastRow = 2,     // of the last row
        kFirstBlock = 3,  // of the pattern: of the first row
        kLastBlock = 4,
        kShard = 5,
        kOpen = 6,
        kHead = 7,
        kEntry = 8,
        kExtent = 9,        // three: of the box
        kOrigin = 12,       // token at the box's first coordinates
        kStep = 13,         // three: tokens from one coordinate to the next
        kCommonBegin = 16,  // three: first coordinate of the box that every row sees
        kCommonSize = 19,   // three: how many follow each other
        kPartEnd = 22,      // four: last columns of the box's parts
        kFarColumns = 26,   // of blocks that all rows see beyond the band
        kNearToken = 27,    // of the first column behind them
        kNote = 28,         // two: the block's own
        kAddress = 30       // two of two words
    };

    __device__ uint32 at_row(int32 row) const {
        return s_rows_ + narrow<uint32>(row) * kGatheredRowBytes;
    }
    __device__ int32 info(uint32 n) const {
        return narrow<int32>(prim::load_shared(s_info_ + n * 4));
    }
    __device__ void set_info(uint32 n, int32 x) const {
        prim::store_shared(s_info_ + n * 4, narrow<uint32>(x));
    }
    __device__ void set_token(uint32 row, int32 token, int32 head) const {
        prim::store_shared_8(s_rows_ + row * kGatheredRowBytes, narrow<uint32>(token),
                             narrow<uint32>(head));
    }
    /// One of a row's three intervals.
    __device__ void set_interval(uint32 row, uint32 n, TileRange range) const {
        prim::store_shared_8(s_rows_ + row * kGatheredRowBytes + 8 + n * 8,
                             narrow<uint32>(range.begin), narrow<uint32>(range.end));
    }
    __device__ int32 num_column_tiles() const { return ceil_div(info(kColumnsInAll), kColumns); }

    const GatheredPattern& pattern_;
    const DenseProblem& problem_;
    const uint32 s_rows_;    // {token, head, three intervals, the inner one first} a row
    const uint32 s_tokens_;  // of the columns of two tiles
    const uint32 s_info_;
};

}  // namespace fattn::cuda
