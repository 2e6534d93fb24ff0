// Dense attention by its definition: one head at a time, whole score matrices, no tiles. Called by
// tests only.
#pragma once

#include <vector>

#include "core/problem.h"

namespace fattn::reference {

enum class Arithmetic {
    /// Double precision throughout: the truth that kernels are measured against.
    kExact,
    /// The same formulas as separate f32 operations, with what a framework would store between them
    /// (weights, their gradients, results) rounded to the problem's types: how far from the truth
    /// an ordinary evaluation ends up.
    kPlain,
    /// The same with what a fused kernel may do and kPlain does not. It scales a score and
    /// subtracts from it, in one rounding, the row's scaled maximum or LSE, which was rounded on
    /// its own: all weights of a row are off by one factor, 1 + 2^-11 for scores of 10^4. Forward
    /// it cancels, but what is rounded with it, weights in 16 bits and sums, is rounded elsewhere;
    /// a result is multiplied by the reciprocal of its row's sum at the end. Products of queries
    /// and keys are summed the other way round. Gradients of 16-bit problems keep f32 between
    /// operations. Not always nearer the truth than kPlain, nor farther: to kPlain, the weight of
    /// an only key is exactly 1, and a weight of 1 + 2^-22 is so once it is rounded to 16 bits.
    kPlainWide
};

/// Results as contiguous arrays in the logical shapes of the problem. Places no sequence covers are
/// 0.
struct DenseOutput {
    std::vector<double> o;    // [B, Hq, Lq, Dv]
    std::vector<double> lse;  // [B, Hq, Lq]; empty with sigmoid weights
};

struct DenseGradients {
    std::vector<double> d_q;            // [B, Hq, Lq, D]
    std::vector<double> d_k;            // [B, Hk, Lk, D]
    std::vector<double> d_v;            // [B, Hv, Lk, Dv]
    std::vector<double> d_bias;         // shape of the problem's d_bias; empty without a bias
    std::vector<double> d_sink_logits;  // [Hq]; empty without sinks
};

/// Reads the inputs of args; its output pointers are ignored.
DenseOutput dense_forward(const DenseProblem& problem, const DenseForwardArgs& args,
                          Arithmetic arithmetic = Arithmetic::kExact);

/// Reads the inputs, d_o and d_lse of args; its o and lse are ignored: they are computed here, in
/// the same arithmetic, unless given. Given ones make this the gradient of one part of a merged
/// result. Paged keys have no gradient.
DenseGradients dense_backward(const DenseProblem& problem, const DenseBackwardArgs& args,
                              Arithmetic arithmetic = Arithmetic::kExact,
                              const DenseOutput* given = nullptr);

}  // namespace fattn::reference
