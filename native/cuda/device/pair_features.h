// What general keys look up for one pair of query and key: bias, mask, dropout; called by the
// softmax kernels for problems that have them.
#pragma once

#include "core/convert.h"
#include "core/philox.h"
#include "core/predicate.h"
#include "core/problem.h"
#include "core/types.h"
#include "cuda/device/block_record.h"
#include "cuda/device/prim/lanes.h"
#include "cuda/device/prim/votes.h"

namespace fattn::cuda {

/// Element of a [B, Hq, Lq, Lk] tensor that belongs to a pair.
__device__ inline int64 pair_at(const ScorePlace& place, const TensorLayout& layout, int32 query,
                                int32 key) {
    return layout.row(place.entry, place.head, query) + key * layout.strides[3];
}

/// Args are those of a forward or a backward run.
template <class Args>
class PairFeatures {
  public:
    __device__ PairFeatures(const DenseProblem& problem, const Args& args, const ScorePlace& place)
        : problem_(problem), args_(args), place_(place) {}

    __device__ bool exists(int32 query, int32 key) const {
        return query < place_.q_len && key < place_.kv_len;
    }
    /// Of a pair that exists.
    __device__ float bias(int32 query, int32 key) const {
        const int64 at = pair_at(place_, problem_.bias, query, key);
        if (problem_.bias.dtype == DType::kF32) return static_cast<const float*>(args_.bias)[at];
        if (problem_.bias.dtype == DType::kF16) {
            return to_float(static_cast<const f16*>(args_.bias)[at]);
        }
        return to_float(static_cast<const bf16*>(args_.bias)[at]);
    }
    __device__ bool mask_shows(int32 query, int32 key) const {
        return fattn::mask_shows(args_.mask, problem_.mask.dtype,
                                 pair_at(place_, problem_.mask, query, key));
    }
    /// Position of the query minus that of the key.
    __device__ float distance(int32 query, int32 key) const {
        return static_cast<float>(query + place_.shift - key);
    }
    /// What dropout leaves of the four numbers that a lane has of a block of 8 by 8 and the one
    /// below it: bit e for the e-th. query and key are those of the first; lanes are neighbours in
    /// four keys of one random block, find one each and tell each other. All lanes of a warp.
    template <bool kKeysAreRows>
    __device__ uint32 kept(int32 query, int32 key) const {
        if (args_.k_position_offset % 4 != 0) {
            uint32 bits = 0;
#pragma unroll 1
            for (int32 e = 0; e < 4; ++e) {
                const int32 down = e / 2 * 8, along = e % 2;
                const int64 position = key + (kKeysAreRows ? down : along);
                const uint32 keys = kept_keys(query + (kKeysAreRows ? along : down), position);
                bits |= (keys >> ((position + args_.k_position_offset) & 3) & 1) << e;
            }
            return bits;
        }
        const uint32 lane = prim::thread_idx() % prim::kWarpSize;
        if constexpr (kKeysAreRows) {
            const uint32 row = lane / 4 % 4;
            const uint32 own =
                kept_keys(query + narrow<int32>(row % 2), key + narrow<int32>(row / 2 * 8));
            uint32 bits = 0;
#pragma unroll
            for (uint32 e = 0; e < 4; ++e) {
                const uint32 keys = prim::shuffle_bits(own, (lane & ~12u) | e * 4);
                bits |= (keys >> row & 1) << e;
            }
            return bits;
        } else {
            const uint32 odd = lane % 2;
            const uint32 own = kept_keys(query + narrow<int32>(odd * 8), key);
            const uint32 other = prim::shuffle_bits(own, lane ^ 1);
            const uint32 upper = (odd != 0 ? other : own) >> odd * 2 & 3;
            const uint32 lower = (odd != 0 ? own : other) >> odd * 2 & 3;
            return upper | lower << 2;
        }
    }
    /// What kept weights are multiplied by.
    __device__ float inverse_keep() const { return rule().inverse_keep; }

  private:
    __device__ DropoutRule rule() const {
        return dropout_rule(problem_.dropout_p, args_.dropout_seed, args_.dropout_offset);
    }
    /// Which of the four keys that share a random block with one are kept for a query.
    __device__ uint32 kept_keys(int32 query, int64 key) const {
        const DropoutRule rule = this->rule();
        const PhiloxBlock block = dropout_words(
            rule, place_.entry * problem_.num_q_heads + place_.head,
            query + args_.q_position_offset, floor_div(key + args_.k_position_offset, 4));
        uint32 bits = 0;
#pragma unroll
        for (uint32 n = 0; n < 4; ++n) {
            bits |= (block.word[n] >= rule.threshold ? 1u : 0u) << n;
        }
        return bits;
    }

    const DenseProblem& problem_;
    const Args& args_;
    const ScorePlace place_;
};

}  // namespace fattn::cuda
