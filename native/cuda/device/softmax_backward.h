// The backward kernels of the softmax family: one block computes the gradients of a tile of rows,
// queries or keys, from all tiles of the other side that it meets; instantiated by
// dense_backward_*.cu.
//
// Both sides are one text. Rows are queries (first tensor Q, second dO) or keys (K and V), columns
// the other ones. Scores are first x first, gradients of weights second x second; sums are products
// of score gradients with the columns' first tensor, and on the key side of weights with their
// second. Every warp owns 16 or 32 rows; nothing is added by two blocks, so that runs repeat to the
// bit. (native/notes/0036-cuda-backward.md)
#pragma once

#include "core/head_map.h"
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
#include "cuda/device/softmax_backward_params.h"
#include "cuda/device/softmax_backward_tensors.h"
#include "cuda/device/softmax_pairs.h"
#include "cuda/device/store_rows.h"
#include "cuda/device/tile_rows.h"

namespace fattn::cuda {

template <class Element, int kHeadDim, Side kSide>
class BackwardBlock {
  public:
    static constexpr BackwardTile kTile = dense_backward_tile(sizeof(Element), kHeadDim, kSide);
    static constexpr bool kKeys = kSide == Side::kKeys;
    static constexpr int kColumnBlocks = kTile.columns / 8;
    static constexpr int kDimBlocks = kHeadDim / 8;
    static constexpr int kRowBlocks = kTile.row_blocks;
    static_assert(kColumnBlocks <= kDimBlocks, "d_bias of a tile takes the place of the sums");

    __device__ explicit BackwardBlock(const SoftmaxBackwardParams& params)
        : params_(params),
          problem_(params.problem),
          s_first_rows_(prim::shared_memory()),
          s_second_rows_(s_first_rows_ + kTile.row_tile_bytes()),
          s_first_(s_second_rows_ + kTile.row_tile_bytes()),
          s_second_(s_first_ + kTile.column_tile_bytes()),
          s_bounds_(s_first_ + kTile.stages * kTile.stage_bytes()),
          s_terms_(s_bounds_ + kTile.rows * 8),
          record_(s_terms_ + kTile.num_terms() * 8),
          s_head_(s_terms_ + kTile.num_terms() * 8 + kBlockRecordBytes) {}

    __device__ void run() {
#pragma unroll
        for (int k = 0; k < kTile.num_sums; ++k) {
            for_each_number(r_sum_[k], [](float& x) { x = 0.0F; });
        }
        if constexpr (kKeys) {
            run_keys();
        } else {
            run_queries();
        }
    }

  private:
    using Parts = ElementParts<Element, kHeadDim, kRowBlocks, kTile.columns>;
    using Value = typename Parts::Value;
    using Products = typename Parts::Products;
    using Rows = RowTile<kHeadDim, sizeof(Element)>;
    using Pairs = PairFeatures<DenseBackwardArgs>;
    using Tensors = BackwardTensors<Element>;

    static constexpr int32 kEveryTile = -1;
    /// Which of the sums holds what: where there is one, a block computes one gradient.
    static constexpr int kFirstSum = 0;
    static constexpr int kSecondSum = kTile.num_sums - 1;

    using LanePlace = cuda::LanePlace<kRowBlocks>;

    /// What a block of keys computes.
    struct KeyWork {
        int32 head;  // of keys or values
        int32 first_q_head;
        int32 end_q_head;
        bool wants_k;
        bool wants_v;
    };

    // --- The three kinds of blocks ---------------------------------------------------------------

    /// A head of one batch entry that a block of queries takes: the only one for d_q, one after the
    /// other for d_bias, whose block has one tile of keys and all heads and entries that share it.
    struct QueryWork {
        Sequence sequence;
        int32 head;
        int32 tile;
        int32 only_tile;  // of keys; kEveryTile: all
        int32 count;      // of such heads
    };

    __device__ BlockPlace place_of_block() const {
        return block_place(params_, narrow<uint32>(params_.num_heads));
    }

    __device__ QueryWork query_work(int32 n) const {
        if (!params_.bias_gradient) {
            const BlockPlace place = place_of_block();
            return {place.sequence, place.head, place.tile, kEveryTile, 1};
        }
        const BiasTile at = bias_tile();
        const int32 heads = problem_.d_bias.shape[1] == 1 ? narrow<int32>(problem_.num_q_heads) : 1;
        const int32 entries = problem_.d_bias.shape[0] == 1 ? narrow<int32>(problem_.batch) : 1;
        const int32 entry = at.entry + n / heads;
        return {bounded(problem_, sequence_of(problem_, params_.args, entry)), at.head + n % heads,
                at.tile, at.kv_tile, heads * entries};
    }

