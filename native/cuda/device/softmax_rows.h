// The softmax states of a lane's rows while scores become weights, and their end; called by the
// forward kernels of the softmax family.
#pragma once

#include "core/softmax_state.h"
#include "core/types.h"
#include "cuda/device/approx.h"
#include "cuda/device/prim/arithmetic.h"
#include "cuda/device/prim/lanes.h"

namespace fattn::cuda {

/// A lane's largest score of a row: half 0 or 1 of a block of rows.
template <int kKeyBlocks>
__device__ inline float largest_score(const float (&r_s)[kKeyBlocks][4], int half) {
    float largest = -kInfinity;
#pragma unroll
    for (int n = 0; n < kKeyBlocks; ++n) {
        largest = prim::max_number(largest, r_s[n][2 * half]);
        largest = prim::max_number(largest, r_s[n][2 * half + 1]);
    }
    return largest;
}

/// Brings states and outputs to new maxima, but only when a row's has grown so much that its
/// weights would leave the range in which they are kept: a maximum that is a little too small
/// changes no result, since the sum has it too. factor, above 0: what products are multiplied by to
/// become scores.
template <class Value, int kRowBlocks, int kKeyBlocks, int kDimBlocks>
__device__ inline void raise_maxima(SoftmaxState<Value> (&state)[kRowBlocks][2],
                                    const float (&r_s)[kRowBlocks][kKeyBlocks][4],
                                    float (&r_o)[kRowBlocks][kDimBlocks][4], Value factor) {
    constexpr float kSlack = 8.0F;  // weights up to 2^8
    float largest[kRowBlocks][2];
    bool grown = false;
#pragma unroll
    for (int m = 0; m < kRowBlocks; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            largest[m][half] = plain(Value(largest_score(r_s[m], half)) * factor);
            grown = grown || largest[m][half] > plain(state[m][half].max) + kSlack;
        }
    }
    if (!prim::any_lane(grown)) return;
#pragma unroll
    for (int m = 0; m < kRowBlocks; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            float most = largest[m][half];
            most = prim::max_number(most, prim::shuffle_xor(most, 1));
            most = prim::max_number(most, prim::shuffle_xor(most, 2));
            const float of_output = plain(raise_max(&state[m][half], Value(most)));
#pragma unroll
            for (int d = 0; d < kDimBlocks; ++d) {
                r_o[m][d][2 * half] *= of_output;
                r_o[m][d][2 * half + 1] *= of_output;
            }
        }
    }
}

/// Scores of a row become weights, weigh(score, shift), and its state takes them.
template <class Value, int kKeyBlocks, class Weigh>
__device__ inline void weigh_row(SoftmaxState<Value>* state, float (&r_s)[kKeyBlocks][4], int half,
                                 const Weigh& weigh) {
    const Value shift = guarded(state->max);
#pragma unroll
    for (int n = 0; n < kKeyBlocks; ++n) {
#pragma unroll
        for (int e = 2 * half; e < 2 * half + 2; ++e) {
            const Value weight = weigh(Value(r_s[n][e]), shift);
            state->sum = state->sum + weight;
            r_s[n][e] = plain(weight);
        }
    }
}

/// The state of a row whose parts four lanes have.
template <class Value>
__device__ inline SoftmaxState<float> whole_row(const SoftmaxState<Value>& state) {
    float sum = plain(state.sum);
    sum += prim::shuffle_xor(sum, 1);
    sum += prim::shuffle_xor(sum, 2);
    return {plain(state.max), sum};
}

}  // namespace fattn::cuda
