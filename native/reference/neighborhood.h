// Neighborhood attention by its definition: every pair of tokens is asked whether it is visible,
// and dense attention runs over the visible ones. Called by tests only.
#pragma once

#include <vector>

#include "core/neighborhood.h"
#include "reference/dense.h"

namespace fattn::reference {

/// Whether query token i sees key token j of the grid; additional keys are always seen.
bool neighborhood_sees(const NeighborhoodGrid& grid, int64 i, int64 j);

struct NeighborhoodGradients {
    std::vector<double> d_q;             // [B, Hq, L, D]
    std::vector<double> d_k;             // [B, Hk, L, D]
    std::vector<double> d_v;             // [B, Hk, L, Dv]
    std::vector<double> d_additional_k;  // [B, Hk, E, D]; empty without additional keys
    std::vector<double> d_additional_v;  // [B, Hk, E, Dv]
};

/// Reads the inputs of args; its output pointers are ignored.
DenseOutput neighborhood_forward(const NeighborhoodProblem& problem,
                                 const NeighborhoodForwardArgs& args,
                                 Arithmetic arithmetic = Arithmetic::kExact);

/// Reads the inputs, d_o and d_lse of args; its o and lse are ignored: they are computed here, in
/// the same arithmetic, unless given.
NeighborhoodGradients neighborhood_backward(const NeighborhoodProblem& problem,
                                            const NeighborhoodBackwardArgs& args,
                                            Arithmetic arithmetic = Arithmetic::kExact,
                                            const DenseOutput* given = nullptr);

}  // namespace fattn::reference
