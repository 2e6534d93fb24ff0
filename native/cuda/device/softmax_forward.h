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
#include "cuda/device/block_record.h"
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
        s.q_len =
            clamp_to<int64>(s.q_len, 0, min_of(problem.q_len, problem.q.shape[2] - s.q_begin));
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
          record_(s_bounds_ + kTile.tile_q * 8) {}

    __device__ void run() {
        const BlockPlace place = block_place(params_);
        if (place.first_query(kTile.tile_q) >= place.sequence.q_len) return;
        const RangePredicate predicate =
            range_predicate(problem_, place.sequence, params_.args.q_position_offset,
                            params_.args.k_position_offset);
        const TileSpan span =
            range_schedule(problem_, predicate, place.sequence.q_len, kTile.tile_q, kTile.tile_kv)
                .row(place.head, place.q_tile);
        if (prim::thread_idx() == 0) {
            record_.write(span, key_value_rows(place),
                          {.q_len = narrow<int32>(place.sequence.q_len),
                           .kv_len = narrow<int32>(place.sequence.kv_len),
                           .first_query = place.first_query(kTile.tile_q),
                           .head = place.head,
                           .shift = predicate.shift,
                           .entry = narrow<int32>(place.sequence.entry)});
        }
        begin_rows(place, predicate);
        prim::sync_block();
        load_queries(place);
        if (span.num_tiles() > 0) load_keys(span.tile(0));
        prim::commit_copies();
        for (int32 n = 0; n < record_.span().num_tiles(); ++n) {
            // The tile's keys are there, and nobody needs the values of the last one.
            prim::wait_copies<0>();
            prim::sync_block();
            load_values(record_.span().tile(n));
            prim::commit_copies();
            products().scores(r_s_);
            if constexpr (!kLean) modify_scores(n);
            if (n >= record_.span().num_full()) hide_scores(n);
            // The tile's values are there, and nobody needs its keys.
            prim::wait_copies<0>();
            prim::sync_block();
            const TileSpan span_again = record_.span();
            if (n + 1 < span_again.num_tiles()) load_keys(span_again.tile(n + 1));
            prim::commit_copies();
            weigh_scores(n);
            products().values(r_o_, r_s_);
        }
        // A block without keys has not waited for its queries, whose place the output takes.
        prim::wait_copies<0>();
        prim::sync_block();
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

    __device__ Products products() const {
        const LanePlace at;
        return Products(s_q_, s_k_, s_v_, at.warp_row, at.lane);
    }

    /// Calls visit(score, query, key) for all of a lane's scores of the n-th tile.
    template <class Visit>
    __device__ void for_each_score(const ScorePlace& place, int32 n_tile, const Visit& visit) {
        const LanePlace at;
        const int32 first_key = record_.span().tile(n_tile) * kTile.tile_kv;
#pragma unroll
        for (int m = 0; m < kRowBlocks; ++m) {
#pragma unroll
            for (int e = 0; e < 4; ++e) {
                const int32 query = place.first_query + at.row(m, e / 2);
#pragma unroll
                for (int n = 0; n < kKeyBlocks; ++n) {
                    visit(r_s_[m][n][e], query, first_key + at.key(n, e));
                }
            }
        }
    }

    __device__ KeyValueRows key_value_rows(const BlockPlace& place) const {
        if (!kLean && problem_.paged) return {nullptr, nullptr};
        const Sequence& s = place.sequence;
        const TensorLayout& k = problem_.k;
        const TensorLayout& v = problem_.v;
        return {static_cast<const uint8*>(params_.args.k) +
                    k.row(s.batch_idx, problem_.k_head(place.head), s.k_begin) * kBytes,
                static_cast<const uint8*>(params_.args.v) +
                    v.row(s.batch_idx, problem_.v_head(place.head), s.k_begin) * kBytes};
    }

    __device__ HeadPages pages(const TensorLayout& layout, const void* data, int64 head) const {
        if (!problem_.paged) return {};
        const ScorePlace place = record_.score_place();
        return {static_cast<const uint8*>(data) + head * layout.strides[2] * kBytes,
                params_.args.block_table + place.entry * problem_.max_pages_per_seq,
                layout.strides[0] * kBytes,
                layout.strides[1] * kBytes,
                problem_.num_pages,
                narrow<int32>(problem_.page_size)};
    }

    __device__ void load_queries(const BlockPlace& place) const {
        const Sequence& sequence = place.sequence;
        const HeadRows rows{
            static_cast<const uint8*>(params_.args.q) +
                problem_.q.row(sequence.batch_idx, place.head, sequence.q_begin) * kBytes,
            params_.token_bytes.q, narrow<int32>(sequence.q_len), row_bytes(problem_.head_dim),
            params_.wide.q};
        load<kTile.tile_q>(s_q_, rows, place.first_query(kTile.tile_q), [] { return HeadPages{}; });
    }

    __device__ void load_keys(int32 tile) const {
        const HeadRows rows{record_.k_rows(), params_.token_bytes.k, record_.kv_len(),
                            row_bytes(problem_.head_dim), params_.wide.k};
        load<kTile.tile_kv>(s_k_, rows, tile * kTile.tile_kv, [this] {
            return pages(problem_.k, params_.args.k, problem_.k_head(record_.score_place().head));
        });
    }

    __device__ void load_values(int32 tile) const {
        const HeadRows rows{record_.v_rows(), params_.token_bytes.v, record_.kv_len(),
                            row_bytes(problem_.head_dim_v), params_.wide.v};
        load<kTile.tile_kv>(s_v_, rows, tile * kTile.tile_kv, [this] {
            return pages(problem_.v, params_.args.v, problem_.v_head(record_.score_place().head));
        });
    }

    __device__ static int32 row_bytes(int64 head_dim) { return narrow<int32>(head_dim * kBytes); }

    /// find_pages() is called where rows may be in pages.
    template <int kRows, class FindPages>
    __device__ void load(uint32 s_tile, const HeadRows& rows, int32 first,
                         const FindPages& find_pages) const {
        const bool whole = first + kRows <= rows.num_tokens && rows.row_bytes == Rows::kRowBytes &&
                           (kLean || (rows.wide && rows.base != nullptr));
        if (whole) {
            load_whole_rows<Rows, kRows, kTile.num_threads()>(s_tile, rows, first);
        } else if constexpr (kLean) {
            load_any_rows<Rows, kRows, kTile.num_threads(), Storage, false>(s_tile, rows, {},
                                                                            first);
        } else {
            load_any_rows<Rows, kRows, kTile.num_threads(), Storage, true>(s_tile, rows,
                                                                           find_pages(), first);
        }
    }

    /// Every lane of a row has its maximum and its own part of the sum; a sink is in the first
    /// lane's. The keys that each row sees go to shared memory, where partial tiles look.
    __device__ void begin_rows(const BlockPlace& place, const RangePredicate& predicate) {
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
    __device__ void modify_scores(int32 n_tile) {
        const ScorePlace place = record_.score_place();
        if (problem_.softcap > 0.0F) {
            const SoftCap softcap = softcap_of(problem_.scale, problem_.softcap);
            for_each_score(place, n_tile,
                           [&](float& s, int32, int32) { s = plain(softcap(Value(s))); });
        } else {
            const Scale scale = scale_of(problem_.scale);
            for_each_score(place, n_tile,
                           [&](float& s, int32, int32) { s = plain(scale(Value(s))); });
        }
        if (problem_.has_bias) {
            for_each_score(place, n_tile, [&](float& s, int32 query, int32 key) {
                if (query >= place.q_len || key >= place.kv_len) return;
                const int64 at = pair_at(place, problem_.bias, query, key);
                s = plain(AddBias{}(Value(s), Value(load_bias(at))));
            });
        }
        if (problem_.has_alibi) {
            const Alibi alibi = alibi_of(params_.args.alibi_slopes[place.head]);
            for_each_score(place, n_tile, [&](float& s, int32 query, int32 key) {
                s = plain(alibi(Value(s), Value(static_cast<float>(query + place.shift - key))));
            });
        }
    }

    /// Element of a [B, Hq, Lq, Lk] tensor that belongs to a pair.
    __device__ static int64 pair_at(const ScorePlace& place, const TensorLayout& layout,
                                    int32 query, int32 key) {
        return layout.row(place.entry, place.head, query) + key * layout.strides[3];
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
    __device__ void hide_scores(int32 n_tile) {
        const LanePlace at;
        const int32 first_key = record_.span().tile(n_tile) * kTile.tile_kv;
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
        const ScorePlace place = record_.score_place();
        for_each_score(place, n_tile, [&](float& s, int32 query, int32 key) {
            if (query >= place.q_len || key >= place.kv_len) return;
            const int64 at = pair_at(place, problem_.mask, query, key);
            if (!mask_shows(params_.args.mask, problem_.mask.dtype, at)) s = -kInfinity;
        });
    }

    /// Scores become weights, and states take the keys.
    __device__ void weigh_scores(int32 n_tile) {
        if (!kLean && problem_.weights == Weights::kSigmoid) {
            const ScorePlace place = record_.score_place();
            for_each_score(place, n_tile, [&](float& s, int32, int32) {
                s = plain(sigmoid(fma(Value(s), Value(kLn2), Value(problem_.sigmoid_bias))));
            });
        } else {
            raise_maxima();
#pragma unroll
            for (int m = 0; m < kRowBlocks; ++m) {
#pragma unroll
                for (int half = 0; half < kHalves; ++half) weigh_row(m, half);
            }
        }
        if (!kLean && problem_.dropout_p > 0.0F) drop_weights(n_tile);
    }

    /// What a kernel's scores are multiplied by: lean ones are products without their scale, which
    /// joins the subtraction of the maximum.
    __device__ Value score_factor() const {
        return Value(kLean ? scale_of(problem_.scale).factor : 1.0F);
    }

    /// A lane's largest score of a row.
    __device__ float largest_score(int m, int half) const {
        float largest = -kInfinity;
#pragma unroll
        for (int n = 0; n < kKeyBlocks; ++n) {
            largest = prim::max_number(largest, r_s_[m][n][2 * half]);
            largest = prim::max_number(largest, r_s_[m][n][2 * half + 1]);
        }
        return largest;
    }

    /// Brings states and outputs to new maxima, but only when a row's has grown so much that its
    /// weights would leave the range in which they are kept: a maximum that is a little too small
    /// changes no result, since the sum has it too.
    __device__ void raise_maxima() {
        constexpr float kSlack = 8.0F;  // weights up to 2^8
        float largest[kRowBlocks][kHalves];
        bool grown = false;
#pragma unroll
        for (int m = 0; m < kRowBlocks; ++m) {
#pragma unroll
            for (int half = 0; half < kHalves; ++half) {
                largest[m][half] = plain(Value(largest_score(m, half)) * score_factor());
                grown = grown || largest[m][half] > plain(state_[m][half].max) + kSlack;
            }
        }
        if (!prim::any_lane(grown)) return;
#pragma unroll
        for (int m = 0; m < kRowBlocks; ++m) {
#pragma unroll
            for (int half = 0; half < kHalves; ++half) {
                float most = largest[m][half];
                most = prim::max_number(most, prim::shuffle_xor(most, 1));
                most = prim::max_number(most, prim::shuffle_xor(most, 2));
                const float factor = plain(raise_max(&state_[m][half], Value(most)));
#pragma unroll
                for (int d = 0; d < kDimBlocks; ++d) {
                    r_o_[m][d][2 * half] *= factor;
                    r_o_[m][d][2 * half + 1] *= factor;
                }
            }
        }
    }

    __device__ void weigh_row(int m, int half) {
        SoftmaxState<Value>& state = state_[m][half];
        const Value shift = guarded(state.max);
#pragma unroll
        for (int n = 0; n < kKeyBlocks; ++n) {
#pragma unroll
            for (int e = 2 * half; e < 2 * half + 2; ++e) {
                const Value score(r_s_[m][n][e]);
                const Value weight = kLean ? exp2(fma(score, score_factor(), Value(0.0F) - shift))
                                           : weight_of(score, shift);
                state.sum = state.sum + weight;
                r_s_[m][n][e] = plain(weight);
            }
        }
    }

    __device__ void drop_weights(int32 n_tile) {
        const ScorePlace place = record_.score_place();
        const DropoutRule rule = dropout_rule(problem_.dropout_p, params_.args.dropout_seed,
                                              params_.args.dropout_offset);
        const int64 head = place.entry * problem_.num_q_heads + place.head;
        for_each_score(place, n_tile, [&](float& weight, int32 query, int32 key) {
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
    const BlockRecord record_;
    float r_s_[kRowBlocks][kKeyBlocks][4];  // scores, then weights
    float r_o_[kRowBlocks][kDimBlocks][4];
    SoftmaxState<Value> state_[kRowBlocks][kHalves];
};

}  // namespace fattn::cuda
