// The kernel of linear attention: one block walks over the tokens of a head, chunk by chunk, with
// some columns of the state in registers; instantiated by lightning_*.cu.
//
// Chunks have as many tokens as a block has columns, so that all four products of a chunk are those
// of the softmax kernels: left x state and left x right are scores, weights x values is their
// output, and values x right, transposed, adds to the state.
// (native/notes/0038-cuda-lightning.md)
#pragma once

#include "core/head_map.h"
#include "core/linear_state.h"
#include "core/types.h"
#include "cuda/device/element_parts.h"
#include "cuda/device/finite_tile.h"
#include "cuda/device/gathered_rows.h"
#include "cuda/device/lane_place.h"
#include "cuda/device/lightning_params.h"
#include "cuda/device/prim/lanes.h"
#include "cuda/device/prim/memory.h"
#include "cuda/device/score_blocks.h"
#include "cuda/device/store_rows.h"
#include "cuda/device/tile_rows.h"

namespace fattn::cuda {

template <class Element, int kHeadDim>
class LightningBlock {
  public:
    static constexpr int kChunk = lightning_chunk(sizeof(Element), kHeadDim);
    static constexpr int kThreads = lightning_threads(kChunk);
    static constexpr int kChunkBlocks = kChunk / 8;
    static constexpr int kDimBlocks = kHeadDim / 8;

    __device__ explicit LightningBlock(const LightningParams& params)
        : params_(params),
          s_left_(prim::shared_memory()),
          s_right_(s_left_ + kRowsBytes),
          s_state_(s_right_ + kRowsBytes),
          s_values_(s_state_ + kRowsBytes),
          s_place_(s_values_ + kChunk * kChunk * kBytes),
          s_decay_(s_place_ + kLightningPlaceBytes) {}

    __device__ void run() {
        if (prim::thread_idx() == 0) write_place(find_place());
        prim::sync_block();
        int32 head = place_of_block().first_q_head;
        for (; head < place_of_block().end_q_head; ++head) scan(head);
    }

  private:
    using Rows = RowTile<kHeadDim, sizeof(Element)>;
    using Columns = RowTile<kChunk, sizeof(Element)>;
    using OverRows = typename ElementParts<Element, kHeadDim, 1, kChunk>::Products;
    using OverColumns = typename ElementParts<Element, kChunk, 1, kChunk>::Products;

    static constexpr int kBytes = sizeof(Element);
    static constexpr int kRowsBytes = kChunk * kHeadDim * kBytes;

    /// What a block computes: some columns of a head's results, query heads one after the other.
    struct Place {
        int32 first_column;
        int32 head;  // of the results
        int32 entry;
        int32 first_q_head;
        int32 end_q_head;
        int32 segment;
        int32 kv_head;  // of all these query heads
    };

    __device__ Place find_place() const {
        uint32 idx = prim::block_idx();
        const auto slices = narrow<uint32>(params_.num_slices);
        const int32 num_heads = params_.per_kv_head ? params_.num_kv_heads : params_.num_q_heads;
        const auto heads = narrow<uint32>(num_heads);
        const auto first_column = narrow<int32>(idx % slices) * kChunk;
        idx /= slices;
        const auto head = narrow<int32>(idx % heads);
        idx /= heads;
        const auto batch = narrow<uint32>(params_.batch);
        return {first_column,
                head,
                narrow<int32>(idx % batch),
                narrow<int32>(first_q_head_of(head, num_heads, params_.num_q_heads)),
                narrow<int32>(first_q_head_of(head + 1, num_heads, params_.num_q_heads)),
                narrow<int32>(idx / batch),
                narrow<int32>(head_of_q_head(head, params_.num_kv_heads, num_heads))};
    }

