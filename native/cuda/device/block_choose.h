// Chooses blocks of permuted block-sparse attention: for each row of blocks those that a coverage
// or a gate keeps; instantiated by block_select.cu.
//
// Nothing is sorted: the place in the ranking up to which blocks are kept is found bit by bit, so
// that a block of the row takes 8 bytes. (native/notes/0039-cuda-selection.md)
#pragma once

#include "core/float_ops.h"
#include "core/numeric.h"
#include "core/types.h"
#include "cuda/device/block_select_params.h"
#include "cuda/device/prim/arithmetic.h"
#include "cuda/device/prim/lanes.h"
#include "cuda/device/prim/memory.h"
#include "cuda/device/prim/votes.h"

namespace fattn::cuda {

/// Ranks that ascend while numbers fall; what is no number comes last.
__device__ inline uint32 falling_rank(float x) {
    const uint32 bits = bits_of_float(x == x ? x : -kInfinity);
    return (bits & 0x80000000u) != 0 ? bits : ~(bits | 0x80000000u);
}

/// What all threads of a block hold, brought together in a fixed order; s_parts: a word a thread.
template <class Combine>
__device__ inline float reduce_block(uint32 s_parts, float x, const Combine& combine) {
    const uint32 thread = prim::thread_idx();
    prim::sync_block();
    prim::store_shared(s_parts + thread * 4, bits_of_float(x));
    for (uint32 half = kSelectThreads / 2; half > 0; half /= 2) {
        prim::sync_block();
        if (thread >= half) continue;
        x = combine(x, float_of_bits(prim::load_shared(s_parts + (thread + half) * 4)));
        prim::store_shared(s_parts + thread * 4, bits_of_float(x));
    }
    prim::sync_block();
    return float_of_bits(prim::load_shared(s_parts));
}

/// The sum of what all threads of a block hold. buffer: 0 and 1 take turns, so that one barrier
/// is enough; nobody may use s_parts otherwise meanwhile.
__device__ inline uint64 add_over_block(uint32 s_parts, uint32 buffer, uint64 x) {
    const uint32 thread = prim::thread_idx();
    const uint32 lane = thread % prim::kWarpSize;
    for (uint32 n = 1; n < prim::kWarpSize; n *= 2) {
        const uint64 low = prim::shuffle_bits(static_cast<uint32>(x), lane ^ n);
        const uint64 high = prim::shuffle_bits(static_cast<uint32>(x >> 32), lane ^ n);
        x += high << 32 | low;
    }
    constexpr uint32 kWarps = kSelectThreads / prim::kWarpSize;
    const uint32 s_own = s_parts + buffer * kWarps * 8;
    if (lane == 0) {
        prim::store_shared_8(s_own + thread / prim::kWarpSize * 8, static_cast<uint32>(x),
                             static_cast<uint32>(x >> 32));
    }
    prim::sync_block();
    uint64 sum = 0;
    for (uint32 warp = 0; warp < kWarps; ++warp) {
        const prim::WordPair part = prim::load_shared_8(s_own + warp * 8);
        sum += uint64{part.y} << 32 | part.x;
    }
    return sum;
}

/// A number for each block of a row, in shared memory or, for long rows, in device memory; each is
/// read and written by one thread.
struct BlockNumbers {
    uint32 s_numbers;
    float* g_numbers;  // null: in shared memory

    __device__ float get(int32 n) const {
        if (g_numbers != nullptr) return g_numbers[n];
        return float_of_bits(prim::load_shared(s_numbers + narrow<uint32>(n) * 4));
    }
    __device__ void set(int32 n, float x) const {
        if (g_numbers != nullptr) {
            g_numbers[n] = x;
        } else {
            prim::store_shared(s_numbers + narrow<uint32>(n) * 4, bits_of_float(x));
        }
    }
};

/// The blocks that one row of a unit's mask keeps; all threads of a block.
class BlockChooser {
  public:
    /// row_idx: of all units' masks. The block's shared memory is used by nobody else.
    __device__ BlockChooser(const BlockSelectParams& params, int64 row_idx)
        : params_(params),
          p_(params.problem),
          num_blocks_(narrow<int32>(p_.num_key_blocks())),
          s_parts_(prim::shared_memory()),
          s_first_block_(s_parts_ + kSelectThreads * 4),
          s_query_(s_first_block_ + 16),
          scores_{s_query_ + narrow<uint32>(p_.head_dim) * 4, params.long_rows} {
        row_ = row_idx % p_.num_query_blocks();
        unit_idx_ = row_idx / p_.num_query_blocks();
        unit_ = unit_idx_ % params.num_units();
        entry_ = unit_idx_ / params.num_units();
        if (params.long_rows != nullptr) {
            scores_.g_numbers += int64{prim::block_idx()} * 2 * num_blocks_;
            shares_ = {0, scores_.g_numbers + num_blocks_};
        } else {
            shares_ = {scores_.s_numbers + narrow<uint32>(num_blocks_) * 4, nullptr};
        }
    }

