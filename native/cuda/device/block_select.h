// What comes before the choice of permuted blocks: keys sorted by importance inside segments, and
// blocks pooled; instantiated by block_select.cu.
//
// The importance of keys is made by attention's own kernels (native/notes/0039-cuda-selection.md).
#pragma once

#include "core/float_ops.h"
#include "core/numeric.h"
#include "core/types.h"
#include "cuda/device/block_select_params.h"
#include "cuda/device/gathered_params.h"
#include "cuda/device/prim/arithmetic.h"
#include "cuda/device/prim/lanes.h"
#include "cuda/device/prim/memory.h"
#include "cuda/device/softmax_backward_rows.h"
#include "cuda/device/store_rows.h"

namespace fattn::cuda {

/// What sorts ascending: a rank in the upper half, what has it in the lower.
using Ranked = uint64;

__device__ inline Ranked ranked(uint32 rank, uint32 index) { return uint64{rank} << 32 | index; }
__device__ inline uint32 index_of(Ranked x) { return static_cast<uint32>(x); }

__device__ inline Ranked load_ranked(uint32 s_from) {
    const prim::WordPair x = prim::load_shared_8(s_from);
    return ranked(x.y, x.x);
}
__device__ inline void store_ranked(uint32 s_to, Ranked x) {
    prim::store_shared_8(s_to, index_of(x), static_cast<uint32>(x >> 32));
}

/// Bitonic sort of a power of two of ranked numbers by all threads of a block, with barriers
/// around.
__device__ inline void sort_ranked(uint32 s_ranked, int32 count) {
    prim::sync_block();
    for (int32 run = 2; run <= count; run *= 2) {
        for (int32 step = run / 2; step > 0; step /= 2) {
            for (auto n = narrow<int32>(prim::thread_idx()); n < count / 2;
                 n += narrow<int32>(kSelectThreads)) {
                const int32 low = n / step * step * 2 + n % step;
                const uint32 s_low = s_ranked + narrow<uint32>(low) * 8;
                const uint32 s_high = s_low + narrow<uint32>(step) * 8;
                const Ranked a = load_ranked(s_low);
                const Ranked b = load_ranked(s_high);
                const bool rising = (low & run) == 0;
                if ((a > b) == rising) {
                    store_ranked(s_low, b);
                    store_ranked(s_high, a);
                }
            }
            prim::sync_block();
        }
    }
}

__device__ inline void fill_ones(const OnesParams& params) {
    const int64 at = int64{prim::block_idx()} * kSelectThreads + prim::thread_idx();
    if (at >= params.count) return;
    if (params.dtype == DType::kF32) {
        static_cast<float*>(params.data)[at] = 1.0F;
    } else if (params.dtype == DType::kF16) {
        static_cast<f16*>(params.data)[at] = stored_as(f16{}, 1.0F);
    } else {
        static_cast<bf16*>(params.data)[at] = stored_as(bf16{}, 1.0F);
    }
}

/// A number a thread. A permutation that holds no token twice is inverted whole; of others,
/// whatever was written last.
__device__ inline void invert_permutation(const InvertParams& params) {
    const int64 at = int64{prim::block_idx()} * kSelectThreads + prim::thread_idx();
    if (at >= params.rows * params.length) return;
    const int64 row = at / params.length;
    const int64 token = clamp_to<int64>(params.permutation[at], 0, params.length - 1);
    params.inverse[row * params.length + token] = narrow<int32>(at % params.length);
}

/// Token of a slot for all heads of a unit, which is counted over all entries.
__device__ inline void set_token(const BlockSelectParams& params, int64 unit_idx, int64 slot,
                                 int64 token) {
    const PermutedBlockProblem& p = params.problem;
    const int64 unit = unit_idx % params.num_units();
    const int64 first_row = unit_idx / params.num_units() * p.num_q_heads;
    for (int64 h = params.first_head(unit); h < params.first_head(unit + 1); ++h) {
        params.permutation[(first_row + h) * p.kv_len + slot] = narrow<int32>(token);
    }
}

/// A run of a segment of a unit a block, and for each unit one more block for the slots that stay
/// in place. Where a run is a whole segment, its order is the permutation.
__device__ inline void sort_run(const BlockSelectParams& params) {
    const PermutedBlockProblem& p = params.problem;
    const uint32 s_ranked = prim::shared_memory();
    const int64 num_sorted = p.num_sorted();
    const int64 num_runs = num_sorted / p.segment * params.runs_of_segment;
    const int64 unit_idx = prim::block_idx() / (num_runs + 1);
    const int64 run = prim::block_idx() % (num_runs + 1);
    if (run == num_runs) {
        for (int64 slot = num_sorted + prim::thread_idx(); slot < p.kv_len;
             slot += kSelectThreads) {
            set_token(params, unit_idx, slot, slot);
        }
        return;
    }
    const int64 segment_begin = run / params.runs_of_segment * p.segment;
    const int64 begin = segment_begin + run % params.runs_of_segment * params.sort_size;
    const int64 end = min_of(begin + params.sort_size, segment_begin + p.segment);
    for (int64 n = prim::thread_idx(); n < params.sort_size; n += kSelectThreads) {
        Ranked key = ~Ranked{0};
        if (begin + n < end) {
            const float weight = params.importance == nullptr
                                     ? 0.0F
                                     : params.importance[unit_idx * num_sorted + begin + n];
            // As on the CPU: what is not above 0 keeps its order behind the others.
            key = ranked(weight > 0.0F ? ~bits_of_float(weight) : 0xFFFFFFFFu,
                         narrow<uint32>(begin - segment_begin + n));
        }
        store_ranked(s_ranked + narrow<uint32>(n) * 8, key);
    }
    sort_ranked(s_ranked, params.sort_size);
    for (int64 slot = begin + prim::thread_idx(); slot < end; slot += kSelectThreads) {
        const Ranked key = load_ranked(s_ranked + narrow<uint32>(slot - begin) * 8);
        if (params.runs_of_segment > 1) {
            params.runs[unit_idx * num_sorted + slot] = key;
        } else {
            set_token(params, unit_idx, slot, segment_begin + index_of(key));
        }
    }
}

/// Runs become segments, a key a thread: before it come those before it in its own run, and in each
/// other run of its segment as many as are less. No two keys are equal.
__device__ inline void merge_runs(const BlockSelectParams& params) {
    const PermutedBlockProblem& p = params.problem;
    const int64 num_sorted = p.num_sorted();
    const int64 at = int64{prim::block_idx()} * kSelectThreads + prim::thread_idx();
    if (at >= p.batch * params.num_units() * num_sorted) return;
    const int64 slot = at % num_sorted;
    const int64 in_segment = slot % p.segment;
    const Ranked* segment = params.runs + (at - in_segment);
    const Ranked key = segment[in_segment];
    int64 place = 0;
    for (int64 begin = 0; begin < p.segment; begin += params.sort_size) {
        int64 low = begin, high = min_of(begin + params.sort_size, p.segment);
        while (low < high) {
            const int64 middle = (low + high) / 2;
            if (segment[middle] < key) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        place += low - begin;
    }
    const int64 first = slot - in_segment;
    set_token(params, at / num_sorted, first + place, first + index_of(key));
}

/// Rows of a block of tokens become one: their mean, or their largest numbers. Blocks of queries
/// come first, then those of keys.
__device__ inline void pool_block(const BlockSelectParams& params) {
    const PermutedBlockProblem& p = params.problem;
    const bool covers = params.choice == BlockChoice::kCover;
    int64 idx = prim::block_idx();
    const int64 q_blocks = p.batch * p.num_q_heads * p.num_query_blocks();
    const bool of_queries = idx < q_blocks;
    if (!of_queries) idx -= q_blocks;
    const int64 blocks = of_queries ? p.num_query_blocks() : p.num_key_blocks();
    const int64 units = of_queries ? p.num_q_heads : params.num_units();
    const int64 block = idx % blocks;
    const int64 unit = idx / blocks % units;
    const int64 entry = idx / blocks / units;
    const int64 size = of_queries ? p.query_block : p.block;
    const int64 first = block * size;
    const int64 count = min_of(size, (of_queries ? p.q_len : p.kv_len) - first);
    const int64 q_head = of_queries ? unit : params.first_head(unit);
    const int32* tokens = of_queries || params.permutation == nullptr
                              ? nullptr
                              : params.permutation + (entry * p.num_q_heads + q_head) * p.kv_len;
    const TensorLayout& layout = of_queries ? p.q : p.k;
    const void* data = of_queries ? params.q : params.k;
    const int64 head = of_queries ? q_head : p.k_head(q_head);
    float* out = (of_queries ? params.pooled_q : params.pooled_k) + idx * p.head_dim;
    const bool largest = covers && p.max_pool;
    for (int64 d = prim::thread_idx(); d < p.head_dim; d += kSelectThreads) {
        // Coverage counts the rows that a last block lacks as zeros.
        float pooled = largest && count == size ? -kInfinity : 0.0F;
        for (int64 n = 0; n < count; ++n) {
            const int64 token = tokens == nullptr ? first + n : tokens[first + n];
            const float x = load_number(layout.dtype, data,
                                        layout.row(entry, head, token) + d * layout.strides[3]);
            pooled = largest ? prim::max_number(pooled, x) : pooled + x;
        }
        out[d] = largest ? pooled : pooled / static_cast<float>(covers ? size : count);
    }
}

}  // namespace fattn::cuda
