// The end of a softmax row: what the accumulated row is multiplied by and the log-sum-exp that
// leaves, with the one rule for rows that saw no key; called once per row by every kernel of the
// softmax family.
#pragma once

#include "core/float_ops.h"
#include "core/numeric.h"
#include "core/softmax_state.h"
#include "core/types.h"

namespace fattn {

template <class V>
struct RowEnd {
    V o_factor;  // output = accumulated row * o_factor
    V lse;       // natural log
};

/// A row without keys gets o_factor 0 and lse -inf. A row with a sink alone gets an output of 0,
/// because nothing was accumulated, and the sink's logit as lse.
template <class V>
FATTN_HD inline RowEnd<V> finish(const SoftmaxState<V>& state) {
    const V lse = (state.max + log2(state.sum)) * V(kLn2);
    return {select_equal(state.sum, V(0.0F), V(0.0F), V(1.0F) / state.sum),
            select_equal(state.sum, V(0.0F), V(-kInfinity), lse)};
}

/// What the backward subtracts from base-2 scores to get the finished weights back, 2^(score -
/// shift): the lse in base 2, guarded, so that a row without keys has weights 0.
template <class V>
FATTN_HD inline V shift_of_lse(V lse) {
    return guarded(lse * V(kLog2E));
}

}  // namespace fattn