    __device__ void run() const {
        for_each_block([&](int32 kb) { shares_.set(kb, 0.0F); });
        const int64 first = params_.first_head(unit_);
        const int64 end = params_.first_head(unit_ + 1);
        bool sound = true;
        for (int64 h = first; h < end; ++h) {
            sound = add_shares(h, static_cast<float>(end - first)) && sound;
        }
        if (params_.choice == BlockChoice::kCover) {
            keep_covering(sound);
        } else {
            keep_gated();
        }
    }

  private:
    /// Shares are added as whole numbers of so many to 1: exactly, and in any order.
    static constexpr float kShareUnits = 0x1p62F;

    template <class Visit>
    __device__ void for_each_block(const Visit& visit) const {
        for (auto kb = narrow<int32>(prim::thread_idx()); kb < num_blocks_;
             kb += narrow<int32>(kSelectThreads)) {
            visit(kb);
        }
    }
    /// Row of the mask of a head, over all entries.
    __device__ int64 row_of(int64 head) const {
        return (entry_ * p_.num_q_heads + head) * p_.num_query_blocks() + row_;
    }
    /// Whether the choice looks at a block's score.
    __device__ bool competes(int32 kb) const {
        if (params_.choice == BlockChoice::kCover) return p_.is_candidate(row_, kb);
        return !p_.causal || kb <= p_.own_block(row_);
    }

    __device__ float score_of(int64 head, int32 kb) const {
        if (params_.scores != nullptr) return params_.scores[row_of(head) * num_blocks_ + kb];
        const float* key = params_.pooled_k + (unit_idx_ * num_blocks_ + kb) * p_.head_dim;
        float sum = 0.0F;
        for (int32 d = 0; d < p_.head_dim; ++d) {
            const float q = float_of_bits(prim::load_shared(s_query_ + narrow<uint32>(d) * 4));
            sum = fattn::fma(q, key[d], sum);
        }
        return sum;
    }

    /// Adds the scores of a head, or their softmax, divided by the number of heads; whether they
    /// are numbers.
    __device__ bool add_shares(int64 head, float num_heads) const {
        prim::sync_block();
        if (params_.scores == nullptr) {
            for (int64 d = prim::thread_idx(); d < p_.head_dim; d += kSelectThreads) {
                prim::store_shared(s_query_ + narrow<uint32>(d) * 4,
                                   bits_of_float(params_.pooled_q[row_of(head) * p_.head_dim + d]));
            }
        }
        prim::sync_block();
        const bool covers = params_.choice == BlockChoice::kCover;
        const float factor = covers ? p_.scale * kLog2E : 1.0F / num_heads;
        for_each_block([&](int32 kb) {
            if (!competes(kb)) return;
            const float x = score_of(head, kb) * factor;
            if (covers) {
                scores_.set(kb, x);
            } else {
                shares_.set(kb, shares_.get(kb) + x);
            }
        });
        return !covers || add_softmax(1.0F / num_heads);
    }

    /// Adds factor times the softmax, in base 2, of the scores of competing blocks; false where it
    /// is no number.
    __device__ bool add_softmax(float factor) const {
        float most = -kInfinity;
        for_each_block([&](int32 kb) {
            if (competes(kb)) most = prim::max_number(most, scores_.get(kb));
        });
        most =
            reduce_block(s_parts_, most, [](float a, float b) { return prim::max_number(a, b); });
        float sum = 0.0F;
        for_each_block([&](int32 kb) {
            if (competes(kb)) sum += fattn::exp2(scores_.get(kb) - most);
        });
        sum = reduce_block(s_parts_, sum, [](float a, float b) { return a + b; });
        if (!(sum > 0.0F && sum < kInfinity)) return false;
        for_each_block([&](int32 kb) {
            if (!competes(kb)) return;
            const float weight = fattn::exp2(scores_.get(kb) - most);
            shares_.set(kb, shares_.get(kb) + weight / sum * factor);
        });
        return true;
    }

    /// Place of a block in the ranking, the highest share first, equal ones by their number.
    __device__ uint64 place_of(int32 kb) const {
        return uint64{falling_rank(shares_.get(kb))} << 32 | narrow<uint32>(kb);
    }

    /// The first place up to which ranked blocks weigh as much as is wanted; the last of all where
    /// they never do, and *reached is false.
    template <class IsRanked, class WeightOf>
    __device__ uint64 find_place(uint64 wanted, bool* reached, const IsRanked& is_ranked,
                                 const WeightOf& weight_of) const {
        uint32 buffer = 0;
        const auto weight_up_to = [&](uint64 place) {
            uint64 sum = 0;
            for_each_block([&](int32 kb) {
                if (is_ranked(kb) && place_of(kb) <= place) sum += weight_of(kb);
            });
            buffer ^= 1;
            return add_over_block(s_parts_, buffer, sum);
        };
        prim::sync_block();
        *reached = weight_up_to(~uint64{0}) >= wanted;
        if (!*reached) return ~uint64{0};
        uint64 place = 0;
#pragma unroll 1
        for (int32 bit = 63; bit >= 0; --bit) {
            // No block has so large a number.
            if (bit < 31 && (num_blocks_ - 1) >> bit == 0) continue;
            const uint64 one = uint64{1} << bit;
            if (weight_up_to(place | (one - 1)) < wanted) place |= one;
        }
        prim::sync_block();
        return place;
    }

