// The forward kernel of sparse attention: one block folds the tiles of keys that some of its rows
// see into running softmax states; instantiated by gathered_forward_*.cu.
//
// As softmax_forward.h with rows and columns that are found one by one (gathered_pattern.h): a
// block's rows may be a patch of a grid or several heads, a tile's keys any tokens. What a row sees
// of a tile is drawn in bits when one of its rows does not see all of it.
// (native/notes/0037-cuda-gathered-tiles.md)
#pragma once

#include "core/epilogue.h"
#include "core/modifier.h"
#include "core/problem.h"
#include "core/softmax_state.h"
#include "cuda/device/element_parts.h"
#include "cuda/device/finite_tile.h"
#include "cuda/device/gathered_params.h"
#include "cuda/device/gathered_pattern.h"
#include "cuda/device/gathered_place.h"
#include "cuda/device/gathered_rows.h"
#include "cuda/device/lane_place.h"
#include "cuda/device/prim/lanes.h"
#include "cuda/device/prim/memory.h"
#include "cuda/device/score_blocks.h"
#include "cuda/device/seen_bits.h"
#include "cuda/device/softmax_rows.h"
#include "cuda/device/store_rows.h"
#include "cuda/device/tile_rows.h"

namespace fattn::cuda {

/// kWarpRows: 16, or 32 with 16 bits and 128 numbers a row.
template <class Element, int kHeadDim, int kWarpRows>
class GatheredForwardBlock {
  public:
    static constexpr ForwardTile kTile =
        gathered_forward_tile(sizeof(Element), kHeadDim, kWarpRows);
    static constexpr int kKeyBlocks = kTile.tile_kv / 8;
    static constexpr int kDimBlocks = kHeadDim / 8;
    static constexpr int kRowBlocks = kTile.tile_q / (16 * kTile.num_warps);

    __device__ explicit GatheredForwardBlock(const GatheredForwardParams& params)
        : params_(params),
          problem_(params.problem),
          s_q_(prim::shared_memory()),
          s_k_(s_q_ + kTile.q_bytes()),
          s_v_(s_k_ + kTile.kv_bytes()),
          tiles_(params.pattern, params.problem, s_v_ + kTile.kv_bytes()) {}

    __device__ void run() {
        begin();
        prim::sync_block();
        load_queries();
        prim::commit_copies();
        // The round before the first tile finds it and loads its keys.
        Visit visit{-1, Tiles::kNoToken};
        uint32 buffer = 0;
        for (;;) {
            // The tile's keys are there, and nobody needs the values of the last one.
            prim::wait_copies<0>();
            prim::sync_block();
            load_values(visit, buffer);
            const Visit next = next_visit();
            if (next.needs_list()) tiles_.list_columns(next.tile(), buffer ^ 1);
            prim::commit_copies();
            if (visit.exists()) {
                products().scores(r_s_);
                if (!visit.full()) hide_scores(visit.tile(), buffer);
            }
            // The tile's values are there, and nobody needs its keys.
            prim::wait_copies<0>();
            const bool non_finite = sync_values(visit);
            load_keys(next, buffer ^ 1);
            prim::commit_copies();
            if (non_finite) {
                weigh_scores();
                take_non_finite<Element, Rows, kTile.tile_kv, kTile.num_threads()>(r_o_, r_s_,
                                                                                   s_v_);
                products().values(r_o_, r_s_);
            } else if (visit.exists()) {
                // By itself: what comes between keeps the compiler from mixing weights and
                // products.
                weigh_scores();
                products().values(r_o_, r_s_);
            }
            if (!next.exists()) break;
            visit = next;
            buffer ^= 1;
        }
        prim::sync_block();
        finish_rows();
    }

  private:
    using Parts = ElementParts<Element, kHeadDim, kRowBlocks, kTile.tile_kv, true>;
    using Value = typename Parts::Value;
    using Products = typename Parts::Products;
    using Rows = RowTile<kHeadDim, sizeof(Element)>;
    using Tiles = GatheredTiles<Side::kQueries, kTile.tile_q, kTile.tile_kv, kTile.num_threads()>;

