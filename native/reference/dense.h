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
    /// an
    /// ordinary evaluation ends up.
    kPlain,
    /// As kPlain, but gradients of 16-bit problems keep f32 between operations, as most kernels do.
    /// Not always nearer the truth: a weight of 1 that a rounded LSE makes 1 + 2^-22 is exact again
    /// once it is rounded to 16 bits.
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
