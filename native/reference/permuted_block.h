// Permuted block-sparse attention by its definition: importance, order, block scores, kept blocks,
// then dense attention under the mask that they come to. Called by tests only.
#pragma once

#include <vector>

#include "core/permuted_block.h"
#include "reference/dense.h"

namespace fattn::reference {

/// How much the last queries look at each key of a complete segment, causal or not: [B, Hq,
/// num_sorted]; query heads that share have the mean of theirs.
std::vector<double> key_importance(const PermutedBlockProblem& problem, const void* q,
                                   const void* k, Arithmetic arithmetic = Arithmetic::kExact);

/// Token of each slot, [B, Hq, Lk]: inside a segment by descending importance, equal ones by
/// ascending token.
std::vector<int32> sort_keys(const PermutedBlockProblem& problem,
                             const std::vector<double>& importance);

/// Softmax of pooled query times pooled key over the blocks that coverage may choose, [B, Hq, nQ,
/// nK], 0 elsewhere; query heads that share have the mean of theirs.
std::vector<double> block_weights(const PermutedBlockProblem& problem, const void* q, const void* k,
                                  const std::vector<int32>& permutation,
                                  Arithmetic arithmetic = Arithmetic::kExact);

/// Blocks that coverage keeps, those of the own segment, and the one that holds token 0: [B, Hq,
/// nQ, nK].
std::vector<uint8> cover(const PermutedBlockProblem& problem, const std::vector<double>& weights,
                         const std::vector<int32>& permutation);

/// Mean query of a query block times mean key of a key block (of its true length), unscaled and
/// without a permutation: [B, Hq, nQ, nK]; query heads that share have the mean of theirs.
std::vector<double> gate_scores(const PermutedBlockProblem& problem, const void* q, const void* k,
                                Arithmetic arithmetic = Arithmetic::kExact);

struct Gate {
    BlockGate kind;
    int64 top_k;
    double threshold;
};

/// Given scores with those of query heads that share replaced by their mean.
std::vector<double> share_scores(const PermutedBlockProblem& problem, std::vector<double> scores);

/// Blocks that a gate keeps by scores that are shared already, [B, Hq, nQ, nK].
std::vector<uint8> apply_gate(const PermutedBlockProblem& problem, const Gate& gate,
                              const std::vector<double>& scores);

/// Softmax of scores over the blocks that a query block may see, 0 elsewhere.
std::vector<double> gate_weights(const PermutedBlockProblem& problem,
                                 const std::vector<double>& scores);

/// Whether a query sees a token, [B, Hq, Lq, Lk] in the tokens' own order. Null: as in the run's
/// arguments.
std::vector<uint8> visible_tokens(const PermutedBlockProblem& problem, const int32* permutation,
                                  const uint8* block_mask);

DenseOutput permuted_block_forward(const PermutedBlockProblem& problem,
                                   const PermutedBlockForwardArgs& args,
                                   Arithmetic arithmetic = Arithmetic::kExact);

/// As dense_backward: o and lse of args are ignored and computed here unless given.
DenseGradients permuted_block_backward(const PermutedBlockProblem& problem,
                                       const PermutedBlockBackwardArgs& args,
                                       Arithmetic arithmetic = Arithmetic::kExact,
                                       const DenseOutput* given = nullptr);

}  // namespace fattn::reference