    /// The place is looked up rather than kept: a state leaves no registers for it.
    __device__ void write_place(const Place& p) const {
        prim::store_shared_16(s_place_, {narrow<uint32>(p.first_column), narrow<uint32>(p.head),
                                         narrow<uint32>(p.entry), narrow<uint32>(p.segment)});
        prim::store_shared_16(s_place_ + 16,
                              {narrow<uint32>(p.first_q_head), narrow<uint32>(p.end_q_head),
                               narrow<uint32>(p.kv_head), 0});
    }
    __device__ Place place_of_block() const {
        const prim::Words a = prim::load_shared_16(s_place_);
        const prim::Words b = prim::load_shared_16(s_place_ + 16);
        return {narrow<int32>(a.x), narrow<int32>(a.y), narrow<int32>(a.z), narrow<int32>(b.x),
                narrow<int32>(b.y), narrow<int32>(a.w), narrow<int32>(b.z)};
    }

    /// One after the last position of a segment.
    __device__ int32 end_of(int32 segment) const {
        return min_of(params_.len, (segment + 1) * params_.segment_tokens);
    }

    /// All chunks of a query head.
    __device__ void scan(int32 head) {
        // Nobody needs the powers of the last head any more.
        prim::sync_block();
        for (uint32 n = prim::thread_idx(); n <= kChunk; n += kThreads) {
            prim::store_shared(s_decay_ + n * 4, bits_of_float(decay(params_.slopes[head], n)));
        }
        move_state(place_of_block(), head, false);
        int32 first = place_of_block().segment * params_.segment_tokens;
        for (; first < end_of(place_of_block().segment); first += kChunk) {
            load_chunk(place_of_block(), head, first);
            store_state_tile();
            prim::commit_copies();
            prim::wait_copies<0>();
            // Everything of the chunk is there; the values are looked through on the way.
            const bool non_finite = sync_non_finite<Element, Columns, kChunk, kThreads>(s_values_);
            // Before infinities are taken out: they stay in the state.
            add_to_state(min_of(kChunk, end_of(place_of_block().segment) - first));
            if (params_.out != nullptr) {
                find_results(non_finite);
                store_results(place_of_block(), head, first);
            }
            prim::sync_block();
        }
        move_state(place_of_block(), head, true);
    }

    // --- Chunks ----------------------------------------------------------------------------------

    /// Token of a position in the order of the walk.
    __device__ int32 token_at(int32 position) const {
        return params_.backwards ? params_.len - 1 - position : position;
    }

    __device__ void load_chunk(const Place& place, int32 head, int32 first) const {
        load<Rows>(s_left_, params_.left, place, head, first, 0, params_.extent);
        load<Rows>(s_right_, params_.right, place, head, first, 0, params_.extent);
        load<Columns>(s_values_, params_.values, place, head, first, place.first_column,
                      min_of(kChunk, params_.value_extent - place.first_column));
    }

    template <class Tile>
    __device__ void load(uint32 s_tile, const LightningRows& rows, const Place& place, int32 head,
                         int32 first, int32 column, int32 num_columns) const {
        const int32 of_rows = rows.of_q_heads ? head : place.kv_head;
        const uint8* base = static_cast<const uint8*>(rows.data) +
                            (rows.layout.row(place.entry, of_rows, 0) + column) * kBytes;
        const int64 token_bytes = rows.layout.strides[2] * kBytes;
        const int32 end = end_of(place.segment);
        load_listed_rows<Element, Tile, kChunk, kThreads>(
            s_tile, num_columns * kBytes, rows.wide, [&](int32 row) {
                const bool exists = first + row < end;
                return ListedRow{base + (exists ? token_at(first + row) * token_bytes : 0), exists};
            });
    }

    __device__ float power(int32 distance) const {
        return float_of_bits(prim::load_shared(s_decay_ + narrow<uint32>(distance) * 4));
    }

    // --- Results ---------------------------------------------------------------------------------

