// The forward kernel of the softmax family: one block folds the keys that a tile of queries sees
// into running softmax states, and finishes the rows; instantiated by dense_forward_*.cu.
//
// Every warp owns 16 or 32 rows and needs nothing from the others but the tiles of keys and values
// that all threads load. While a tile's scores are computed its values arrive, and while weights
// are applied the next tile's keys do. (native/notes/0035-cuda-forward.md)
#pragma once

#include "core/convert.h"
#include "core/epilogue.h"
#include "core/modifier.h"
#include "core/philox.h"
#include "core/predicate.h"
#include "core/problem.h"
#include "core/schedule.h"
#include "core/softmax_state.h"
#include "cuda/device/approx.h"
#include "cuda/device/prim/lanes.h"
#include "cuda/device/prim/memory.h"
#include "cuda/device/products_16.h"
#include "cuda/device/products_32.h"
#include "cuda/device/softmax_forward_params.h"
#include "cuda/device/store_rows.h"
#include "cuda/device/tile_rows.h"

namespace fattn::cuda {

/// What follows from an element type: the arithmetic of scores and the products of a tile.
template <class Element, int kHeadDim, int kRowBlocks, int kTileKv>
struct ElementParts {
    using Value = Approx;
    using Products = Products16<Element, kHeadDim, kRowBlocks, kTileKv>;
    using Storage = uint16;
};
template <int kHeadDim, int kRowBlocks, int kTileKv>
struct ElementParts<float, kHeadDim, kRowBlocks, kTileKv> {
    using Value = float;
    using Products = Products32<kHeadDim, kRowBlocks, kTileKv>;
    using Storage = uint32;
};

/// Lengths and starts read from device memory, brought inside the tensors: wrong ones give wrong
/// results, and no access outside.
__device__ inline Sequence bounded(const DenseProblem& problem, Sequence s) {
    if (problem.varlen) {
        s.q_begin = clamp_to<int64>(s.q_begin, 0, problem.q.shape[2]);
        s.q_len = clamp_to<int64>(s.q_len, 0, problem.q.shape[2] - s.q_begin);
        if (!problem.paged) {
            s.k_begin = clamp_to<int64>(s.k_begin, 0, problem.k.shape[2]);
            s.kv_len = clamp_to<int64>(s.kv_len, 0, problem.k.shape[2] - s.k_begin);
        }
    }
    s.kv_len = clamp_to<int64>(s.kv_len, 0, problem.kv_len);
    return s;
}

/// Which rows a block computes.
struct BlockPlace {
    Sequence sequence;
    int32 q_tile;
    int32 head;

    __device__ int32 first_query(int32 tile_q) const { return q_tile * tile_q; }
};

/// Blocks are numbered tile first, then head, then sequence: neighbours share keys in the cache.
__device__ inline BlockPlace block_place(const SoftmaxForwardParams& params) {
    const auto num_tiles = static_cast<uint32>(params.num_q_tiles);
    const auto num_heads = static_cast<uint32>(params.problem.num_q_heads);
    const uint32 idx = prim::block_idx();
    const auto tile = narrow<int32>(idx % num_tiles);
    const uint32 rest = idx / num_tiles;
    return {bounded(params.problem,
                    sequence_of(params.problem, params.args, narrow<int32>(rest / num_heads))),
            params.last_tile_first ? params.num_q_tiles - 1 - tile : tile,
            narrow<int32>(rest % num_heads)};
}

template <class Element, int kHeadDim, Features kFeatures>
class ForwardBlock {
  public:
    static constexpr ForwardTile kTile = forward_tile(sizeof(Element), kHeadDim, kFeatures);
    static constexpr bool kLean = kFeatures == Features::kLean;
    static constexpr int kRowBlocks = kTile.tile_q / (16 * kTile.num_warps);
    static constexpr int kKeyBlocks = kTile.tile_kv / 8;
    static constexpr int kDimBlocks = kHeadDim / 8;

    __device__ explicit ForwardBlock(const SoftmaxForwardParams& params)
        : params_(params),
          problem_(params.problem),
          s_q_(prim::shared_memory()),
          s_k_(s_q_ + kTile.q_bytes()),
          s_v_(s_k_ + kTile.kv_bytes()),
          s_bounds_(s_v_ + kTile.kv_bytes()),
          s_span_(s_bounds_ + kTile.tile_q * 8) {}

