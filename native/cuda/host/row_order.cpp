// See row_order.h.
#include "cuda/host/row_order.h"

#include "cuda/host/launch_checks.h"
#include "cuda/runtime/error.h"

namespace fattn::cuda {
namespace {

constexpr uint32 kRowsOfCountBlock = kRowOrderThreads / 32;  // a warp has one
constexpr int32 kOrderSharedBytes = kRowOrderSpan * sizeof(uint32);

/// What launches of both passes have.
template <class Launch>
RowOrderLaunch order_of_launch(const Launch& launch, void* memory) {
    const auto& of_launch = launch.params;
    RowOrderLaunch order{};
    RowOrderParams& params = order.params;
    params.problem = of_launch.problem;
    params.blocks = of_launch.pattern.blocks;
    params.first_position = of_launch.pattern.first_position;
    params.rows = of_launch.rows;
    params.last_tile_first = of_launch.last_tile_first;
    params.num_blocks = launch.num_blocks;
    params.counts = static_cast<uint32*>(memory);
    params.order = params.counts + launch.num_blocks;
    order.num_count_blocks = ceil_div(launch.num_blocks, kRowsOfCountBlock);
    order.num_order_blocks = ceil_div(launch.num_blocks, kRowOrderThreads);
    return order;
}

}  // namespace

RowOrderLaunch row_order_launch(const GatheredForwardLaunch& launch, void* memory) {
    RowOrderLaunch order = order_of_launch(launch, memory);
    order.params.side = Side::kQueries;
    return order;
}

RowOrderLaunch row_order_launch(const GatheredBackwardLaunch& launch, Side side, void* memory) {
    RowOrderLaunch order = order_of_launch(launch, memory);
    order.params.side = side;
    order.params.groups = launch.params.groups;
    return order;
}

Status RowOrder::load(KernelStore* store) {
    if (problem_.pattern.kind != PatternKind::kPermutedBlock) return {};
    FATTN_CUDA_RETURN_IF_ERROR(store->function(kBlockSelectUnit, kCountRowsKernel, &count_));
    FATTN_CUDA_RETURN_IF_ERROR(store->function(kBlockSelectUnit, kOrderRowsKernel, &order_));
    return order_.allow_dynamic_shared(kOrderSharedBytes);
}

bool RowOrder::is_ordered(uint64 num_blocks) const {
    return problem_.pattern.kind == PatternKind::kPermutedBlock &&
           num_blocks > static_cast<uint64>(device_->properties().num_multiprocessors);
}

uint64 RowOrder::bytes_of(uint64 num_blocks) const {
    return is_ordered(num_blocks) ? num_blocks * 2 * sizeof(uint32) : 0;
}

uint64 RowOrder::bytes(Pass pass) const {
    const DenseProblem& p = problem_.dense;
    const RowNumbers& queries = problem_.queries;
    const uint64 of_queries =
        bytes_of(static_cast<uint64>(p.batch * queries.num_tiles * queries.num_groups));
    if (pass == Pass::kForward) return of_queries;
    return max_of(of_queries, bytes_of(static_cast<uint64>(p.batch * problem_.keys.num_tiles *
                                                           (p.num_k_heads + p.num_v_heads))));
}

Status RowOrder::enqueue(RowOrderLaunch launch, const Stream& stream) const {
    FATTN_CUDA_RETURN_IF_ERROR(
        launch_helper(count_, launch.num_count_blocks, stream, &launch.params));
    return launch_blocks(order_, {launch.num_order_blocks, kRowOrderThreads, kOrderSharedBytes},
                         stream, &launch.params);
}

Status RowOrder::order(GatheredForwardLaunch* launch, void* memory, const Stream& stream) const {
    const bool has_masks = launch->params.pattern.blocks.block_mask != nullptr;
    if (memory == nullptr || !has_masks || !is_ordered(launch->num_blocks)) return {};
    const RowOrderLaunch order = row_order_launch(*launch, memory);
    launch->params.row_order = order.params.order;
    return enqueue(order, stream);
}

Status RowOrder::order(GatheredBackwardLaunch* launch, Side side, void* memory,
                       const Stream& stream) const {
    const bool has_masks = launch->params.pattern.blocks.block_mask != nullptr;
    if (memory == nullptr || !has_masks || !is_ordered(launch->num_blocks)) return {};
    const RowOrderLaunch order = row_order_launch(*launch, side, memory);
    launch->params.row_order = order.params.order;
    return enqueue(order, stream);
}

}  // namespace fattn::cuda
