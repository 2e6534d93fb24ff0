// The backward pass of dense attention as lists of tasks over sequences, head groups and key
// chunks; used by the CPU dense kernel.
#include "cpu/dense_backward.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "cpu/backward_cut.h"
#include "cpu/parallel.h"
#include "cpu/workspace.h"

namespace fattn::cpu {
namespace {

constexpr int64 kRowRoom = 16;  // rows of d_q sums that a register tile may reach past the end

uint64 floats(int64 count) { return line_up(static_cast<uint64>(count) * sizeof(float)); }

}  // namespace

/// What the passes of one run share.
struct DenseBackward::Run {
    const DenseBackwardArgs& args;
    int num_threads;
    const int32* cancel;
    float* delta;        // [B, Hq, Lq]
    float* split_d_q;    // sums of every chunk when keys are split
    std::byte* threads;  // what each thread has for itself

    /// Anything that needs the gradients of scores.
    bool wants_scores() const {
        return args.d_q != nullptr || args.d_k != nullptr || args.d_bias != nullptr;
    }
};

DenseBackward::DenseBackward(const DenseProblem& problem, const KernelTable& table)
    : problem_(problem), table_(table) {
    if (!problem.backward) return;
    groups_ = head_groups(problem);
    for (const HeadGroup& group : groups_) most_heads_ = std::max(most_heads_, group.count);
    most_chunks_ = num_chunks(problem.kv_len);
}

int64 DenseBackward::chunk_keys(int64 kv_len) const {
    const int64 tasks = problem_.batch * static_cast<int64>(groups_.size());
    const int64 chunks = num_key_chunks(tasks, kv_len);
    if (chunks == 1) return std::max<int64>(kv_len, 1);
    return std::max<int64>(1, round_up<int64>(ceil_div(kv_len, chunks), table_.backward_tile_kv));
}

int64 DenseBackward::num_chunks(int64 kv_len) const {
    return std::max<int64>(1, ceil_div(kv_len, chunk_keys(kv_len)));
}

int64 DenseBackward::row_floats() const { return round_up<int64>(problem_.head_dim, 16); }

int64 DenseBackward::rows_of_head() const {
    return problem_.q.shape[2] + kRowRoom * (problem_.varlen ? problem_.batch : 1);
}

int64 DenseBackward::first_row_of(const Sequence& sequence, int64 head) const {
    const int64 room = problem_.varlen ? sequence.entry * kRowRoom : 0;
    return (sequence.batch_idx * problem_.num_q_heads + head) * rows_of_head() + sequence.q_begin +
           room;
}

bool DenseBackward::shares_bias() const {
    return problem_.has_bias && ((problem_.d_bias.shape[0] == 1 && problem_.batch > 1) ||
                                 (problem_.d_bias.shape[1] == 1 && problem_.num_q_heads > 1));
}

int64 DenseBackward::num_bias_tasks() const {
    if (!shares_bias()) return 0;
    return problem_.d_bias.shape[0] * problem_.d_bias.shape[1] *
           ceil_div<int64>(problem_.q_len, table_.backward_tile_q);
}

uint64 DenseBackward::delta_bytes() const {
    return floats(problem_.q.shape[0] * problem_.num_q_heads * problem_.q.shape[2]);
}

uint64 DenseBackward::split_d_q_bytes() const {
    if (!splits_keys()) return 0;
    return floats(most_chunks_ * problem_.q.shape[0] * problem_.num_q_heads * rows_of_head() *
                  row_floats());
}

uint64 DenseBackward::d_q_bytes() const {
    if (splits_keys()) return 0;
    return floats(most_heads_ * (problem_.q_len + kRowRoom) * row_floats());
}

uint64 DenseBackward::tile_thread_bytes() const {
    return d_q_bytes() + line_up(table_.backward_scratch(problem_));
}

uint64 DenseBackward::bias_thread_bytes() const {
    return shares_bias() ? line_up(table_.backward_bias_scratch(problem_)) : 0;
}

uint64 DenseBackward::workspace(int num_threads) const {
    if (!problem_.backward) return 0;
    const auto of_threads = [&](int64 num_tasks, uint64 bytes) {
        return static_cast<uint64>(threads_with_tasks(num_tasks, num_threads)) * bytes;
    };
    // The passes that need memory for each thread follow one another.
    return delta_bytes() + split_d_q_bytes() +
           std::max(of_threads(num_tile_tasks(), tile_thread_bytes()),
                    of_threads(num_bias_tasks(), bias_thread_bytes()));
}

Status DenseBackward::run(const DenseBackwardArgs& args, int num_threads, const int32* cancel,
                          std::byte* workspace) const {
    std::byte* split_d_q = workspace + delta_bytes();
    const Run run{.args = args,
                  .num_threads = num_threads,
                  .cancel = cancel,
                  .delta = reinterpret_cast<float*>(workspace),
                  .split_d_q = reinterpret_cast<float*>(split_d_q),
                  .threads = split_d_q + split_d_q_bytes()};
    Status status = clear(run);
    if (status.ok()) status = find_deltas(run);
    if (status.ok()) status = run_tiles(run);
    if (status.ok()) status = merge_d_q(run);
    if (status.ok()) status = add_shared_bias(run);
    if (status.ok()) status = sum_sinks(run);
    return status;
}

/// Zeros where tasks do not write every element: past the tokens and keys of sequences, and d_bias
/// of what is hidden.
Status DenseBackward::clear(const Run& run) const {
    const bool short_keys = problem_.varlen || problem_.has_kv_len;
    const struct {
        const TensorLayout& layout;
        void* data;
        bool wanted;
    } gradients[] = {{problem_.d_q, run.args.d_q, problem_.varlen},
                     {problem_.d_k, run.args.d_k, short_keys},
                     {problem_.d_v, run.args.d_v, short_keys},
                     {problem_.d_bias, run.args.d_bias, problem_.has_bias}};
    for (const auto& gradient : gradients) {
        if (!gradient.wanted || gradient.data == nullptr) continue;
        const TensorLayout& layout = gradient.layout;
        const int64 blocks = ceil_div(layout.shape[2], kRowsOfTask);
        const int64 bytes = bits_of(layout.dtype) / 8;
        const Status status =
            parallel_for(layout.shape[0] * layout.shape[1] * blocks, run.num_threads, run.cancel,
                         [&](int64 task, int) {
                             const int64 outer = task / blocks;
                             const int64 begin = task % blocks * kRowsOfTask;
                             const int64 end = std::min(begin + kRowsOfTask, layout.shape[2]);
                             for (int64 row = begin; row < end; ++row) {
                                 const int64 at = layout.row(outer / layout.shape[1],
                                                             outer % layout.shape[1], row);
                                 std::memset(static_cast<std::byte*>(gradient.data) + at * bytes, 0,
                                             static_cast<std::size_t>(layout.shape[3] * bytes));
                             }
                         });
        if (!status.ok()) return status;
    }
    return {};
}

Status DenseBackward::find_deltas(const Run& run) const {
    if (problem_.weights != Weights::kSoftmax ||
        (!run.wants_scores() && run.args.d_sink_logits == nullptr)) {
        return {};
    }
    return cpu::find_deltas(problem_, table_, run.args, run.num_threads, run.cancel, run.delta);
}

Status DenseBackward::run_tiles(const Run& run) const {
    const bool stores_d_bias = run.args.d_bias != nullptr && !shares_bias();
    if (run.args.d_q == nullptr && run.args.d_k == nullptr && run.args.d_v == nullptr &&
        !stores_d_bias) {
        return {};
    }
    const auto num_groups = static_cast<int64>(groups_.size());
    const auto body = [&](int64 task, int slot) {
        const int64 chunk = task % most_chunks_;
        const Sequence sequence = sequence_of(problem_, run.args, task / most_chunks_ / num_groups);
        const HeadGroup group = groups_[static_cast<std::size_t>(task / most_chunks_ % num_groups)];
        const int64 chunks = num_chunks(sequence.kv_len);
        if (chunk >= chunks) return;
        const int64 keys = chunk_keys(sequence.kv_len);
        const int64 row_stride = row_floats();
        std::byte* own = run.threads + static_cast<uint64>(slot) * tile_thread_bytes();
        auto* d_q = reinterpret_cast<float*>(own);
        int64 head_rows = sequence.q_len + kRowRoom;
        if (splits_keys()) {
            head_rows = rows_of_head();
            d_q = run.split_d_q + (chunk * problem_.q.shape[0] * problem_.num_q_heads * head_rows +
                                   first_row_of(sequence, group.first)) *
                                      row_stride;
        }
        table_.backward({.problem = &problem_,
                         .args = &run.args,
                         .sequence = sequence,
                         .first_head = group.first,
                         .num_heads = group.count,
                         .key_begin = chunk * keys,
                         .key_end = std::min((chunk + 1) * keys, sequence.kv_len),
                         .delta = problem_.weights == Weights::kSoftmax && run.wants_scores()
                                      ? run.delta
                                      : nullptr,
                         .d_q = d_q,
                         .d_q_head_stride = head_rows * row_stride,
                         .partial = chunks > 1,
                         .stores_d_bias = stores_d_bias,
                         .scratch = own + d_q_bytes(),
                         .cancel = run.cancel});
    };
    return parallel_for(num_tile_tasks(), run.num_threads, run.cancel, body);
}

Status DenseBackward::merge_d_q(const Run& run) const {
    if (!splits_keys() || run.args.d_q == nullptr) return {};
    const int64 blocks = ceil_div(problem_.q_len, kRowsOfTask);
    return parallel_for(
        problem_.batch * problem_.num_q_heads * blocks, run.num_threads, run.cancel,
        [&](int64 task, int) {
            const int64 outer = task / blocks;
            const int64 head = outer % problem_.num_q_heads;
            const Sequence sequence = sequence_of(problem_, run.args, outer / problem_.num_q_heads);
            const int64 chunks = num_chunks(sequence.kv_len);
            if (chunks == 1) return;
            const int64 begin = task % blocks * kRowsOfTask;
            table_.merge_d_q(
                {.problem = &problem_,
                 .args = &run.args,
                 .sequence = sequence,
                 .head = head,
                 .row_begin = begin,
                 .row_end = std::min(begin + kRowsOfTask, sequence.q_len),
                 .num_parts = chunks,
                 .part_stride =
                     problem_.q.shape[0] * problem_.num_q_heads * rows_of_head() * row_floats(),
                 .parts = run.split_d_q + first_row_of(sequence, head) * row_floats()});
        });
}

Status DenseBackward::add_shared_bias(const Run& run) const {
    if (run.args.d_bias == nullptr || !shares_bias()) return {};
    const TensorLayout& layout = problem_.d_bias;
    const bool all_entries = layout.shape[0] == 1;
    const bool all_heads = layout.shape[1] == 1;
    const int64 tiles = ceil_div<int64>(problem_.q_len, table_.backward_tile_q);
    return parallel_for(num_bias_tasks(), run.num_threads, run.cancel, [&](int64 task, int slot) {
        const int64 entry = task / tiles / layout.shape[1];
        const int64 head = task / tiles % layout.shape[1];
        table_.backward_bias(
            {.problem = &problem_,
             .args = &run.args,
             .entry_begin = entry,
             .entry_end = all_entries ? problem_.batch : entry + 1,
             .head_begin = head,
             .head_end = all_heads ? problem_.num_q_heads : head + 1,
             .row = task % tiles * table_.backward_tile_q,
             .delta = problem_.weights == Weights::kSoftmax ? run.delta : nullptr,
             .scratch = run.threads + static_cast<uint64>(slot) * bias_thread_bytes(),
             .cancel = run.cancel});
    });
}

/// d_sink = sum of e^(sink - lse) * -delta over the rows of a head, in order: the sink is a key
/// whose value is 0.
Status DenseBackward::sum_sinks(const Run& run) const {
    if (run.args.d_sink_logits == nullptr) return {};
    return parallel_for(problem_.num_q_heads, run.num_threads, run.cancel, [&](int64 head, int) {
        const double sink = static_cast<double>(run.args.sink_logits[head]);
        double sum = 0;
        for (int64 b = 0; b < problem_.batch && problem_.weights == Weights::kSoftmax; ++b) {
            const Sequence sequence = sequence_of(problem_, run.args, b);
            const int64 first =
                (sequence.batch_idx * problem_.num_q_heads + head) * problem_.q.shape[2] +
                sequence.q_begin;
            for (int64 i = first; i < first + sequence.q_len; ++i) {
                const double lse = static_cast<double>(run.args.lse[i]);
                if (lse == -std::numeric_limits<double>::infinity()) continue;
                sum -= std::exp(sink - lse) * static_cast<double>(run.delta[i]);
            }
        }
        run.args.d_sink_logits[head] = static_cast<float>(sum);
    });
}

}  // namespace fattn::cpu
