// The backward kernels of sparse attention: one block computes the gradients of a tile of rows,
// queries or keys, from the tiles of the other side that some of its rows meet; instantiated by
// gathered_backward_*.cu.
//
// As softmax_backward.h, whose words and products these are, with rows and columns that are found
// one by one (gathered_pattern.h). Every gradient has one writer and one order, so that runs repeat
// to the bit. (native/notes/0037-cuda-gathered-tiles.md)
#pragma once

#include "core/modifier.h"
#include "core/problem.h"
#include "cuda/device/element_parts.h"
#include "cuda/device/finite_tile.h"
#include "cuda/device/gathered_params.h"
#include "cuda/device/gathered_pattern.h"
#include "cuda/device/gathered_place.h"
#include "cuda/device/gathered_rows.h"
#include "cuda/device/lane_place.h"
#include "cuda/device/prim/lanes.h"
#include "cuda/device/prim/memory.h"
#include "cuda/device/seen_bits.h"
#include "cuda/device/softmax_pairs.h"
#include "cuda/device/store_rows.h"
#include "cuda/device/tile_rows.h"

namespace fattn::cuda {

template <class Element, int kHeadDim, Side kSide>
class GatheredBackwardBlock {
  public:
    static constexpr BackwardTile kTile = backward_tile(sizeof(Element), kHeadDim, kSide);
    static constexpr bool kKeys = kSide == Side::kKeys;
    static constexpr int kColumnBlocks = kTile.columns / 8;
    static constexpr int kDimBlocks = kHeadDim / 8;
    static constexpr int kThreads = kTile.num_threads();

    __device__ explicit GatheredBackwardBlock(const GatheredBackwardParams& params)
        : params_(params),
          problem_(params.problem),
          s_first_rows_(prim::shared_memory()),
          s_second_rows_(s_first_rows_ + kTile.row_tile_bytes()),
          s_first_(s_second_rows_ + kTile.row_tile_bytes()),
          s_second_(s_first_ + kTile.column_tile_bytes()),
          s_terms_(s_second_ + kTile.column_tile_bytes()),
          tiles_(params.pattern, params.problem, s_terms_ + kTile.num_terms() * 8) {}

    __device__ void run() {
#pragma unroll
        for (int k = 0; k < kTile.num_sums; ++k) {
#pragma unroll
            for (int d = 0; d < kDimBlocks; ++d) {
#pragma unroll
                for (int e = 0; e < 4; ++e) r_sum_[k][0][d][e] = 0.0F;
            }
        }
        // A place that was read from an order is not uniform, and takes registers: it is found
        // again for every head rather than kept.
        Place place = find_place();
        for (int32 head = place.first_q_head; head < place.end_q_head; ++head) {
            add_head(place, head);
            place = find_place();
        }
        prim::wait_copies<0>();
        prim::sync_block();
        if constexpr (kKeys) {
            store_keys(place);
        } else {
            store_rows(kFirstSum, problem_.scale, params_.wide.d_q, s_first_rows_,
                       {tiles_, problem_.d_q, params_.args.d_q, place.rows.entry, kRowsOwnHead,
                        nullptr, nullptr, 0, narrow<int32>(problem_.head_dim)});
        }
    }

  private:
    // Of 64 numbers a row the compiler asks early enough by itself, and better.
    using Parts = ElementParts<Element, kHeadDim, 1, kTile.columns, kHeadDim == 128>;
    using Value = typename Parts::Value;
    using Products = typename Parts::Products;
    using Rows = RowTile<kHeadDim, sizeof(Element)>;
    using Tiles = GatheredTiles<kSide, kTile.rows, kTile.columns, kThreads>;

    static constexpr int64 kBytes = sizeof(Element);
    static constexpr int32 kNoTile = -1;
    static constexpr int32 kRowsOwnHead = -1;
    static constexpr int32 kWantsK = 1;
    static constexpr int32 kWantsV = 2;
    static constexpr int kFirstSum = 0;
    static constexpr int kSecondSum = kTile.num_sums - 1;

