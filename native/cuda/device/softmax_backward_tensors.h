// Where the rows of a head lie that the softmax backward reads: addresses and how they are copied;
// called by softmax_backward.h.
#pragma once

#include "core/problem.h"
#include "core/types.h"
#include "cuda/device/softmax_backward_params.h"
#include "cuda/device/tile_rows.h"

namespace fattn::cuda {

/// Element is that of q, k and v. Every tensor: the rows of a query head's sequence, or rows whose
/// token 0 is known.
template <class Element>
class BackwardTensors {
  public:
    __device__ explicit BackwardTensors(const SoftmaxBackwardParams& params)
        : params_(params), problem_(params.problem) {}

    __device__ HeadRows q(const Sequence& s, int32 head) const {
        return q(start(params_.args.q, problem_.q.row(s.batch_idx, head, s.q_begin), kBytes),
                 s.q_len);
    }
    __device__ HeadRows q(const uint8* base, int64 num_tokens) const {
        return {base, params_.token_bytes.q, narrow<int32>(num_tokens), bytes(problem_.head_dim),
                params_.wide.q};
    }
    __device__ HeadRows k(const Sequence& s, int32 head) const {
        const int64 at = problem_.k.row(s.batch_idx, problem_.k_head(head), s.k_begin);
        return k(start(params_.args.k, at, kBytes), s.kv_len);
    }
    __device__ HeadRows k(const uint8* base, int64 num_tokens) const {
        return {base, params_.token_bytes.k, narrow<int32>(num_tokens), bytes(problem_.head_dim),
                params_.wide.k};
    }
    __device__ HeadRows v(const Sequence& s, int32 head) const {
        const int64 at = problem_.v.row(s.batch_idx, problem_.v_head(head), s.k_begin);
        return v(start(params_.args.v, at, kBytes), s.kv_len);
    }
    __device__ HeadRows v(const uint8* base, int64 num_tokens) const {
        return {base, params_.token_bytes.v, narrow<int32>(num_tokens), bytes(problem_.head_dim_v),
                params_.wide.v};
    }
    __device__ HeadRows d_o(const Sequence& s, int32 head) const {
        const int64 at = problem_.d_o.row(s.batch_idx, head, s.q_begin);
        return d_o(start(params_.args.d_o, at, kBytes), s.q_len);
    }
    __device__ HeadRows d_o(const uint8* base, int64 num_tokens) const {
        return {base, params_.token_bytes.d_o, narrow<int32>(num_tokens),
                bytes(problem_.head_dim_v), params_.wide.d_o};
    }
    /// Null with sigmoid weights.
    __device__ const RowTerms* terms(const Sequence& s, int32 head) const {
        if (params_.terms == nullptr) return nullptr;
        return params_.terms + (s.batch_idx * problem_.num_q_heads + head) * problem_.q.shape[2] +
               s.q_begin;
    }

  private:
    static constexpr int64 kBytes = sizeof(Element);

    __device__ static const uint8* start(const void* data, int64 element, int64 element_bytes) {
        return static_cast<const uint8*>(data) + element * element_bytes;
    }
    /// Of a row of a tile.
    __device__ static int32 bytes(int64 head_dim) { return narrow<int32>(head_dim * kBytes); }

    const SoftmaxBackwardParams& params_;
    const DenseProblem& problem_;
};

}  // namespace fattn::cuda