    static constexpr int64 kBytes = sizeof(Element);

    /// A tile on its way to be taken, in two registers.
    struct Visit {
        int32 tile_and_full;  // twice the tile, and 1 if every row sees all of it; below 0: no tile
        int32 run;            // first token of its columns, or kNoToken

        __device__ bool exists() const { return tile_and_full >= 0; }
        __device__ int32 tile() const { return tile_and_full / 2; }
        __device__ bool full() const { return tile_and_full % 2 != 0; }
        __device__ bool is_run() const { return run != Tiles::kNoToken; }
        __device__ bool needs_list() const { return exists() && !is_run(); }
    };

    /// Heads and their rows that the block has written down: looked up where they are needed, since
    /// registers are short.
    static constexpr uint32 kOfKeys = 0;
    static constexpr uint32 kOfValues = 1;

    __device__ Visit next_visit() const {
        bool full = false;
        int32 run = Tiles::kNoToken;
        int32 tile = -1;
        if constexpr (gathered_notes(kTile.element_bytes)) {
            tile = tiles_.next_tile(&full, &run);
        } else {
            tile = tiles_.next_tile(&full);
            if (tile >= 0) run = tiles_.run_of(tile);
        }
        return {tile < 0 ? -1 : tile * 2 + (full ? 1 : 0), run};
    }

    __device__ Products products() const {
        const LanePlace<kRowBlocks> at;
        return Products(s_q_, s_k_, s_v_, at.warp_row, at.lane);
    }

    __device__ void begin() {
#pragma unroll
        for (int m = 0; m < kRowBlocks; ++m) {
#pragma unroll
            for (int half = 0; half < 2; ++half) state_[m][half] = empty_state<Value>();
#pragma unroll
            for (int d = 0; d < kDimBlocks; ++d) {
#pragma unroll
                for (int e = 0; e < 4; ++e) r_o_[m][d][e] = 0.0F;
            }
        }
        const RowNumbers& rows = params_.rows;
        const LaunchPlace at =
            launch_place(rows, params_.last_tile_first, ordered_block(params_.row_order));
        const int32 head = at.group * rows.heads;
        const int32 num_heads = min_of(rows.heads, narrow<int32>(problem_.num_q_heads) - head);
        tiles_.begin({at.tile, head, num_heads, at.entry}, rows.positions);
        if (prim::thread_idx() == 0) {
            write_rows(kOfKeys, params_.args.k, problem_.k, at.entry, problem_.k_head(head));
            write_rows(kOfValues, params_.args.v, problem_.v, at.entry, problem_.v_head(head));
        }
    }
    __device__ void write_rows(uint32 which, const void* data, const TensorLayout& layout,
                               int32 entry, int64 head) const {
        tiles_.set_note(which, narrow<int32>(head));
        tiles_.set_address(which, row_of(data, layout, entry, head, 0));
    }
    __device__ static const uint8* row_of(const void* data, const TensorLayout& layout, int32 entry,
                                          int64 head, int32 token) {
        return static_cast<const uint8*>(data) + layout.row(entry, head, token) * kBytes;
    }

    __device__ void load_queries() const {
        const auto* q = static_cast<const uint8*>(params_.args.q) +
                        tiles_.entry() * problem_.q.strides[0] * kBytes;
        load_listed_rows<Element, Rows, kTile.tile_q, kTile.num_threads()>(
            s_q_, row_bytes(problem_.head_dim), params_.wide.q, [&](int32 row) {
                const int32 token = tiles_.row_token(row);
                const bool exists = token != Tiles::kNoToken;
                const int64 at = exists ? tiles_.row_head(row) * problem_.q.strides[1] * kBytes +
                                              token * params_.token_bytes.q
                                        : 0;
                return ListedRow{q + at, exists};
            });
    }

