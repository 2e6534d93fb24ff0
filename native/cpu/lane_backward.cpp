// The backward pass of neighborhood attention over groups of lanes; see lane_backward.h.
#include "cpu/lane_backward.h"

#include <algorithm>

#include "cpu/backward_cut.h"
#include "cpu/parallel.h"

namespace fattn::cpu {

LaneBackward::LaneBackward(const DenseProblem& problem, const KernelTable& table,
                           const LaneGatherer& queries, const LaneGatherer& keys)
    : problem_(problem), table_(table), queries_(queries), keys_(keys) {}

float* LaneBackward::take_delta(WorkspaceParts& parts) const {
    return parts.take<float>(problem_.batch * problem_.num_q_heads * problem_.q_len);
}

LaneBackward::Memory LaneBackward::take(WorkspaceParts& parts) const {
    const int64 runs = std::max(queries_.max_runs(), keys_.max_runs());
    const int64 axis = std::max(queries_.max_axis(), keys_.max_axis());
    const LaneBuffer first = take_lane_buffer(runs, axis, parts);
    const LaneBuffer second = take_lane_buffer(runs, axis, parts);
    return {{first, second},
            parts.take<std::byte>(static_cast<int64>(table_.lanes_backward_scratch(problem_)))};
}

uint64 LaneBackward::thread_bytes() const {
    WorkspaceParts parts(nullptr);
    take(parts);
    return parts.used();
}

uint64 LaneBackward::workspace(int num_threads) const {
    WorkspaceParts parts(nullptr);
    take_delta(parts);
    const int64 tasks = queries_.num_shares() + keys_.num_shares();
    return parts.used() +
           static_cast<uint64>(threads_with_tasks(tasks, num_threads)) * thread_bytes();
}

Status LaneBackward::run(const DenseBackwardArgs& args, int num_threads, const int32* cancel,
                         std::byte* workspace) const {
    WorkspaceParts shared(workspace);
    float* delta = take_delta(shared);
    const bool wants_scores = args.d_q != nullptr || args.d_k != nullptr;
    if (wants_scores) {
        const Status status = find_deltas(problem_, table_, args, num_threads, cancel, delta);
        if (!status.ok()) return status;
    }
    const bool wants_keys = args.d_k != nullptr || args.d_v != nullptr;
    const int64 query_shares = args.d_q == nullptr ? 0 : queries_.num_shares();
    const int64 key_shares = wants_keys ? keys_.num_shares() : 0;
    std::byte* own = workspace + shared.used();
    const uint64 bytes_of_thread = thread_bytes();
    const auto memory_of = [&](int slot) {
        WorkspaceParts parts(own + static_cast<uint64>(slot) * bytes_of_thread);
        return take(parts);
    };
    const int64 shares = query_shares + key_shares;
    for (int slot = 0; slot < threads_with_tasks(shares, num_threads); ++slot) {
        for (const LaneBuffer& lists : memory_of(slot).lists) empty_lane_buffer(lists);
    }
    return parallel_for(shares, num_threads, cancel, [&](int64 index, int slot) {
        const bool is_key = index >= query_shares;
        run_share({is_key ? keys_ : queries_, is_key ? LaneSide::kKeys : LaneSide::kQueries,
                   is_key ? index - query_shares : index},
                  args, wants_scores ? delta : nullptr, memory_of(slot));
    });
}

void LaneBackward::run_share(const Task& task, const DenseBackwardArgs& args, const float* delta,
                             const Memory& memory) const {
    const LaneShare share = task.gatherer.share(task.share);
    for_each_group(task.gatherer, share, memory.lists,
                   [&](const LaneGroup& group, const LaneGroup& next) {
                       table_.lanes_backward({.problem = &problem_,
                                              .args = &args,
                                              .group = &group,
                                              .next = &next,
                                              .sequence = sequence_of(problem_, args, share.entry),
                                              .first_head = share.first_head,
                                              .num_heads = share.num_heads,
                                              .delta = delta,
                                              .scratch = memory.scratch},
                                             task.side);
                   });
}

}  // namespace fattn::cpu
