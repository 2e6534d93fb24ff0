// Selection in double precision and in the plain evaluation; attention given a selection through
// the dense reference.
#include "reference/permuted_block.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "reference/head.h"
#include "reference/numeric.h"

namespace fattn::reference {
namespace {

std::size_t at(int64 n) { return static_cast<std::size_t>(n); }

template <class Real>
std::vector<Real> load_row(const TensorLayout& layout, const void* data, int64 b, int64 h,
                           int64 token) {
    std::vector<Real> row;
    for (int64 d = 0; d < layout.shape[3]; ++d) {
        row.push_back(static_cast<Real>(
            load(layout.dtype, data, layout.row(b, h, token) + d * layout.strides[3])));
    }
    return row;
}

template <class Real>
Real dot(const std::vector<Real>& a, const std::vector<Real>& b) {
    Real sum = 0;
    for (std::size_t d = 0; d < a.size(); ++d) sum += a[d] * b[d];
    return sum;
}

/// Softmax of those that are not -inf; all 0 when none is.
template <class Real>
std::vector<Real> softmax(std::vector<Real> x) {
    Real largest = -std::numeric_limits<Real>::infinity();
    for (const Real s : x)
        if (s > largest || std::isnan(s)) largest = s;
    if (largest == -std::numeric_limits<Real>::infinity()) {
        std::fill(x.begin(), x.end(), Real(0));
        return x;
    }
    Real sum = 0;
    for (Real& s : x) {
        s = exponential(s - largest);
        sum += s;
    }
    for (Real& s : x) s /= sum;
    return x;
}

/// Replaces what the query heads of a key head have by their mean; size of one head's share.
template <class Real>
void share(const PermutedBlockProblem& problem, int64 size, std::vector<Real>& values) {
    if (!problem.shared) return;
    for (int64 b = 0; b < problem.batch; ++b) {
        for (int64 group = 0; group < problem.num_k_heads; ++group) {
            const int64 first = problem.first_q_head(group);
            const int64 last = problem.first_q_head(group + 1);
            for (int64 n = 0; n < size; ++n) {
                Real sum = 0;
                for (int64 h = first; h < last; ++h)
                    sum += values[at((b * problem.num_q_heads + h) * size + n)];
                for (int64 h = first; h < last; ++h)
                    values[at((b * problem.num_q_heads + h) * size + n)] =
                        sum / static_cast<Real>(last - first);
            }
        }
    }
}

std::vector<double> to_double(const std::vector<float>& values) {
    return {values.begin(), values.end()};
}

template <class Real>
std::vector<Real> importance_of(const PermutedBlockProblem& problem, const void* q, const void* k) {
    const int64 num_keys = problem.num_sorted();
    const int64 num_judges = problem.num_judges();
    std::vector<Real> importance;
    for (int64 b = 0; b < problem.batch; ++b) {
        for (int64 h = 0; h < problem.num_q_heads; ++h) {
            std::vector<Real> sum(at(num_keys));
            for (int64 i = problem.q_len - num_judges; i < problem.q_len; ++i) {
                const std::vector<Real> query = load_row<Real>(problem.q, q, b, h, i);
                std::vector<Real> logits;
                for (int64 j = 0; j < num_keys; ++j) {
                    logits.push_back(
                        static_cast<Real>(problem.scale) *
                        dot(query, load_row<Real>(problem.k, k, b, problem.k_head(h), j)));
                }
                const std::vector<Real> weights = softmax(logits);
                for (int64 j = 0; j < num_keys; ++j) sum[at(j)] += weights[at(j)];
            }
            for (const Real s : sum) importance.push_back(s / static_cast<Real>(num_judges));
        }
    }
    share(problem, num_keys, importance);
    return importance;
}

/// Mean or maximum of rows, of which those past the end of the tokens are zero when padded.
template <class Real>
std::vector<Real> pool(const std::vector<std::vector<Real>>& rows, int64 num_rows, bool padded,
                       bool max_pool) {
    std::vector<Real> pooled = rows.front();
    for (std::size_t r = 1; r < rows.size(); ++r) {
        for (std::size_t d = 0; d < pooled.size(); ++d)
            pooled[d] = max_pool ? std::max(pooled[d], rows[r][d]) : pooled[d] + rows[r][d];
    }
    const bool has_padding = padded && num_rows > static_cast<int64>(rows.size());
    const auto divisor = static_cast<Real>(padded ? num_rows : static_cast<int64>(rows.size()));
    for (Real& x : pooled) {
        if (!max_pool) {
            x /= divisor;
        } else if (has_padding) {
            x = std::max(x, Real(0));
        }
    }
    return pooled;
}

struct Pooling {
    bool padded;
    bool max_pool;
};

/// One pooled row per block of `size` rows of a head, row r being token(r).
template <class Real, class TokenOf>
std::vector<std::vector<Real>> pool_blocks(const TensorLayout& layout, const void* data, int64 b,
                                           int64 h, int64 size, Pooling how, TokenOf token) {
    std::vector<std::vector<Real>> blocks;
    for (int64 begin = 0; begin < layout.shape[2]; begin += size) {
        std::vector<std::vector<Real>> rows;
        for (int64 r = begin; r < std::min(begin + size, layout.shape[2]); ++r)
            rows.push_back(load_row<Real>(layout, data, b, h, token(r)));
        blocks.push_back(pool(rows, size, how.padded, how.max_pool));
    }
    return blocks;
}

template <class Real>
std::vector<Real> block_weights_of(const PermutedBlockProblem& problem, const void* q,
                                   const void* k, const std::vector<int32>& permutation) {
    const Pooling how{.padded = true, .max_pool = problem.max_pool};
    std::vector<Real> weights;
    for (int64 b = 0; b < problem.batch; ++b) {
        for (int64 h = 0; h < problem.num_q_heads; ++h) {
            const int32* token_of_slot =
                permutation.data() + (b * problem.num_q_heads + h) * problem.kv_len;
            const auto queries = pool_blocks<Real>(problem.q, q, b, h, problem.query_block, how,
                                                   [](int64 r) { return r; });
            const auto keys =
                pool_blocks<Real>(problem.k, k, b, problem.k_head(h), problem.block, how,
                                  [&](int64 r) { return int64{token_of_slot[r]}; });
            for (int64 row = 0; row < problem.num_query_blocks(); ++row) {
                std::vector<Real> logits;
                for (int64 kb = 0; kb < problem.num_key_blocks(); ++kb) {
                    logits.push_back(problem.is_candidate(row, kb)
                                         ? static_cast<Real>(problem.scale) *
                                               dot(queries[at(row)], keys[at(kb)])
                                         : -std::numeric_limits<Real>::infinity());
                }
                for (const Real w : softmax(logits)) weights.push_back(w);
            }
        }
    }
    share(problem, problem.num_query_blocks() * problem.num_key_blocks(), weights);
    return weights;
}

template <class Real>
std::vector<Real> gate_scores_of(const PermutedBlockProblem& problem, const void* q,
                                 const void* k) {
    const Pooling how{.padded = false, .max_pool = false};
    const auto same = [](int64 r) { return r; };
    std::vector<Real> scores;
    for (int64 b = 0; b < problem.batch; ++b) {
        for (int64 h = 0; h < problem.num_q_heads; ++h) {
            const auto queries =
                pool_blocks<Real>(problem.q, q, b, h, problem.query_block, how, same);
            const auto keys =
                pool_blocks<Real>(problem.k, k, b, problem.k_head(h), problem.block, how, same);
            for (const auto& query : queries)
                for (const auto& key : keys) scores.push_back(dot(query, key));
        }
    }
    share(problem, problem.num_query_blocks() * problem.num_key_blocks(), scores);
    return scores;
}

/// Whether a gate may keep a key block for a query block, the own one included.
bool gate_may_see(const PermutedBlockProblem& problem, int64 row, int64 key_block) {
    return !problem.causal || key_block <= problem.own_block(row);
}

/// Block indices by descending value, equal ones ascending.
std::vector<int64> descending(const double* values, int64 count) {
    std::vector<int64> order(at(count));
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int64 a, int64 b) { return values[a] > values[b]; });
    return order;
}

