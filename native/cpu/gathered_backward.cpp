// The backward pass of sparse attention: key tiles of a gatherer, one owner a head group and chunk
// of keys; used by the CPU kernels of the sparse families.
#include "cpu/gathered_backward.h"

#include <algorithm>
#include <cstring>

#include "cpu/backward_cut.h"

namespace fattn::cpu {
namespace {

int64 sum_floats(int64 extent) { return round_up<int64>(extent, 16); }

/// Sums from row `row` on.
TokenSums from_row(const TokenSums& sums, int64 row, int64 extent) {
    if (sums.sums == nullptr) return sums;
    return {sums.sums + row * sum_floats(extent), sums.touched + row};
}

void forget(const TokenSums& sums, int64 rows) {
    if (sums.sums != nullptr) std::memset(sums.touched, 0, static_cast<std::size_t>(rows));
}

}  // namespace

/// Parts of the workspace. Of a whole run: delta and, when keys are split, d_q. The rest belongs to
/// one thread.
struct GatheredBackward::Memory {
    float* delta;   // [B, Hq, Lq]
    TokenSums d_q;  // split: [chunks, B, Hq, Lq] rows; else [heads of a group, Lq]
    TokenSums d_k;  // [num_keys] rows of one key head
    TokenSums d_v;  // [num_keys] rows of one value head
    GatherBuffer lists;
    std::byte* scratch;
};

/// What the passes of one run share.
struct GatheredBackward::Run {
    const DenseBackwardArgs& args;
    const AdditionalKeyArgs& additional_args;
    int num_threads;
    const int32* cancel;
    Memory shared;
    std::byte* own;  // of every thread

    bool wants_d_q() const { return args.d_q != nullptr; }
    bool wants_d_k() const { return args.d_k != nullptr || additional_args.d_k != nullptr; }
    bool wants_d_v() const { return args.d_v != nullptr || additional_args.d_v != nullptr; }
    bool wants_scores() const { return wants_d_q() || wants_d_k(); }
};

GatheredBackward::GatheredBackward(const DenseProblem& problem, const AdditionalKeys& additional,
                                   const KernelTable& table)
    : problem_(problem), additional_(additional), table_(table) {
    if (!problem.backward) return;
    groups_ = head_groups(problem);
    for (const HeadGroup& group : groups_) most_heads_ = std::max(most_heads_, group.count);
    num_chunks_ =
        num_key_chunks(problem.batch * static_cast<int64>(groups_.size()), problem.kv_len);
}

TokenSums GatheredBackward::take_sums(int64 rows, int64 extent, WorkspaceParts& parts) const {
    return {parts.take<float>(rows * sum_floats(extent)), parts.take<uint8>(rows)};
}

GatheredBackward::Memory GatheredBackward::take_shared(WorkspaceParts& parts) const {
    const int64 rows = problem_.batch * problem_.num_q_heads * problem_.q_len;
    Memory memory{};
    memory.delta = parts.take<float>(rows);
    if (splits_keys()) memory.d_q = take_sums(num_chunks_ * rows, problem_.head_dim, parts);
    return memory;
}

GatheredBackward::Memory GatheredBackward::take_own(const GatherCapacity& capacity,
                                                    WorkspaceParts& parts) const {
    Memory memory{};
    memory.lists = take_buffer(capacity, parts);
    memory.scratch = parts.take<std::byte>(
        static_cast<int64>(table_.gathered_backward_scratch(problem_, capacity.slots)));
    memory.d_k = take_sums(num_keys(), problem_.head_dim, parts);
    memory.d_v = take_sums(num_keys(), problem_.head_dim_v, parts);
    if (!splits_keys()) {
        memory.d_q = take_sums(most_heads_ * problem_.q_len, problem_.head_dim, parts);
    }
    return memory;
}

uint64 GatheredBackward::workspace(const GatherCapacity& capacity, int num_threads) const {
    if (!problem_.backward) return 0;
    WorkspaceParts shared(nullptr);
    take_shared(shared);
    WorkspaceParts own(nullptr);
    take_own(capacity, own);
    const int threads = threads_with_tasks(num_tile_tasks(), num_threads);
    return shared.used() + static_cast<uint64>(threads) * own.used();
}

Status GatheredBackward::run(const Gatherer& gatherer, const DenseBackwardArgs& args,
                             const AdditionalKeyArgs& additional_args, int num_threads,
                             const int32* cancel, std::byte* workspace) const {
    WorkspaceParts parts(workspace);
    Run run{.args = args,
            .additional_args = additional_args,
            .num_threads = num_threads,
            .cancel = cancel,
            .shared = take_shared(parts),
            .own = workspace + parts.used()};
    if (!run.wants_scores() && !run.wants_d_v()) return {};
    Status status;
    if (run.wants_scores()) {
        status = find_deltas(problem_, table_, args, num_threads, cancel, run.shared.delta);
    }
    if (status.ok()) status = clear_keys(run);
    if (status.ok()) status = run_tiles(run, gatherer);
    if (status.ok()) status = merge_d_q(run);
    return status;
}

/// Zeros where chunks write only what is theirs.
Status GatheredBackward::clear_keys(const Run& run) const {
    if (!splits_keys()) return {};
    const struct {
        const TensorLayout& layout;
        void* data;
    } gradients[] = {{problem_.d_k, run.args.d_k},
                     {problem_.d_v, run.args.d_v},
                     {additional_.d_k, run.additional_args.d_k},
                     {additional_.d_v, run.additional_args.d_v}};
    for (const auto& gradient : gradients) {
        if (gradient.data == nullptr) continue;
        const TensorLayout& layout = gradient.layout;
        const Status status = parallel_for(
            layout.shape[0] * layout.shape[1], run.num_threads, run.cancel, [&](int64 head, int) {
                const int64 first = layout.row(head / layout.shape[1], head % layout.shape[1], 0);
                table_.write_sums({.layout = &layout,
                                   .data = gradient.data,
                                   .first = first,
                                   .row_begin = 0,
                                   .row_end = layout.shape[2],
                                   .factor = 1.0F,
                                   .num_parts = 0,
                                   .part_rows = 0,
                                   .sums = {},
                                   .writes_zeros = true});
            });
        if (!status.ok()) return status;
    }
    return {};
}

/// One head group of one batch entry against one chunk of its keys.
class GatheredBackward::Task {
  public:
    Task(const GatheredBackward& pass, const Run& run, const Gatherer& gatherer,
         const Memory& memory, const Sequence& sequence, KeyChunk chunk)
        : pass_(pass),
          problem_(pass.problem_),
          run_(run),
          gatherer_(gatherer),
          memory_(memory),
          sequence_(sequence),
          chunk_(chunk) {}

