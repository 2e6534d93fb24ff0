// Selects blocks of permuted block-sparse attention: keys sorted by importance inside segments,
// blocks pooled, and for each row of blocks those that a coverage or a gate keeps; instantiated by
// block_select.cu.
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

/// Numbers in shared memory that sort ascending: a rank in the upper half, what has it in the
/// lower.
struct Ranked {
    uint32 rank;
    uint32 index;

    __device__ bool after(const Ranked& other) const {
        return rank != other.rank ? rank > other.rank : index > other.index;
    }
};

__device__ inline Ranked load_ranked(uint32 s_from) {
    const prim::WordPair x = prim::load_shared_8(s_from);
    return {x.y, x.x};
}
__device__ inline void store_ranked(uint32 s_to, const Ranked& x) {
    prim::store_shared_8(s_to, x.index, x.rank);
}

/// Ranks that ascend while numbers fall; what is no number comes last.
__device__ inline uint32 falling_rank(float x) {
    const uint32 bits = bits_of_float(x == x ? x : -kInfinity);
    return (bits & 0x80000000u) != 0 ? bits : ~(bits | 0x80000000u);
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
                if (a.after(b) == rising) {
                    store_ranked(s_low, b);
                    store_ranked(s_high, a);
                }
            }
            prim::sync_block();
        }
    }
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