    __device__ void run_queries() {
        for (int32 n = 0; n < query_work(n).count; ++n) {
            const QueryWork work = query_work(n);
            const bool exists = work.tile * kTile.rows < work.sequence.q_len;
            if (!exists && !params_.bias_gradient) return;
            add_head(work.sequence, work.head, work.tile, work.only_tile);
        }
        finish_copies();
        if (params_.bias_gradient) {
            store_bias();
            return;
        }
        const BlockPlace place = place_of_block();
        const Sequence& s = place.sequence;
        store(kFirstSum, problem_.scale, params_.args.d_q, problem_.d_q,
              problem_.d_q.row(s.batch_idx, place.head, s.q_begin + place.first_row(kTile.rows)),
              s.q_len - place.first_row(kTile.rows), problem_.head_dim, params_.wide.d_q,
              s_first_rows_);
    }

    __device__ KeyWork key_work(int32 block_head) const {
        const bool of_k = params_.both_sums || block_head < params_.num_k_blocks;
        const int32 head = of_k ? block_head : block_head - params_.num_k_blocks;
        const int64 num_heads = of_k ? problem_.num_k_heads : problem_.num_v_heads;
        const int64 num_q_heads = problem_.num_q_heads;
        return {.head = head,
                .first_q_head = narrow<int32>(first_q_head_of(head, num_heads, num_q_heads)),
                .end_q_head = narrow<int32>(first_q_head_of(head + 1, num_heads, num_q_heads)),
                .wants_k = of_k,
                .wants_v = !of_k || params_.both_sums};
    }

    /// The block's place is found again rather than kept: registers are full while a head is added.
    __device__ void run_keys() {
        const BlockPlace first = place_of_block();
        if (first.first_row(kTile.rows) >= first.sequence.kv_len) return;
        int32 head = key_work(first.head).first_q_head;
        for (; head < key_work(place_of_block().head).end_q_head; ++head) {
            const BlockPlace place = place_of_block();
            add_head(place.sequence, head, place.tile, kEveryTile);
        }
        finish_copies();
        const BlockPlace place = place_of_block();
        const int64 left = place.sequence.kv_len - place.first_row(kTile.rows);
        const KeyWork work = key_work(place.head);
        const Sequence& s = place.sequence;
        const int64 token = s.k_begin + place.first_row(kTile.rows);
        if (work.wants_k) {
            store(kFirstSum, problem_.scale, params_.args.d_k, problem_.d_k,
                  problem_.d_k.row(s.batch_idx, work.head, token), left, problem_.head_dim,
                  params_.wide.d_k, s_first_rows_);
        }
        if (work.wants_v) {
            store(kSecondSum, 1.0F, params_.args.d_v, problem_.d_v,
                  problem_.d_v.row(s.batch_idx, work.head, token), left, problem_.head_dim_v,
                  params_.wide.d_v, s_second_rows_);
        }
    }

    /// One tile of queries against one of keys, of one head and entry of d_bias.
    struct BiasTile {
        int32 kv_tile;
        int32 tile;
        int32 head;
        int32 entry;
    };

    __device__ BiasTile bias_tile() const {
        const uint32 idx = prim::block_idx();
        const auto num_kv_tiles = static_cast<uint32>(params_.num_kv_tiles);
        const auto num_tiles = static_cast<uint32>(params_.num_tiles);
        const auto heads = static_cast<uint32>(problem_.d_bias.shape[1]);
        const uint32 outer = idx / num_kv_tiles / num_tiles;
        return {narrow<int32>(idx % num_kv_tiles), narrow<int32>(idx / num_kv_tiles % num_tiles),
                narrow<int32>(outer % heads), narrow<int32>(outer / heads)};
    }