    __device__ void find_results(bool non_finite) {
        const LanePlace<1> at;
        OverRows(s_left_, s_state_, s_right_, at.warp_row, at.lane).scores(r_o_);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const float since = power(at.row(0, half) + 1 - params_.shift);
#pragma unroll
            for (int n = 0; n < kChunkBlocks; ++n) {
                r_o_[0][n][2 * half] *= since;
                r_o_[0][n][2 * half + 1] *= since;
            }
        }
        OverRows(s_left_, s_right_, s_right_, at.warp_row, at.lane).scores(r_s_);
#pragma unroll
        for (int n = 0; n < kChunkBlocks; ++n) {
#pragma unroll
            for (int e = 0; e < 4; ++e) {
                const int32 distance = at.row(0, e / 2) - at.column(n, e);
                const bool seen = distance >= (params_.strict ? 1 : 0);
                float& s = r_s_[0][n][e];
                s = seen ? s * (power(seen ? distance : 0) * params_.weight) : 0.0F;
            }
        }
        if (non_finite) {
            take_non_finite<Element, Columns, kChunk, kThreads>(r_o_, r_s_, s_values_);
        } else {
            // The state's place takes the results.
            prim::sync_block();
        }
        OverColumns(s_values_, s_values_, s_values_, at.warp_row, at.lane).values(r_o_, r_s_);
    }

    /// Where the results of a chunk's rows go.
    struct ResultRows {
        static constexpr int kAtOnce = 1;

        void* base;  // of token 0
        int64 token_elements;
        int32 first;
        int32 end;  // of the segment
        int32 len;
        bool backwards;
        int32 head_dim;

        __device__ bool exists(int32 row) const { return first + row < end; }
        template <class Stored>
        __device__ Stored* start(int32 row) const {
            const int32 token = backwards ? len - 1 - first - row : first + row;
            return static_cast<Stored*>(base) + token * token_elements;
        }
    };

    __device__ void store_results(const Place& place, int32 head, int32 first) {
#pragma unroll
        for (int n = 0; n < kChunkBlocks; ++n) {
#pragma unroll
            for (int e = 0; e < 4; ++e) r_o_[0][n][e] *= params_.factor;
        }
        if (params_.sums != nullptr) {
            const bool last = params_.stores && head + 1 == place.end_q_head;
            add_sums(place, first, params_.adds || head > place.first_q_head, last);
            if (!last) return;
        }
        const LanePlace<1> at;
        const TensorLayout& layout = params_.out_layout;
        const bool to_f32 = sizeof(Element) != 4 && layout.dtype == DType::kF32;
        const int64 element = layout.row(place.entry, place.head, 0) + place.first_column;
        const ResultRows rows{
            static_cast<uint8*>(params_.out) + element * (to_f32 ? 4 : kBytes),
            layout.strides[2],
            first,
            end_of(place.segment),
            params_.len,
            params_.backwards,
            clamp_to(narrow<int32>(layout.shape[3]) - place.first_column, 0, kChunk)};
        const auto warp_row = narrow<int32>(at.warp_row);
        if (to_f32) {
            store_elements<float>(rows, r_o_, warp_row, at.lane);
        } else if (!params_.wide_out) {
            store_elements<Element>(rows, r_o_, warp_row, at.lane);
        } else {
            store_wide<Element, Columns>(rows, r_o_, s_state_, warp_row, at.lane);
        }
    }

    /// Brings results and what other heads or the other direction gave together, and leaves them
    /// unless they are complete.
    __device__ void add_sums(const Place& place, int32 first, bool adds, bool complete) {
        const LanePlace<1> at;
        const int32 num_heads = params_.per_kv_head ? params_.num_kv_heads : params_.num_q_heads;
        float* g_head = params_.sums + (int64{place.entry} * num_heads + place.head) * params_.len *
                                           params_.value_extent;
        const int32 end = end_of(place.segment);
        for_each_in_blocks(r_o_, [&](float& x, int, int n, int e) {
            const int32 row = first + at.row(0, e / 2);
            const int32 column = place.first_column + at.column(n, e);
            if (row >= end || column >= params_.value_extent) return;
            float* g_sum = g_head + int64{token_at(row)} * params_.value_extent + column;
            if (adds) x += *g_sum;
            if (!complete) *g_sum = x;
        });
    }

