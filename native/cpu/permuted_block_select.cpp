// Block selection by importance and coverage as tasks: sums of the last queries' weights by key
// chunk, keys sorted and pooled by key chunk, rows of the block mask by query block.
#include "cpu/permuted_block_select.h"

#include <algorithm>
#include <numeric>

#include "core/softmax_state.h"
#include "cpu/select_run.h"

namespace fattn::cpu {

void SelectRun::find_sums(const PermutedBlockSelectArgs& args, int64 task,
                          const ThreadMemory& own) const {
    const int64 judges = problem_.num_judges();
    JudgeTask judge =
        judge_task(args.q, args.k, task / num_chunks_, chunk(task % num_chunks_), own);
    judge.max = shared_.max + task * judges;
    judge.sum = shared_.sum + task * judges;
    table_.judge_sums(judge);
}

void SelectRun::merge_sums(int64 head) const {
    const int64 judges = problem_.num_judges();
    for (int64 r = 0; r < judges; ++r) {
        SoftmaxState<float> state = empty_state<float>();
        for (int64 c = 0; c < num_chunks_; ++c) {
            const int64 at = (head * num_chunks_ + c) * judges + r;
            merge(&state, SoftmaxState<float>{shared_.max[at], shared_.sum[at]});
        }
        shared_.log_sum[head * judges + r] = state.max + log2(state.sum);
    }
}

/// Sorts a chunk of whole segments, writes its part of the permutation and pools its blocks.
void SelectRun::sort_chunk(const PermutedBlockSelectArgs& args, int64 unit, Span keys,
                           const ThreadMemory& own) const {
    const Heads heads = heads_of(unit);
    int32* const permutation = args.permutation + number_of(heads, 0) * problem_.kv_len;
    std::fill(own.importance, own.importance + keys.size(), 0.0F);
    for (int64 n = 0; n < heads.count; ++n) {
        table_.judge_weights(judge_task(args.q, args.k, number_of(heads, n), keys, own));
        for (int64 j = 0; j < keys.size(); ++j) own.importance[j] += own.weights[j];
    }
    for (int64 begin = keys.begin; begin < keys.end; begin += problem_.segment) {
        for (int64 j = 0; j < problem_.segment; ++j) {
            // Weights are not negative, so their bits ascend with them. NaN counts as no weight.
            const float weight = own.importance[begin - keys.begin + j];
            const uint32 rank = weight > 0 ? ~bits_of_float(weight) : ~uint32{0};
            own.ranks[j] = uint64{rank} << 32 | static_cast<uint64>(j);
        }
        std::sort(own.ranks, own.ranks + problem_.segment);
        for (int64 j = 0; j < problem_.segment; ++j) {
            permutation[begin + j] = narrow<int32>(begin + static_cast<uint32>(own.ranks[j]));
        }
    }
    for (int64 n = 1; n < heads.count; ++n) {
        std::copy(permutation + keys.begin, permutation + keys.end,
                  permutation + n * problem_.kv_len + keys.begin);
    }
}

void SelectRun::cover(const PermutedBlockSelectArgs& args, int64 unit, int64 row,
                      const ThreadMemory& own) const {
    const Heads heads = heads_of(unit);
    const int64 num_blocks = problem_.num_key_blocks();
    const int64 own_segment = problem_.segment_of_query_block(row);
    const int64 blocks_of_segment = problem_.segment / problem_.block;
    const Span own_blocks{own_segment * blocks_of_segment,
                          std::min(num_blocks, (own_segment + 1) * blocks_of_segment)};
    const Span candidates{0, problem_.causal ? own_blocks.begin : num_blocks};
    const auto is_candidate = [&](int64 kb) {
        return kb < own_blocks.begin || kb >= own_blocks.end;
    };
    std::fill(own.shares, own.shares + num_blocks, 0.0);
    bool has_shares = true;
    for (int64 n = 0; n < heads.count; ++n) {
        score({args.q, unit, n, row, problem_.scale * kLog2E, true}, candidates, own);
        has_shares =
            add_shares(own.scores, candidates, heads.count, is_candidate, own.shares) && has_shares;
    }
    uint8* const kept = mask_row(number_of(heads, 0), row, args.block_mask);
    std::fill(kept, kept + num_blocks, uint8{0});
    if (problem_.coverage >= 1.0F) {
        for (int64 kb = candidates.begin; kb < candidates.end; ++kb) kept[kb] = 1;
    } else if (has_shares) {
        int64 count = 0;
        for (int64 kb = candidates.begin; kb < candidates.end; ++kb) {
            if (is_candidate(kb)) own.order[count++] = narrow<int32>(kb);
        }
        std::sort(own.order, own.order + count, [&](int32 a, int32 b) {
            return own.shares[a] > own.shares[b] || (own.shares[a] == own.shares[b] && a < b);
        });
        double sum = 0;
        int64 end = 0;
        while (end < count && sum < static_cast<double>(problem_.coverage)) {
            sum += own.shares[own.order[end++]];
        }
        // A sum that never gets there keeps nothing.
        if (sum < static_cast<double>(problem_.coverage)) end = 0;
        for (int64 n = 0; n < end; ++n) kept[own.order[n]] = 1;
    }
    std::fill(kept + own_blocks.begin, kept + own_blocks.end, uint8{1});
    const int32* tokens = args.permutation + number_of(heads, 0) * problem_.kv_len;
    const int64 slot_of_first =
        std::find(tokens, tokens + std::min(problem_.segment, problem_.kv_len), 0) - tokens;
    kept[slot_of_first / problem_.block] = 1;
    if (args.coverage != nullptr) {
        double sum = 0;
        bool any = false;
        for (int64 kb = candidates.begin; kb < candidates.end; ++kb) {
            any = any || is_candidate(kb);
            sum += kept[kb] != 0 ? own.shares[kb] : 0.0;
        }
        for (int64 n = 0; n < heads.count; ++n) {
            args.coverage[number_of(heads, n) * problem_.num_query_blocks() + row] =
                any ? static_cast<float>(sum) : 1.0F;
        }
    }
    copy_row(unit, row, args.block_mask);
}

Status SelectRun::select(const PermutedBlockSelectArgs& args, const int32* cancel) const {
    const int64 heads = problem_.batch * problem_.num_q_heads;
    if (problem_.q_len == 0) {
        // Nobody judges the keys, and no row asks for blocks.
        for (int64 n = 0; n < heads; ++n) {
            std::iota(args.permutation + n * problem_.kv_len,
                      args.permutation + (n + 1) * problem_.kv_len, 0);
        }
        return {};
    }
    const auto step = [&](int64 tasks, const auto& body) {
        return parallel_for(tasks, num_threads_, cancel,
                            [&](int64 task, int slot) { body(task, of_thread(slot)); });
    };
    Status status = step(heads * num_chunks_,
                         [&](int64 task, const ThreadMemory& own) { find_sums(args, task, own); });
    if (!status.ok()) return status;
    for (int64 n = 0; n < heads; ++n) merge_sums(n);
    // One more chunk holds the slots that no permutation moves.
    status = step(num_units() * (num_chunks_ + 1), [&](int64 task, const ThreadMemory& own) {
        const int64 unit = task / (num_chunks_ + 1);
        const int64 index = task % (num_chunks_ + 1);
        const Span keys = index < num_chunks_ ? chunk(index) : Span{num_sorted_, problem_.kv_len};
        const Heads of_unit = heads_of(unit);
        int32* const permutation = args.permutation + number_of(of_unit, 0) * problem_.kv_len;
        if (index < num_chunks_) {
            sort_chunk(args, unit, keys, own);
        } else {
            for (int64 n = 0; n < of_unit.count; ++n) {
                int32* const tokens = permutation + n * problem_.kv_len;
                std::iota(tokens + keys.begin, tokens + keys.end, narrow<int32>(keys.begin));
            }
        }
        pool_keys(args.k, unit, {keys.begin / problem_.block, ceil_div(keys.end, problem_.block)},
                  permutation);
    });
    if (!status.ok()) return status;
    return for_each_row(cancel, [&](int64 unit, int64 row, const ThreadMemory& own) {
        cover(args, unit, row, own);
    });
}

uint64 PermutedBlockSelect::workspace(int num_threads) const {
    return SelectRun(problem_, table_, num_threads, nullptr).bytes();
}

Status PermutedBlockSelect::select(const PermutedBlockSelectArgs& args, int num_threads,
                                   const int32* cancel, std::byte* workspace) const {
    return SelectRun(problem_, table_, num_threads, workspace).select(args, cancel);
}

Status PermutedBlockSelect::gate(const BlockGateArgs& args, int num_threads, const int32* cancel,
                                 std::byte* workspace) const {
    return SelectRun(problem_, table_, num_threads, workspace).gate(args, cancel);
}

}  // namespace fattn::cpu
