// The steps of block selection as tasks: sums of the last queries' weights by key chunk, keys
// sorted and pooled by key chunk, rows of the block mask by query block. Every cut is decided by
// the problem alone.
#include "cpu/permuted_block_select.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "core/numeric.h"
#include "core/softmax_state.h"
#include "cpu/gather_memory.h"
#include "cpu/parallel.h"

namespace fattn::cpu {
namespace {

constexpr int64 kChunkKeys = 2048;      // keys of a task of the first steps, at least a segment
constexpr int64 kQueriesOfTask = 2048;  // queries whose rows of the mask one task fills

/// Query heads [first, first + count) of an entry that have one selection.
struct Heads {
    int64 entry;
    int64 first;
    int64 count;
};

/// Half-open ranges of blocks, of keys.
struct Span {
    int64 begin;
    int64 end;

    int64 size() const { return end - begin; }
};

/// What all threads share.
struct SharedMemory {
    float* max;      // [B * Hq, chunks, judges]
    float* sum;      // [B * Hq, chunks, judges]
    float* log_sum;  // [B * Hq, judges]
    float* pooled;   // [units, key blocks, pooled_stride(D)]
};

/// What a thread has for itself.
struct ThreadMemory {
    std::byte* judge;
    float* weights;     // [chunk] of one head
    float* importance;  // [chunk] mean over the heads of a unit
    uint64* ranks;      // [segment] importance and index in one number
    float* query;       // [pooled_stride(D)]
    float* scores;      // [key blocks, rounded up]
    double* shares;     // [key blocks] of a row, mean over the heads of a unit
    int32* order;       // [key blocks]
};

class SelectRun {
  public:
    SelectRun(const PermutedBlockProblem& problem, const KernelTable& table, int num_threads,
              std::byte* workspace)
        : problem_(problem),
          table_(table),
          chunk_(std::max(problem.segment, kChunkKeys / problem.segment * problem.segment)),
          num_sorted_(problem.num_sorted()),
          num_chunks_(ceil_div(num_sorted_, chunk_)),
          num_threads_(num_threads) {
        WorkspaceParts parts(workspace);
        const int64 heads = problem.batch * problem.num_q_heads;
        const int64 judges = problem.num_judges();
        shared_.max = parts.take<float>(heads * num_chunks_ * judges);
        shared_.sum = parts.take<float>(heads * num_chunks_ * judges);
        shared_.log_sum = parts.take<float>(heads * judges);
        shared_.pooled =
            parts.take<float>(heads * problem.num_key_blocks() * pooled_stride(problem.head_dim));
        shared_bytes_ = parts.used();
        WorkspaceParts own(nullptr);
        take(own);
        thread_bytes_ = own.used();
        if (workspace != nullptr) threads_ = workspace + shared_bytes_;
    }

    uint64 bytes() const {
        return shared_bytes_ + static_cast<uint64>(num_threads_) * thread_bytes_;
    }

    Status select(const PermutedBlockSelectArgs& args, const int32* cancel) const;
    Status gate(const BlockGateArgs& args, const int32* cancel) const;

  private:
    ThreadMemory take(WorkspaceParts& parts) const {
        const int64 keys = std::min(chunk_, num_sorted_);
        const int64 blocks = problem_.num_key_blocks();
        return {.judge = parts.take<std::byte>(static_cast<int64>(table_.judge_scratch(problem_))),
                .weights = parts.take<float>(keys),
                .importance = parts.take<float>(keys),
                .ranks = parts.take<uint64>(std::min(problem_.segment, num_sorted_)),
                .query = parts.take<float>(pooled_stride(problem_.head_dim)),
                .scores = parts.take<float>(round_up<int64>(blocks, 16)),
                .shares = parts.take<double>(blocks),
                .order = parts.take<int32>(blocks)};
    }
    ThreadMemory of_thread(int slot) const {
        WorkspaceParts parts(threads_ + static_cast<uint64>(slot) * thread_bytes_);
        return take(parts);
    }

