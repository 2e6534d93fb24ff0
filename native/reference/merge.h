// Merging of partial results over disjoint key sets by its definition. Called by tests only.
#pragma once

#include "core/problem.h"
#include "reference/dense.h"

namespace fattn::reference {

/// Output and lse contiguous in [B, H, L, Dv] and [B, H, L].
DenseOutput merge(const MergeProblem& problem, Arithmetic arithmetic = Arithmetic::kExact);

}  // namespace fattn::reference