    // --- The state -------------------------------------------------------------------------------

    /// Between registers and a head's state in memory: rows are the block's columns, of which a
    /// warp has 16.
    __device__ void move_state(const Place& place, int32 head, bool out) {
        const LightningStates& states = out ? params_.final : params_.initial;
        if (out && states.data == nullptr) return;
        const LanePlace<1> at;
        float* g_state = states.data + place.segment * states.segment_elements +
                         (int64{place.entry} * params_.num_q_heads + head) * states.head_elements;
        for_each_in_blocks(r_state_, [&](float& x, int, int n, int e) {
            const int32 column = place.first_column + at.row(0, e / 2);
            const int32 row = at.column(n, e);
            const bool exists = row < params_.extent && column < params_.value_extent;
            float* g_at = g_state + row * states.row_elements + column * states.column_elements;
            if (!out) x = exists && states.data != nullptr ? *g_at : 0.0F;
            if (out && exists) *g_at = x;
        });
    }

    /// The state as the products read it.
    __device__ void store_state_tile() const {
        const LanePlace<1> at;
#pragma unroll
        for (int d = 0; d < kDimBlocks; ++d) {
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const uint32 byte = static_cast<uint32>(at.column(d, 0)) * kBytes;
                store_pair(Element{},
                           s_state_ + Rows::at(static_cast<uint32>(at.row(0, half)), byte / 16) +
                               byte % 16,
                           r_state_[0][d][2 * half], r_state_[0][d][2 * half + 1]);
            }
        }
    }

    /// The chunk's tokens decay until its end and join the state.
    __device__ void add_to_state(int32 num_tokens) {
        const LanePlace<1> at;
        const float of_chunk = power(num_tokens);
#pragma unroll
        for (int d = 0; d < kDimBlocks; ++d) {
#pragma unroll
            for (int e = 0; e < 4; ++e) r_state_[0][d][e] *= of_chunk;
        }
        // Values of the block's columns, a row for each.
#pragma unroll
        for (int n = 0; n < kChunkBlocks; ++n) {
#pragma unroll
            for (int e = 0; e < 4; ++e) {
                const int32 token = at.column(n, e);
                const uint32 byte = static_cast<uint32>(at.row(0, e / 2)) * kBytes;
                const uint32 s_from = s_values_ +
                                      Columns::at(static_cast<uint32>(token), byte / 16) +
                                      byte % 16 / 4 * 4;
                const float x =
                    WordsOf<Element>::number(prim::load_shared(s_from), byte % 4 == 0 ? 0 : 1);
                const int32 left = num_tokens - 1 - token;
                const float since = left >= 0 ? power(left + params_.shift) * params_.weight : 0.0F;
                r_s_[0][n][e] = left >= 0 ? x * since : 0.0F;
            }
        }
        OverRows(s_left_, s_right_, s_right_, at.warp_row, at.lane).values(r_state_, r_s_);
    }

    const LightningParams& params_;
    const uint32 s_left_;
    const uint32 s_right_;
    const uint32 s_state_;  // a row for each of the block's columns
    const uint32 s_values_;
    const uint32 s_place_;
    const uint32 s_decay_;  // e^(-slope n), n from 0 to the chunk's length
    float r_s_[1][kChunkBlocks][4];
    float r_o_[1][kChunkBlocks][4];
    float r_state_[1][kDimBlocks][4];  // transposed: a row for each of the block's columns
};

}  // namespace fattn::cuda

/// One key as an entry point.
#define FATTN_LIGHTNING(name, Element, head_dim)                                                 \
    extern "C" __global__ void __launch_bounds__(                                                \
        fattn::cuda::lightning_threads(fattn::cuda::lightning_chunk(sizeof(Element), head_dim))) \
        name(const __grid_constant__ fattn::cuda::LightningParams params) {                      \
        fattn::cuda::LightningBlock<Element, head_dim>(params).run();                            \
    }