    __device__ void load_keys(const Visit& visit, uint32 buffer) const {
        const GridBoxes& boxes = params_.pattern.boxes;
        load_columns(
            s_k_, visit, buffer, row_bytes(problem_.head_dim),
            {kOfKeys, params_.token_bytes.k, params_.wide.k, boxes.k, &boxes.additional_k});
    }
    __device__ void load_values(const Visit& visit, uint32 buffer) const {
        const GridBoxes& boxes = params_.pattern.boxes;
        load_columns(
            s_v_, visit, buffer, row_bytes(problem_.head_dim_v),
            {kOfValues, params_.token_bytes.v, params_.wide.v, boxes.v, &boxes.additional_v});
    }

    /// Keys or values and the additional ones of a head.
    struct Columns {
        uint32 which;
        int64 token_bytes;
        bool wide;
        const void* additional;
        const TensorLayout* additional_layout;
    };

    /// Starts the copies of a tile's columns, where there is one.
    __device__ void load_columns(uint32 s_tile, const Visit& visit, uint32 buffer, int32 bytes,
                                 const Columns& columns) const {
        if (!visit.exists()) return;
        const uint8* base = tiles_.address(columns.which);
        const bool whole = columns.wide && bytes == Rows::kRowBytes;
        if (whole && visit.is_run()) {
            load_whole_rows<Rows, kTile.tile_kv, kTile.num_threads()>(
                s_tile,
                {base + visit.run * columns.token_bytes, columns.token_bytes * tiles_.run_step(),
                 kTile.tile_kv, bytes, true},
                0);
        } else if (whole && visit.full()) {
            load_whole_listed_rows<Rows, kTile.tile_kv, kTile.num_threads()>(
                s_tile, base, columns.token_bytes,
                [&](int32 n) { return max_of(tiles_.column_token(buffer, n), 0); });
        } else {
            const bool has_more = params_.pattern.kind == PatternKind::kBox;
            load_listed_rows<Element, Rows, kTile.tile_kv, kTile.num_threads()>(
                s_tile, bytes, columns.wide, [&](int32 n) {
                    const int32 token = visit.is_run() ? visit.run + n * tiles_.run_step()
                                                       : tiles_.column_token(buffer, n);
                    if (token < 0) return ListedRow{base, false};
                    const int32 extra = token - params_.pattern.boxes.num_tokens;
                    if (has_more && extra >= 0) {
                        return ListedRow{row_of(columns.additional, *columns.additional_layout,
                                                tiles_.entry(), tiles_.note(columns.which), extra),
                                         true};
                    }
                    return ListedRow{base + token * columns.token_bytes, true};
                });
        }
    }

    __device__ static int32 row_bytes(int64 head_dim) { return narrow<int32>(head_dim * kBytes); }

    /// As sync_values() of the dense kernel.
    __device__ bool sync_values(const Visit& visit) const {
        if (visit.exists() && (sizeof(Element) == 4 || !visit.full())) {
            return sync_non_finite<Element, Rows, kTile.tile_kv, kTile.num_threads()>(s_v_);
        }
        prim::sync_block();
        return false;
    }

    /// Only positive scales can wait until scores are weighed.
    __device__ bool scales_late() const { return problem_.scale > 0.0F; }
    __device__ Value late_factor() const {
        return Value(scales_late() ? scale_of(problem_.scale).factor : 1.0F);
    }

    __device__ void hide_scores(int32 tile, uint32 buffer) {
#pragma unroll
        for (int m = 0; m < kRowBlocks; ++m) {
            const SeenBits bits(tiles_, LanePlace<kRowBlocks>().warp_row + 16 * m, tile, buffer);
#pragma unroll
            for (int n = 0; n < kKeyBlocks; ++n) {
#pragma unroll
                for (int e = 0; e < 4; ++e) {
                    if (!bits.sees(n, e)) r_s_[m][n][e] = -kInfinity;
                }
            }
        }
    }

