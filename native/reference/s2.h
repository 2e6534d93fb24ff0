// Sharded (S2) attention by its definition: dense attention under a mask that asks the pattern for
// every pair of tokens. Called by tests only.
#pragma once

#include <vector>

#include "core/problem.h"
#include "core/s2.h"
#include "reference/dense.h"

namespace fattn::reference {

/// Where the tokens of a run stand.
struct S2Positions {
    int64 first_query;
    int64 first_key;
};

/// Those of q_len queries that are the last of kv_len keys, moved by a run's offsets.
S2Positions s2_positions(int64 q_len, int64 kv_len, int64 q_offset = 0, int64 k_offset = 0);

/// Whether query i of a query head sees key j.
bool s2_sees(const S2Pattern& pattern, const S2Positions& positions, int64 q_head, int64 i,
             int64 j);

/// Visibility of every pair, [Hq, Lq, Lk] of 0 and 1.
std::vector<uint8> s2_visibility(const S2Pattern& pattern, const S2Positions& positions,
                                 int64 q_len, int64 kv_len);

/// problem holds shapes, types and scale; its own masks and windows stay unused. args may hold
/// position offsets.
DenseOutput s2_forward(const DenseProblem& problem, const S2Pattern& pattern,
                       const DenseForwardArgs& args, Arithmetic arithmetic = Arithmetic::kExact);

DenseGradients s2_backward(const DenseProblem& problem, const S2Pattern& pattern,
                           const DenseBackwardArgs& args,
                           Arithmetic arithmetic = Arithmetic::kExact);

}  // namespace fattn::reference
