// Takes the lengths of a run from host memory to the device; called by the dense kernels of the
// CUDA backend.
#pragma once

#include "core/problem.h"
#include "cuda/runtime/stream.h"

namespace fattn::cuda {

/// Bytes of workspace that the lengths of a run take when they lie in host memory.
uint64 lengths_workspace(const DenseProblem& problem);

/// Queues a copy of cu_seqlens and kv_len, which may change once this returns, and points the
/// arguments there. INVALID_ARGUMENT while the stream is being captured: a graph would hold what
/// the lengths are now.
Status upload_lengths(const Stream& stream, const DenseProblem& problem, void* workspace,
                      DenseForwardArgs* args);
Status upload_lengths(const Stream& stream, const DenseProblem& problem, void* workspace,
                      DenseBackwardArgs* args);

}  // namespace fattn::cuda