/// Calls visit(b * Hq + h, row, offset of the row in [B, Hq, nQ, nK]).
template <class Visit>
void for_each_row(const PermutedBlockProblem& problem, const Visit& visit) {
    const int64 num_rows = problem.num_query_blocks();
    for (int64 head = 0; head < problem.batch * problem.num_q_heads; ++head)
        for (int64 row = 0; row < num_rows; ++row)
            visit(head, row, (head * num_rows + row) * problem.num_key_blocks());
}

/// The problem as dense attention under a mask.
DenseProblem as_dense(const PermutedBlockProblem& problem) {
    DenseProblem dense = problem;
    dense.mask =
        contiguous(problem.batch, problem.num_q_heads, problem.q_len, problem.kv_len, DType::kU8);
    dense.has_mask = true;
    return dense;
}

}  // namespace

std::vector<double> key_importance(const PermutedBlockProblem& problem, const void* q,
                                   const void* k, Arithmetic arithmetic) {
    return arithmetic == Arithmetic::kExact ? importance_of<double>(problem, q, k)
                                            : to_double(importance_of<float>(problem, q, k));
}

std::vector<int32> sort_keys(const PermutedBlockProblem& problem,
                             const std::vector<double>& importance) {
    const int64 num_sorted = problem.num_sorted();
    std::vector<int32> permutation;
    for (int64 head = 0; head < problem.batch * problem.num_q_heads; ++head) {
        const double* of_head = importance.data() + head * num_sorted;
        for (int64 begin = 0; begin < num_sorted; begin += problem.segment)
            for (const int64 n : descending(of_head + begin, problem.segment))
                permutation.push_back(static_cast<int32>(begin + n));
        for (int64 j = num_sorted; j < problem.kv_len; ++j)
            permutation.push_back(static_cast<int32>(j));
    }
    return permutation;
}

