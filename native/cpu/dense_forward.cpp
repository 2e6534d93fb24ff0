// The forward pass of dense attention as a list of tasks over sequences, head runs, row blocks and
// key chunks; used by the CPU dense kernel.
#include "cpu/dense_forward.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "cpu/parallel.h"
#include "cpu/workspace.h"

namespace fattn::cpu {
namespace {

constexpr int64 kSplitRows = 64;        // up to here long key ranges are split between tasks
constexpr int64 kSplitChunk = 2048;     // keys of one such task
constexpr int64 kMostChunksInUnit = 8;  // neighbours, so that one thread can ask for the next keys
constexpr int64 kUnitsPerThread = 4;

}  // namespace

/// How much work a unit holds. Never changes results, so it may follow the number of threads.
struct DenseForward::Grain {
    int64 block_rows;       // rows of a unit that sees all keys
    int64 chunks_per_unit;  // key chunks of a unit of a split sequence
};

/// The units of one sequence: every head run is cut alike.
struct DenseForward::SequencePlan {
    int64 block_rows;  // rows of a unit
    int64 chunk;       // keys of a chunk, 0: not split
    int64 num_chunks;  // 1 when not split
    int64 chunks_per_unit;
    bool decode;

    int64 units(int64 rows) const {
        return chunk > 0 ? ceil_div(num_chunks, chunks_per_unit) : ceil_div(rows, block_rows);
    }
};

/// What a task does.
struct DenseForward::Unit {
    Sequence sequence;
    SequencePlan plan;
    HeadRun run;
    int64 index;       // of the unit inside its run
    int64 partial_at;  // float offset of the run's first partial state
};

DenseForward::DenseForward(const DenseProblem& problem, const KernelTable& table)
    : problem_(problem), table_(table), runs_(head_runs(problem)), most_heads_(0) {
    for (const HeadRun& run : runs_) most_heads_ = std::max(most_heads_, run.count);
}

DenseForward::SequencePlan DenseForward::plan_sequence(const Sequence& sequence,
                                                       const Grain& grain) const {
    const int64 rows = most_heads_ * sequence.q_len;
    if (problem_.weights != Weights::kSoftmax || rows > kSplitRows) {
        return {grain.block_rows, 0, 1, 1, false};
    }
    const bool decode = rows <= table_.decode_rows;
    const int64 chunk = decode ? table_.decode_keys : kSplitChunk;
    return {rows, chunk, std::max<int64>(1, ceil_div(sequence.kv_len, chunk)),
            grain.chunks_per_unit, decode};
}

DenseForward::Grain DenseForward::grain(const DenseForwardArgs& args, int num_threads) const {
    int64 rows = 0;
    int64 chunks = 0;
    for (int64 b = 0; b < problem_.batch; ++b) {
        const Sequence sequence = sequence_of(problem_, args, b);
        rows += sequence.q_len * problem_.num_q_heads;
        chunks += ceil_div(sequence.kv_len, table_.decode_keys) * static_cast<int64>(runs_.size());
    }
    const int64 units = kUnitsPerThread * num_threads;
    return {clamp_to<int64>(round_up<int64>(ceil_div<int64>(rows, units), table_.tile_q),
                            table_.tile_q, kMostTilesInBlock * table_.tile_q),
            clamp_to<int64>(chunks / units, 1, kMostChunksInUnit)};
}

namespace {

/// Floats of one partial state.
int64 partial_floats(const DenseProblem& problem, int64 rows) {
    return round_up<int64>(rows * (2 + round_up<int64>(problem.head_dim_v, 16)), 16);
}

}  // namespace

int64 DenseForward::most_keys() const {
    const int64 capacity = problem_.batch * problem_.kv_len;
    return problem_.varlen && !problem_.paged ? std::min(capacity, problem_.k.shape[2]) : capacity;
}

int64 DenseForward::most_units() const {
    const int64 capacity = problem_.batch * problem_.q_len;
    const int64 queries = problem_.varlen ? std::min(capacity, problem_.q.shape[2]) : capacity;
    // Every sequence may end with a part of a block, or of a chunk.
    const int64 blocks = most_heads_ * queries / table_.tile_q + problem_.batch;
    const int64 chunks = most_keys() / std::min(kSplitChunk, table_.decode_keys) + problem_.batch;
    const int64 longest = most_heads_ * problem_.q_len;
    const bool softmax = problem_.weights == Weights::kSoftmax;
    const bool has_split = softmax && (problem_.varlen || longest <= kSplitRows);
    const bool has_whole = !softmax || problem_.varlen || longest > kSplitRows;
    return static_cast<int64>(runs_.size()) * ((has_whole ? blocks : 0) + (has_split ? chunks : 0));
}

uint64 DenseForward::scratch_bytes() const {
    const int64 block = kMostTilesInBlock * table_.tile_q;
    return line_up(
        std::max(table_.forward_scratch(problem_, block), table_.decode_scratch(problem_)));
}

uint64 DenseForward::workspace(int num_threads) const {
    const auto threads = static_cast<uint64>(threads_with_tasks(most_units(), num_threads));
    // Prefix sums over sequences, then scratch, then partial states at capacity. Packed batches may
    // hold sequences of both kinds of split, so both are counted where they can occur.
    const auto batch = static_cast<uint64>(problem_.batch);
    int64 partials = 0;
    if (problem_.weights == Weights::kSoftmax) {
        const int64 keys = most_keys();
        const int64 longest = most_heads_ * problem_.q_len;
        const int64 shortest = problem_.varlen ? most_heads_ : longest;
        if (shortest <= table_.decode_rows) {
            partials += (ceil_div(keys, table_.decode_keys) + problem_.batch) *
                        partial_floats(problem_, std::min<int64>(longest, table_.decode_rows));
        }
        if (longest > table_.decode_rows && shortest <= kSplitRows) {
            partials += (ceil_div(keys, kSplitChunk) + problem_.batch) *
                        partial_floats(problem_, std::min(longest, kSplitRows));
        }
    }
    const uint64 partial_bytes = static_cast<uint64>(partials) * runs_.size() * sizeof(float);
    return line_up(2 * (batch + 1) * sizeof(int64)) + threads * scratch_bytes() + partial_bytes;
}

Status DenseForward::run(const DenseForwardArgs& args, int max_threads, const int32* cancel,
                         std::byte* workspace) const {
    const int64 batch = problem_.batch;
    const int num_threads = threads_with_tasks(most_units(), max_threads);
    const Grain cut = grain(args, num_threads);
    const auto num_runs = static_cast<int64>(runs_.size());
    auto* first_unit = reinterpret_cast<int64*>(workspace);
    int64* first_float = first_unit + batch + 1;
    int64 units = 0;
    int64 floats = 0;
    bool split = false;
    for (int64 b = 0; b < batch; ++b) {
        first_unit[b] = units;
        first_float[b] = floats;
        const Sequence sequence = sequence_of(problem_, args, b);
        const SequencePlan plan = plan_sequence(sequence, cut);
        if (sequence.q_len == 0) continue;
        units += num_runs * plan.units(most_heads_ * sequence.q_len);
        if (plan.num_chunks > 1) {
            split = true;
            floats +=
                num_runs * plan.num_chunks * partial_floats(problem_, most_heads_ * sequence.q_len);
        }
    }
    first_unit[batch] = units;
    first_float[batch] = floats;

    const uint64 bytes_of_thread = scratch_bytes();
    std::byte* scratch = workspace + line_up(2 * static_cast<uint64>(batch + 1) * sizeof(int64));
    auto* partials =
        reinterpret_cast<float*>(scratch + static_cast<uint64>(num_threads) * bytes_of_thread);

    const auto unit_of = [&](int64 task) {
        const int64 b = std::upper_bound(first_unit, first_unit + batch + 1, task) - first_unit - 1;
        const Sequence sequence = sequence_of(problem_, args, b);
        const SequencePlan plan = plan_sequence(sequence, cut);
        const int64 per_run = (first_unit[b + 1] - first_unit[b]) / num_runs;
        const int64 local = task - first_unit[b];
        const int64 run = local / per_run;
        // Later blocks first: under a causal mask they are the long ones.
        return Unit{sequence, plan, runs_[static_cast<std::size_t>(run)],
                    per_run - 1 - local % per_run,
                    first_float[b] + run * plan.num_chunks *
                                         partial_floats(problem_, most_heads_ * sequence.q_len)};
    };
    if (problem_.varlen) clear_unused_rows(args);
    const Status status = parallel_for(units, num_threads, cancel, [&](int64 task, int slot) {
        run_unit(args, unit_of(task), scratch + static_cast<uint64>(slot) * bytes_of_thread,
                 partials, cancel);
    });
    if (!status.ok() || !split) return status;
    return parallel_for(batch * num_runs, num_threads, cancel, [&](int64 task, int) {
        const int64 b = task / num_runs;
        const Sequence sequence = sequence_of(problem_, args, b);
        const SequencePlan plan = plan_sequence(sequence, cut);
        if (sequence.q_len == 0 || plan.num_chunks == 1) return;
        const HeadRun run = runs_[static_cast<std::size_t>(task % num_runs)];
        const int64 stride = partial_floats(problem_, most_heads_ * sequence.q_len);
        table_.merge_partials(
            {.problem = &problem_,
             .args = &args,
             .gathered = nullptr,
             .sequence = sequence,
             .first_head = run.first,
             .num_heads = run.count,
             .row_begin = 0,
             .row_end = run.count * sequence.q_len,
             .num_parts = plan.num_chunks,
             .part_stride = stride,
             .partial = partials + first_float[b] + task % num_runs * plan.num_chunks * stride});
    });
}

void DenseForward::clear_unused_rows(const DenseForwardArgs& args) const {
    const TensorLayout& o = problem_.o;
    const int64 element = bits_of(o.dtype) / 8;
    for (int64 h = 0; h < problem_.num_q_heads; ++h) {
        for (int64 i = args.cu_seqlens_q[problem_.batch]; i < o.shape[2]; ++i) {
            std::memset(static_cast<std::byte*>(args.o) + o.row(0, h, i) * element, 0,
                        static_cast<std::size_t>(o.shape[3] * element));
            if (args.lse != nullptr) {
                args.lse[h * o.shape[2] + i] = -std::numeric_limits<float>::infinity();
            }
        }
    }
}

void DenseForward::run_unit(const DenseForwardArgs& args, const Unit& unit, void* scratch,
                            float* partials, const int32* cancel) const {
    const SequencePlan& plan = unit.plan;
    const int64 run_rows = unit.run.count * unit.sequence.q_len;
    const int64 kv_len = unit.sequence.kv_len;
    ForwardTask task{.problem = &problem_,
                     .args = &args,
                     .gathered = nullptr,
                     .sequence = unit.sequence,
                     .first_head = unit.run.first,
                     .num_heads = unit.run.count,
                     .row_begin = 0,
                     .row_end = run_rows,
                     .key_begin = 0,
                     .key_end = kv_len,
                     .next_key_end = 0,
                     .partial = nullptr,
                     .scratch = scratch,
                     .cancel = cancel};
    if (plan.chunk == 0) {
        task.row_begin = unit.index * plan.block_rows;
        task.row_end = std::min(run_rows, task.row_begin + plan.block_rows);
        // A run with fewer heads than the longest has fewer units.
        if (task.row_begin < task.row_end) table_.forward(task);
        return;
    }
    const int64 stride = partial_floats(problem_, most_heads_ * unit.sequence.q_len);
    const int64 first = unit.index * plan.chunks_per_unit;
    const int64 last = std::min(plan.num_chunks, first + plan.chunks_per_unit);
    task.next_key_end = std::min(kv_len, last * plan.chunk);
    for (int64 chunk = first; chunk < last; ++chunk) {
        task.key_begin = chunk * plan.chunk;
        task.key_end = std::min(kv_len, task.key_begin + plan.chunk);
        if (plan.num_chunks > 1) task.partial = partials + unit.partial_at + chunk * stride;
        if (plan.decode) {
            table_.decode(task);
        } else {
            table_.forward(task);
        }
    }
}

}  // namespace fattn::cpu