    __device__ void run() {
        const BlockPlace place = block_place(params_);
        if (place.first_query(kTile.tile_q) >= place.sequence.q_len) return;
        const RangePredicate predicate =
            range_predicate(problem_, place.sequence, params_.args.q_position_offset,
                            params_.args.k_position_offset);
        const TileSpan span =
            range_schedule(problem_, predicate, place.sequence.q_len, kTile.tile_q, kTile.tile_kv)
                .row(place.head, place.q_tile);
        int32 tile = span.tile(0);
        const KeyRows keys =
            key_rows(place, problem_.k, params_.args.k, problem_.k_head(place.head));
        const KeyRows values =
            key_rows(place, problem_.v, params_.args.v, problem_.v_head(place.head));
        const LanePlace at;
        const Products products(s_q_, s_k_, s_v_, at.warp_row, at.lane);

        load_queries(place);
        if (span.num_tiles() > 0) load_keys(tile, keys);
        prim::commit_copies();
        begin_rows(place, predicate, span);
        prim::sync_block();
        for (int32 n = 0; n < shared_span().num_tiles(); ++n) {
            // The tile's keys are there, and nobody needs the values of the last one.
            prim::wait_copies<0>();
            prim::sync_block();
            load_values(tile, values);
            prim::commit_copies();
            products.scores(r_s_);
            if constexpr (!kLean) modify_scores(place, predicate.shift, tile);
            if (n >= shared_span().num_full()) hide_scores(place, tile);
            // The tile's values are there, and nobody needs its keys.
            prim::wait_copies<0>();
            prim::sync_block();
            const int32 next = shared_span().tile(n + 1);
            if (n + 1 < shared_span().num_tiles()) load_keys(next, keys);
            prim::commit_copies();
            weigh_scores(place, tile);
            products.values(r_o_, r_s_);
            tile = next;
        }
        // The queries' copies of a block without keys.
        prim::wait_copies<0>();
        finish_rows();
    }

  private:
    using Parts = ElementParts<Element, kHeadDim, kRowBlocks, kTile.tile_kv>;
    using Value = typename Parts::Value;
    using Products = typename Parts::Products;
    using Storage = typename Parts::Storage;
    using Rows = RowTile<kHeadDim, sizeof(Element)>;
    using Share = CopyShare<Rows, kTile.num_threads()>;

    static constexpr int64 kBytes = sizeof(Element);
    /// A row block's rows in a lane: g and g + 8.
    static constexpr int kHalves = 2;

    struct KeyRows {
        HeadRows rows;
        HeadPages pages;
    };

    /// Which elements of a tile are a lane's. Found again where it is needed.
    struct LanePlace {
        uint32 lane;
        uint32 warp_row;  // first row of the warp

        __device__ LanePlace() {
            const uint32 thread = prim::thread_idx();
            lane = thread % prim::kWarpSize;
            warp_row = thread / prim::kWarpSize * (16 * kRowBlocks);
        }
        /// Row of the query tile, and key of the tile.
        __device__ int32 row(int m, int half) const {
            return narrow<int32>(warp_row + lane / 4) + 16 * m + 8 * half;
        }
        __device__ int32 key(int n, int e) const {
            return 8 * n + narrow<int32>(lane % 4) * 2 + e % 2;
        }
    };

    /// Calls visit(score, query, key) for all of a lane's scores of a tile.
    template <class Visit>
    __device__ void for_each_score(const BlockPlace& place, int32 tile, const Visit& visit) {
        const LanePlace at;
        const int32 first_query = place.first_query(kTile.tile_q);
        const int32 first_key = tile * kTile.tile_kv;
#pragma unroll
        for (int m = 0; m < kRowBlocks; ++m) {
#pragma unroll
            for (int e = 0; e < 4; ++e) {
                const int32 query = first_query + at.row(m, e / 2);
#pragma unroll
                for (int n = 0; n < kKeyBlocks; ++n) {
                    visit(r_s_[m][n][e], query, first_key + at.key(n, e));
                }
            }
        }
    }

    /// Tiles that the block visits. They are in shared memory, since registers are scarce.
    __device__ TileSpan shared_span() const {
        const prim::Words span = prim::load_shared_16(s_span_);
        return {narrow<int32>(span.x), narrow<int32>(span.y), narrow<int32>(span.z),
                narrow<int32>(span.w)};
    }