    /// What a block computes. Queries: the heads of its rows, taken together. Keys: the query heads
    /// that its key or value head has, one after the other.
    struct Place {
        RowTileAt rows;
        int32 head;  // of keys or values
        int32 first_q_head;
        int32 end_q_head;
        bool wants_k;
        bool wants_v;

        /// As the block's note, which no register has to keep.
        __device__ int32 wants() const { return (wants_k ? kWantsK : 0) + (wants_v ? kWantsV : 0); }
    };

    // --- Places ----------------------------------------------------------------------------------

    __device__ Place find_place() const {
        const RowNumbers& rows = params_.rows;
        const LaunchPlace at =
            launch_place(rows, params_.last_tile_first, ordered_block(params_.row_order));
        if constexpr (!kKeys) {
            const int32 head = at.group * rows.heads;
            const auto num_q_heads = narrow<int32>(problem_.num_q_heads);
            return {{at.tile, head, min_of(rows.heads, num_q_heads - head), at.entry},
                    head,
                    head,
                    head + 1,
                    false,
                    false};
        } else {
            const KeyHeads heads = key_heads(problem_, params_.groups, at.group);
            return {{at.tile, 0, 1, at.entry}, heads.head, heads.first_q_head,
                    heads.end_q_head,          heads.of_k, !heads.of_k || params_.groups.both_sums};
        }
    }

    __device__ Products first() const {
        const LanePlace<1> at;
        return Products(s_first_rows_, s_first_, s_first_, at.warp_row, at.lane);
    }
    __device__ Products second() const {
        const LanePlace<1> at;
        return Products(s_second_rows_, s_second_, s_second_, at.warp_row, at.lane);
    }

    // --- One head, or the heads of the rows ------------------------------------------------------

    __device__ void add_head(const Place& place, int32 head) {
        // Nobody needs the last head any more.
        prim::wait_copies<0>();
        prim::sync_block();
        RowTileAt rows = place.rows;
        rows.first_head = head;
        tiles_.begin(rows, params_.rows.positions);
        if (prim::thread_idx() == 0) tiles_.set_note(0, place.wants());
        prim::sync_block();
        load_own_rows(head);
        // The round before the first tile finds it and loads both of its tensors.
        int32 tile = kNoTile;
        bool full = false;
        uint32 buffer = 0;
        for (;;) {
            bool next_full = false;
            const int32 next = tiles_.next_tile(&next_full);
            if (next != kNoTile) tiles_.list_columns(next, buffer ^ 1);
            prim::commit_copies();
            bool takes_first = false, takes_second = false;
            if (tile != kNoTile) {
                // The second tensor's tile is there.
                prim::wait_copies<2>();
                if constexpr (kKeys) {
                    takes_second = sync_tile(s_second_, full);
                } else {
                    prim::sync_block();
                }
                second().scores(r_g_);
            }
            // So is the first one's, and the next tile's list.
            prim::wait_copies<0>();
            if (tile != kNoTile) {
                // Queries need no more of the second.
                takes_first = sync_tile(s_first_, full);
                if constexpr (kKeys) {
                    find_weights(tile, full, buffer);
                    if ((tiles_.note(0) & kWantsV) != 0) {
                        add_product(kSecondSum, second(), r_s_, s_second_, takes_second);
                    }
                }
            }
            // Queries stand behind the barrier of their tile.
            if (kKeys || tile == kNoTile) prim::sync_block();
            if (next != kNoTile) load_second(head, next, next_full, buffer ^ 1);
            prim::commit_copies();
            if (tile != kNoTile) {
                if constexpr (!kKeys) find_weights(tile, full, buffer);
                if (!kKeys || (tiles_.note(0) & kWantsK) != 0) {
                    add_product(kFirstSum, first(), r_g_, s_first_, takes_first);
                }
                prim::sync_block();
            }
            if (next != kNoTile) load_first(head, next, next_full, buffer ^ 1);
            prim::commit_copies();
            if (next == kNoTile) break;
            tile = next;
            full = next_full;
            buffer ^= 1;
        }
    }

