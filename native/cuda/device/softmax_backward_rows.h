// The small kernels around the softmax gradients: copies in another type and terms of rows before
// them, gradients of sinks behind those, zeros where no gradient is computed; instantiated by
// dense_backward_rows.cu.
#pragma once

#include "core/epilogue.h"
#include "core/problem.h"
#include "core/types.h"
#include "cuda/device/block_place.h"
#include "cuda/device/load_number.h"
#include "cuda/device/prim/arithmetic.h"
#include "cuda/device/prim/lanes.h"
#include "cuda/device/prim/memory.h"
#include "cuda/device/softmax_backward_params.h"
#include "cuda/device/store_rows.h"

namespace fattn::cuda {

constexpr int32 kRowsThreads = 128;

/// The terms of one row a warp: shift from its LSE, delta = sum of o * d_o - d_lse.
__device__ inline void find_row_terms(const BackwardRowsParams& params) {
    const DenseProblem& p = params.problem;
    const int64 num_rows = p.q.shape[0] * p.num_q_heads * p.q.shape[2];
    const uint32 thread = prim::thread_idx();
    const int64 row =
        int64{prim::block_idx()} * (kRowsThreads / prim::kWarpSize) + thread / prim::kWarpSize;
    if (row >= num_rows) return;
    const int64 token = row % p.q.shape[2];
    const int64 head = row / p.q.shape[2] % p.num_q_heads;
    const int64 b = row / p.q.shape[2] / p.num_q_heads;
    const int64 o_row = p.o.row(b, head, token);
    const int64 d_o_row = p.d_o.row(b, head, token);
    const uint32 lane = thread % prim::kWarpSize;
    float sum = 0.0F;
#pragma unroll 1
    for (int64 d = lane; d < p.head_dim_v; d += prim::kWarpSize) {
        const float d_o = load_number(p.d_o.dtype, params.args.d_o, d_o_row + d * p.d_o.strides[3]);
        const float o = load_number(p.o.dtype, params.args.o, o_row + d * p.o.strides[3]);
        sum = fattn::fma(o, d_o, sum);
    }
#pragma unroll
    for (uint32 mask = 16; mask > 0; mask /= 2) sum += prim::shuffle_xor(sum, mask);
    if (lane != 0) return;
    if (params.args.d_lse != nullptr) sum -= params.args.d_lse[row];
    const float lse = params.args.lse[row];
    const bool empty = lse == -kInfinity;
    params.terms[row] = {empty ? kInfinity : shift_of_lse(lse), empty ? 0.0F : sum};
}

/// d_sink of one head a block: minus the sum of e^(sink - lse) * delta over its rows, of sequences
/// in their order. Which thread adds what depends on the problem alone.
__device__ inline void sum_sink_gradients(const BackwardRowsParams& params) {
    const DenseProblem& p = params.problem;
    const auto head = narrow<int32>(prim::block_idx());
    const uint32 thread = prim::thread_idx();
    const uint32 s_sums = prim::shared_memory();
    const float sink = params.args.sink_logits[head] * kLog2E;
    float sum = 0.0F;
    for (int32 b = 0; b < p.batch; ++b) {
        const Sequence s = bounded(p, sequence_of(p, params.args, b));
        const RowTerms* terms =
            params.terms + (s.batch_idx * p.num_q_heads + head) * p.q.shape[2] + s.q_begin;
        for (int64 i = thread; i < s.q_len; i += kRowsThreads) {
            const RowTerms row = terms[i];
            sum -= row.shift == kInfinity ? 0.0F : exp2(sink - row.shift) * row.delta;
        }
    }
    prim::store_shared(s_sums + thread * 4, bits_of_float(sum));
    for (uint32 half = kRowsThreads / 2; half > 0; half /= 2) {
        prim::sync_block();
        if (thread >= half) continue;
        sum += float_of_bits(prim::load_shared(s_sums + (thread + half) * 4));
        prim::store_shared(s_sums + thread * 4, bits_of_float(sum));
    }
    if (thread == 0) params.args.d_sink_logits[head] = sum;
}

/// Zeros in a row a warp.
__device__ inline void clear_rows(const ZeroRowsParams& params) {
    const TensorLayout& layout = params.layout;
    const uint32 thread = prim::thread_idx();
    const int64 row =
        int64{prim::block_idx()} * (kRowsThreads / prim::kWarpSize) + thread / prim::kWarpSize;
    if (row >= layout.shape[0] * layout.shape[1] * layout.shape[2]) return;
    const int64 at = layout.row(row / layout.shape[2] / layout.shape[1],
                                row / layout.shape[2] % layout.shape[1], row % layout.shape[2]);
    for (int64 d = thread % prim::kWarpSize; d < layout.shape[3]; d += prim::kWarpSize) {
        if (layout.dtype == DType::kF32) {
            static_cast<float*>(params.data)[at + d * layout.strides[3]] = 0.0F;
        } else {
            static_cast<uint16*>(params.data)[at + d * layout.strides[3]] = 0;
        }
    }
}

/// A row a warp, rounded where the other type is narrower.
__device__ inline void convert_rows(const ConvertRowsParams& params) {
    const TensorLayout& from = params.from;
    const TensorLayout& to = params.to;
    const uint32 thread = prim::thread_idx();
    const int64 row =
        int64{prim::block_idx()} * (kRowsThreads / prim::kWarpSize) + thread / prim::kWarpSize;
    if (row >= from.shape[0] * from.shape[1] * from.shape[2]) return;
    const int64 token = row % from.shape[2];
    const int64 head = row / from.shape[2] % from.shape[1];
    const int64 entry = row / from.shape[2] / from.shape[1];
    for (int64 d = thread % prim::kWarpSize; d < from.shape[3]; d += prim::kWarpSize) {
        const float x = load_number(from.dtype, params.data,
                                    from.row(entry, head, token) + d * from.strides[3]);
        store_number(to.dtype, params.result, to.row(entry, head, token) + d * to.strides[3], x);
    }
}

}  // namespace fattn::cuda
