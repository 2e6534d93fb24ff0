// Linear attention by its recurrence: one head and one token at a time in double precision. Called
// by tests only.
#pragma once

#include <vector>

#include "core/lightning.h"

namespace fattn::reference {

/// Results as contiguous arrays in the logical shapes of the problem.
struct LightningOutput {
    std::vector<double> o;            // [B, Hq, L, Dv]
    std::vector<double> final_state;  // [B, Hq, state_rows, state_columns]
};

struct LightningGradients {
    std::vector<double> d_q;              // [B, Hq, L, D]
    std::vector<double> d_k;              // [B, Hk, L, D]
    std::vector<double> d_v;              // [B, Hk, L, Dv]
    std::vector<double> d_initial_state;  // [B, Hq, state_rows, state_columns]
};

/// Features of one row of q or k.
std::vector<double> features(FeatureMap map, const std::vector<double>& x);

/// Gradient of the row when the gradient of its features is given.
std::vector<double> features_backward(FeatureMap map, const std::vector<double>& x,
                                      const std::vector<double>& d_features);

/// Reads the inputs of args; its output pointers are ignored. A row whose weights add up to 0 is 0
/// with normalize, and so are its gradients.
LightningOutput lightning_forward(const LightningProblem& problem,
                                  const LightningForwardArgs& args);

/// The gradient of a quotient is the difference of two terms, which nearly cancel where one token
/// has all the weight: both, or one alone, with what reaches it through the other left out.
enum class QuotientTerms { kBoth, kNumerator, kDenominator };

/// Gradients are linear in the two terms, but for d_final_state, which counts in each.
LightningGradients lightning_backward(const LightningProblem& problem,
                                      const LightningBackwardArgs& args,
                                      QuotientTerms terms = QuotientTerms::kBoth);

}  // namespace fattn::reference
