// Has a GPU bring the blocks of launches over block masks into the order of their work, so that the
// longest start first; owned by gathered_kernel.
#pragma once

#include <memory>

#include "backend/backend.h"
#include "cuda/device/row_order_params.h"
#include "cuda/host/gathered_runs.h"
#include "cuda/runtime/kernel_store.h"
#include "cuda/runtime/stream.h"

namespace fattn::cuda {

inline constexpr const char* kCountRowsKernel = "block_select_count";
inline constexpr const char* kOrderRowsKernel = "block_select_order";

/// The launches that find the order of another one.
struct RowOrderLaunch {
    RowOrderParams params;
    uint32 num_count_blocks;
    uint32 num_order_blocks;
};

/// memory: 8 bytes for each block of the launch.
RowOrderLaunch row_order_launch(const GatheredForwardLaunch& launch, void* memory);
RowOrderLaunch row_order_launch(const GatheredBackwardLaunch& launch, Side side, void* memory);

class RowOrder {
  public:
    RowOrder(const GatheredProblem& problem, std::shared_ptr<const Device> device)
        : problem_(problem), device_(std::move(device)) {}

    Status load(KernelStore* store);

    /// Bytes of device memory that order() may need for the launches of a pass; 0 where there is
    /// nothing to order: no masks, or a launch whose blocks all start at once.
    uint64 bytes(Pass pass) const;

    /// Enqueues what finds the order, and hands it to the launch. memory: bytes() of the pass, or
    /// null: the launch stays as it is.
    Status order(GatheredForwardLaunch* launch, void* memory, const Stream& stream) const;
    Status order(GatheredBackwardLaunch* launch, Side side, void* memory,
                 const Stream& stream) const;

  private:
    uint64 bytes_of(uint64 num_blocks) const;
    bool is_ordered(uint64 num_blocks) const;
    Status enqueue(RowOrderLaunch launch, const Stream& stream) const;

    const GatheredProblem problem_;
    const std::shared_ptr<const Device> device_;
    Function count_;
    Function order_;
};

}  // namespace fattn::cuda