    /// Units of a step: the key heads where query heads share, else the query heads.
    int64 num_units() const {
        return problem_.batch * (problem_.shared ? problem_.num_k_heads : problem_.num_q_heads);
    }
    Heads heads_of(int64 unit) const {
        if (!problem_.shared) {
            return {unit / problem_.num_q_heads, unit % problem_.num_q_heads, 1};
        }
        const int64 group = unit % problem_.num_k_heads;
        const int64 first = problem_.first_q_head(group);
        return {unit / problem_.num_k_heads, first, problem_.first_q_head(group + 1) - first};
    }
    int64 number_of(const Heads& heads, int64 n) const {
        return heads.entry * problem_.num_q_heads + heads.first + n;
    }

    JudgeTask judge_task(const void* q, const void* k, int64 head, Span keys,
                         const ThreadMemory& own) const {
        return {.problem = &problem_,
                .q = q,
                .k = k,
                .batch_idx = head / problem_.num_q_heads,
                .q_head = head % problem_.num_q_heads,
                .key_begin = keys.begin,
                .key_end = keys.end,
                .max = nullptr,
                .sum = nullptr,
                .log_sum = shared_.log_sum + head * problem_.num_judges(),
                .weights = own.weights,
                .scratch = own.judge};
    }
    Span chunk(int64 index) const {
        return {index * chunk_, std::min(num_sorted_, (index + 1) * chunk_)};
    }

    void find_sums(const PermutedBlockSelectArgs& args, int64 task, const ThreadMemory& own) const;
    void merge_sums(int64 head) const;
    void sort_chunk(const PermutedBlockSelectArgs& args, int64 unit, Span keys,
                    const ThreadMemory& own) const;
    void pool_keys(const void* k, int64 unit, Span blocks, const int32* permutation) const;
    /// One head of a unit, a query block of it, and how its products become scores.
    struct RowScores {
        const void* q;
        int64 unit;
        int64 head;  // of the unit
        int64 row;
        float scale;
        bool padded;  // pooled as selection does; otherwise means of true lengths
    };
    void score(const RowScores& what, Span blocks, const ThreadMemory& own) const;
    void cover(const PermutedBlockSelectArgs& args, int64 unit, int64 row,
               const ThreadMemory& own) const;
    /// Marks the given number of best blocks of own.shares, leaving out one (-1: none).
    void keep_highest(Span blocks, int64 without, int64 number, uint8* kept,
                      const ThreadMemory& own) const;
    void apply_gate(const BlockGateArgs& args, int64 unit, int64 row,
                    const ThreadMemory& own) const;
    /// Writes a unit's row of the mask for every head of it.
    void copy_row(int64 unit, int64 row, uint8* block_mask) const;
    uint8* mask_row(int64 head, int64 row, uint8* block_mask) const {
        return block_mask + (head * problem_.num_query_blocks() + row) * problem_.num_key_blocks();
    }

    /// Calls fill(unit, row, thread's memory) for every row of the block mask.
    template <class Fill>
    Status for_each_row(const int32* cancel, const Fill& fill) const;

