// Forward and backward of linear attention, token after token; see lightning.h.
#include "reference/lightning.h"

#include <algorithm>
#include <cmath>

#include "reference/numeric.h"

namespace fattn::reference {
namespace {

using TokenRow = std::vector<double>;
using Rows = std::vector<TokenRow>;

/// Rows of one head of a tensor.
Rows load_rows(const TensorLayout& layout, const void* data, int64 b, int64 h) {
    Rows rows;
    for (int64 t = 0; t < layout.shape[2]; ++t) {
        TokenRow row;
        for (int64 d = 0; d < layout.shape[3]; ++d) {
            row.push_back(load(layout.dtype, data, layout.row(b, h, t) + d * layout.strides[3]));
        }
        rows.push_back(row);
    }
    return rows;
}

/// A state [rows, columns]: what tokens leave behind.
struct State {
    int64 columns;
    TokenRow values;

    State(int64 num_rows, int64 num_columns, const float* from = nullptr)
        : columns(num_columns), values(static_cast<std::size_t>(num_rows * num_columns)) {
        if (from != nullptr) std::copy(from, from + values.size(), values.begin());
    }

    void scale(double factor) {
        for (double& x : values) x *= factor;
    }
    /// += x y^T
    void add(const TokenRow& x, const TokenRow& y) {
        for (std::size_t a = 0; a < x.size(); ++a)
            for (std::size_t b = 0; b < y.size(); ++b) values[a * y.size() + b] += x[a] * y[b];
    }
    /// x^T S
    TokenRow times_left(const TokenRow& x) const {
        TokenRow y(static_cast<std::size_t>(columns));
        for (std::size_t a = 0; a < x.size(); ++a)
            for (std::size_t b = 0; b < y.size(); ++b) y[b] += x[a] * values[a * y.size() + b];
        return y;
    }
    /// S y
    TokenRow times_right(const TokenRow& y) const {
        TokenRow x(values.size() / y.size());
        for (std::size_t a = 0; a < x.size(); ++a)
            for (std::size_t b = 0; b < y.size(); ++b) x[a] += values[a * y.size() + b] * y[b];
        return x;
    }
};

void add_to(TokenRow& sum, const TokenRow& x) {
    for (std::size_t n = 0; n < sum.size(); ++n) sum[n] += x[n];
}

/// One query head of one batch entry as features.
struct LinearHead {
    Rows x_q, x_k;     // rows of q and k as given
    Rows q, k;         // their features
    Rows v;            // values, with a further 1 when results are normalised
    double remaining;  // e^-slope
    bool causal;
    int64 len;

