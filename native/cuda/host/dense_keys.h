// What choosing forward and backward keys of dense problems has in common; called by dense_forward
// and dense_backward.
#pragma once

#include "backend/status.h"
#include "core/problem.h"
#include "core/types.h"

namespace fattn::cuda {

/// Element types, head dims and lengths that the kernels take.
Status supports_dense(const DenseProblem& problem);

/// Not ok when `tiles` tiles for each of the problem's batch entries are more than a grid holds.
Status supports_tiles(const DenseProblem& problem, int64 tiles, const char* of_what);

/// Not ok when a tensor has more rows than the small kernels around the gradients take, a warp
/// each.
Status supports_rows(const DenseProblem& problem);

/// What a wide access takes.
inline constexpr int64 kWideBytes = 16;

/// Whether every row of a tensor starts at a multiple of kWideBytes.
bool is_wide(const TensorLayout& layout, const void* data);

int64 bytes_of(DType dtype);

}  // namespace fattn::cuda