    const PermutedBlockProblem& problem_;
    const KernelTable& table_;
    int64 chunk_;
    int64 num_sorted_;
    int64 num_chunks_;
    int num_threads_;
    SharedMemory shared_{};
    uint64 shared_bytes_ = 0;
    uint64 thread_bytes_ = 0;
    std::byte* threads_ = nullptr;
};

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

/// Pooled key blocks of a unit: of slots through a permutation, or of tokens (null), whose last
/// block then counts with its true length.
void SelectRun::pool_keys(const void* k, int64 unit, Span blocks, const int32* permutation) const {
    const Heads heads = heads_of(unit);
    const TensorLayout& layout = problem_.k;
    const int64 bytes = bits_of(layout.dtype) / 8;
    const int64 row = layout.row(heads.entry, problem_.k_head(heads.first), 0) * bytes;
    const int64 stride = pooled_stride(problem_.head_dim);
    for (int64 kb = blocks.begin; kb < blocks.end; ++kb) {
        const int64 first = kb * problem_.block;
        const int64 rows = std::min(problem_.block, problem_.kv_len - first);
        table_.pool_block(
            {.data = static_cast<const std::byte*>(k) + row,
             .stride = layout.strides[2] * bytes,
             .dtype = layout.dtype,
             .extent = problem_.head_dim,
             .tokens = permutation == nullptr ? nullptr : permutation + first,
             .first_token = first,
             .num_rows = rows,
             .padded_rows = permutation == nullptr ? rows : problem_.block,
             .maximum = permutation != nullptr && problem_.max_pool,
             .out = shared_.pooled + (unit * problem_.num_key_blocks() + kb) * stride});
    }
}

/// own.scores of one head of a unit for a query block against key blocks.
void SelectRun::score(const RowScores& what, Span blocks, const ThreadMemory& own) const {
    const Heads heads = heads_of(what.unit);
    const TensorLayout& layout = problem_.q;
    const int64 bytes = bits_of(layout.dtype) / 8;
    const int64 first = what.row * problem_.query_block;
    const int64 rows = std::min(problem_.query_block, problem_.q_len - first);
    const int64 stride = pooled_stride(problem_.head_dim);
    table_.pool_block({.data = static_cast<const std::byte*>(what.q) +
                               layout.row(heads.entry, heads.first + what.head, 0) * bytes,
                       .stride = layout.strides[2] * bytes,
                       .dtype = layout.dtype,
                       .extent = problem_.head_dim,
                       .tokens = nullptr,
                       .first_token = first,
                       .num_rows = rows,
                       .padded_rows = what.padded ? problem_.query_block : rows,
                       .maximum = what.padded && problem_.max_pool,
                       .out = own.query});
    table_.block_scores({.query = own.query,
                         .keys = shared_.pooled + what.unit * problem_.num_key_blocks() * stride,
                         .stride = stride,
                         .begin = blocks.begin,
                         .end = blocks.end,
                         .scale = what.scale,
                         .scores = own.scores});
}

/// Adds softmax(scores) / count to shares over the blocks that is_in names; scores are in base 2.
/// Returns false when the scores have no softmax: none is above -inf, or one is not a number.
template <class IsIn>
bool add_shares(const float* scores, Span blocks, int64 count, const IsIn& is_in, double* shares) {
    float largest = -std::numeric_limits<float>::infinity();
    for (int64 kb = blocks.begin; kb < blocks.end; ++kb) {
        if (is_in(kb)) largest = std::max(largest, scores[kb]);
    }
    if (!std::isfinite(largest)) return false;
    double sum = 0;
    for (int64 kb = blocks.begin; kb < blocks.end; ++kb) {
        if (is_in(kb)) sum += static_cast<double>(exp2(scores[kb] - largest));
    }
    if (!std::isfinite(sum)) return false;
    for (int64 kb = blocks.begin; kb < blocks.end; ++kb) {
        if (is_in(kb)) {
            shares[kb] +=
                static_cast<double>(exp2(scores[kb] - largest)) / sum / static_cast<double>(count);
        }
    }
    return true;
}

void SelectRun::copy_row(int64 unit, int64 row, uint8* block_mask) const {
    const Heads heads = heads_of(unit);
    const uint8* kept = mask_row(number_of(heads, 0), row, block_mask);
    for (int64 n = 1; n < heads.count; ++n) {
        std::copy(kept, kept + problem_.num_key_blocks(),
                  mask_row(number_of(heads, n), row, block_mask));
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

template <class Fill>
Status SelectRun::for_each_row(const int32* cancel, const Fill& fill) const {
    const int64 rows = problem_.num_query_blocks();
    const int64 rows_of_task = std::max<int64>(1, kQueriesOfTask / problem_.query_block);
    const int64 tasks = ceil_div(rows, rows_of_task);
    return parallel_for(num_units() * tasks, num_threads_, cancel, [&](int64 task, int slot) {
        const ThreadMemory own = of_thread(slot);
        const int64 begin = task % tasks * rows_of_task;
        for (int64 row = begin; row < std::min(rows, begin + rows_of_task); ++row) {
            fill(task / tasks, row, own);
        }
    });
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

}  // namespace

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