    __device__ void store_bias() {
        const BiasTile of = bias_tile();
        const TensorLayout& layout = problem_.d_bias;
        float* g_bias = params_.args.d_bias + layout.row(of.entry, of.head, 0);
        const LanePlace at;
        for_each_in_turn(r_sum_[kFirstSum], [&](float x, int m, int n, int e) {
            const int64 query = int64{of.tile} * kTile.rows + at.row(m, e / 2);
            const int64 key = int64{of.kv_tile} * kTile.columns + at.column(n, e);
            if (n < kColumnBlocks && query < problem_.q_len && key < problem_.kv_len) {
                g_bias[query * layout.strides[2] + key * layout.strides[3]] = x;
            }
        });
    }

    __device__ static void finish_copies() {
        prim::wait_copies<0>();
        prim::sync_block();
    }

    __device__ void store(int sum, float factor, void* data, const TensorLayout& layout,
                          int64 first_element, int64 rows_left, int64 head_dim, bool wide,
                          uint32 s_tile) {
        float(&r_o)[kRowBlocks][kDimBlocks][4] = r_sum_[sum];
        for_each_number(r_o, [&](float& x) { x *= factor; });
        const OutputRows rows{.base = data,
                              .first_element = first_element,
                              .row_elements = layout.strides[2],
                              .num_rows = narrow<int32>(min_of<int64>(rows_left, kTile.rows)),
                              .head_dim = narrow<int32>(head_dim)};
        const LanePlace at;
        const auto warp_row = narrow<int32>(at.warp_row);
        if (sizeof(Element) != 4 && layout.dtype == DType::kF32) {
            store_elements<float>(rows, r_o, warp_row, at.lane);
        } else if (!wide) {
            store_elements<Element>(rows, r_o, warp_row, at.lane);
        } else {
            store_wide<Element, Rows>(rows, r_o, s_tile, warp_row, at.lane);
        }
    }

    // --- One head --------------------------------------------------------------------------------

    /// Adds what the columns of one query head give to the sums of a tile of rows; only_tile: the
    /// one tile of columns, or kEveryTile.
    __device__ void add_head(const Sequence& sequence, int32 head, int32 tile, int32 only_tile) {
        begin_head(sequence, head, tile, only_tile);
        load_columns(0);
        int32 n = 0;
        if constexpr (sizeof(Element) == 2) {
            if (params_.simple && (kTile.num_sums == 1 || params_.both_sums)) {
                for (; n < record_.span().num_full(); ++n) take_tile<true>(n);
            }
        }
        for (; n < record_.span().num_tiles(); ++n) take_tile<false>(n);
    }

    __device__ static uint32 stage(int32 n) {
        return static_cast<uint32>(n % kTile.stages * kTile.stage_bytes());
    }

    /// Adds the n-th tile; kFull: every row sees every column of it, and the problem is simple.
    template <bool kFull>
    __device__ void take_tile(int32 n) {
        // The tile is there, and nobody needs the one before.
        prim::wait_copies<0>();
        bool takes_first = false, takes_second = false;
        if constexpr (kFull) {
            prim::sync_block();
        } else {
            takes_first = sync_tile(s_first_ + stage(n), n);
            if constexpr (kKeys) takes_second = sync_tile(s_second_ + stage(n), n);
        }
        if constexpr (kTile.stages > 1) load_columns(n + 1);
        if constexpr (kFull) {
            add_full_tile(n);
        } else {
            add_any_tile(n, takes_first, takes_second);
        }
        if constexpr (kTile.stages == 1) {
            prim::sync_block();
            load_columns(n + 1);
        }
    }

    /// No branch stands between weights and products, so that the compiler may mix them.
    __device__ void add_full_tile(int32 n) {
        const bool wants_first = !kKeys || kTile.num_sums == 2 || wants_k();
        if (wants_first) {
            second(n).scores(r_g_);
        } else {
            for_each_number(r_g_, [](float& g) { g = 0.0F; });
        }
        first(n).scores(r_s_);
        weigh_simple(n);
        if constexpr (kKeys && kTile.num_sums == 2) second(n).values(r_sum_[kSecondSum], r_s_);
        if (wants_first) {
            first(n).values(r_sum_[kFirstSum], r_g_);
        } else {
            second(n).values(r_sum_[kSecondSum], r_s_);
        }
    }

