// The steps of block selection; see select_run.h.
#include "cpu/select_run.h"

namespace fattn::cpu {

SelectRun::SelectRun(const PermutedBlockProblem& problem, const KernelTable& table, int num_threads,
                     std::byte* workspace)
    : problem_(problem),
      table_(table),
      chunk_(std::max(problem.segment, kChunkKeys / problem.segment * problem.segment)),
      num_sorted_(problem.num_sorted()),
      num_chunks_(ceil_div(num_sorted_, chunk_)),
      num_threads_(threads_with_tasks(most_tasks(), num_threads)) {
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

int64 SelectRun::most_tasks() const {
    const int64 heads = problem_.batch * problem_.num_q_heads;
    const int64 row_tasks = ceil_div(problem_.num_query_blocks(), rows_of_task());
    return std::max(heads * num_chunks_, num_units() * std::max(num_chunks_ + 1, row_tasks));
}

SelectRun::ThreadMemory SelectRun::take(WorkspaceParts& parts) const {
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

SelectRun::ThreadMemory SelectRun::of_thread(int slot) const {
    WorkspaceParts parts(threads_ + static_cast<uint64>(slot) * thread_bytes_);
    return take(parts);
}

SelectRun::Heads SelectRun::heads_of(int64 unit) const {
    if (!problem_.shared) {
        return {unit / problem_.num_q_heads, unit % problem_.num_q_heads, 1};
    }
    const int64 group = unit % problem_.num_k_heads;
    const int64 first = problem_.first_q_head(group);
    return {unit / problem_.num_k_heads, first, problem_.first_q_head(group + 1) - first};
}

JudgeTask SelectRun::judge_task(const void* q, const void* k, int64 head, Span keys,
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

void SelectRun::copy_row(int64 unit, int64 row, uint8* block_mask) const {
    const Heads heads = heads_of(unit);
    const uint8* kept = mask_row(number_of(heads, 0), row, block_mask);
    for (int64 n = 1; n < heads.count; ++n) {
        std::copy(kept, kept + problem_.num_key_blocks(),
                  mask_row(number_of(heads, n), row, block_mask));
    }
}

}  // namespace fattn::cpu