    void run(const HeadGroup& group) {
        forget(memory_.d_q, group.count * problem_.q_len);
        const int64 end = group.first + group.count;
        int64 k_head = -1;
        int64 v_head = -1;
        for (int64 head = group.first; head < end;) {
            if (problem_.k_head(head) != k_head) {
                write_d_k(k_head);
                k_head = problem_.k_head(head);
                forget(memory_.d_k, pass_.num_keys());
            }
            if (problem_.v_head(head) != v_head) {
                write_d_v(v_head);
                v_head = problem_.v_head(head);
                forget(memory_.d_v, pass_.num_keys());
            }
            const int64 equal =
                std::min(end - head, gatherer_.num_equal_heads(sequence_.entry, head));
            add_heads(head, equal, (head - group.first) * problem_.q_len);
            head += equal;
        }
        write_d_k(k_head);
        write_d_v(v_head);
    }

  private:
    /// The key tiles of heads with equal lists; row is their first one in the sums of d_q.
    void add_heads(int64 head, int64 num_heads, int64 row) {
        const int64 num_tiles = gatherer_.num_key_tiles(sequence_.entry, head, chunk_);
        for (int64 n = 0; n < num_tiles; ++n) {
            const GatheredTile tile =
                gatherer_.key_tile(sequence_.entry, head, chunk_, n, memory_.lists);
            if (tile.num_rows == 0 || tile.num_slots == 0) continue;
            const Gathered gathered{&tile, &pass_.additional_, &run_.additional_args};
            pass_.table_.gathered_backward(
                {.problem = &problem_,
                 .args = &run_.args,
                 .gathered = &gathered,
                 .sequence = sequence_,
                 .first_head = head,
                 .num_heads = num_heads,
                 .delta = run_.wants_scores() ? run_.shared.delta : nullptr,
                 .d_q = from_row(memory_.d_q, row, problem_.head_dim),
                 .d_k = memory_.d_k,
                 .d_v = memory_.d_v,
                 .scratch = memory_.scratch,
                 .cancel = run_.cancel});
        }
    }