    __device__ void add_any_tile(int32 n, bool takes_first, bool takes_second) {
        second(n).scores(r_g_);
        first(n).scores(r_s_);
        if (params_.simple) {
            weigh_simple(n);
            if (n >= record_.span().num_full()) {
                hide_columns(record_.span().tile(n) * kTile.columns);
            }
        } else {
            weigh_any(n);
        }
        if (kKeys && wants_v()) {
            add_product(kSecondSum, second(n), r_s_, s_second_ + stage(n), takes_second);
        }
        if (!kKeys && params_.bias_gradient) {
            add_score_gradients();
        } else if (!kKeys || wants_k()) {
            add_product(kFirstSum, first(n), r_g_, s_first_ + stage(n), takes_first);
        }
    }

    /// Of the n-th tile of columns.
    __device__ Products first(int32 n) const {
        const LanePlace at;
        const uint32 s_columns = s_first_ + stage(n);
        return Products(s_first_rows_, s_columns, s_columns, at.warp_row, at.lane);
    }
    __device__ Products second(int32 n) const {
        const LanePlace at;
        const uint32 s_columns = s_second_ + stage(n);
        return Products(s_second_rows_, s_columns, s_columns, at.warp_row, at.lane);
    }

    /// A tile's share of one of the sums.
    __device__ void add_product(int sum, const Products& products,
                                float (&r_factor)[kRowBlocks][kColumnBlocks][4], uint32 s_tile,
                                bool non_finite) {
        if (non_finite) {
            take_non_finite<Element, Rows, kTile.columns, kTile.num_threads()>(r_sum_[sum],
                                                                               r_factor, s_tile);
        }
        products.values(r_sum_[sum], r_factor);
    }

    __device__ void add_score_gradients() {
#pragma unroll
        for (int m = 0; m < kRowBlocks; ++m) {
#pragma unroll
            for (int n = 0; n < kColumnBlocks; ++n) {
#pragma unroll
                for (int e = 0; e < 4; ++e) r_sum_[kFirstSum][m][n][e] += r_g_[m][n][e];
            }
        }
    }

    /// As sync_values() of the forward.
    __device__ bool sync_tile(uint32 s_tile, int32 n_tile) const {
        if (sizeof(Element) == 4 || n_tile >= record_.span().num_full()) {
            return sync_non_finite<Element, Rows, kTile.columns, kTile.num_threads()>(s_tile);
        }
        prim::sync_block();
        return false;
    }

    __device__ void begin_head(const Sequence& sequence, int32 head, int32 tile, int32 only_tile) {
        const RangePredicate of_queries = range_predicate(
            problem_, sequence, params_.args.q_position_offset, params_.args.k_position_offset);
        const RangePredicate predicate = kKeys ? transpose(of_queries, sequence.q_len) : of_queries;
        const int64 num_rows = kKeys ? sequence.kv_len : sequence.q_len;
        const int32 first_row = tile * kTile.rows;
        const RangeSchedule schedule{predicate, num_rows, kTile.rows, kTile.columns,
                                     problem_.has_mask};
        // Nobody needs the last head any more, and without tiles nobody waited for its rows.
        prim::wait_copies<0>();
        prim::sync_block();
        if (prim::thread_idx() == 0) {
            const TileSpan all =
                first_row < num_rows ? schedule.row(head, tile) : TileSpan{0, 0, 0, 0};
            record_.write(only_tile == kEveryTile ? all : one_tile(all, only_tile),
                          column_rows(sequence, head),
                          {.q_len = narrow<int32>(sequence.q_len),
                           .kv_len = narrow<int32>(sequence.kv_len),
                           .first_row = first_row,
                           .head = head,
                           .shift = of_queries.shift,
                           .entry = narrow<int32>(sequence.entry)});
            const auto terms = reinterpret_cast<uint64>(Tensors(params_).terms(sequence, head));
            prim::store_shared_8(s_head_, narrow<uint32>(terms), narrow<uint32>(terms >> 32));
            if constexpr (kKeys) {
                const KeyWork work = key_work(place_of_block().head);
                prim::store_shared_8(s_head_ + 8, work.wants_k ? 1 : 0, work.wants_v ? 1 : 0);
            }
        }
        for (uint32 row = prim::thread_idx(); row < kTile.rows; row += kTile.num_threads()) {
            KeyInterval seen{0, 0};
            if (first_row + row < num_rows) seen = predicate.visible(first_row + row);
            prim::store_shared_8(s_bounds_ + row * 8, narrow<uint32>(seen.begin),
                                 narrow<uint32>(seen.end));
        }
        load_rows_of(sequence, head, first_row);
        prim::sync_block();
    }