    __device__ void find_weights(int32 tile, bool full, uint32 buffer) {
        first().scores(r_s_);
        weigh_pairs<kKeys, Value>(r_s_, r_g_, s_terms_, scale_of(problem_.scale).factor);
        if (full) return;
        const SeenBits bits(tiles_, LanePlace<1>().warp_row, tile, buffer);
#pragma unroll
        for (int n = 0; n < kColumnBlocks; ++n) {
#pragma unroll
            for (int e = 0; e < 4; ++e) {
                if (!bits.sees(n, e)) r_s_[0][n][e] = r_g_[0][n][e] = 0.0F;
            }
        }
    }

    __device__ void add_product(int sum, const Products& products,
                                float (&r_factor)[1][kColumnBlocks][4], uint32 s_tile,
                                bool non_finite) {
        if (non_finite) {
            take_non_finite<Element, Rows, kTile.columns, kThreads>(r_sum_[sum], r_factor, s_tile);
        }
        products.values(r_sum_[sum], r_factor);
    }

    /// As sync_values() of the forward.
    __device__ bool sync_tile(uint32 s_tile, bool full) const {
        if (sizeof(Element) == 4 || !full) {
            return sync_non_finite<Element, Rows, kTile.columns, kThreads>(s_tile);
        }
        prim::sync_block();
        return false;
    }

    // --- Rows of tensors -------------------------------------------------------------------------

    /// Rows of one head of a tensor, and of the additional tokens behind them.
    struct HeadOfTensor {
        const uint8* base;
        int64 token_bytes;
        const uint8* additional;  // null: there are none
        int64 additional_bytes;

        __device__ ListedRow row(int32 token, int32 num_tokens) const {
            if (token < 0) return {base, false};
            if (additional != nullptr && token >= num_tokens) {
                return {additional + (token - num_tokens) * additional_bytes, true};
            }
            return {base + token * token_bytes, true};
        }
    };

    __device__ static HeadOfTensor head_of(const void* data, const TensorLayout& layout,
                                           int32 entry, int64 head) {
        return {static_cast<const uint8*>(data) + layout.row(entry, head, 0) * kBytes,
                layout.strides[2] * kBytes, nullptr, 0};
    }
    /// Of keys or values, and additional ones.
    __device__ HeadOfTensor with_additional(HeadOfTensor rows, const void* data,
                                            const TensorLayout& layout, int32 entry,
                                            int64 head) const {
        const GridBoxes& boxes = params_.pattern.boxes;
        if (params_.pattern.kind != PatternKind::kBox || boxes.num_additional == 0) return rows;
        rows.additional = static_cast<const uint8*>(data) + layout.row(entry, head, 0) * kBytes;
        rows.additional_bytes = layout.strides[2] * kBytes;
        return rows;
    }
    __device__ HeadOfTensor k_rows(int32 entry, int32 q_head) const {
        const int64 head = problem_.k_head(q_head);
        return with_additional(head_of(params_.args.k, problem_.k, entry, head),
                               params_.pattern.boxes.k, params_.pattern.boxes.additional_k, entry,
                               head);
    }
    __device__ HeadOfTensor v_rows(int32 entry, int32 q_head) const {
        const int64 head = problem_.v_head(q_head);
        return with_additional(head_of(params_.args.v, problem_.v, entry, head),
                               params_.pattern.boxes.v, params_.pattern.boxes.additional_v, entry,
                               head);
    }

    __device__ static int32 row_bytes(int64 head_dim) { return narrow<int32>(head_dim * kBytes); }
    __device__ int32 num_tokens() const { return params_.pattern.boxes.num_tokens; }
    __device__ bool wide_k() const { return params_.wide.k; }