    __device__ KeyRows key_rows(const BlockPlace& place, const TensorLayout& layout,
                                const void* data, int64 head) const {
        const auto* bytes = static_cast<const uint8*>(data);
        const Sequence& sequence = place.sequence;
        KeyRows keys{};
        if (!kLean && problem_.paged) {
            keys.rows = {nullptr, narrow<int32>(sequence.kv_len)};
            keys.pages = {bytes + head * layout.strides[2] * kBytes,
                          params_.args.block_table + sequence.entry * problem_.max_pages_per_seq,
                          layout.strides[0] * kBytes,
                          layout.strides[1] * kBytes,
                          problem_.num_pages,
                          narrow<int32>(problem_.page_size)};
            return keys;
        }
        keys.rows =
            Share().rows_of(bytes + layout.row(sequence.batch_idx, head, sequence.k_begin) * kBytes,
                            layout.strides[2] * kBytes, sequence.kv_len);
        return keys;
    }

    __device__ void load_queries(const BlockPlace& place) const {
        const Sequence& sequence = place.sequence;
        const HeadRows rows = Share().rows_of(
            static_cast<const uint8*>(params_.args.q) +
                problem_.q.row(sequence.batch_idx, place.head, sequence.q_begin) * kBytes,
            params_.token_bytes.q, sequence.q_len);
        load<kTile.tile_q>(s_q_, {rows, {}},
                           row_shape(params_.token_bytes.q, problem_.head_dim, params_.wide.q),
                           place.first_query(kTile.tile_q));
    }

    __device__ void load_keys(int32 tile, const KeyRows& keys) const {
        load<kTile.tile_kv>(s_k_, keys,
                            row_shape(params_.token_bytes.k, problem_.head_dim, params_.wide.k),
                            tile * kTile.tile_kv);
    }

    __device__ void load_values(int32 tile, const KeyRows& values) const {
        load<kTile.tile_kv>(s_v_, values,
                            row_shape(params_.token_bytes.v, problem_.head_dim_v, params_.wide.v),
                            tile * kTile.tile_kv);
    }

    __device__ static RowShape row_shape(int64 token_bytes, int64 head_dim, bool wide) {
        return {token_bytes, narrow<int32>(head_dim * kBytes), wide};
    }

    template <int kRows>
    __device__ void load(uint32 s_tile, const KeyRows& from, const RowShape& shape,
                         int32 first) const {
        const bool whole = first + kRows <= from.rows.num_tokens &&
                           shape.row_bytes == Rows::kRowBytes &&
                           (kLean || (shape.wide && from.pages.base == nullptr));
        if (whole) {
            load_whole_rows<Rows, kRows, kTile.num_threads()>(s_tile, from.rows, shape.token_bytes,
                                                              first);
        } else {
            load_any_rows<Rows, kRows, kTile.num_threads(), Storage, !kLean>(
                s_tile, from.rows, from.pages, shape, first);
        }
    }

    /// Every lane of a row has its maximum and its own part of the sum; a sink is in the first
    /// lane's. The keys that each row sees go to shared memory, where partial tiles look.
    __device__ void begin_rows(const BlockPlace& place, const RangePredicate& predicate,
                               const TileSpan& span) {
        if (prim::thread_idx() == 0) {
            prim::store_shared_16(s_span_,
                                  {narrow<uint32>(span.begin), narrow<uint32>(span.full_begin),
                                   narrow<uint32>(span.full_end), narrow<uint32>(span.end)});
        }
        SoftmaxState<Value> state = empty_state<Value>();
        if (problem_.has_sink) {
            state = state_of_lse(Value(params_.args.sink_logits[place.head]));
            if (prim::thread_idx() % 4 != 0) state.sum = Value(0.0F);
        }
#pragma unroll
        for (int m = 0; m < kRowBlocks; ++m) {
#pragma unroll
            for (int half = 0; half < kHalves; ++half) state_[m][half] = state;
#pragma unroll
            for (int d = 0; d < kDimBlocks; ++d) {
#pragma unroll
                for (int e = 0; e < 4; ++e) r_o_[m][d][e] = 0.0F;
            }
        }
        for (uint32 row = prim::thread_idx(); row < kTile.tile_q; row += kTile.num_threads()) {
            const KeyInterval keys = predicate.visible(place.first_query(kTile.tile_q) + row);
            prim::store_shared_8(s_bounds_ + row * 8, narrow<uint32>(keys.begin),
                                 narrow<uint32>(keys.end));
        }
    }