    __device__ static TileSpan one_tile(const TileSpan& all, int32 tile) {
        const TileState state = all.state(tile);
        if (state == TileState::kSkipped) return {0, 0, 0, 0};
        return {tile, tile, state == TileState::kFull ? tile + 1 : tile, tile + 1};
    }

    __device__ bool wants_k() const { return prim::load_shared(s_head_ + 8) != 0; }
    __device__ bool wants_v() const { return prim::load_shared(s_head_ + 12) != 0; }

    // --- Loads -----------------------------------------------------------------------------------

    __device__ KeyValueRows column_rows(const Sequence& s, int32 head) const {
        const Tensors tensors(params_);
        if (kKeys) return {tensors.q(s, head).base, tensors.d_o(s, head).base};
        return {tensors.k(s, head).base, tensors.v(s, head).base};
    }

    template <int kRows>
    __device__ static void load(uint32 s_tile, const HeadRows& rows, int32 first) {
        load_rows<Element, Rows, kRows, kTile.num_threads(), true>(s_tile, rows, first,
                                                                   [] { return HeadPages{}; });
    }

    __device__ void load_rows_of(const Sequence& s, int32 head, int32 first_row) const {
        const Tensors tensors(params_);
        if constexpr (kKeys) {
            load<kTile.rows>(s_first_rows_, tensors.k(s, head), first_row);
            load<kTile.rows>(s_second_rows_, tensors.v(s, head), first_row);
        } else {
            load<kTile.rows>(s_first_rows_, tensors.q(s, head), first_row);
            load<kTile.rows>(s_second_rows_, tensors.d_o(s, head), first_row);
            load_terms<kTile.rows>(s_terms_, tensors.terms(s, head), narrow<int32>(s.q_len),
                                   first_row);
        }
    }

    /// The n-th tile of columns, if there is one, as a group of copies; on the key side the
    /// queries' terms come along.
    __device__ void load_columns(int32 n) const {
        const TileSpan span = record_.span();
        if (n < span.num_tiles()) {
            const Tensors tensors(params_);
            const ScorePlace place = record_.score_place();
            const int32 first = span.tile(n) * kTile.columns;
            const uint32 s_first = s_first_ + stage(n);
            const uint32 s_second = s_second_ + stage(n);
            if constexpr (kKeys) {
                load<kTile.columns>(s_first, tensors.q(record_.k_rows(), place.q_len), first);
                load<kTile.columns>(s_second, tensors.d_o(record_.v_rows(), place.q_len), first);
                const prim::WordPair terms = prim::load_shared_8(s_head_);
                load_terms<kTile.columns>(
                    column_terms(n),
                    reinterpret_cast<const RowTerms*>(terms.x | uint64{terms.y} << 32), place.q_len,
                    first);
            } else {
                load<kTile.columns>(s_first, tensors.k(record_.k_rows(), place.kv_len), first);
                load<kTile.columns>(s_second, tensors.v(record_.v_rows(), place.kv_len), first);
            }
        }
        prim::commit_copies();
    }

    /// Where the terms of the n-th tile's columns are.
    __device__ uint32 column_terms(int32 n) const {
        return s_terms_ + static_cast<uint32>(n % kTile.stages * (kTile.columns * 8));
    }

    template <int kCount>
    __device__ void load_terms(uint32 s_terms, const RowTerms* g_terms, int32 num_queries,
                               int32 first) const {
        if (g_terms == nullptr) return;
        for (uint32 n = prim::thread_idx(); n < kCount; n += kTile.num_threads()) {
            const int32 query = first + narrow<int32>(n);
            const bool exists = query < num_queries;
            prim::copy_async_8(s_terms + n * 8, g_terms + (exists ? query : 0), exists ? 8 : 0);
        }
    }

    // --- Weights and gradients of scores ---------------------------------------------------------

    /// Pairs of the n-th tile.
    __device__ void weigh_simple(int32 n) {
        weigh_pairs<kKeys, Value>(r_s_, r_g_, kKeys ? column_terms(n) : s_terms_,
                                  scale_of(problem_.scale).factor);
    }