    __device__ void load_own_rows(int32 head) const {
        const int32 entry = tiles_.entry();
        if constexpr (kKeys) {
            load_own(s_first_rows_, problem_.head_dim, params_.wide.k, k_rows(entry, head));
            load_own(s_second_rows_, problem_.head_dim_v, params_.wide.v, v_rows(entry, head));
        } else {
            load_queries(s_first_rows_, problem_.head_dim, params_.wide.q, params_.args.q,
                         problem_.q, entry);
            load_queries(s_second_rows_, problem_.head_dim_v, params_.wide.d_o, params_.args.d_o,
                         problem_.d_o, entry);
            load_terms<kTile.rows>(
                entry, [&](int32 row) { return tiles_.row_token(row); },
                [&](int32 row) { return tiles_.row_head(row); });
        }
    }
    __device__ void load_own(uint32 s_tile, int64 head_dim, bool wide,
                             const HeadOfTensor& rows) const {
        load_listed_rows<Element, Rows, kTile.rows, kThreads>(
            s_tile, row_bytes(head_dim), wide,
            [&](int32 row) { return rows.row(tiles_.row_token(row), num_tokens()); });
    }
    __device__ void load_queries(uint32 s_tile, int64 head_dim, bool wide, const void* data,
                                 const TensorLayout& layout, int32 entry) const {
        const auto* base = static_cast<const uint8*>(data);
        load_listed_rows<Element, Rows, kTile.rows,
                         kThreads>(s_tile, row_bytes(head_dim), wide, [&](int32 row) {
            const int32 token = tiles_.row_token(row);
            if (token == Tiles::kNoToken) return ListedRow{base, false};
            return ListedRow{base + layout.row(entry, tiles_.row_head(row), token) * kBytes, true};
        });
    }

    /// A tile of the columns' first tensor; where they are queries, their terms come along.
    __device__ void load_first(int32 head, int32 tile, bool full, uint32 buffer) const {
        const int32 entry = tiles_.entry();
        if constexpr (kKeys) {
            load_columns(s_first_, problem_.head_dim, params_.wide.q, tile, full, buffer,
                         head_of(params_.args.q, problem_.q, entry, head));
            load_terms<kTile.columns>(
                entry, [&](int32 n) { return tiles_.column_token(buffer, n); },
                [&](int32) { return head; });
        } else {
            load_columns(s_first_, problem_.head_dim, params_.wide.k, tile, full, buffer,
                         k_rows(entry, head));
        }
    }
    __device__ void load_second(int32 head, int32 tile, bool full, uint32 buffer) const {
        const int32 entry = tiles_.entry();
        if constexpr (kKeys) {
            load_columns(s_second_, problem_.head_dim_v, params_.wide.d_o, tile, full, buffer,
                         head_of(params_.args.d_o, problem_.d_o, entry, head));
        } else {
            load_columns(s_second_, problem_.head_dim_v, params_.wide.v, tile, full, buffer,
                         v_rows(entry, head));
        }
    }
    __device__ void load_columns(uint32 s_tile, int64 head_dim, bool wide, int32 tile, bool full,
                                 uint32 buffer, const HeadOfTensor& rows) const {
        const bool whole = wide && row_bytes(head_dim) == Rows::kRowBytes;
        const int32 run = whole ? tiles_.run_of(tile) : Tiles::kNoToken;
        const auto token_of = [&](int32 n) { return tiles_.column_token(buffer, n); };
        if (run != Tiles::kNoToken) {
            load_whole_rows<Rows, kTile.columns, kThreads>(
                s_tile,
                {rows.base + run * rows.token_bytes, rows.token_bytes * tiles_.run_step(),
                 kTile.columns, row_bytes(head_dim), true},
                0);
        } else if (whole && full) {
            load_whole_listed_rows<Rows, kTile.columns, kThreads>(
                s_tile, rows.base, rows.token_bytes,
                [&](int32 n) { return max_of(token_of(n), 0); });
        } else {
            load_listed_rows<Element, Rows, kTile.columns, kThreads>(
                s_tile, row_bytes(head_dim), wide,
                [&](int32 n) { return rows.row(token_of(n), num_tokens()); });
        }
    }

    template <int kCount, class TokenOf, class HeadOf>
    __device__ void load_terms(int32 entry, const TokenOf& token_of, const HeadOf& head_of) const {
        for (uint32 n = prim::thread_idx(); n < kCount; n += kThreads) {
            const int32 token = token_of(narrow<int32>(n));
            const bool exists = token != Tiles::kNoToken;
            const int64 row = exists ? (entry * problem_.num_q_heads + head_of(narrow<int32>(n))) *
                                               problem_.q.shape[2] +
                                           token
                                     : 0;
            prim::copy_async_8(s_terms_ + n * 8, params_.terms + row, exists ? 8 : 0);
        }
    }

    // --- Results ---------------------------------------------------------------------------------

