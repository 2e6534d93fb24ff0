// What general keys look up for one pair of query and key: bias, mask, dropout; called by the
// softmax kernels for problems that have them.
#pragma once

#include "core/convert.h"
#include "core/philox.h"
#include "core/predicate.h"
#include "core/problem.h"
#include "core/types.h"
#include "cuda/device/block_record.h"

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
    /// What dropout multiplies the weight by.
    __device__ float dropout(int32 query, int32 key) const {
        const DropoutRule rule =
            dropout_rule(problem_.dropout_p, args_.dropout_seed, args_.dropout_offset);
        const int64 position = key + args_.k_position_offset;
        const PhiloxBlock block =
            dropout_words(rule, place_.entry * problem_.num_q_heads + place_.head,
                          query + args_.q_position_offset, floor_div(position, 4));
        // As dropout_keep, whose index would put the words in local memory.
        const uint32 low = (position & 1) != 0 ? block.word[1] : block.word[0];
        const uint32 high = (position & 1) != 0 ? block.word[3] : block.word[2];
        return ((position & 2) != 0 ? high : low) >= rule.threshold ? rule.inverse_keep : 0.0F;
    }

  private:
    const DenseProblem& problem_;
    const Args& args_;
    const ScorePlace place_;
};

}  // namespace fattn::cuda
