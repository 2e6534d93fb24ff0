// The forward kernel of the softmax family: one block folds the keys that a tile of queries sees
// into running softmax states, and finishes the rows; instantiated by dense_forward_*.cu.
//
// Every warp owns 16 or 32 rows and needs nothing from the others but the tiles of keys and values
// that all threads load. While a tile's scores are computed its values arrive, and while weights
// are applied the next tile's keys do. (native/notes/0035-cuda-forward.md)
#pragma once

#include "core/epilogue.h"
#include "core/modifier.h"
#include "core/predicate.h"
#include "core/problem.h"
#include "core/schedule.h"
#include "core/softmax_state.h"
#include "cuda/device/block_place.h"
#include "cuda/device/block_record.h"
#include "cuda/device/element_parts.h"
#include "cuda/device/finite_tile.h"
#include "cuda/device/lane_place.h"
#include "cuda/device/pair_features.h"
#include "cuda/device/prim/lanes.h"
#include "cuda/device/prim/memory.h"
#include "cuda/device/score_blocks.h"
#include "cuda/device/softmax_forward_params.h"
#include "cuda/device/softmax_rows.h"
#include "cuda/device/store_rows.h"
#include "cuda/device/tile_rows.h"

namespace fattn::cuda {

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
        const BlockPlace place = place_of_block();
        if (place.first_row(kTile.tile_q) >= place.sequence.q_len) return;
        const RangePredicate predicate =
            range_predicate(problem_, place.sequence, params_.args.q_position_offset,
                            params_.args.k_position_offset);
        const TileSpan span =
            range_schedule(problem_, predicate, place.sequence.q_len, kTile.tile_q, kTile.tile_kv)
                .row(place.head, place.tile)
                .part(split(), params_.num_splits);
        if (prim::thread_idx() == 0) {
            record_.write(span, key_value_rows(place),
                          {.q_len = narrow<int32>(place.sequence.q_len),
                           .kv_len = narrow<int32>(place.sequence.kv_len),
                           .first_row = place.first_row(kTile.tile_q),
                           .head = place.head,
                           .shift = predicate.shift,
                           .entry = narrow<int32>(place.sequence.entry)});
        }
        begin_rows(place, predicate);
        prim::sync_block();
        load_queries(place);
        if (span.num_tiles() > 0) load_keys(span.tile(0));
        prim::commit_copies();
        int32 n = 0;
        if constexpr (kFiniteLoop) {
            while (n < record_.span().num_tiles() && take_tile<true>(n)) ++n;
        }
        for (; n < record_.span().num_tiles(); ++n) take_tile<false>(n);
        // A block without keys has not waited for its queries, whose place the output takes.
        prim::wait_copies<0>();
        prim::sync_block();
        finish_rows();
    }

  private:
    using Parts = ElementParts<Element, kHeadDim, kRowBlocks, kTile.tile_kv>;
    using Value = typename Parts::Value;
    using Products = typename Parts::Products;
    using Rows = RowTile<kHeadDim, sizeof(Element)>;

    static constexpr int64 kBytes = sizeof(Element);
    /// A row block's rows in a lane: g and g + 8.
    static constexpr int kHalves = 2;

    using LanePlace = cuda::LanePlace<kRowBlocks>;

    /// The part of a row's keys that the block takes.
    __device__ int32 split() const {
        return narrow<int32>(prim::block_idx() / params_.blocks_of_split);
    }

    __device__ BlockPlace place_of_block() const {
        return block_place(params_, narrow<uint32>(problem_.num_q_heads),
                           prim::block_idx() % params_.blocks_of_split);
    }

    /// Whether the warp has a row that exists. Few queries leave most warps of a general key
    /// without; they load tiles and compute nothing.
    __device__ bool has_rows() const {
        if (kLean) return true;
        const ScorePlace place = record_.score_place();
        return place.first_row + narrow<int32>(LanePlace().warp_row) < place.q_len;
    }

    __device__ Products products() const {
        const LanePlace at;
        return Products(s_q_, s_k_, s_v_, at.warp_row, at.lane);
    }

    /// Whether a loop of its own takes finite tiles: where the compiler mixes weights and products,
    /// which takes registers that larger accumulators do not leave.
    static constexpr bool kFiniteLoop = kLean && kRowBlocks * (kKeyBlocks + kDimBlocks) <= 40;

    /// Folds the n-th tile into the rows. With kFinite false is returned where a hidden pair has an
    /// infinity, and another loop goes on with the tile: what it needs then, which is rare, takes
    /// no registers of this one, and no branch keeps the compiler from mixing weights and products.
    template <bool kFinite>
    __device__ bool take_tile(int32 n) {
        // The tile's keys are there, and nobody needs the values of the last one.
        prim::wait_copies<0>();
        prim::sync_block();
        load_values(record_.span().tile(n));
        prim::commit_copies();
        if (has_rows()) {
            products().scores(r_s_);
            if constexpr (!kLean) modify_scores(n);
            if (n >= record_.span().num_full()) hide_scores(n);
        }
        // The tile's values are there, and nobody needs its keys.
        prim::wait_copies<0>();
        const bool non_finite = sync_values(n);
        if (kFinite && non_finite) return false;
        const TileSpan span = record_.span();
        if (n + 1 < span.num_tiles()) load_keys(span.tile(n + 1));
        prim::commit_copies();
        if (has_rows()) weigh_scores(n);
        if (!kFinite && non_finite) {
            take_non_finite<Element, Rows, kTile.tile_kv, kTile.num_threads()>(r_o_, r_s_, s_v_);
        }
        if (has_rows()) products().values(r_o_, r_s_);
        return true;
    }

    using Pairs = PairFeatures<DenseForwardArgs>;

    /// Calls visit(pairs, score, query, key) for all of a lane's scores of the n-th tile.
    template <class Visit>
    __device__ void for_each_score(int32 n_tile, const Visit& visit) {
        const ScorePlace place = record_.score_place();
        const Pairs pairs(problem_, params_.args, place);
        const LanePlace at;
        const int32 first_key = record_.span().tile(n_tile) * kTile.tile_kv;
        for_each_in_blocks(r_s_, [&](float& s, int m, int n, int e) {
            visit(pairs, s, place.first_row + at.row(m, e / 2), first_key + at.column(n, e));
        });
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
        load<kTile.tile_q>(s_q_, rows, place.first_row(kTile.tile_q), [] { return HeadPages{}; });
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

    template <int kRows, class FindPages>
    __device__ static void load(uint32 s_tile, const HeadRows& rows, int32 first,
                                const FindPages& find_pages) {
        load_rows<Element, Rows, kRows, kTile.num_threads(), !kLean>(s_tile, rows, first,
                                                                     find_pages);
    }

    /// Barrier behind which the n-th tile's values are there; whether some have to be taken out of
    /// the product: those that are not finite where a pair is hidden, and in f32, whose products
    /// of two parts would make NaN of an infinity, everywhere.
    __device__ bool sync_values(int32 n_tile) const {
        if (sizeof(Element) == 4 || n_tile >= record_.span().num_full()) {
            return sync_non_finite<Element, Rows, kTile.tile_kv, kTile.num_threads()>(s_v_);
        }
        prim::sync_block();
        return false;
    }

    /// Every lane of a row has its maximum and its own part of the sum; a sink is in the first
    /// lane's. The keys that each row sees go to shared memory, where partial tiles look.
    __device__ void begin_rows(const BlockPlace& place, const RangePredicate& predicate) {
        SoftmaxState<Value> state = empty_state<Value>();
        if (problem_.has_sink && split() == 0) {
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
            // Warps without rows have no scores, but are there when numbers that are not finite are
            // taken.
#pragma unroll
            for (int n = 0; !kLean && n < kKeyBlocks; ++n) {
#pragma unroll
                for (int e = 0; e < 4; ++e) r_s_[m][n][e] = 0.0F;
            }
        }
        for (uint32 row = prim::thread_idx(); row < kTile.tile_q; row += kTile.num_threads()) {
            const KeyInterval keys = predicate.visible(place.first_row(kTile.tile_q) + row);
            prim::store_shared_8(s_bounds_ + row * 8, narrow<uint32>(keys.begin),
                                 narrow<uint32>(keys.end));
        }
    }

    /// Products become base-2 scores. Lean kernels scale later, when they weigh.
    __device__ void modify_scores(int32 n_tile) {
        if (problem_.softcap > 0.0F) {
            const SoftCap softcap = softcap_of(problem_.scale, problem_.softcap);
            for_each_score(n_tile, [&](const Pairs&, float& s, int32, int32) {
                s = plain(softcap(Value(s)));
            });
        } else {
            const float factor = scale_of(problem_.scale).factor;
#pragma unroll
            for (int m = 0; m < kRowBlocks; ++m) {
#pragma unroll
                for (int n = 0; n < kKeyBlocks; ++n) {
#pragma unroll
                    for (int e = 0; e < 4; ++e) r_s_[m][n][e] *= factor;
                }
            }
        }
        if (problem_.has_bias) {
            if (problem_.bias.dtype == DType::kF32) {
                add_bias<float>(n_tile);
            } else {
                add_bias<Element>(n_tile);
            }
        }
        if (problem_.has_alibi) {
            const Alibi alibi = alibi_of(params_.args.alibi_slopes[record_.score_place().head]);
            for_each_score(n_tile, [&](const Pairs& pairs, float& s, int32 query, int32 key) {
                s = plain(alibi(Value(s), Value(pairs.distance(query, key))));
            });
        }
    }

    /// All numbers of a lane are asked for before the first has to be there.
    template <class Stored>
    __device__ void add_bias(int32 n_tile) {
        const ScorePlace place = record_.score_place();
        const LanePlace at;
        const int32 first_key = record_.span().tile(n_tile) * kTile.tile_kv;
        const int64 step = problem_.bias.strides[3];
#pragma unroll
        for (int m = 0; m < kRowBlocks; ++m) {
#pragma unroll
            for (int half = 0; half < kHalves; ++half) {
                const int32 query = place.first_row + at.row(m, half);
                if (query >= place.q_len) continue;
                const Stored* g_bias =
                    static_cast<const Stored*>(params_.args.bias) +
                    pair_at(place, problem_.bias, query, first_key + at.column(0, 0));
                const int32 num_keys = place.kv_len - first_key - at.column(0, 0);
#pragma unroll
                for (int n = 0; n < kKeyBlocks; ++n) {
#pragma unroll
                    for (int e = 0; e < 2; ++e) {
                        float& s = r_s_[m][n][2 * half + e];
                        if (8 * n + e >= num_keys) continue;
                        const Value bias(to_f32(g_bias[(8 * n + e) * step]));
                        s = plain(AddBias{}(Value(s), bias));
                    }
                }
            }
        }
    }
    __device__ static float to_f32(float x) { return x; }
    __device__ static float to_f32(f16 x) { return prim::unpack(x); }
    __device__ static float to_f32(bf16 x) { return to_float(x); }

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
                        if (at.column(n, e) < begin || at.column(n, e) >= end)
                            r_s_[m][n][e] = -kInfinity;
                    }
                }
            }
        }
        if (kLean || !problem_.has_mask) return;
        for_each_score(n_tile, [&](const Pairs& pairs, float& s, int32 query, int32 key) {
            if (pairs.exists(query, key) && !pairs.mask_shows(query, key)) s = -kInfinity;
        });
    }

    /// Scores become weights, and states take the keys.
    __device__ void weigh_scores(int32 n_tile) {
        if (!kLean && problem_.weights == Weights::kSigmoid) {
            for_each_score(n_tile, [&](const Pairs&, float& s, int32, int32) {
                s = plain(sigmoid(fma(Value(s), Value(kLn2), Value(problem_.sigmoid_bias))));
            });
        } else {
            raise_maxima(state_, r_s_, r_o_, score_factor());
#pragma unroll
            for (int m = 0; m < kRowBlocks; ++m) {
#pragma unroll
                for (int half = 0; half < kHalves; ++half) {
                    weigh_row(&state_[m][half], r_s_[m], half, [&](Value score, Value shift) {
                        return kLean ? exp2(fma(score, score_factor(), Value(0.0F) - shift))
                                     : weight_of(score, shift);
                    });
                }
            }
        }
        if (!kLean && problem_.dropout_p > 0.0F) drop_weights(n_tile);
    }

    __device__ void drop_weights(int32 n_tile) {
        const ScorePlace place = record_.score_place();
        const Pairs pairs(problem_, params_.args, place);
        const LanePlace at;
        const int32 first_key = record_.span().tile(n_tile) * kTile.tile_kv;
        uint32 kept = 0;
        for_each_in_blocks(r_s_, [&](float& weight, int m, int n, int e) {
            if (e == 0) {
                kept = pairs.template kept<false>(place.first_row + at.row(m, 0),
                                                  first_key + at.column(n, 0));
            }
            weight = (kept >> e & 1) != 0 ? weight * pairs.inverse_keep() : 0.0F;
        });
    }

    /// What a kernel's scores are multiplied by: lean ones are products without their scale, which
    /// joins the subtraction of the maximum.
    __device__ Value score_factor() const {
        return Value(kLean ? scale_of(problem_.scale).factor : 1.0F);
    }

    /// Sums of the four lanes of a row meet; outputs are scaled and leave with the LSE. The block's
    /// place is found again rather than kept.
    __device__ void finish_rows() {
        const BlockPlace place = place_of_block();
        const LanePlace at;
        const Sequence& sequence = place.sequence;
        const int64 first_token = sequence.q_begin + place.first_row(kTile.tile_q);
        const auto num_rows = narrow<int32>(
            min_of<int64>(sequence.q_len - place.first_row(kTile.tile_q), kTile.tile_q));
        float* g_lse = params_.args.lse;
        const int64 first_row =
            (sequence.batch_idx * problem_.num_q_heads + place.head) * problem_.q.shape[2] +
            first_token;
        const bool softmax = kLean || problem_.weights == Weights::kSoftmax;
#pragma unroll
        for (int m = 0; m < kRowBlocks; ++m) {
#pragma unroll
            for (int half = 0; half < kHalves; ++half) {
                const SoftmaxState<float> state = whole_row(state_[m][half]);
                const RowEnd<float> end = finish(state);
                const float factor = softmax ? end.o_factor : 1.0F;
#pragma unroll
                for (int d = 0; d < kDimBlocks; ++d) {
                    r_o_[m][d][2 * half] *= factor;
                    r_o_[m][d][2 * half + 1] *= factor;
                }
                const int32 row = at.row(m, half);
                if (!softmax || at.lane % 4 != 0 || row >= num_rows) continue;
                if (g_lse != nullptr) g_lse[first_row + row] = end.lse;
                if (!kLean && params_.states != nullptr) {
                    params_.states[split() * params_.split_rows + first_row + row] = state;
                }
            }
        }
        const OutputRows rows{
            .base = params_.args.o,
            .first_element = problem_.o.row(sequence.batch_idx, place.head, first_token) +
                             split() * params_.split_rows * problem_.head_dim_v,
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
