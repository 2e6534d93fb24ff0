// Compares selections with the reference's up to near ties.
#include "support/selection_checks.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "support/tolerances.h"

namespace fattn::test {
namespace {

std::size_t at(int64 n) { return static_cast<std::size_t>(n); }

/// Blocks of a row by descending weight.
std::vector<int64> descending(const double* weights, const std::vector<int64>& blocks) {
    std::vector<int64> order = blocks;
    std::stable_sort(order.begin(), order.end(),
                     [&](int64 a, int64 b) { return weights[a] > weights[b]; });
    return order;
}

std::vector<int64> candidates_of(const PermutedBlockProblem& problem, int64 row) {
    std::vector<int64> blocks;
    for (int64 kb = 0; kb < problem.num_key_blocks(); ++kb)
        if (problem.is_candidate(row, kb)) blocks.push_back(kb);
    return blocks;
}

/// Running sums of a row's weights along an order.
std::vector<double> running_sums(const double* weights, const std::vector<int64>& order) {
    std::vector<double> sums;
    double sum = 0;
    for (const int64 kb : order) sums.push_back(sum += weights[kb]);
    return sums;
}

}  // namespace

testing::AssertionResult permutation_is_right(const PermutedBlockProblem& problem, const void* q,
                                              const void* k,
                                              const std::vector<int32>& permutation) {
    using reference::Arithmetic;
    const std::vector<double> truth = reference::key_importance(problem, q, k);
    PlainError plain;
    plain.add(truth, reference::key_importance(problem, q, k, Arithmetic::kPlain));
    const double allowed = tolerance(Quantity::kImportance, problem.q.dtype, DType::kF32, plain);
    for (int64 head = 0; head < problem.batch * problem.num_q_heads; ++head) {
        const int32* tokens = permutation.data() + head * problem.kv_len;
        for (int64 slot = problem.num_sorted(); slot < problem.kv_len; ++slot)
            if (tokens[slot] != slot)
                return testing::AssertionFailure() << "head " << head << ": slot " << slot
                                                   << " of the tail holds " << tokens[slot];
        for (int64 begin = 0; begin < problem.num_sorted(); begin += problem.segment) {
            std::vector<int32> sorted(tokens + begin, tokens + begin + problem.segment);
            std::sort(sorted.begin(), sorted.end());
            for (int64 j = 0; j < problem.segment; ++j)
                if (sorted[at(j)] != begin + j)
                    return testing::AssertionFailure() << "head " << head << ": the segment at "
                                                       << begin << " lacks token " << begin + j;
            for (int64 j = 1; j < problem.segment; ++j) {
                const double before =
                    truth[at(head * problem.num_sorted() + tokens[begin + j - 1])];
                const double here = truth[at(head * problem.num_sorted() + tokens[begin + j])];
                if (here > before + allowed)
                    return testing::AssertionFailure()
                           << "head " << head << ": importance rises from " << before << " to "
                           << here << " at slot " << begin + j << ", allowed " << allowed;
            }
        }
    }
    return testing::AssertionSuccess();
}

testing::AssertionResult mask_is_right(const PermutedBlockProblem& problem, const void* q,
                                       const void* k, const std::vector<int32>& permutation,
                                       const std::vector<uint8>& mask) {
    using reference::Arithmetic;
    const std::vector<double> truth = reference::block_weights(problem, q, k, permutation);
    const std::vector<double> rounded =
        reference::block_weights(problem, q, k, permutation, Arithmetic::kPlain);
    const std::vector<uint8> expected = reference::cover(problem, truth, permutation);
    const int64 blocks = problem.num_key_blocks();
    const int64 rows = problem.num_query_blocks();
    PlainError plain;
    for (int64 n = 0; n < problem.batch * problem.num_q_heads * rows; ++n) {
        const double* weights = truth.data() + n * blocks;
        const std::vector<int64> order = descending(weights, candidates_of(problem, n % rows));
        plain.add(running_sums(weights, order), running_sums(rounded.data() + n * blocks, order));
    }
    const double allowed = tolerance(Quantity::kCoverage, problem.q.dtype, DType::kF32, plain);
    for (int64 n = 0; n < problem.batch * problem.num_q_heads * rows; ++n) {
        const double* weights = truth.data() + n * blocks;
        const std::vector<int64> order = descending(weights, candidates_of(problem, n % rows));
        const std::vector<double> sums = running_sums(weights, order);
        const auto cover = static_cast<double>(problem.coverage);
        const auto crossing = std::lower_bound(sums.begin(), sums.end(), cover) - sums.begin();
        const double weight_of_crossing =
            crossing < static_cast<std::ptrdiff_t>(order.size()) ? weights[order[at(crossing)]] : 0;
        for (int64 kb = 0; kb < blocks; ++kb) {
            const bool kept = mask[at(n * blocks + kb)] != 0;
            if (kept == (expected[at(n * blocks + kb)] != 0)) continue;
            const auto rank = std::find(order.begin(), order.end(), kb) - order.begin();
            const bool chosen = rank < static_cast<std::ptrdiff_t>(order.size());
            const double before = chosen && rank > 0 ? sums[at(rank - 1)] : 0;
            const bool near = chosen && problem.coverage < 1 &&
                              (std::abs(before - cover) <= allowed ||
                               std::abs(weights[kb] - weight_of_crossing) <= allowed);
            if (!near)
                return testing::AssertionFailure()
                       << "row " << n << ", block " << kb << " is " << (kept ? "kept" : "dropped")
                       << "; weight " << weights[kb] << ", weights before it " << before
                       << ", coverage " << cover << ", allowed " << allowed;
        }
    }
    return testing::AssertionSuccess();
}

testing::AssertionResult gate_is_right(const PermutedBlockProblem& problem, const void* q,
                                       const void* k, const reference::Gate& gate,
                                       const std::vector<float>& scores,
                                       const std::vector<uint8>& mask) {
    using reference::Arithmetic;
    const bool given = !scores.empty();
    const std::vector<double> of_scores(scores.begin(), scores.end());
    const std::vector<double> truth =
        given ? reference::share_scores(problem, of_scores) : reference::gate_scores(problem, q, k);
    const std::vector<uint8> expected = reference::apply_gate(problem, gate, truth);
    PlainError plain;
    plain.add(truth, given ? truth : reference::gate_scores(problem, q, k, Arithmetic::kPlain));
    const double allowed = tolerance(Quantity::kCoverage, problem.q.dtype, DType::kF32, plain);
    const std::vector<double> weights = reference::gate_weights(problem, truth);
    const int64 blocks = problem.num_key_blocks();
    for (std::size_t n = 0; n < mask.size(); ++n) {
        if ((mask[n] != 0) == (expected[n] != 0)) continue;
        const auto row = static_cast<int64>(n) / blocks * blocks;
        bool near = false;
        if (gate.kind == BlockGate::kThreshold) {
            near = std::abs(weights[n] - gate.threshold) <= allowed * (1 + weights[n]);
        } else {
            // Near ties: some block on the other side of the cut scores the same within the error.
            for (int64 kb = 0; kb < blocks; ++kb) {
                const std::size_t other = at(row + kb);
                near = near || (other != n && expected[other] != expected[n] &&
                                std::abs(truth[other] - truth[n]) <= 2 * allowed);
            }
        }
        if (!near)
            return testing::AssertionFailure()
                   << "row " << row / blocks << ", block " << static_cast<int64>(n) - row << " is "
                   << (mask[n] != 0 ? "kept" : "dropped") << "; score " << truth[n] << ", weight "
                   << weights[n] << ", allowed " << allowed;
    }
    return testing::AssertionSuccess();
}

}  // namespace fattn::test