std::vector<double> block_weights(const PermutedBlockProblem& problem, const void* q, const void* k,
                                  const std::vector<int32>& permutation, Arithmetic arithmetic) {
    return arithmetic == Arithmetic::kExact
               ? block_weights_of<double>(problem, q, k, permutation)
               : to_double(block_weights_of<float>(problem, q, k, permutation));
}

std::vector<uint8> cover(const PermutedBlockProblem& problem, const std::vector<double>& weights,
                         const std::vector<int32>& permutation) {
    const int64 num_blocks = problem.num_key_blocks();
    std::vector<uint8> mask(weights.size());
    for_each_row(problem, [&](int64 head, int64 row, int64 offset) {
        uint8* kept = mask.data() + offset;
        double sum = 0;
        std::vector<int64> chosen;
        bool reached = problem.coverage >= 1;
        for (const int64 kb : descending(weights.data() + offset, num_blocks)) {
            if (!problem.is_candidate(row, kb)) continue;
            chosen.push_back(kb);
            sum += weights[at(offset + kb)];
            if (problem.coverage < 1 && sum >= static_cast<double>(problem.coverage)) {
                reached = true;
                break;
            }
        }
        if (reached)
            for (const int64 kb : chosen) kept[kb] = 1;
        const int32* tokens = permutation.data() + head * problem.kv_len;
        const int64 slot_of_first = std::find(tokens, tokens + problem.kv_len, 0) - tokens;
        kept[slot_of_first / problem.block] = 1;
        for (int64 kb = 0; kb < num_blocks; ++kb)
            if (problem.segment_of_key_block(kb) == problem.segment_of_query_block(row))
                kept[kb] = 1;
    });
    return mask;
}

std::vector<double> gate_scores(const PermutedBlockProblem& problem, const void* q, const void* k,
                                Arithmetic arithmetic) {
    return arithmetic == Arithmetic::kExact ? gate_scores_of<double>(problem, q, k)
                                            : to_double(gate_scores_of<float>(problem, q, k));
}