    State empty_state() const { return {num_rows, num_columns}; }
    int64 num_rows;
    int64 num_columns;
};

template <class Args>
LinearHead load_head(const LightningProblem& problem, const Args& args, int64 b, int64 h) {
    const int64 kv_head = h * problem.num_kv_heads / problem.num_q_heads;
    LinearHead head{.x_q = load_rows(problem.q, args.q, b, h),
                    .x_k = load_rows(problem.k, args.k, b, kv_head),
                    .q = {},
                    .k = {},
                    .v = load_rows(problem.v, args.v, b, kv_head),
                    .remaining = std::exp(-static_cast<double>(args.slopes[h])),
                    .causal = problem.causal,
                    .len = problem.len,
                    .num_rows = problem.state_rows(),
                    .num_columns = problem.state_columns()};
    for (const TokenRow& x : head.x_q) head.q.push_back(features(problem.map, x));
    for (const TokenRow& x : head.x_k) head.k.push_back(features(problem.map, x));
    if (problem.normalize)
        for (TokenRow& v : head.v) v.push_back(1.0);
    return head;
}

/// sum over u of weight(t, u) (left_t . right_u) value_u + what a state before token 0 adds, for
/// every t: over u <= t, and over u > t as well when not causal. state is left as it is after the
/// last token.
Rows sum_over_tokens(const LinearHead& head, const Rows& left, const Rows& right,
                     const Rows& values, State* state) {
    Rows sums;
    for (int64 t = 0; t < head.len; ++t) {
        const auto at = static_cast<std::size_t>(t);
        state->scale(head.remaining);
        state->add(right[at], values[at]);
        sums.push_back(state->times_left(left[at]));
    }
    if (head.causal) return sums;
    State later(static_cast<int64>(state->values.size()) / state->columns, state->columns);
    for (int64 t = head.len - 1; t >= 0; --t) {
        const auto at = static_cast<std::size_t>(t);
        add_to(sums[at], later.times_left(left[at]));
        later.add(right[at], values[at]);
        later.scale(head.remaining);
    }
    return sums;
}

const float* state_of(const float* states, const LightningProblem& problem, int64 b, int64 h) {
    if (states == nullptr) return nullptr;
    return states + (b * problem.num_q_heads + h) * problem.state_rows() * problem.state_columns();
}

/// Rows of num / den with the sum of weights den as last column of sums; 0 where den is.
TokenRow normalised(const TokenRow& sums) {
    TokenRow o(sums.begin(), sums.end() - 1);
    for (double& x : o) x = sums.back() == 0 ? 0 : x / sums.back();
    return o;
}

/// Gradient of sums from that of normalised(sums).
TokenRow normalised_backward(const TokenRow& sums, const TokenRow& d_o, QuotientTerms terms) {
    const double den = sums.back();
    TokenRow d_sums(sums.size());
    if (den == 0) return d_sums;
    for (std::size_t c = 0; c < d_o.size(); ++c) {
        if (terms != QuotientTerms::kDenominator) d_sums[c] = d_o[c] / den;
        if (terms != QuotientTerms::kNumerator) d_sums.back() -= d_o[c] * sums[c] / (den * den);
    }
    return d_sums;
}

void store_sum(const TokenRow& x, std::vector<double>* sums, int64 at) {
    for (std::size_t d = 0; d < x.size(); ++d) (*sums)[static_cast<std::size_t>(at) + d] += x[d];
}

std::vector<double> zeros(int64 a, int64 b, int64 c, int64 d) {
    return std::vector<double>(static_cast<std::size_t>(a * b * c * d));
}

}  // namespace

std::vector<double> features(FeatureMap map, const std::vector<double>& x) {
    std::vector<double> y = x;
    const double dim = static_cast<double>(x.size());
    switch (map) {
        case FeatureMap::kIdentity:
            break;
        case FeatureMap::kEluPlusOne:
            for (double& e : y) e = e > 0 ? e + 1 : std::exp(e);
            break;
        case FeatureMap::kRelu:
            for (double& e : y) e = e > 0 ? e : e == e ? 0 : e;
            break;
        case FeatureMap::kSoftmax: {
            double sum = 0;
            const double most = *std::max_element(x.begin(), x.end());
            for (double& e : y) sum += e = std::exp(e - most);
            for (double& e : y) e /= sum;
            break;
        }
        case FeatureMap::kTaylor2:
            y = {1.0};
            for (const double e : x) y.push_back(e / std::sqrt(std::sqrt(dim)));
            for (std::size_t a = 0; a < x.size(); ++a) {
                y.push_back(x[a] * x[a] / std::sqrt(2 * dim));
                for (std::size_t b = a + 1; b < x.size(); ++b)
                    y.push_back(x[a] * x[b] / std::sqrt(dim));
            }
            break;
    }
    return y;
}

std::vector<double> features_backward(FeatureMap map, const std::vector<double>& x,
                                      const std::vector<double>& d_features) {
    const std::vector<double> y = features(map, x);
    std::vector<double> d_x(x.size());
    const double dim = static_cast<double>(x.size());
    if (map == FeatureMap::kTaylor2) {
        std::size_t at = 1 + x.size();
        for (std::size_t a = 0; a < x.size(); ++a) {
            d_x[a] += d_features[1 + a] / std::sqrt(std::sqrt(dim));
            d_x[a] += d_features[at++] * 2 * x[a] / std::sqrt(2 * dim);
            for (std::size_t b = a + 1; b < x.size(); ++b, ++at) {
                d_x[a] += d_features[at] * x[b] / std::sqrt(dim);
                d_x[b] += d_features[at] * x[a] / std::sqrt(dim);
            }
        }
        return d_x;
    }
    double mean = 0;
    for (std::size_t a = 0; a < x.size(); ++a) mean += y[a] * d_features[a];
    for (std::size_t a = 0; a < x.size(); ++a) {
        switch (map) {
            case FeatureMap::kEluPlusOne:
                d_x[a] = d_features[a] * (x[a] > 0 ? 1 : std::exp(x[a]));
                break;
            case FeatureMap::kRelu:
                d_x[a] = x[a] > 0 ? d_features[a] : 0;
                break;
            case FeatureMap::kSoftmax:
                d_x[a] = y[a] * (d_features[a] - mean);
                break;
            default:
                d_x[a] = d_features[a];
        }
    }
    return d_x;
}

LightningOutput lightning_forward(const LightningProblem& problem,
                                  const LightningForwardArgs& args) {
    LightningOutput out;
    for (int64 b = 0; b < problem.batch; ++b) {
        for (int64 h = 0; h < problem.num_q_heads; ++h) {
            const LinearHead head = load_head(problem, args, b, h);
            State state(head.num_rows, head.num_columns,
                        state_of(args.initial_state, problem, b, h));
            for (const TokenRow& sums : sum_over_tokens(head, head.q, head.k, head.v, &state)) {
                for (const double x : problem.normalize ? normalised(sums) : sums)
                    out.o.push_back(x * static_cast<double>(problem.result_scale()));
            }
            out.final_state.insert(out.final_state.end(), state.values.begin(), state.values.end());
        }
    }
    return out;
}

LightningGradients lightning_backward(const LightningProblem& problem,
                                      const LightningBackwardArgs& args, QuotientTerms terms) {
    const int64 q_heads = problem.num_q_heads, kv_heads = problem.num_kv_heads, len = problem.len;
    LightningGradients out{.d_q = zeros(problem.batch, q_heads, len, problem.head_dim),
                           .d_k = zeros(problem.batch, kv_heads, len, problem.head_dim),
                           .d_v = zeros(problem.batch, kv_heads, len, problem.head_dim_v),
                           .d_initial_state = {}};
    for (int64 b = 0; b < problem.batch; ++b) {
        for (int64 h = 0; h < q_heads; ++h) {
            const LinearHead head = load_head(problem, args, b, h);
            Rows d_sums = load_rows(problem.d_o, args.d_o, b, h);
            if (problem.normalize) {
                State state(head.num_rows, head.num_columns,
                            state_of(args.initial_state, problem, b, h));
                const Rows sums = sum_over_tokens(head, head.q, head.k, head.v, &state);
                for (std::size_t t = 0; t < sums.size(); ++t)
                    d_sums[t] = normalised_backward(sums[t], d_sums[t], terms);
            }
            for (TokenRow& row : d_sums)
                for (double& x : row) x *= static_cast<double>(problem.result_scale());

            // d_q meets the states of the forward direction, and those of later tokens.
            State state(head.num_rows, head.num_columns,
                        state_of(args.initial_state, problem, b, h));
            State later = head.empty_state();
            Rows d_q(d_sums.size());
            for (std::size_t t = 0; t < d_sums.size(); ++t) {
                state.scale(head.remaining);
                state.add(head.k[t], head.v[t]);
                d_q[t] = state.times_right(d_sums[t]);
            }
            for (std::size_t t = d_sums.size(); t-- > 0 && !head.causal;) {
                add_to(d_q[t], later.times_right(d_sums[t]));
                later.add(head.k[t], head.v[t]);
                later.scale(head.remaining);
            }

            // d_k and d_v meet the gradient of the state, which comes from later tokens, and from
            // earlier ones when these see later tokens.
            State gradient(head.num_rows, head.num_columns,
                           state_of(args.d_final_state, problem, b, h));
            State earlier = head.empty_state();
            Rows d_k(d_sums.size()), d_v(d_sums.size());
            for (std::size_t t = d_sums.size(); t-- > 0;) {
                gradient.add(head.q[t], d_sums[t]);
                d_k[t] = gradient.times_right(head.v[t]);
                d_v[t] = gradient.times_left(head.k[t]);
                gradient.scale(head.remaining);
            }
            for (std::size_t t = 0; t < d_sums.size() && !head.causal; ++t) {
                earlier.scale(head.remaining);
                add_to(d_k[t], earlier.times_right(head.v[t]));
                add_to(d_v[t], earlier.times_left(head.k[t]));
                earlier.add(head.q[t], d_sums[t]);
            }

            const int64 kv_head = h * kv_heads / q_heads;
            for (int64 t = 0; t < len; ++t) {
                const auto at = static_cast<std::size_t>(t);
                const int64 q_row = (b * q_heads + h) * len + t;
                const int64 kv_row = (b * kv_heads + kv_head) * len + t;
                store_sum(features_backward(problem.map, head.x_q[at], d_q[at]), &out.d_q,
                          q_row * problem.head_dim);
                store_sum(features_backward(problem.map, head.x_k[at], d_k[at]), &out.d_k,
                          kv_row * problem.head_dim);
                d_v[at].resize(static_cast<std::size_t>(problem.head_dim_v));
                store_sum(d_v[at], &out.d_v, kv_row * problem.head_dim_v);
            }
            out.d_initial_state.insert(out.d_initial_state.end(), gradient.values.begin(),
                                       gradient.values.end());
        }
    }
    return out;
}

}  // namespace fattn::reference
