// Gathers one head into matrices, scores it and turns scores into weights for the reference.
#include "reference/head.h"

#include <cmath>
#include <limits>
#include <numbers>
#include <type_traits>

#include "reference/numeric.h"
#include "reference/philox.h"

namespace fattn::reference {
namespace {

/// What an exponent of 1 means: e for the truth, 2 for the plain evaluation.
template <class Real>
constexpr Real kExponentsPerNat = std::is_same_v<Real, double> ? Real(1)
                                                               : std::numbers::log2e_v<Real>;

template <class Real>
constexpr Real kNatsPerExponent = std::is_same_v<Real, double> ? Real(1)
                                                               : std::numbers::ln2_v<Real>;

template <class Real>
Real power(Real exponent) {
    return std::is_same_v<Real, double> ? std::exp(exponent) : std::exp2(exponent);
}

template <class Real>
Real logarithm(Real x) {
    return std::is_same_v<Real, double> ? std::log(x) : std::log2(x);
}

/// How far x may be from what was rounded to it, half a unit in its last place: up or down as its
/// last digit happens to be, since errors below and above a weight of 1 round differently.
template <class Real>
Real rounding_error(Real x) {
    const Real size = std::abs(x);
    const Real last_place = std::nextafter(size, std::numeric_limits<Real>::infinity()) - size;
    return (std::fmod(size / last_place, Real(2)) == 0 ? -last_place : last_place) / 2;
}

template <class Real>
constexpr Real kMinusInfinity = -std::numeric_limits<Real>::infinity();

/// Position of the entry's query 0 and key 0 on the common axis that causality, windows, chunks and
/// ALiBi use.
int64 first_q_position(const DenseProblem& problem, const Inputs& inputs, const Entry& entry) {
    const bool ends_meet = problem.alignment == Alignment::kBottomRight;
    return inputs.q_position_offset + (ends_meet ? entry.num_k - entry.num_q : 0);
}

/// Strides of bias and mask are 0 where they broadcast, so the entry's number always serves as the
/// batch index.
double load_pair(const TensorLayout& layout, const void* data, const Entry& entry, int64 q_head,
                 int64 i, int64 j) {
    return load(layout.dtype, data, layout.row(entry.number, q_head, i) + j * layout.strides[3]);
}

/// Products of query i with all keys.
template <class Real>
void multiply_row(int64 i, SumOrder order, Head<Real>& head) {
    Real* s = head.exponent.row(i);
    const int64 num_dims = head.q.num_columns;
    for (int64 n = 0; n < num_dims; ++n) {
        const int64 d = order == SumOrder::kFirstToLast ? n : num_dims - 1 - n;
        const Real q = head.q.row(i)[d];
        const Real* k = head.k_transposed.row(d);
        for (int64 j = 0; j < head.exponent.num_columns; ++j) s[j] += q * k[j];
    }
}

/// Turns products into scores.
template <class Real>
void score_row(const DenseProblem& problem, const Inputs& inputs, const Entry& entry, int64 i,
               Head<Real>& head) {
    const Real unit = kExponentsPerNat<Real>;
    const Real scale = static_cast<Real>(problem.scale);
    const Real cap = static_cast<Real>(problem.softcap);
    const int64 num_keys = head.exponent.num_columns;
    Real* s = head.exponent.row(i);
    const int64 q_position = first_q_position(problem, inputs, entry) + i;
    for (int64 j = 0; j < num_keys; ++j) {
        if (!head.sees(i, j)) {
            s[j] = kMinusInfinity<Real>;
            continue;
        }
        if (problem.softcap > 0) {
            const Real t = std::tanh(scale * s[j] / cap);
            head.softcap_slope.row(i)[j] = 1 - t * t;
            s[j] = cap * unit * t;
        } else {
            s[j] = scale * unit * s[j];
        }
        if (problem.has_bias)
            s[j] += unit * static_cast<Real>(
                               load_pair(problem.bias, inputs.bias, entry, head.number, i, j));
        if (problem.has_alibi) {
            const int64 distance = std::abs(q_position - (j + inputs.k_position_offset));
            const Real slope = static_cast<Real>(inputs.alibi_slopes[head.number]);
            s[j] -= slope * unit * static_cast<Real>(distance);
        }
    }
}

template <class Real>
void draw_dropout(const DenseProblem& problem, const Inputs& inputs, const Entry& entry,
                  Head<Real>& head) {
    const double p = static_cast<double>(problem.dropout_p);
    head.dropout_factor = Matrix<Real>(entry.num_q, entry.num_k);
    for (int64 i = 0; i < entry.num_q; ++i) {
        for (int64 j = 0; j < entry.num_k; ++j) {
            const DropoutPlace place{.entry = entry.number,
                                     .q_head = head.number,
                                     .num_q_heads = problem.num_q_heads,
                                     .q_idx = i + inputs.q_position_offset,
                                     .kv_idx = j + inputs.k_position_offset};
            if (dropout_keeps(place, p, inputs.dropout_seed, inputs.dropout_offset))
                head.dropout_factor.row(i)[j] = static_cast<Real>(1 / (1 - p));
        }
    }
}

}  // namespace

Entry find_entry(const DenseProblem& problem, const Inputs& inputs, int64 number) {
    Entry entry{.number = number,
                .batch_idx = number,
                .first_q = 0,
                .first_k = 0,
                .num_q = problem.q_len,
                .num_k = problem.kv_len};
    if (problem.varlen) {
        entry.batch_idx = 0;
        entry.first_q = inputs.cu_seqlens_q[number];
        entry.num_q = inputs.cu_seqlens_q[number + 1] - entry.first_q;
    }
    if (problem.varlen && !problem.paged) {
        entry.first_k = inputs.cu_seqlens_k[number];
        entry.num_k = inputs.cu_seqlens_k[number + 1] - entry.first_k;
    }
    if (problem.has_kv_len && inputs.kv_len[number] < entry.num_k)
        entry.num_k = inputs.kv_len[number];
    return entry;
}

int64 key_row(const TensorLayout& layout, const DenseProblem& problem, const Inputs& inputs,
              const Entry& entry, int64 head, int64 j) {
    if (!problem.paged) return layout.row(entry.batch_idx, head, entry.first_k + j);
    const int64 page =
        inputs.block_table[entry.number * problem.max_pages_per_seq + j / problem.page_size];
    return layout.row(page, j % problem.page_size, head);
}

bool is_visible(const DenseProblem& problem, const Inputs& inputs, const Entry& entry, int64 q_head,
                int64 i, int64 j) {
    const int64 q_position = first_q_position(problem, inputs, entry) + i;
    const int64 k_position = inputs.k_position_offset + j;
    const int64 steps_back = q_position - k_position;  // how far the key lies before the query
    if (problem.window_left >= 0 && steps_back > problem.window_left) return false;
    if (problem.window_right >= 0 && -steps_back > problem.window_right) return false;
    if (problem.attention_chunk > 0 && floor_div(q_position, problem.attention_chunk) !=
                                           floor_div(k_position, problem.attention_chunk))
        return false;
    return !problem.has_mask || load_pair(problem.mask, inputs.mask, entry, q_head, i, j) != 0;
}

template <class Real>
Head<Real> load_head(const DenseProblem& problem, const Inputs& inputs, const Entry& entry,
                     int64 q_head, SumOrder order) {
    Head<Real> head;
    head.number = q_head;
    head.q = Matrix<Real>(entry.num_q, problem.head_dim);
    head.k_transposed = Matrix<Real>(problem.head_dim, entry.num_k);
    head.v = Matrix<Real>(entry.num_k, problem.head_dim_v);
    for (int64 i = 0; i < entry.num_q; ++i) {
        const int64 at = problem.q.row(entry.batch_idx, q_head, entry.first_q + i);
        load_row(problem.q.dtype, inputs.q, at, problem.head_dim, head.q.row(i), 1);
    }
    const int64 k_head = q_head * problem.num_k_heads / problem.num_q_heads;
    const int64 v_head = q_head * problem.num_v_heads / problem.num_q_heads;
    for (int64 j = 0; j < entry.num_k; ++j) {
        const int64 k_at = key_row(problem.k, problem, inputs, entry, k_head, j);
        load_row(problem.k.dtype, inputs.k, k_at, problem.head_dim, head.k_transposed.row(0) + j,
                 entry.num_k);
        const int64 v_at = key_row(problem.v, problem, inputs, entry, v_head, j);
        load_row(problem.v.dtype, inputs.v, v_at, problem.head_dim_v, head.v.row(j), 1);
    }
    head.visible.reserve(static_cast<std::size_t>(entry.num_q * entry.num_k));
    for (int64 i = 0; i < entry.num_q; ++i)
        for (int64 j = 0; j < entry.num_k; ++j)
            head.visible.push_back(is_visible(problem, inputs, entry, q_head, i, j));
    head.has_sink = problem.has_sink;
    if (problem.has_sink) head.sink_logit = static_cast<Real>(inputs.sink_logits[q_head]);
    head.exponent = Matrix<Real>(entry.num_q, entry.num_k);
    if (problem.softcap > 0) head.softcap_slope = Matrix<Real>(entry.num_q, entry.num_k, Real(1));
    for (int64 i = 0; i < entry.num_q; ++i) {
        multiply_row(i, order, head);
        score_row(problem, inputs, entry, i, head);
    }
    if (problem.dropout_p > 0) draw_dropout(problem, inputs, entry, head);
    return head;
}

template <class Real>
RowWeights<Real> weigh_row(const DenseProblem& problem, const Head<Real>& head, int64 i,
                           Shift shift) {
    RowWeights<Real> row{std::vector<Real>(static_cast<std::size_t>(head.exponent.num_columns)),
                         Real(1), Real(0)};
    if (problem.weights == Weights::kSigmoid) {
        row.weights = weights_from_lse(problem, head, i, Real(0), shift);
        return row;
    }
    const Real* s = head.exponent.row(i);
    const Real sink =
        head.has_sink ? head.sink_logit * kExponentsPerNat<Real> : kMinusInfinity<Real>;
    Real largest = sink;
    for (int64 j = 0; j < head.exponent.num_columns; ++j)
        if (s[j] > largest || std::isnan(s[j])) largest = s[j];
    if (largest == kMinusInfinity<Real>) {
        row.lse = largest;
        return row;
    }
    const Real off = shift == Shift::kRounded ? rounding_error(largest) : Real(0);
    Real sum = power(sink - largest + off);
    for (int64 j = 0; j < head.exponent.num_columns; ++j) {
        if (!head.sees(i, j)) continue;
        row.weights[static_cast<std::size_t>(j)] = power(s[j] - largest + off);
        sum += row.weights[static_cast<std::size_t>(j)];
    }
    row.lse = (largest + (logarithm(sum) - off)) * kNatsPerExponent<Real>;
    if (shift == Shift::kRounded) {
        row.sum = sum;
    } else {
        for (Real& weight : row.weights) weight /= sum;
    }
    return row;
}

template <class Real>
std::vector<Real> weights_from_lse(const DenseProblem& problem, const Head<Real>& head, int64 i,
                                   Real lse, Shift shift) {
    std::vector<Real> weights(static_cast<std::size_t>(head.exponent.num_columns));
    const bool sigmoid = problem.weights == Weights::kSigmoid;
    if (!sigmoid && lse == kMinusInfinity<Real>) return weights;
    const Real log_sum = lse * kExponentsPerNat<Real>;
    const Real off = shift == Shift::kRounded ? rounding_error(log_sum) : Real(0);
    const Real sigmoid_bias = kExponentsPerNat<Real> * static_cast<Real>(problem.sigmoid_bias);
    for (int64 j = 0; j < head.exponent.num_columns; ++j) {
        if (!head.sees(i, j)) continue;
        const Real s = head.exponent.row(i)[j];
        weights[static_cast<std::size_t>(j)] =
            sigmoid ? 1 / (1 + power(-(s + sigmoid_bias))) : power(s - log_sum + off);
    }
    return weights;
}

template <class Real>
Real exponential(Real x) {
    return power(x * kExponentsPerNat<Real>);
}

template Head<double> load_head(const DenseProblem&, const Inputs&, const Entry&, int64, SumOrder);
template Head<float> load_head(const DenseProblem&, const Inputs&, const Entry&, int64, SumOrder);
template RowWeights<double> weigh_row(const DenseProblem&, const Head<double>&, int64, Shift);
template RowWeights<float> weigh_row(const DenseProblem&, const Head<float>&, int64, Shift);
template std::vector<double> weights_from_lse(const DenseProblem&, const Head<double>&, int64,
                                              double, Shift);
template std::vector<float> weights_from_lse(const DenseProblem&, const Head<float>&, int64, float,
                                             Shift);
template double exponential(double);
template float exponential(float);

}  // namespace fattn::reference