std::vector<double> share_scores(const PermutedBlockProblem& problem, std::vector<double> scores) {
    share(problem, problem.num_query_blocks() * problem.num_key_blocks(), scores);
    return scores;
}

std::vector<double> gate_weights(const PermutedBlockProblem& problem,
                                 const std::vector<double>& scores) {
    std::vector<double> weights;
    for_each_row(problem, [&](int64, int64 row, int64 offset) {
        std::vector<double> logits;
        for (int64 kb = 0; kb < problem.num_key_blocks(); ++kb)
            logits.push_back(gate_may_see(problem, row, kb)
                                 ? scores[at(offset + kb)]
                                 : -std::numeric_limits<double>::infinity());
        for (const double w : softmax(logits)) weights.push_back(w);
    });
    return weights;
}

std::vector<uint8> apply_gate(const PermutedBlockProblem& problem, const Gate& gate,
                              const std::vector<double>& scores) {
    std::vector<uint8> mask(scores.size());
    const std::vector<double> weights = gate_weights(problem, scores);
    for_each_row(problem, [&](int64, int64 row, int64 offset) {
        uint8* kept = mask.data() + offset;
        const int64 own = problem.own_block(row);
        const bool own_counts = gate.kind == BlockGate::kMoba;
        int64 left = gate.top_k - (own_counts ? 1 : 0);
        for (const int64 kb : descending(scores.data() + offset, problem.num_key_blocks())) {
            if (!gate_may_see(problem, row, kb)) continue;
            if (gate.kind == BlockGate::kThreshold) {
                kept[kb] = weights[at(offset + kb)] >= gate.threshold;
            } else if (left > 0 && !(own_counts && kb == own)) {
                kept[kb] = 1;
                --left;
            }
        }
        kept[own] = 1;
    });
    return mask;
}

std::vector<uint8> visible_tokens(const PermutedBlockProblem& problem, const int32* permutation,
                                  const uint8* block_mask) {
    const int64 num_blocks = problem.num_key_blocks();
    const int64 num_rows = problem.num_query_blocks();
    std::vector<uint8> visible(
        at(problem.batch * problem.num_q_heads * problem.q_len * problem.kv_len));
    for (int64 head = 0; head < problem.batch * problem.num_q_heads; ++head) {
        for (int64 i = 0; i < problem.q_len; ++i) {
            for (int64 slot = 0; slot < problem.kv_len; ++slot) {
                const int64 token =
                    permutation == nullptr ? slot : permutation[head * problem.kv_len + slot];
                const int64 row = head * num_rows + i / problem.query_block;
                const bool kept = block_mask == nullptr ||
                                  block_mask[row * num_blocks + slot / problem.block] != 0;
                const bool hidden = problem.causal && token > problem.position(i);
                visible[at((head * problem.q_len + i) * problem.kv_len + token)] = kept && !hidden;
            }
        }
    }
    return visible;
}

DenseOutput permuted_block_forward(const PermutedBlockProblem& problem,
                                   const PermutedBlockForwardArgs& args, Arithmetic arithmetic) {
    const std::vector<uint8> visible = visible_tokens(problem, args.permutation, args.block_mask);
    DenseForwardArgs dense{};
    dense.q = args.q;
    dense.k = args.k;
    dense.v = args.v;
    dense.mask = visible.data();
    return dense_forward(as_dense(problem), dense, arithmetic);
}

DenseGradients permuted_block_backward(const PermutedBlockProblem& problem,
                                       const PermutedBlockBackwardArgs& args, Arithmetic arithmetic,
                                       const DenseOutput* given) {
    const std::vector<uint8> visible = visible_tokens(problem, args.permutation, args.block_mask);
    DenseBackwardArgs dense{};
    dense.q = args.q;
    dense.k = args.k;
    dense.v = args.v;
    dense.d_o = args.d_o;
    dense.d_lse = args.d_lse;
    dense.mask = visible.data();
    return dense_backward(as_dense(problem), dense, arithmetic, given);
}

}  // namespace fattn::reference