/// One segment of a unit a block, and for each unit one more for the slots that stay in place.
__device__ inline void sort_segment(const BlockSelectParams& params) {
    const PermutedBlockProblem& p = params.problem;
    const uint32 s_ranked = prim::shared_memory();
    const int64 num_sorted = p.num_sorted();
    const int64 num_segments = num_sorted / p.segment;
    const int64 unit_idx = prim::block_idx() / (num_segments + 1);
    const int64 segment = prim::block_idx() % (num_segments + 1);
    const int64 unit = unit_idx % params.num_units();
    const int64 first_row = unit_idx / params.num_units() * p.num_q_heads;
    const int64 begin = segment * p.segment;
    const int64 end = segment < num_segments ? begin + p.segment : p.kv_len;
    if (segment < num_segments) {
        for (int64 n = prim::thread_idx(); n < params.sort_size; n += kSelectThreads) {
            Ranked key{0xFFFFFFFFu, 0xFFFFFFFFu};
            if (n < p.segment) {
                const float weight = params.importance == nullptr
                                         ? 0.0F
                                         : params.importance[unit_idx * num_sorted + begin + n];
                // As on the CPU: what is not above 0 keeps its order behind the others.
                key = {weight > 0.0F ? ~bits_of_float(weight) : 0xFFFFFFFFu, narrow<uint32>(n)};
            }
            store_ranked(s_ranked + narrow<uint32>(n) * 8, key);
        }
        sort_ranked(s_ranked, params.sort_size);
    }
    for (int64 slot = begin + prim::thread_idx(); slot < end; slot += kSelectThreads) {
        const int64 token =
            segment < num_segments
                ? begin + load_ranked(s_ranked + narrow<uint32>(slot - begin) * 8).index
                : slot;
        for (int64 h = params.first_head(unit); h < params.first_head(unit + 1); ++h) {
            params.permutation[(first_row + h) * p.kv_len + slot] = narrow<int32>(token);
        }
    }
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

/// The blocks that one row of a unit's mask keeps, a row a block.
class BlockChooser {
  public:
    __device__ explicit BlockChooser(const BlockSelectParams& params)
        : params_(params),
          p_(params.problem),
          s_ranked_(prim::shared_memory()),
          s_shares_(s_ranked_ + narrow<uint32>(params.sort_size) * 8),
          s_kept_(s_shares_ + narrow<uint32>(params.sort_size) * 4),
          s_query_(s_kept_ + narrow<uint32>(params.sort_size) * 4),
          s_parts_(s_query_ + narrow<uint32>(p_.head_dim) * 4),
          s_number_(s_parts_ + kSelectThreads * 4),
          num_blocks_(narrow<int32>(p_.num_key_blocks())) {
        const int64 idx = prim::block_idx();
        row_ = idx % p_.num_query_blocks();
        unit_idx_ = idx / p_.num_query_blocks();
        unit_ = unit_idx_ % params.num_units();
        entry_ = unit_idx_ / params.num_units();
    }

    __device__ void run() const {
        for_each_block([&](int32 kb) {
            set(s_shares_, kb, 0.0F);
            prim::store_shared(s_kept_ + narrow<uint32>(kb) * 4, 0);
        });
        const int64 first = params_.first_head(unit_);
        const int64 end = params_.first_head(unit_ + 1);
        bool sound = true;
        for (int64 h = first; h < end; ++h) {
            sound = add_shares(h, static_cast<float>(end - first)) && sound;
        }
        prim::sync_block();
        if (params_.choice == BlockChoice::kCover) {
            keep_covering(sound);
        } else {
            keep_gated();
        }
        prim::sync_block();
        for_each_block([&](int32 kb) {
            const uint8 kept =
                prim::load_shared(s_kept_ + narrow<uint32>(kb) * 4) != 0 ? uint8{1} : uint8{0};
            for (int64 h = first; h < end; ++h) {
                params_.block_mask[(row_of(h)) * num_blocks_ + kb] = kept;
            }
        });
        if (params_.coverage != nullptr) write_coverage(first, end);
    }

  private:
    template <class Visit>
    __device__ void for_each_block(const Visit& visit) const {
        for (auto kb = narrow<int32>(prim::thread_idx()); kb < num_blocks_;
             kb += narrow<int32>(kSelectThreads)) {
            visit(kb);
        }
    }
    __device__ static float get(uint32 s_numbers, int32 n) {
        return float_of_bits(prim::load_shared(s_numbers + narrow<uint32>(n) * 4));
    }
    __device__ static void set(uint32 s_numbers, int32 n, float x) {
        prim::store_shared(s_numbers + narrow<uint32>(n) * 4, bits_of_float(x));
    }
    __device__ void keep(int32 kb) const {
        prim::store_shared(s_kept_ + narrow<uint32>(kb) * 4, 1);
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
        for (int32 d = 0; d < p_.head_dim; ++d) sum = fattn::fma(get(s_query_, d), key[d], sum);
        return sum;
    }

    /// Adds the scores of a head, or their softmax, divided by the number of heads; whether they
    /// are numbers.
    __device__ bool add_shares(int64 head, float num_heads) const {
        prim::sync_block();
        if (params_.scores == nullptr) {
            for (int64 d = prim::thread_idx(); d < p_.head_dim; d += kSelectThreads) {
                set(s_query_, narrow<int32>(d), params_.pooled_q[row_of(head) * p_.head_dim + d]);
            }
        }
        prim::sync_block();
        const bool covers = params_.choice == BlockChoice::kCover;
        const float factor = covers ? p_.scale * kLog2E : 1.0F / num_heads;
        for_each_block([&](int32 kb) {
            if (!competes(kb)) return;
            const float x = score_of(head, kb) * factor;
            if (covers) {
                store_ranked(s_ranked_ + narrow<uint32>(kb) * 8, {bits_of_float(x), 0});
            } else {
                set(s_shares_, kb, get(s_shares_, kb) + x);
            }
        });
        if (!covers) return true;
        return add_softmax(
            [&](int32 kb) {
                return float_of_bits(load_ranked(s_ranked_ + narrow<uint32>(kb) * 8).rank);
            },
            1.0F / num_heads);
    }

    /// Adds factor times the softmax, in base 2, of what score_of() gives for competing blocks;
    /// false where it is no number.
    template <class ScoreOf>
    __device__ bool add_softmax(const ScoreOf& score_of_block, float factor) const {
        float most = -kInfinity;
        for_each_block([&](int32 kb) {
            if (competes(kb)) most = prim::max_number(most, score_of_block(kb));
        });
        most =
            reduce_block(s_parts_, most, [](float a, float b) { return prim::max_number(a, b); });
        float sum = 0.0F;
        for_each_block([&](int32 kb) {
            if (competes(kb)) sum += fattn::exp2(score_of_block(kb) - most);
        });
        sum = reduce_block(s_parts_, sum, [](float a, float b) { return a + b; });
        if (!(sum > 0.0F && sum < kInfinity)) return false;
        for_each_block([&](int32 kb) {
            if (!competes(kb)) return;
            const float weight = fattn::exp2(score_of_block(kb) - most);
            set(s_shares_, kb, get(s_shares_, kb) + weight / sum * factor);
        });
        return true;
    }

    /// Ranks the blocks that compete, the highest share first.
    template <class Competes>
    __device__ void rank_blocks(const Competes& of_block) const {
        prim::sync_block();
        for (auto n = narrow<int32>(prim::thread_idx()); n < params_.sort_size;
             n += narrow<int32>(kSelectThreads)) {
            const bool there = n < num_blocks_ && of_block(n);
            store_ranked(s_ranked_ + narrow<uint32>(n) * 8,
                         there ? Ranked{falling_rank(get(s_shares_, n)), narrow<uint32>(n)}
                               : Ranked{0xFFFFFFFFu, 0xFFFFFFFFu});
        }
        sort_ranked(s_ranked_, params_.sort_size);
    }
    /// Keeps the first blocks of the ranking.
    __device__ void keep_first(int32 count) const {
        for (auto n = narrow<int32>(prim::thread_idx()); n < count;
             n += narrow<int32>(kSelectThreads)) {
            const Ranked x = load_ranked(s_ranked_ + narrow<uint32>(n) * 8);
            if (x.index < narrow<uint32>(num_blocks_)) keep(narrow<int32>(x.index));
        }
    }

    __device__ void keep_covering(bool sound) const {
        if (p_.coverage >= 1.0F) {
            for_each_block([&](int32 kb) {
                if (competes(kb)) keep(kb);
            });
        } else if (sound) {
            rank_blocks([this](int32 kb) { return competes(kb); });
            if (prim::thread_idx() == 0) {
                double sum = 0;
                int32 count = 0;
                const auto wanted = static_cast<double>(p_.coverage);
                while (count < num_blocks_ && sum < wanted) {
                    const Ranked x = load_ranked(s_ranked_ + narrow<uint32>(count) * 8);
                    if (x.index >= narrow<uint32>(num_blocks_)) break;
                    sum += static_cast<double>(get(s_shares_, narrow<int32>(x.index)));
                    ++count;
                }
                // A sum that never gets there keeps nothing.
                prim::store_shared(s_number_, sum < wanted ? 0 : narrow<uint32>(count));
            }
            prim::sync_block();
            keep_first(narrow<int32>(prim::load_shared(s_number_)));
        }
        const int64 own = p_.segment_of_query_block(row_);
        prim::sync_block();
        for_each_block([&](int32 kb) {
            if (p_.segment_of_key_block(kb) == own) keep(kb);
        });
        prim::sync_block();
        const int32* tokens =
            params_.permutation + (entry_ * p_.num_q_heads + params_.first_head(unit_)) * p_.kv_len;
        for (int64 slot = prim::thread_idx(); slot < min_of(p_.segment, p_.kv_len);
             slot += kSelectThreads) {
            if (tokens[slot] == 0) keep(narrow<int32>(slot / p_.block));
        }
    }

    __device__ void keep_gated() const {
        const auto own = narrow<int32>(p_.own_block(row_));
        if (params_.choice == BlockChoice::kThreshold) {
            // The shares are scores: they make way for their softmax.
            for_each_block([&](int32 kb) {
                store_ranked(s_ranked_ + narrow<uint32>(kb) * 8,
                             {bits_of_float(get(s_shares_, kb) * kLog2E), 0});
                set(s_shares_, kb, 0.0F);
            });
            const bool sound = add_softmax(
                [&](int32 kb) {
                    return float_of_bits(load_ranked(s_ranked_ + narrow<uint32>(kb) * 8).rank);
                },
                1.0F);
            for_each_block([&](int32 kb) {
                if (sound && competes(kb) && get(s_shares_, kb) >= params_.threshold) keep(kb);
            });
        } else {
            const bool own_counts = params_.choice == BlockChoice::kMoba;
            rank_blocks([&](int32 kb) { return competes(kb) && !(own_counts && kb == own); });
            keep_first(narrow<int32>(
                clamp_to<int64>(params_.top_k - (own_counts ? 1 : 0), 0, num_blocks_)));
        }
        prim::sync_block();
        if (prim::thread_idx() == 0) keep(own);
    }

    __device__ void write_coverage(int64 first, int64 end) const {
        float sum = 0.0F, any = 0.0F;
        for_each_block([&](int32 kb) {
            if (!competes(kb)) return;
            any = 1.0F;
            if (prim::load_shared(s_kept_ + narrow<uint32>(kb) * 4) != 0) sum += get(s_shares_, kb);
        });
        const auto add = [](float a, float b) { return a + b; };
        sum = reduce_block(s_parts_, sum, add);
        any = reduce_block(s_parts_, any, add);
        if (prim::thread_idx() != 0) return;
        for (int64 h = first; h < end; ++h) params_.coverage[row_of(h)] = any > 0.0F ? sum : 1.0F;
    }

    const BlockSelectParams& params_;
    const PermutedBlockProblem& p_;
    const uint32 s_ranked_;  // what is sorted; scores before
    const uint32 s_shares_;
    const uint32 s_kept_;
    const uint32 s_query_;
    const uint32 s_parts_;   // of reductions
    const uint32 s_number_;  // how many of the ranking are kept
    const int32 num_blocks_;
    int64 row_;
    int64 unit_idx_;  // over all entries
    int64 unit_;
    int64 entry_;
};

}  // namespace fattn::cuda