    /// Products become base-2 scores. Lean kernels scale later, when they weigh.
    __device__ void modify_scores(const BlockPlace& place, int64 shift, int32 tile) {
        if (problem_.softcap > 0.0F) {
            const SoftCap softcap = softcap_of(problem_.scale, problem_.softcap);
            for_each_score(place, tile,
                           [&](float& s, int32, int32) { s = plain(softcap(Value(s))); });
        } else {
            const Scale scale = scale_of(problem_.scale);
            for_each_score(place, tile,
                           [&](float& s, int32, int32) { s = plain(scale(Value(s))); });
        }
        if (problem_.has_bias) {
            for_each_score(place, tile, [&](float& s, int32 query, int32 key) {
                if (query >= place.sequence.q_len || key >= place.sequence.kv_len) return;
                const int64 at = pair_at(place, problem_.bias, query, key);
                s = plain(AddBias{}(Value(s), Value(load_bias(at))));
            });
        }
        if (problem_.has_alibi) {
            const Alibi alibi = alibi_of(params_.args.alibi_slopes[place.head]);
            for_each_score(place, tile, [&](float& s, int32 query, int32 key) {
                s = plain(alibi(Value(s), Value(static_cast<float>(query + shift - key))));
            });
        }
    }

    /// Element of a [B, Hq, Lq, Lk] tensor that belongs to a pair.
    __device__ static int64 pair_at(const BlockPlace& place, const TensorLayout& layout,
                                    int32 query, int32 key) {
        return layout.row(place.sequence.entry, place.head, query) + key * layout.strides[3];
    }

    __device__ float load_bias(int64 at) const {
        if (problem_.bias.dtype == DType::kF32) {
            return static_cast<const float*>(params_.args.bias)[at];
        }
        if (problem_.bias.dtype == DType::kF16) {
            return to_float(static_cast<const f16*>(params_.args.bias)[at]);
        }
        return to_float(static_cast<const bf16*>(params_.args.bias)[at]);
    }

    /// Scores of pairs that the predicate or the caller's mask hides become -inf.
    __device__ void hide_scores(const BlockPlace& place, int32 tile) {
        const LanePlace at;
        const int32 first_key = tile * kTile.tile_kv;
#pragma unroll
        for (int m = 0; m < kRowBlocks; ++m) {
#pragma unroll
            for (int half = 0; half < kHalves; ++half) {
                const prim::WordPair keys =
                    prim::load_shared_8(s_bounds_ + static_cast<uint32>(at.row(m, half)) * 8);
                const int32 begin = narrow<int32>(keys.x) - first_key;
                const int32 end = narrow<int32>(keys.y) - first_key;
#pragma unroll
                for (int n = 0; n < kKeyBlocks; ++n) {
#pragma unroll
                    for (int e = 2 * half; e < 2 * half + 2; ++e) {
                        if (at.key(n, e) < begin || at.key(n, e) >= end) r_s_[m][n][e] = -kInfinity;
                    }
                }
            }
        }
        if (kLean || !problem_.has_mask) return;
        for_each_score(place, tile, [&](float& s, int32 query, int32 key) {
            if (query >= place.sequence.q_len || key >= place.sequence.kv_len) return;
            const int64 at = pair_at(place, problem_.mask, query, key);
            if (!mask_shows(params_.args.mask, problem_.mask.dtype, at)) s = -kInfinity;
        });
    }

    /// Scores become weights, states take the keys, and outputs follow the raised maxima.
    __device__ void weigh_scores(const BlockPlace& place, int32 tile) {
        if (!kLean && problem_.weights == Weights::kSigmoid) {
            for_each_score(place, tile, [&](float& s, int32, int32) {
                s = plain(sigmoid(fma(Value(s), Value(kLn2), Value(problem_.sigmoid_bias))));
            });
        } else {
#pragma unroll
            for (int m = 0; m < kRowBlocks; ++m) {
#pragma unroll
                for (int half = 0; half < kHalves; ++half) weigh_row(m, half);
            }
        }
        if (!kLean && problem_.dropout_p > 0.0F) drop_weights(place, tile);
    }

    __device__ void weigh_row(int m, int half) {
        // Lean scores are products without their scale, which joins the subtraction.
        const Value factor(kLean ? scale_of(problem_.scale).factor : 1.0F);
        SoftmaxState<Value>& state = state_[m][half];
        float largest = -kInfinity;
#pragma unroll
        for (int n = 0; n < kKeyBlocks; ++n) {
            largest = prim::max_number(largest, r_s_[m][n][2 * half]);
            largest = prim::max_number(largest, r_s_[m][n][2 * half + 1]);
        }
        largest = prim::max_number(largest, prim::shuffle_xor(largest, 1));
        largest = prim::max_number(largest, prim::shuffle_xor(largest, 2));
        const float raised = plain(raise_max(&state, Value(largest) * factor));
        const Value shift = guarded(state.max);
#pragma unroll
        for (int n = 0; n < kKeyBlocks; ++n) {
#pragma unroll
            for (int e = 2 * half; e < 2 * half + 2; ++e) {
                const Value score(r_s_[m][n][e]);
                const Value weight =
                    kLean ? exp2(fma(score, factor, Value(0.0F) - shift)) : weight_of(score, shift);
                state.sum = state.sum + weight;
                r_s_[m][n][e] = plain(weight);
            }
        }
#pragma unroll
        for (int d = 0; d < kDimBlocks; ++d) {
            r_o_[m][d][2 * half] *= raised;
            r_o_[m][d][2 * half + 1] *= raised;
        }
    }

