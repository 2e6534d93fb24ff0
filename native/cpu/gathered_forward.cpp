// The forward pass of sparse attention: the shares of a gatherer as tasks; used by the CPU kernels
// of the sparse families.
#include "cpu/gathered_forward.h"

#include <algorithm>

#include "cpu/parallel.h"

namespace fattn::cpu {
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
    return {.lists = take_buffer(capacity, parts),
            .scratch = parts.take<std::byte>(static_cast<int64>(scratch)),
            .partials = parts.take<float>(chunks * partial_floats(table_.decode_rows))};
}

uint64 GatheredForward::thread_bytes(const GatherCapacity& capacity) const {
    WorkspaceParts parts(nullptr);
    take(capacity, parts);
    return parts.used();
}

uint64 GatheredForward::workspace(const Gatherer& gatherer, int num_threads) const {
    const int threads = threads_with_tasks(gatherer.num_forward_shares(), num_threads);
    return static_cast<uint64>(threads) * thread_bytes(gatherer.forward_capacity());
}

Status GatheredForward::run(const Gatherer& gatherer, const DenseForwardArgs& args,
                            const AdditionalKeyArgs& additional_args, int num_threads,
                            const int32* cancel, std::byte* workspace) const {
    const GatherCapacity capacity = gatherer.forward_capacity();
    const uint64 bytes_of_thread = thread_bytes(capacity);
    return parallel_for(
        gatherer.num_forward_shares(), num_threads, cancel, [&](int64 index, int slot) {
            WorkspaceParts parts(workspace + static_cast<uint64>(slot) * bytes_of_thread);
            const Memory memory = take(capacity, parts);
            const GatheredShare share = gatherer.forward_share(index, memory.lists);
            const Gathered gathered{&share.tile, &additional_, &additional_args};
            const int64 rows = share.num_heads * share.tile.num_rows;
            const int64 block = kMostTilesInBlock * int64{table_.tile_q};
            ForwardTask task{.problem = &problem_,
                             .args = &args,
                             .gathered = &gathered,
                             .sequence = sequence_of(problem_, args, share.entry),
                             .first_head = share.first_head,
                             .num_heads = share.num_heads,
                             .row_begin = 0,
                             .row_end = rows,
                             .key_begin = 0,
                             .key_end = share.tile.num_slots,
                             .next_key_end = 0,
                             .partial = nullptr,
                             .scratch = memory.scratch,
                             .cancel = cancel};
            if (rows <= table_.decode_rows) {
                if (rows > 0) run_few_rows(task, memory);
                return;
            }
            for (int64 row = 0; row < rows; row += block) {
                task.row_begin = row;
                task.row_end = std::min(rows, row + block);
                table_.forward(task);
            }
        });
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