    /// Where the gradients of rows go; of additional keys, to another tensor.
    struct GradientRows {
        static constexpr int kAtOnce = 1;

        const Tiles& tiles;
        const TensorLayout& layout;
        void* base;
        int32 entry;
        int32 head;  // kRowsOwnHead: that of the row
        const TensorLayout* additional_layout;
        void* additional;
        int32 num_tokens;
        int32 head_dim;

        __device__ bool is_additional(int32 token) const {
            return additional_layout != nullptr && token >= num_tokens;
        }
        __device__ bool exists(int32 row) const {
            const int32 token = tiles.row_token(row);
            if (token == Tiles::kNoToken) return false;
            return (is_additional(token) ? additional : base) != nullptr;
        }
        template <class Stored>
        __device__ Stored* start(int32 row) const {
            const int32 token = tiles.row_token(row);
            if (is_additional(token)) {
                return static_cast<Stored*>(additional) +
                       additional_layout->row(entry, head, token - num_tokens);
            }
            return static_cast<Stored*>(base) +
                   layout.row(entry, head == kRowsOwnHead ? tiles.row_head(row) : head, token);
        }
    };

    __device__ void store_rows(int sum, float factor, bool wide, uint32 s_tile,
                               const GradientRows& rows) {
        float(&r_o)[1][kDimBlocks][4] = r_sum_[sum];
#pragma unroll
        for (int d = 0; d < kDimBlocks; ++d) {
#pragma unroll
            for (int e = 0; e < 4; ++e) r_o[0][d][e] *= factor;
        }
        const LanePlace<1> at;
        const auto warp_row = narrow<int32>(at.warp_row);
        if (sizeof(Element) != 4 && rows.layout.dtype == DType::kF32) {
            store_elements<float>(rows, r_o, warp_row, at.lane);
        } else if (!wide) {
            store_elements<Element>(rows, r_o, warp_row, at.lane);
        } else {
            store_wide<Element, Rows>(rows, r_o, s_tile, warp_row, at.lane);
        }
    }

    __device__ void store_keys(const Place& place) {
        const GridBoxes& boxes = params_.pattern.boxes;
        const bool has_more = params_.pattern.kind == PatternKind::kBox && boxes.num_additional > 0;
        if (place.wants_k) {
            store_rows(kFirstSum, problem_.scale, params_.wide.d_k, s_first_rows_,
                       {tiles_, problem_.d_k, params_.args.d_k, place.rows.entry, place.head,
                        has_more ? &boxes.d_additional_k : nullptr, boxes.d_k, num_tokens(),
                        narrow<int32>(problem_.head_dim)});
        }
        if (place.wants_v) {
            store_rows(kSecondSum, 1.0F, params_.wide.d_v, s_second_rows_,
                       {tiles_, problem_.d_v, params_.args.d_v, place.rows.entry, place.head,
                        has_more ? &boxes.d_additional_v : nullptr, boxes.d_v, num_tokens(),
                        narrow<int32>(problem_.head_dim_v)});
        }
    }

    const GatheredBackwardParams& params_;
    const DenseProblem& problem_;
    const uint32 s_first_rows_;  // tiles of the block's rows
    const uint32 s_second_rows_;
    const uint32 s_first_;  // tiles of columns
    const uint32 s_second_;
    const uint32 s_terms_;  // of the rows or columns that are queries
    const Tiles tiles_;
    float r_s_[1][kColumnBlocks][4];
    float r_g_[1][kColumnBlocks][4];
    float r_sum_[kTile.num_sums][1][kDimBlocks][4];
};

}  // namespace fattn::cuda

/// One key as an entry point.
#define FATTN_GATHERED_BACKWARD(name, Element, head_dim, side)                     \
    extern "C" __global__ void __launch_bounds__(                                  \
        fattn::cuda::backward_tile(sizeof(Element), head_dim, side).num_threads(), \
        fattn::cuda::backward_tile(sizeof(Element), head_dim, side).min_blocks)    \
        name(const __grid_constant__ fattn::cuda::GatheredBackwardParams params) { \
        fattn::cuda::GatheredBackwardBlock<Element, head_dim, side>(params).run(); \
    }
