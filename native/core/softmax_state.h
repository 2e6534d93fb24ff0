// The running state of a softmax row in base 2, over a value type V (one row, or one row a lane);
// used by every kernel of the softmax family.
//
// A state stands for a set of keys: max is their largest score, sum is the sum of 2^(score - max),
// and an accumulated row of weighted values belongs to it with weights relative to the same max.
// States of disjoint sets merge in any order.
#pragma once

#include "core/float_ops.h"
#include "core/numeric.h"
#include "core/types.h"

namespace fattn {

template <class V>
struct SoftmaxState {
    V max;  // -inf: no visible key so far
    V sum;
};

/// No keys.
template <class V>
FATTN_HD inline SoftmaxState<V> empty_state() {
    return {V(-kInfinity), V(0.0F)};
}

/// The state of keys whose natural log-sum-exp is known: a finished part, or a sink, which is a key
/// with that logit and value 0. -inf gives the empty state.
template <class V>
FATTN_HD inline SoftmaxState<V> state_of_lse(V lse) {
    return {lse * V(kLog2E), select_equal(lse, V(-kInfinity), V(0.0F), V(1.0F))};
}

/// What to subtract from scores under a maximum. The one guard against -inf - (-inf): under an
/// empty maximum every score is -inf and stays so.
template <class V>
FATTN_HD inline V guarded(V max) {
    return select_equal(max, V(-kInfinity), V(0.0F), max);
}

/// Weight of a score under guarded(max).
template <class V>
FATTN_HD inline V weight_of(V score, V shift) {
    return exp2(score - shift);
}

/// Raises the maximum to cover more keys and brings sum to it. Returns the factor that the
/// accumulated row needs too. The caller then adds the weights of the new keys, weight_of(score,
/// guarded(state->max)), to sum.
template <class V>
FATTN_HD inline V raise_max(SoftmaxState<V>* state, V max_of_new) {
    const V raised = max(state->max, max_of_new);
    const V factor = weight_of(state->max, guarded(raised));
    state->max = raised;
    state->sum = state->sum * factor;
    return factor;
}

/// Factors of the two accumulated rows of a merge.
template <class V>
struct MergeFactors {
    V of_state;
    V of_other;
};

/// Takes the keys of other into state.
template <class V>
FATTN_HD inline MergeFactors<V> merge(SoftmaxState<V>* state, const SoftmaxState<V>& other) {
    const V of_state = raise_max(state, other.max);
    const V of_other = weight_of(other.max, guarded(state->max));
    state->sum = fma(other.sum, of_other, state->sum);
    return {of_state, of_other};
}

}  // namespace fattn
