// The forward pass of neighborhood attention over groups of lanes; see lane_forward.h.
#include "cpu/lane_forward.h"

#include "cpu/parallel.h"

namespace fattn::cpu {

LaneForward::LaneForward(const DenseProblem& problem, const AdditionalKeys& additional,
                         const KernelTable& table, const LaneGatherer& gatherer)
    : problem_(problem), additional_(additional), table_(table), gatherer_(gatherer) {}

LaneForward::Memory LaneForward::take(WorkspaceParts& parts) const {
    const uint64 scratch = table_.lanes_scratch(problem_, gatherer_.max_heads());
    const int64 runs = gatherer_.max_runs();
    const LaneBuffer first = take_lane_buffer(runs, gatherer_.max_axis(), parts);
    const LaneBuffer second = take_lane_buffer(runs, gatherer_.max_axis(), parts);
    return {.lists = {first, second},
            .scratch = parts.take<std::byte>(static_cast<int64>(scratch))};
}

uint64 LaneForward::thread_bytes() const {
    WorkspaceParts parts(nullptr);
    take(parts);
    return parts.used();
}

uint64 LaneForward::workspace(int num_threads) const {
    return static_cast<uint64>(threads_with_tasks(gatherer_.num_shares(), num_threads)) *
           thread_bytes();
}

Status LaneForward::run(const DenseForwardArgs& args, const AdditionalKeyArgs& additional_args,
                        int num_threads, const int32* cancel, std::byte* workspace) const {
    const uint64 bytes_of_thread = thread_bytes();
    const auto memory_of = [&](int slot) {
        WorkspaceParts parts(workspace + static_cast<uint64>(slot) * bytes_of_thread);
        return take(parts);
    };
    for (int slot = 0; slot < threads_with_tasks(gatherer_.num_shares(), num_threads); ++slot) {
        for (const LaneBuffer& lists : memory_of(slot).lists) empty_lane_buffer(lists);
    }
    return parallel_for(gatherer_.num_shares(), num_threads, cancel, [&](int64 index, int slot) {
        const Memory memory = memory_of(slot);
        const LaneShare share = gatherer_.share(index);
        for_each_group(gatherer_, share, memory.lists,
                       [&](const LaneGroup& group, const LaneGroup& next) {
                           table_.lanes({.problem = &problem_,
                                         .args = &args,
                                         .group = &group,
                                         .next = &next,
                                         .additional = &additional_,
                                         .additional_args = &additional_args,
                                         .sequence = sequence_of(problem_, args, share.entry),
                                         .first_head = share.first_head,
                                         .num_heads = share.num_heads,
                                         .scratch = memory.scratch});
                       });
    });
}

}  // namespace fattn::cpu
