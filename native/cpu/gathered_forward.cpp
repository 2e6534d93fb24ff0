// The forward pass of sparse attention: the shares of a gatherer as tasks; used by the CPU kernels
// of the sparse families.
#include "cpu/gathered_forward.h"

#include <algorithm>

#include "cpu/parallel.h"

namespace fattn::cpu {
namespace {

constexpr int64 kMostTilesInBlock = 6;  // row tiles that share one packing of K and V
constexpr int64 kMostSharesInTask = 4;  // of one thread, which can then ask for the next one's keys
constexpr int64 kTasksPerThread = 8;

}  // namespace

GatheredForward::GatheredForward(const DenseProblem& problem, const AdditionalKeys& additional,
                                 const KernelTable& table)
    : problem_(problem), additional_(additional), table_(table) {}

int64 GatheredForward::partial_floats(int64 rows) const {
    return round_up<int64>(rows * (2 + round_up<int64>(problem_.head_dim_v, 16)), 16);
}

GatheredForward::Memory GatheredForward::take(const GatherCapacity& capacity,
                                              WorkspaceParts& parts) const {
    const int64 rows =
        std::min(capacity.rows * capacity.heads, kMostTilesInBlock * int64{table_.tile_q});
    const uint64 scratch =
        std::max(table_.forward_scratch(problem_, rows), table_.decode_scratch(problem_));
    const int64 chunks = ceil_div(capacity.slots, table_.decode_keys);
    return {.lists = {take_buffer(capacity, parts), take_buffer(capacity, parts)},
            .scratch = parts.take<std::byte>(static_cast<int64>(scratch)),
            .partials = parts.take<float>(chunks * partial_floats(table_.decode_rows))};
}

uint64 GatheredForward::workspace(const GatherCapacity& capacity, int num_threads) const {
    WorkspaceParts parts(nullptr);
    take(capacity, parts);
    return static_cast<uint64>(num_threads) * parts.used();
}

/// A share with all that a task on it points to.
struct GatheredForward::Prepared {
    GatheredShare share;
    Gathered gathered;
    ForwardTask task;
};

Status GatheredForward::run(const Gatherer& gatherer, const DenseForwardArgs& args,
                            const AdditionalKeyArgs& additional_args, int num_threads,
                            const int32* cancel, std::byte* workspace) const {
    const GatherCapacity capacity = gatherer.forward_capacity();
    const uint64 bytes_of_thread = this->workspace(capacity, 1);
    const int64 num_shares = gatherer.num_forward_shares();
    const int64 per_task =
        clamp_to<int64>(num_shares / (kTasksPerThread * num_threads), 1, kMostSharesInTask);
    return parallel_for(
        ceil_div(num_shares, per_task), num_threads, cancel, [&](int64 index, int slot) {
            WorkspaceParts parts(workspace + static_cast<uint64>(slot) * bytes_of_thread);
            const Memory memory = take(capacity, parts);
            Prepared prepared[2]{};  // the current share and the next one
            const auto prepare = [&](int64 share) {
                Prepared& p = prepared[share % 2];
                p.share = gatherer.forward_share(share, memory.lists[share % 2]);
                p.gathered = {&p.share.tile, &additional_, &additional_args};
                p.task = {.problem = &problem_,
                          .args = &args,
                          .gathered = &p.gathered,
                          .sequence = sequence_of(problem_, args, p.share.entry),
                          .first_head = p.share.first_head,
                          .num_heads = p.share.num_heads,
                          .row_begin = 0,
                          .row_end = p.share.num_heads * p.share.tile.num_rows,
                          .key_begin = 0,
                          .key_end = p.share.tile.num_slots,
                          .next_key_end = 0,
                          .next = nullptr,
                          .partial = nullptr,
                          .scratch = memory.scratch,
                          .cancel = cancel};
            };
            const int64 first = index * per_task;
            const int64 last = std::min(num_shares, first + per_task);
            prepare(first);
            for (int64 share = first; share < last; ++share) {
                if (share + 1 < last) prepare(share + 1);
                run_share(prepared[share % 2].task,
                          share + 1 < last ? &prepared[(share + 1) % 2].task : nullptr, memory);
            }
        });
}

void GatheredForward::run_share(ForwardTask task, const ForwardTask* next,
                                const Memory& memory) const {
    const int64 rows = task.row_end;
    const int64 block = kMostTilesInBlock * int64{table_.tile_q};
    if (rows <= table_.decode_rows) {
        if (rows > 0) run_few_rows(task, memory);
        return;
    }
    for (int64 row = 0; row < rows; row += block) {
        task.row_begin = row;
        task.row_end = std::min(rows, row + block);
        task.next = task.row_end == rows ? next : nullptr;
        table_.forward(task);
    }
}

void GatheredForward::run_few_rows(ForwardTask task, const Memory& memory) const {
    const int64 num_slots = task.key_end;
    const int64 chunks = ceil_div(num_slots, table_.decode_keys);
    if (chunks <= 1) {
        table_.decode(task);
        return;
    }
    const int64 stride = partial_floats(table_.decode_rows);
    task.next_key_end = num_slots;
    for (int64 chunk = 0; chunk < chunks; ++chunk) {
        task.key_begin = chunk * table_.decode_keys;
        task.key_end = std::min(num_slots, task.key_begin + table_.decode_keys);
        task.partial = memory.partials + chunk * stride;
        table_.decode(task);
    }
    table_.merge_partials({.problem = &problem_,
                           .args = task.args,
                           .gathered = task.gathered,
                           .sequence = task.sequence,
                           .first_head = task.first_head,
                           .num_heads = task.num_heads,
                           .row_begin = task.row_begin,
                           .row_end = task.row_end,
                           .num_parts = chunks,
                           .part_stride = stride,
                           .partial = memory.partials});
}

}  // namespace fattn::cpu
