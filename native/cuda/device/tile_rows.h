// Rows of a tensor between global and shared memory: where a row lies in a tile without bank
// conflicts, and the copies of whole tiles; called by the softmax kernels.
#pragma once

#include "core/float_ops.h"
#include "core/tensor_view.h"
#include "core/types.h"
#include "cuda/device/prim/arithmetic.h"
#include "cuda/device/prim/lanes.h"
#include "cuda/device/prim/memory.h"

namespace fattn::cuda {

/// A tile of rows of kHeadDim elements in shared memory. Rows are cut into chunks of 16 bytes whose
/// places are exchanged inside groups of 128 bytes, so that 8 rows' chunks of one number lie in 8
/// different groups of banks.
template <int kHeadDim, int kElementBytes>
struct RowTile {
    static constexpr int kRowBytes = kHeadDim * kElementBytes;
    static constexpr int kChunks = kRowBytes / 16;
    static constexpr int kChunkElements = 16 / kElementBytes;
    static_assert(kRowBytes % 64 == 0, "rows must hold whole groups of four chunks");
    /// Rows of 128 bytes start in the same bank and need 8 places; others start in two banks.
    static constexpr bool kWholeLines = kRowBytes % 128 == 0;

    /// What is exclusive-ored to a chunk's number in a row.
    __device__ static constexpr uint32 exchange(uint32 row) {
        return kWholeLines ? row & 7 : row >> 1 & 3;
    }
    /// Byte of a chunk in the tile.
    __device__ static constexpr uint32 at(uint32 row, uint32 chunk) {
        return row * kRowBytes + (chunk ^ exchange(row)) * 16;
    }
};

/// The rows of a head.
struct HeadRows {
    const uint8* base;  // row of token 0; null when paged
    int64 token_bytes;  // from one token to the next
    int32 num_tokens;   // rows from here on are not read, and become 0 in a tile
    int32 row_bytes;    // beyond them a row of a tile is 0
    bool wide;          // rows start at multiples of 16 bytes
};

/// Keys in pages: token j is row j % page_size of page table[j / page_size].
struct HeadPages {
    const uint8* base;  // of the head's row 0 in page 0; null: not paged
    const int32* table;
    int64 page_bytes;
    int64 token_bytes;
    int64 num_pages;
    int32 page_size;

    __device__ const uint8* row(int32 token) const {
        const int64 page = clamp_to<int64>(table[token / page_size], 0, num_pages - 1);
        return base + page * page_bytes + token % page_size * token_bytes;
    }
};

__device__ inline uint32 stored_bits(float x) { return bits_of_float(x); }
__device__ inline uint32 stored_bits(f16 x) { return x.bits; }
__device__ inline uint32 stored_bits(bf16 x) { return x.bits; }

/// Up to 16 bytes of a row that starts anywhere, element by element; the others are 0.
template <class Element>
__device__ inline prim::Words load_narrow(const uint8* g_from, int32 num_bytes) {
    constexpr int32 kBytes = sizeof(Element);
    const auto* elements = reinterpret_cast<const Element*>(g_from);
    uint32 words[4] = {};
#pragma unroll
    for (int32 n = 0; n < 16 / kBytes; ++n) {
        if (n * kBytes < num_bytes) {
            words[n * kBytes / 4] |= stored_bits(elements[n]) << (n * kBytes % 4 * 8);
        }
    }
    return {words[0], words[1], words[2], words[3]};
}

/// How the threads of a block share the rows of a tile: neighbours take chunks of one row, up to
/// 128 bytes of it; every thread has the same chunks of every row it copies.
template <class Tile, int kThreads>
struct CopyShare {
    static constexpr int kLanes = Tile::kChunks % 8 == 0 ? 8 : 4;  // of a row
    static constexpr int kRowStep = kThreads / kLanes;

    int32 row;  // first row and chunk of the calling thread
    int32 chunk;