    /// What the predicate hides becomes 0.
    __device__ void hide_columns(int32 first_column) {
        const LanePlace at;
#pragma unroll
        for (int m = 0; m < kRowBlocks; ++m) {
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const prim::WordPair seen =
                    prim::load_shared_8(s_bounds_ + static_cast<uint32>(at.row(m, half)) * 8);
                const int32 begin = narrow<int32>(seen.x) - first_column;
                const int32 end = narrow<int32>(seen.y) - first_column;
#pragma unroll
                for (int n = 0; n < kColumnBlocks; ++n) {
#pragma unroll
                    for (int e = 2 * half; e < 2 * half + 2; ++e) {
                        if (at.column(n, e) < begin || at.column(n, e) >= end) {
                            r_s_[m][n][e] = r_g_[m][n][e] = 0.0F;
                        }
                    }
                }
            }
        }
    }

    /// The same for every problem, block by block.
    __device__ void weigh_any(int32 n_tile) {
        const LanePlace at;
        const ScorePlace place = record_.score_place();
        const Pairs pairs(problem_, params_.args, place);
        const int32 first_column = record_.span().tile(n_tile) * kTile.columns;
        const bool softmax = problem_.weights == Weights::kSoftmax;
        uint32 kept = 0;
        for_each_in_turn(r_s_, r_g_, [&](float& s, float& g, int m, int n, int e) {
            const int32 row = at.row(m, e / 2);
            const int32 column = at.column(n, e);
            const int32 query = kKeys ? first_column + column : place.first_row + row;
            const int32 key = kKeys ? place.first_row + row : first_column + column;
            if (problem_.dropout_p > 0.0F && e == 0) {
                kept = pairs.template kept<kKeys>(query, key);
            }
            const prim::WordPair seen =
                prim::load_shared_8(s_bounds_ + static_cast<uint32>(row) * 8);
            const bool visible = first_column + column >= narrow<int32>(seen.x) &&
                                 first_column + column < narrow<int32>(seen.y) &&
                                 (!problem_.has_mask || pairs.mask_shows(query, key));
            float weight = 0.0F, gradient = 0.0F;
            if (visible) {
                Value score = Value(s) * Value(scale_of(problem_.scale).factor);
                float slope = 1.0F;
                if (problem_.softcap > 0.0F) {
                    const auto capped =
                        softcap_of(problem_.scale, problem_.softcap).with_slope(Value(s));
                    score = capped.score;
                    slope = plain(capped.slope);
                }
                if (problem_.has_bias) score = AddBias{}(score, Value(pairs.bias(query, key)));
                if (problem_.has_alibi) {
                    score = alibi_of(params_.args.alibi_slopes[place.head])(
                        score, Value(pairs.distance(query, key)));
                }
                float dropout = 1.0F;
                if (problem_.dropout_p > 0.0F) {
                    dropout = (kept >> e & 1) != 0 ? pairs.inverse_keep() : 0.0F;
                }
                const float d_weight = dropout == 0.0F ? 0.0F : g * dropout;
                if (softmax) {
                    const prim::WordPair x = prim::load_shared_8(
                        kKeys ? column_terms(n_tile) + static_cast<uint32>(column) * 8
                              : s_terms_ + static_cast<uint32>(row) * 8);
                    const RowTerms terms = terms_of(x.x, x.y);
                    weight = plain(weight_of(score, Value(terms.shift)));
                    // A row without weights has no gradients, whatever its tensors hold.
                    gradient = weight == 0.0F ? 0.0F : weight * (d_weight - terms.delta);
                } else {
                    weight = plain(sigmoid(fma(score, Value(kLn2), Value(problem_.sigmoid_bias))));
                    gradient = weight * (1.0F - weight) * d_weight;
                }
                weight = dropout == 0.0F ? 0.0F : weight * dropout;
                if (!params_.bias_gradient) gradient *= slope;
            }
            s = weight;
            g = gradient;
        });
    }

    const SoftmaxBackwardParams& params_;
    const DenseProblem& problem_;
    const uint32 s_first_rows_;  // tiles of the block's rows
    const uint32 s_second_rows_;
    const uint32 s_first_;  // tiles of columns
    const uint32 s_second_;
    const uint32 s_bounds_;  // first column that each row sees, and the one after the last
    const uint32 s_terms_;   // of the rows that are queries
    const BlockRecord record_;
    const uint32 s_head_;  // terms of the head, and what a block of keys computes
    float r_s_[kRowBlocks][kColumnBlocks][4];
    float r_g_[kRowBlocks][kColumnBlocks][4];
    float r_sum_[kTile.num_sums][kRowBlocks][kDimBlocks][4];
};

}  // namespace fattn::cuda