    void write_d_k(int64 head) const {
        if (head < 0 || memory_.d_k.sums == nullptr) return;
        write_keys(problem_.d_k, run_.args.d_k, head, memory_.d_k, 0, problem_.kv_len,
                   problem_.scale);
        write_keys(pass_.additional_.d_k, run_.additional_args.d_k, head,
                   from_row(memory_.d_k, problem_.kv_len, problem_.head_dim), 0,
                   pass_.additional_.num, problem_.scale);
    }
    void write_d_v(int64 head) const {
        if (head < 0 || memory_.d_v.sums == nullptr) return;
        write_keys(problem_.d_v, run_.args.d_v, head, memory_.d_v, 0, problem_.kv_len, 1.0F);
        write_keys(pass_.additional_.d_v, run_.additional_args.d_v, head,
                   from_row(memory_.d_v, problem_.kv_len, problem_.head_dim_v), 0,
                   pass_.additional_.num, 1.0F);
    }
    void write_keys(const TensorLayout& layout, void* data, int64 head, const TokenSums& sums,
                    int64 begin, int64 end, float factor) const {
        if (data == nullptr) return;
        pass_.table_.write_sums({.layout = &layout,
                                 .data = data,
                                 .first = layout.row(sequence_.batch_idx, head, 0),
                                 .row_begin = begin,
                                 .row_end = end,
                                 .factor = factor,
                                 .num_parts = 1,
                                 .part_rows = 0,
                                 .sums = sums,
                                 .writes_zeros = !pass_.splits_keys()});
    }

    const GatheredBackward& pass_;
    const DenseProblem& problem_;
    const Run& run_;
    const Gatherer& gatherer_;
    const Memory& memory_;
    Sequence sequence_;
    KeyChunk chunk_;
};

Status GatheredBackward::run_tiles(const Run& run, const Gatherer& gatherer) const {
    const auto num_groups = static_cast<int64>(groups_.size());
    const GatherCapacity capacity = gatherer.backward_capacity();
    WorkspaceParts counted(nullptr);
    take_own(capacity, counted);
    const uint64 bytes_of_thread = counted.used();
    return parallel_for(num_tile_tasks(), run.num_threads, run.cancel, [&](int64 task, int slot) {
        const int64 chunk = task % num_chunks_;
        const int64 entry = task / num_chunks_ / num_groups;
        const HeadGroup& group = groups_[static_cast<std::size_t>(task / num_chunks_ % num_groups)];
        WorkspaceParts parts(run.own + static_cast<uint64>(slot) * bytes_of_thread);
        Memory memory = take_own(capacity, parts);
        if (splits_keys()) {
            const int64 row =
                ((chunk * problem_.batch + entry) * problem_.num_q_heads + group.first) *
                problem_.q_len;
            memory.d_q = from_row(run.shared.d_q, row, problem_.head_dim);
        }
        if (!run.wants_d_q()) memory.d_q = {};
        if (!run.wants_d_k()) memory.d_k = {};
        if (!run.wants_d_v()) memory.d_v = {};
        const Sequence sequence = sequence_of(problem_, run.args, entry);
        Task(*this, run, gatherer, memory, sequence, {chunk, num_chunks_}).run(group);
        if (splits_keys() || !run.wants_d_q()) return;
        for (int64 h = 0; h < group.count; ++h) {
            const TokenSums sums = from_row(memory.d_q, h * problem_.q_len, problem_.head_dim);
            write_d_q(run, sequence, group.first + h, 0, problem_.q_len, sums, 1);
        }
    });
}

Status GatheredBackward::merge_d_q(const Run& run) const {
    if (!splits_keys() || !run.wants_d_q()) return {};
    const int64 blocks = ceil_div(problem_.q_len, kRowsOfTask);
    return parallel_for(
        problem_.batch * problem_.num_q_heads * blocks, run.num_threads, run.cancel,
        [&](int64 task, int) {
            const int64 outer = task / blocks;
            const int64 begin = task % blocks * kRowsOfTask;
            write_d_q(
                run, sequence_of(problem_, run.args, outer / problem_.num_q_heads),
                outer % problem_.num_q_heads, begin, std::min(begin + kRowsOfTask, problem_.q_len),
                from_row(run.shared.d_q, outer * problem_.q_len, problem_.head_dim), num_chunks_);
        });
}

void GatheredBackward::write_d_q(const Run& run, const Sequence& sequence, int64 head,
                                 int64 row_begin, int64 row_end, const TokenSums& sums,
                                 int64 num_parts) const {
    table_.write_sums({.layout = &problem_.d_q,
                       .data = run.args.d_q,
                       .first = problem_.d_q.row(sequence.batch_idx, head, 0),
                       .row_begin = row_begin,
                       .row_end = row_end,
                       .factor = problem_.scale,
                       .num_parts = num_parts,
                       .part_rows = problem_.batch * problem_.num_q_heads * problem_.q_len,
                       .sums = sums,
                       .writes_zeros = true});
}

}  // namespace fattn::cpu