    __device__ CopyShare() {
        const auto thread = narrow<int32>(prim::thread_idx());
        row = thread / kLanes;
        chunk = thread % kLanes;
    }
};

/// Starts the copy of rows [first, first + kRows), which all exist and fill a tile's rows, by all
/// threads of the block. They arrive with the thread's group of copies.
template <class Tile, int kRows, int kThreads>
__device__ inline void load_whole_rows(uint32 s_tile, const HeadRows& rows, int32 first) {
    using Share = CopyShare<Tile, kThreads>;
    static_assert(kRows % Share::kRowStep == 0, "every thread must copy as many rows");
    const Share share;
    const uint8* g_row =
        rows.base + (first + int64{share.row}) * rows.token_bytes + share.chunk * 16;
    const uint32 s_to =
        s_tile + Tile::at(static_cast<uint32>(share.row), static_cast<uint32>(share.chunk));
#pragma unroll
    for (int r = 0; r < kRows; r += Share::kRowStep) {
        // Neither exchanges chunks: a step of rows is a multiple of 8, one of chunks too.
#pragma unroll
        for (int c = 0; c < Tile::kChunks; c += Share::kLanes) {
            prim::copy_async_16(s_to + r * Tile::kRowBytes + c * 16, g_row + c * 16);
        }
        g_row += Share::kRowStep * rows.token_bytes;
    }
}

/// The same for any rows: those that do not exist become 0. With kAnyPlace they may start anywhere
/// or lie in pages; what is not copied as it is arrives at once.
template <class Element, class Tile, int kRows, int kThreads, bool kAnyPlace>
__device__ inline void load_any_rows(uint32 s_tile, const HeadRows& rows, const HeadPages& pages,
                                     int32 first) {
    using Share = CopyShare<Tile, kThreads>;
    const Share share;
#pragma unroll 1
    for (int r = 0; r < kRows; r += Share::kRowStep) {
        const int32 row = share.row + r;
        const bool exists = first + row < rows.num_tokens;
        const uint8* g_row = rows.base + (first + int64{row}) * rows.token_bytes;
        // A row that does not exist may have no page.
        if (kAnyPlace && pages.base != nullptr) {
            g_row = exists ? pages.row(first + row) : pages.base;
        }
#pragma unroll 1
        for (int c = 0; c < Tile::kChunks; c += Share::kLanes) {
            const int32 byte = (share.chunk + c) * 16;
            const int32 inside = clamp_to(rows.row_bytes - byte, 0, 16);
            const int32 num_bytes = exists ? inside : 0;
            const uint32 s_to =
                s_tile + Tile::at(static_cast<uint32>(row), static_cast<uint32>(share.chunk + c));
            if (!kAnyPlace || rows.wide) {
                prim::copy_async_16(s_to, g_row + byte, num_bytes);
            } else {
                prim::store_shared_16(s_to, load_narrow<Element>(g_row + byte, num_bytes));
            }
        }
    }
}

/// Starts the copy of rows [first, first + kRows) by all threads of the block, 16 bytes at a time
/// where all of them are there. find_pages() is called where rows may be in pages.
template <class Element, class Tile, int kRows, int kThreads, bool kAnyPlace, class FindPages>
__device__ inline void load_rows(uint32 s_tile, const HeadRows& rows, int32 first,
                                 const FindPages& find_pages) {
    const bool whole = first + kRows <= rows.num_tokens && rows.row_bytes == Tile::kRowBytes &&
                       (!kAnyPlace || (rows.wide && rows.base != nullptr));
    if (whole) {
        load_whole_rows<Tile, kRows, kThreads>(s_tile, rows, first);
    } else if constexpr (kAnyPlace) {
        load_any_rows<Element, Tile, kRows, kThreads, true>(s_tile, rows, find_pages(), first);
    } else {
        load_any_rows<Element, Tile, kRows, kThreads, false>(s_tile, rows, {}, first);
    }
}

}  // namespace fattn::cuda