    __device__ void weigh_scores() {
        if (!scales_late()) {
            const float factor = scale_of(problem_.scale).factor;
            // What is hidden stays so.
            for_each_number(r_s_, [factor](float& s) { s = s == -kInfinity ? s : s * factor; });
        }
        const Value factor = late_factor();
        raise_maxima(state_, r_s_, r_o_, factor);
#pragma unroll
        for (int m = 0; m < kRowBlocks; ++m) {
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                weigh_row(&state_[m][half], r_s_[m], half, [&](Value score, Value shift) {
                    return exp2(fma(score, factor, Value(0.0F) - shift));
                });
            }
        }
    }

    /// Where the output of a row goes.
    struct OutputOfRows {
        static constexpr int kAtOnce = 1;

        const Tiles& tiles;
        void* base;
        int64 head_elements;
        int64 token_elements;
        int32 head_dim;

        __device__ bool exists(int32 row) const { return tiles.row_token(row) != Tiles::kNoToken; }
        template <class Stored>
        __device__ Stored* start(int32 row) const {
            return static_cast<Stored*>(base) + tiles.row_head(row) * head_elements +
                   tiles.row_token(row) * token_elements;
        }
    };

    __device__ void finish_rows() {
        const LanePlace<kRowBlocks> at;
        const int64 tokens = problem_.q.shape[2];
        // Rows before those of the entry.
        const int64 rows_before = tiles_.entry() * problem_.num_q_heads * tokens;
        float* g_lse = params_.args.lse;
#pragma unroll
        for (int m = 0; m < kRowBlocks; ++m) {
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const RowEnd<float> end = finish(whole_row(state_[m][half]));
#pragma unroll
                for (int d = 0; d < kDimBlocks; ++d) {
                    r_o_[m][d][2 * half] *= end.o_factor;
                    r_o_[m][d][2 * half + 1] *= end.o_factor;
                }
                const int32 row = at.row(m, half);
                const int32 token = tiles_.row_token(row);
                if (g_lse != nullptr && at.lane % 4 == 0 && token != Tiles::kNoToken) {
                    g_lse[rows_before + tiles_.row_head(row) * tokens + token] = end.lse;
                }
            }
        }
        const auto warp_row = narrow<int32>(at.warp_row);
        const auto dim = narrow<int32>(problem_.head_dim_v);
        const TensorLayout& layout = problem_.o;
        const bool to_f32 = layout.dtype == DType::kF32;
        auto* base = static_cast<uint8*>(params_.args.o) +
                     tiles_.entry() * layout.strides[0] * (to_f32 ? 4 : kBytes);
        const OutputOfRows rows{tiles_, base, layout.strides[1], layout.strides[2], dim};
        if (sizeof(Element) != 4 && to_f32) {
            store_elements<float>(rows, r_o_, warp_row, at.lane);
        } else if (!params_.wide.o) {
            store_elements<Element>(rows, r_o_, warp_row, at.lane);
        } else {
            store_wide<Element, Rows>(rows, r_o_, s_q_, warp_row, at.lane);
        }
    }

    const GatheredForwardParams& params_;
    const DenseProblem& problem_;
    const uint32 s_q_;
    const uint32 s_k_;
    const uint32 s_v_;
    const Tiles tiles_;
    float r_s_[kRowBlocks][kKeyBlocks][4];  // scores, then weights
    float r_o_[kRowBlocks][kDimBlocks][4];
    SoftmaxState<Value> state_[kRowBlocks][2];
};

}  // namespace fattn::cuda

/// One key as an entry point.
#define FATTN_GATHERED_FORWARD(name, Element, head_dim, warp_rows)                              \
    extern "C" __global__ void __launch_bounds__(                                               \
        fattn::cuda::gathered_forward_tile(sizeof(Element), head_dim, warp_rows).num_threads(), \
        fattn::cuda::gathered_forward_tile(sizeof(Element), head_dim, warp_rows).min_blocks)    \
        name(const __grid_constant__ fattn::cuda::GatheredForwardParams params) {               \
        fattn::cuda::GatheredForwardBlock<Element, head_dim, warp_rows>(params).run();          \
    }
