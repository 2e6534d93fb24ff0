// Brings the blocks of a launch over permuted blocks into the order of their work: how many blocks
// of the mask each keeps, then the order itself, the most first and equals as they were;
// instantiated by block_select.cu. (native/notes/0039-cuda-selection.md)
#pragma once

#include "core/types.h"
#include "cuda/device/gathered_place.h"
#include "cuda/device/prim/lanes.h"
#include "cuda/device/prim/memory.h"
#include "cuda/device/prim/votes.h"
#include "cuda/device/row_order_params.h"

namespace fattn::cuda {

/// Counts the blocks of the mask that the rows of a block of the launch keep, a warp for each.
class RowCounter {
  public:
    __device__ explicit RowCounter(const RowOrderParams& params)
        : params_(params), blocks_(params.blocks) {}

    __device__ void run() const {
        const uint32 thread = prim::thread_idx();
        const uint32 idx =
            prim::block_idx() * (kRowOrderThreads / prim::kWarpSize) + thread / prim::kWarpSize;
        if (idx >= params_.num_blocks) return;
        const LaunchPlace place = launch_place(params_.rows, params_.last_tile_first, idx);
        uint32 count = params_.side == Side::kKeys ? count_of_keys(place) : count_of_queries(place);
        for (uint32 n = 1; n < prim::kWarpSize; n *= 2) {
            count += prim::shuffle_bits(count, lane() ^ n);
        }
        if (lane() == 0) params_.counts[idx] = count;
    }

  private:
    /// Some rows or blocks of the mask: [begin, end).
    struct Blocks {
        int32 begin;
        int32 end;
    };

    __device__ static uint32 lane() { return prim::thread_idx() % prim::kWarpSize; }

    __device__ bool keeps(int32 entry, int32 q_head, int32 query_block, int32 key_block) const {
        const int64 row = (entry * params_.problem.num_q_heads + q_head) * blocks_.num_query_blocks;
        return blocks_.block_mask[(row + query_block) * blocks_.num_key_blocks + key_block] != 0;
    }
    /// Tokens stay in their segments.
    __device__ int32 first_of_segment(int32 slot) const {
        return slot / blocks_.segment * blocks_.segment;
    }

    /// This lane's share: blocks of keys that some row of queries keeps and causality does not
    /// hide.
    __device__ uint32 count_of_queries(const LaunchPlace& place) const {
        const int32 first = place.tile * params_.rows.positions;
        const int32 end =
            min_of(first + params_.rows.positions, narrow<int32>(params_.problem.q_len));
        const Blocks rows{first / blocks_.query_block, ceil_div(end, blocks_.query_block)};
        const int32 head = place.group * params_.rows.heads;
        const int32 last_position = end - 1 + params_.first_position;
        uint32 count = 0;
        for (auto kb = narrow<int32>(lane()); kb < blocks_.num_key_blocks;
             kb += narrow<int32>(prim::kWarpSize)) {
            int32 token = kb * blocks_.block;
            if (blocks_.permutation != nullptr) token = first_of_segment(token);
            if (blocks_.causal && token > last_position) break;
            bool kept = false;
            for (int32 qb = rows.begin; qb < rows.end && !kept; ++qb) {
                kept = keeps(place.entry, head, qb, kb);
            }
            if (kept) ++count;
        }
        return count;
    }

    /// Of keys: blocks of queries, those of each query head by themselves.
    __device__ uint32 count_of_keys(const LaunchPlace& place) const {
        const auto kv_len = narrow<int32>(params_.problem.kv_len);
        int32 first = place.tile * params_.rows.positions;
        int32 end = min_of(first + params_.rows.positions, kv_len);
        int32 first_token = first;
        if (blocks_.slot_of_token != nullptr) {
            first = first_of_segment(first);
            end = min_of(first_of_segment(end - 1) + blocks_.segment, kv_len);
        } else if (blocks_.permutation != nullptr) {
            first_token = first_of_segment(first);
        }
        const Blocks rows{first / blocks_.block, ceil_div(end, blocks_.block)};
        const KeyHeads heads = key_heads(params_.problem, params_.groups, place.group);
        uint32 count = 0;
        for (auto qb = narrow<int32>(lane()); qb < blocks_.num_query_blocks;
             qb += narrow<int32>(prim::kWarpSize)) {
            const int32 end_query =
                min_of((qb + 1) * blocks_.query_block, narrow<int32>(params_.problem.q_len));
            if (blocks_.causal && end_query - 1 + params_.first_position < first_token) continue;
            for (int32 head = heads.first_q_head; head < heads.end_q_head; ++head) {
                bool kept = false;
                for (int32 kb = rows.begin; kb < rows.end && !kept; ++kb) {
                    kept = keeps(place.entry, head, qb, kb);
                }
                if (kept) ++count;
            }
        }
        return count;
    }

    const RowOrderParams& params_;
    const PermutedBlocks& blocks_;
};

/// A block of the launch a thread: its place is the number of those of its span that come before
/// it.
__device__ inline void order_rows(const RowOrderParams& params) {
    constexpr uint32 kAtOnce = 4;
    const uint32 s_counts = prim::shared_memory();
    const uint32 thread = prim::thread_idx();
    const uint32 idx = prim::block_idx() * kRowOrderThreads + thread;
    const uint32 begin = idx / kRowOrderSpan * kRowOrderSpan;
    const uint32 size = min_of(params.num_blocks - begin, kRowOrderSpan);
    const uint32 whole_size = round_up(size, kAtOnce);
    for (uint32 n = thread; n < whole_size; n += kRowOrderThreads) {
        // What is not there comes last.
        prim::store_shared(s_counts + n * 4, n < size ? params.counts[begin + n] : 0);
    }
    prim::sync_block();
    if (idx >= params.num_blocks) return;
    const uint32 own = idx - begin;
    const uint32 own_count = prim::load_shared(s_counts + own * 4);
    uint32 place = 0;
#pragma unroll 4
    for (uint32 n = 0; n < whole_size; n += kAtOnce) {
        const prim::Words counts = prim::load_shared_16(s_counts + n * 4);
        const auto precedes = [&](uint32 at, uint32 count) {
            return count > own_count || (count == own_count && at < own) ? 1u : 0u;
        };
        place += precedes(n, counts.x) + precedes(n + 1, counts.y) + precedes(n + 2, counts.z) +
                 precedes(n + 3, counts.w);
    }
    params.order[begin + place] = idx;
}

}  // namespace fattn::cuda
