// The steps of block selection, shared by the selection by coverage and by gates: memory, pooled
// keys, block scores, rows of the block mask. Every cut is decided by the problem alone. Used by
// permuted_block_select.cpp and permuted_block_gate.cpp.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

#include "backend/status.h"
#include "core/numeric.h"
#include "core/permuted_block.h"
#include "cpu/gather_memory.h"
#include "cpu/kernels.h"
#include "cpu/parallel.h"
#include "cpu/select_tasks.h"

namespace fattn::cpu {

constexpr int64 kChunkKeys = 2048;      // keys of a task of the first steps, at least a segment
constexpr int64 kQueriesOfTask = 2048;  // queries whose rows of the mask one task fills

/// One selection: made for each run, refers to the plan's problem and the run's workspace.
class SelectRun {
  public:
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

    /// workspace may be null: then bytes() alone may be asked.
    SelectRun(const PermutedBlockProblem& problem, const KernelTable& table, int num_threads,
              std::byte* workspace);

    uint64 bytes() const {
        return shared_bytes_ + static_cast<uint64>(num_threads_) * thread_bytes_;
    }

    Status select(const PermutedBlockSelectArgs& args, const int32* cancel) const;
    Status gate(const BlockGateArgs& args, const int32* cancel) const;

  private:
    ThreadMemory take(WorkspaceParts& parts) const;
    ThreadMemory of_thread(int slot) const;

    /// Units of a step: the key heads where query heads share, else the query heads.
    int64 num_units() const {
        return problem_.batch * (problem_.shared ? problem_.num_k_heads : problem_.num_q_heads);
    }
    /// Rows of the block mask that one task fills.
    int64 rows_of_task() const { return std::max<int64>(1, kQueriesOfTask / problem_.query_block); }
    /// Of the step with most of them.
    int64 most_tasks() const;
    Heads heads_of(int64 unit) const;
    int64 number_of(const Heads& heads, int64 n) const {
        return heads.entry * problem_.num_q_heads + heads.first + n;
    }

    JudgeTask judge_task(const void* q, const void* k, int64 head, Span keys,
                         const ThreadMemory& own) const;
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

template <class Fill>
Status SelectRun::for_each_row(const int32* cancel, const Fill& fill) const {
    const int64 rows = problem_.num_query_blocks();
    const int64 rows_of_task = this->rows_of_task();
    const int64 tasks = ceil_div(rows, rows_of_task);
    return parallel_for(num_units() * tasks, num_threads_, cancel, [&](int64 task, int slot) {
        const ThreadMemory own = of_thread(slot);
        const int64 begin = task % tasks * rows_of_task;
        for (int64 row = begin; row < std::min(rows, begin + rows_of_task); ++row) {
            fill(task / tasks, row, own);
        }
    });
}

/// Adds softmax(scores) / count to shares over the blocks that is_in names; scores are in base 2.
/// Returns false when the scores have no softmax: none is above -inf, or one is not a number.
template <class IsIn>
bool add_shares(const float* scores, SelectRun::Span blocks, int64 count, const IsIn& is_in,
                double* shares) {
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

}  // namespace fattn::cpu