    __device__ void drop_weights(const BlockPlace& place, int32 tile) {
        const DropoutRule rule = dropout_rule(problem_.dropout_p, params_.args.dropout_seed,
                                              params_.args.dropout_offset);
        const int64 head = place.sequence.entry * problem_.num_q_heads + place.head;
        for_each_score(place, tile, [&](float& weight, int32 query, int32 key) {
            const int64 position = key + params_.args.k_position_offset;
            const PhiloxBlock block = dropout_words(
                rule, head, query + params_.args.q_position_offset, floor_div(position, 4));
            // As dropout_keep, whose index would put the words in local memory.
            const uint32 low = (position & 1) != 0 ? block.word[1] : block.word[0];
            const uint32 high = (position & 1) != 0 ? block.word[3] : block.word[2];
            const bool kept = ((position & 2) != 0 ? high : low) >= rule.threshold;
            weight = kept ? weight * rule.inverse_keep : 0.0F;
        });
    }

    /// Sums of the four lanes of a row meet; outputs are scaled and leave with the LSE. The block's
    /// place is found again rather than kept.
    __device__ void finish_rows() {
        const BlockPlace place = block_place(params_);
        const LanePlace at;
        const Sequence& sequence = place.sequence;
        const int64 first_token = sequence.q_begin + place.first_query(kTile.tile_q);
        const auto num_rows = narrow<int32>(
            min_of<int64>(sequence.q_len - place.first_query(kTile.tile_q), kTile.tile_q));
        float* g_lse = params_.args.lse;
        if (g_lse != nullptr) {
            g_lse +=
                (sequence.batch_idx * problem_.num_q_heads + place.head) * problem_.q.shape[2] +
                first_token;
        }
        const bool softmax = kLean || problem_.weights == Weights::kSoftmax;
#pragma unroll
        for (int m = 0; m < kRowBlocks; ++m) {
#pragma unroll
            for (int half = 0; half < kHalves; ++half) {
                float sum = plain(state_[m][half].sum);
                sum += prim::shuffle_xor(sum, 1);
                sum += prim::shuffle_xor(sum, 2);
                const RowEnd<float> end =
                    finish(SoftmaxState<float>{plain(state_[m][half].max), sum});
                const float factor = softmax ? end.o_factor : 1.0F;
#pragma unroll
                for (int d = 0; d < kDimBlocks; ++d) {
                    r_o_[m][d][2 * half] *= factor;
                    r_o_[m][d][2 * half + 1] *= factor;
                }
                const int32 row = at.row(m, half);
                if (softmax && g_lse != nullptr && at.lane % 4 == 0 && row < num_rows) {
                    g_lse[row] = end.lse;
                }
            }
        }
        const OutputRows rows{
            .base = params_.args.o,
            .first_element = problem_.o.row(sequence.batch_idx, place.head, first_token),
            .row_elements = problem_.o.strides[2],
            .num_rows = num_rows,
            .head_dim = narrow<int32>(problem_.head_dim_v)};
        const int32 warp_row = narrow<int32>(at.warp_row);
        if (!kLean && sizeof(Element) != 4 && problem_.o.dtype == DType::kF32) {
            store_elements<float>(rows, r_o_, warp_row, at.lane);
        } else if (!kLean && !params_.wide.o) {
            store_elements<Element>(rows, r_o_, warp_row, at.lane);
        } else {
            store_wide<Element, Rows>(rows, r_o_, s_q_, warp_row, at.lane);
        }
    }

    const SoftmaxForwardParams& params_;
    const DenseProblem& problem_;
    const uint32 s_q_;
    const uint32 s_k_;
    const uint32 s_v_;
    const uint32 s_bounds_;  // first key that each row sees, and the one after the last
    const uint32 s_span_;    // TileSpan
    float r_s_[kRowBlocks][kKeyBlocks][4];  // scores, then weights
    float r_o_[kRowBlocks][kDimBlocks][4];
    SoftmaxState<Value> state_[kRowBlocks][kHalves];
};

}  // namespace fattn::cuda
