// Block selection by a gate as tasks: keys pooled by block, rows of the block mask by query block.
#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/select_run.h"

namespace fattn::cpu {

void SelectRun::keep_highest(Span blocks, int64 without, int64 number, uint8* kept,
                             const ThreadMemory& own) const {
    int64 count = 0;
    for (int64 kb = blocks.begin; kb < blocks.end; ++kb) {
        if (kb != without) own.order[count++] = narrow<int32>(kb);
    }
    const int64 end = clamp_to<int64>(number, 0, count);
    if (end < count) {
        std::nth_element(own.order, own.order + end, own.order + count, [&](int32 a, int32 b) {
            return own.shares[a] > own.shares[b] || (own.shares[a] == own.shares[b] && a < b);
        });
    }
    for (int64 n = 0; n < end; ++n) kept[own.order[n]] = 1;
}

void SelectRun::apply_gate(const BlockGateArgs& args, int64 unit, int64 row,
                           const ThreadMemory& own) const {
    const Heads heads = heads_of(unit);
    const int64 num_blocks = problem_.num_key_blocks();
    const int64 own_block = problem_.own_block(row);
    const Span visible{0, problem_.causal ? own_block + 1 : num_blocks};
    std::fill(own.shares, own.shares + num_blocks, 0.0);
    for (int64 n = 0; n < heads.count; ++n) {
        const float* scores = own.scores;
        if (args.scores != nullptr) {
            scores = args.scores +
                     (number_of(heads, n) * problem_.num_query_blocks() + row) * num_blocks;
        } else {
            score({args.q, unit, n, row, 1.0F, false}, visible, own);
        }
        for (int64 kb = 0; kb < visible.end; ++kb) {
            own.shares[kb] += static_cast<double>(scores[kb]) / static_cast<double>(heads.count);
        }
    }
    uint8* const kept = mask_row(number_of(heads, 0), row, args.block_mask);
    std::fill(kept, kept + num_blocks, uint8{0});
    if (args.gate == BlockGate::kThreshold) {
        for (int64 kb = 0; kb < visible.end; ++kb) {
            own.scores[kb] = static_cast<float>(own.shares[kb]) * kLog2E;
        }
        std::fill(own.shares, own.shares + num_blocks, 0.0);
        if (add_shares(
                own.scores, visible, 1, [](int64) { return true; }, own.shares)) {
            for (int64 kb = 0; kb < visible.end; ++kb) {
                kept[kb] = own.shares[kb] >= static_cast<double>(args.threshold) ? 1 : 0;
            }
        }
    } else {
        for (int64 kb = 0; kb < visible.end; ++kb) {
            // What is not a number is never better than a number.
            if (std::isnan(own.shares[kb])) {
                own.shares[kb] = -std::numeric_limits<double>::infinity();
            }
        }
        const bool own_counts = args.gate == BlockGate::kMoba;
        keep_highest(visible, own_counts ? own_block : -1, args.top_k - (own_counts ? 1 : 0), kept,
                     own);
    }
    kept[own_block] = 1;
    copy_row(unit, row, args.block_mask);
}

Status SelectRun::gate(const BlockGateArgs& args, const int32* cancel) const {
    if (args.scores == nullptr) {
        const int64 blocks_of_task = std::max<int64>(1, kChunkKeys / problem_.block);
        const int64 tasks = ceil_div(problem_.num_key_blocks(), blocks_of_task);
        const Status status =
            parallel_for(num_units() * tasks, num_threads_, cancel, [&](int64 task, int) {
                const int64 begin = task % tasks * blocks_of_task;
                pool_keys(args.k, task / tasks,
                          {begin, std::min(problem_.num_key_blocks(), begin + blocks_of_task)},
                          nullptr);
            });
        if (!status.ok()) return status;
    }
    return for_each_row(cancel, [&](int64 unit, int64 row, const ThreadMemory& own) {
        apply_gate(args, unit, row, own);
    });
}

}  // namespace fattn::cpu