    __device__ uint64 units_of(float share) const {
        return share > 0.0F ? static_cast<uint64>(share * kShareUnits) : 0;
    }

    __device__ void keep_covering(bool sound) const {
        const auto candidate = [this](int32 kb) { return competes(kb); };
        const bool all = p_.coverage >= 1.0F;
        bool reached = false;
        uint64 last = 0;
        if (!all && sound) {
            last = find_place(units_of(p_.coverage), &reached, candidate,
                              [this](int32 kb) { return units_of(shares_.get(kb)); });
        }
        const int64 own = p_.segment_of_query_block(row_);
        const int32 first = first_block();
        write_row([&](int32 kb) {
            if (p_.segment_of_key_block(kb) == own || kb == first) return true;
            // A sum that never gets there keeps nothing.
            return competes(kb) && (all || (reached && place_of(kb) <= last));
        });
    }

    /// The block that has the first token.
    __device__ int32 first_block() const {
        const int32* tokens =
            params_.permutation + (entry_ * p_.num_q_heads + params_.first_head(unit_)) * p_.kv_len;
        if (prim::thread_idx() == 0) prim::store_shared(s_first_block_, 0);
        prim::sync_block();
        for (int64 slot = prim::thread_idx(); slot < min_of(p_.segment, p_.kv_len);
             slot += kSelectThreads) {
            if (tokens[slot] == 0) {
                prim::store_shared(s_first_block_, narrow<uint32>(slot / p_.block));
            }
        }
        prim::sync_block();
        return narrow<int32>(prim::load_shared(s_first_block_));
    }

    __device__ void keep_gated() const {
        const auto own = narrow<int32>(p_.own_block(row_));
        if (params_.choice == BlockChoice::kThreshold) {
            // The shares are scores: they make way for their softmax.
            for_each_block([&](int32 kb) {
                scores_.set(kb, shares_.get(kb) * kLog2E);
                shares_.set(kb, 0.0F);
            });
            const bool sound = add_softmax(1.0F);
            write_row([&](int32 kb) {
                return kb == own || (sound && competes(kb) && shares_.get(kb) >= params_.threshold);
            });
            return;
        }
        const bool own_counts = params_.choice == BlockChoice::kMoba;
        const auto ranks = [&](int32 kb) { return competes(kb) && !(own_counts && kb == own); };
        const int64 count = clamp_to<int64>(params_.top_k - (own_counts ? 1 : 0), 0, num_blocks_);
        bool reached = false;
        const uint64 last =
            find_place(static_cast<uint64>(count), &reached, ranks, [](int32) { return 1; });
        write_row([&](int32 kb) {
            return kb == own || (count > 0 && ranks(kb) && place_of(kb) <= last);
        });
    }

    /// Writes the row of each head, and which share of the scores is kept.
    template <class Keeps>
    __device__ void write_row(const Keeps& keeps) const {
        const int64 first = params_.first_head(unit_);
        const int64 end = params_.first_head(unit_ + 1);
        float sum = 0.0F, any = 0.0F;
        for_each_block([&](int32 kb) {
            const bool kept = keeps(kb);
            for (int64 h = first; h < end; ++h) {
                params_.block_mask[row_of(h) * num_blocks_ + kb] = kept ? uint8{1} : uint8{0};
            }
            if (!competes(kb)) return;
            any = 1.0F;
            if (kept) sum += shares_.get(kb);
        });
        if (params_.coverage == nullptr) return;
        const auto add = [](float a, float b) { return a + b; };
        sum = reduce_block(s_parts_, sum, add);
        any = reduce_block(s_parts_, any, add);
        if (prim::thread_idx() != 0) return;
        for (int64 h = first; h < end; ++h) params_.coverage[row_of(h)] = any > 0.0F ? sum : 1.0F;
    }

    const BlockSelectParams& params_;
    const PermutedBlockProblem& p_;
    const int32 num_blocks_;
    const uint32 s_parts_;        // of reductions
    const uint32 s_first_block_;  // that has the first token
    const uint32 s_query_;
    BlockNumbers scores_;
    BlockNumbers shares_;
    int64 row_;
    int64 unit_idx_;  // over all entries
    int64 unit_;
    int64 entry_;
};

/// Rows block by block: a block a row, or fewer blocks, whose long rows lie in device memory.
__device__ inline void choose_rows(const BlockSelectParams& params) {
    const int64 rows =
        params.problem.batch * params.num_units() * params.problem.num_query_blocks();
    for (int64 row = prim::block_idx(); row < rows; row += params.num_choosers) {
        BlockChooser(params, row).run();
        prim::sync_block();
    }
}

}  // namespace fattn::cuda
