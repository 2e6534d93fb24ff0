// Forward and backward of dense attention in double precision, and in the plain low-precision
// evaluation.
#include "reference/dense.h"

#include <limits>
#include <type_traits>

#include "reference/head.h"
#include "reference/numeric.h"

namespace fattn::reference {
namespace {

template <class Args>
Inputs common_inputs(const Args& args) {
    return {.q = args.q,
            .k = args.k,
            .v = args.v,
            .bias = args.bias,
            .mask = args.mask,
            .alibi_slopes = args.alibi_slopes,
            .sink_logits = args.sink_logits,
            .cu_seqlens_q = args.cu_seqlens_q,
            .cu_seqlens_k = args.cu_seqlens_k,
            .kv_len = args.kv_len,
            .block_table = nullptr,
            .dropout_seed = args.dropout_seed,
            .dropout_offset = args.dropout_offset,
            .q_position_offset = args.q_position_offset,
            .k_position_offset = args.k_position_offset};
}

/// What the plain evaluation stores in a type between two operations; the truth stores everything
/// as it is.
template <class Real>
Real stored(DType dtype, Real x) {
    if constexpr (std::is_same_v<Real, double>)
        return x;
    else
        return round_to(dtype, x);
}

/// sum + a b rounded once, as the multiply-adds of matrix products do.
template <class Real>
Real add_product(Real sum, Real a, Real b) {
    return static_cast<Real>(static_cast<double>(sum) +
                             static_cast<double>(a) * static_cast<double>(b));
}

/// Sums in a contiguous logical shape.
template <class Real>
class Sums {
  public:
    explicit Sums(const TensorLayout& shape_of)
        : layout_(contiguous(shape_of.shape[0], shape_of.shape[1], shape_of.shape[2],
                             shape_of.shape[3], shape_of.dtype)),
          values_(static_cast<std::size_t>(layout_.shape[0] * layout_.strides[0])) {}

    Real* row(int64 b, int64 h, int64 token) { return values_.data() + layout_.row(b, h, token); }

    /// The sums times a factor, as the tensor's type stores them.
    std::vector<double> finish(Real factor = Real(1)) const {
        std::vector<double> result;
        for (const Real value : values_) result.push_back(stored(layout_.dtype, value * factor));
        return result;
    }

  private:
    TensorLayout layout_;
    std::vector<Real> values_;
};

Shift shift_of(Arithmetic arithmetic) {
    return arithmetic == Arithmetic::kPlainWide ? Shift::kRounded : Shift::kExact;
}

SumOrder forward_order(Arithmetic arithmetic) {
    return arithmetic == Arithmetic::kPlainWide ? SumOrder::kLastToFirst : SumOrder::kFirstToLast;
}

SumOrder backward_order(Arithmetic arithmetic) {
    return arithmetic == Arithmetic::kPlainWide ? SumOrder::kFirstToLast : SumOrder::kLastToFirst;
}

TensorLayout lse_shape(const DenseProblem& problem) {
    return contiguous(problem.q.shape[0], problem.num_q_heads, problem.q.shape[2], 1, DType::kF32);
}

template <class Real>
DenseOutput forward(const DenseProblem& problem, const Inputs& inputs, Arithmetic arithmetic) {
    Sums<Real> o(problem.o);
    Sums<Real> lse(lse_shape(problem));
    for (int64 b = 0; b < problem.batch; ++b) {
        const Entry entry = find_entry(problem, inputs, b);
        for (int64 h = 0; h < problem.num_q_heads; ++h) {
            const Head<Real> head =
                load_head<Real>(problem, inputs, entry, h, forward_order(arithmetic));
            for (int64 i = 0; i < entry.num_q; ++i) {
                const RowWeights<Real> row = weigh_row(problem, head, i, shift_of(arithmetic));
                Real* o_row = o.row(entry.batch_idx, h, entry.first_q + i);
                for (int64 j = 0; j < entry.num_k; ++j) {
                    if (!head.sees(i, j)) continue;
                    const Real weight =
                        stored(problem.q.dtype,
                               row.weights[static_cast<std::size_t>(j)] * head.dropout(i, j));
                    for (int64 d = 0; d < problem.head_dim_v; ++d)
                        o_row[d] += weight * head.v.row(j)[d];
                }
                for (int64 d = 0; d < problem.head_dim_v; ++d) o_row[d] *= 1 / row.sum;
                *lse.row(entry.batch_idx, h, entry.first_q + i) = row.lse;
            }
        }
    }
    DenseOutput output{.o = o.finish(), .lse = lse.finish()};
    if (problem.weights == Weights::kSigmoid) output.lse.clear();
    return output;
}

/// One row of the backward pass: its result, and the gradients that come in.
template <class Real>
struct Row {
    int64 i;
    std::vector<Real> o;    // [Dv]; empty with sigmoid weights, which do not need it
    std::vector<Real> d_o;  // [Dv]
    Real lse;
    Real d_lse;
};

/// What reaches the weights and scores of a row.
template <class Real>
struct RowGradient {
    std::vector<Real> dropped_weights;  // [num_k] weights after dropout
    std::vector<Real> d_score;          // [num_k] gradient of the score, bias included
    std::vector<Real> d_product;        // [num_k] gradient of scale q.k, before the soft-cap
    Real d_sink_logit;
};

template <class Real>
RowGradient<Real> differentiate(const DenseProblem& problem, Arithmetic arithmetic,
                                const Head<Real>& head, const Row<Real>& row) {
    // What the plain evaluation stores between two operations.
    const DType between = arithmetic == Arithmetic::kPlain ? problem.q.dtype : DType::kF32;
    const std::vector<Real> weights =
        weights_from_lse(problem, head, row.i, row.lse, shift_of(arithmetic));
    RowGradient<Real> gradient{std::vector<Real>(weights.size()), std::vector<Real>(weights.size()),
                               std::vector<Real>(weights.size()), Real(0)};
    // A sum of products beside d_weight's matrix product: two routines, which need not round alike.
    Real o_dot_d_o = 0;
    for (std::size_t d = row.o.size(); d-- > 0;) o_dot_d_o += row.o[d] * row.d_o[d];
    for (std::size_t j = 0; j < weights.size(); ++j) {
        const int64 key = static_cast<int64>(j);
        if (!head.sees(row.i, key)) continue;
        const Real dropout = head.dropout(row.i, key);
        Real d_weight = 0;
        for (std::size_t d = 0; d < row.d_o.size(); ++d)
            d_weight = add_product(d_weight, row.d_o[d], head.v.row(key)[d]);
        d_weight *= dropout;
        gradient.dropped_weights[j] = stored(between, weights[j] * dropout);
        gradient.d_score[j] = problem.weights == Weights::kSigmoid
                                  ? weights[j] * (1 - weights[j]) * d_weight
                                  : weights[j] * (d_weight - o_dot_d_o + row.d_lse);
        const Real slope = problem.softcap > 0 ? head.softcap_slope.row(row.i)[key] : Real(1);
        gradient.d_product[j] = stored(between, gradient.d_score[j] * slope);
    }
    if (head.has_sink && row.lse > -std::numeric_limits<Real>::infinity())
        gradient.d_sink_logit = exponential(head.sink_logit - row.lse) * (row.d_lse - o_dot_d_o);
    return gradient;
}

template <class Real>
class Backward {
  public:
    Backward(const DenseProblem& problem, Arithmetic arithmetic, const DenseBackwardArgs& args,
             const DenseOutput& output)
        : problem_(problem),
          arithmetic_(arithmetic),
          args_(args),
          output_(output),
          d_q_(problem.d_q),
          d_k_(problem.d_k),
          d_v_(problem.d_v),
          d_bias_(problem.has_bias ? problem.d_bias : contiguous(0, 0, 0, 0, DType::kF32)),
          d_sink_logits_(
              contiguous(1, 1, 1, problem.has_sink ? problem.num_q_heads : 0, DType::kF32)) {}

    DenseGradients run(const Inputs& inputs) {
        for (int64 b = 0; b < problem_.batch; ++b) {
            const Entry entry = find_entry(problem_, inputs, b);
            for (int64 h = 0; h < problem_.num_q_heads; ++h) {
                const Head<Real> head =
                    load_head<Real>(problem_, inputs, entry, h, backward_order(arithmetic_));
                for (int64 i = 0; i < entry.num_q; ++i) {
                    const Row<Real> row = load_row(entry, h, i);
                    add(entry, head, row, differentiate(problem_, arithmetic_, head, row));
                }
            }
        }
        const Real scale = static_cast<Real>(problem_.scale);
        return {.d_q = d_q_.finish(scale),
                .d_k = d_k_.finish(scale),
                .d_v = d_v_.finish(),
                .d_bias = d_bias_.finish(),
                .d_sink_logits = d_sink_logits_.finish()};
    }

  private:
    Row<Real> load_row(const Entry& entry, int64 h, int64 i) const {
        Row<Real> row{.i = i, .o = {}, .d_o = {}, .lse = 0, .d_lse = 0};
        const int64 token = entry.first_q + i;
        const TensorLayout o = contiguous(problem_.o.shape[0], problem_.o.shape[1],
                                          problem_.o.shape[2], problem_.o.shape[3], DType::kF32);
        const int64 lse_at = (entry.batch_idx * o.shape[1] + h) * o.shape[2] + token;
        for (int64 d = 0; d < problem_.head_dim_v; ++d) {
            const int64 at =
                problem_.d_o.row(entry.batch_idx, h, token) + d * problem_.d_o.strides[3];
            row.d_o.push_back(static_cast<Real>(load(problem_.d_o.dtype, args_.d_o, at)));
        }
        if (problem_.weights == Weights::kSigmoid) return row;
        for (int64 d = 0; d < problem_.head_dim_v; ++d) {
            const int64 at = o.row(entry.batch_idx, h, token) + d;
            row.o.push_back(static_cast<Real>(output_.o[static_cast<std::size_t>(at)]));
        }
        row.lse = static_cast<Real>(output_.lse[static_cast<std::size_t>(lse_at)]);
        if (args_.d_lse != nullptr) row.d_lse = static_cast<Real>(args_.d_lse[lse_at]);
        return row;
    }

    void add(const Entry& entry, const Head<Real>& head, const Row<Real>& row,
             const RowGradient<Real>& gradient) {
        const int64 k_head = head.number * problem_.num_k_heads / problem_.num_q_heads;
        const int64 v_head = head.number * problem_.num_v_heads / problem_.num_q_heads;
        Real* q_sum = d_q_.row(entry.batch_idx, head.number, entry.first_q + row.i);
        for (int64 j = 0; j < entry.num_k; ++j) {
            if (!head.sees(row.i, j)) continue;
            const std::size_t at = static_cast<std::size_t>(j);
            Real* k_sum = d_k_.row(entry.batch_idx, k_head, entry.first_k + j);
            for (int64 d = 0; d < problem_.head_dim; ++d) {
                q_sum[d] += gradient.d_product[at] * head.k_transposed.row(d)[j];
                k_sum[d] += gradient.d_product[at] * head.q.row(row.i)[d];
            }
            Real* v_sum = d_v_.row(entry.batch_idx, v_head, entry.first_k + j);
            for (int64 d = 0; d < problem_.head_dim_v; ++d)
                v_sum[d] += gradient.dropped_weights[at] * row.d_o[static_cast<std::size_t>(d)];
            if (problem_.has_bias) *bias_sum(entry, head.number, row.i, j) += gradient.d_score[at];
        }
        if (problem_.has_sink) d_sink_logits_.row(0, 0, 0)[head.number] += gradient.d_sink_logit;
    }

    /// Where bias broadcasts, all batch entries or heads share one place.
    Real* bias_sum(const Entry& entry, int64 h, int64 i, int64 j) {
        const int64 b = problem_.d_bias.shape[0] == 1 ? 0 : entry.number;
        return d_bias_.row(b, problem_.d_bias.shape[1] == 1 ? 0 : h, i) + j;
    }

    const DenseProblem& problem_;
    Arithmetic arithmetic_;
    const DenseBackwardArgs& args_;
    const DenseOutput& output_;
    Sums<Real> d_q_;
    Sums<Real> d_k_;
    Sums<Real> d_v_;
    Sums<Real> d_bias_;
    Sums<Real> d_sink_logits_;
};

DenseOutput forward(const DenseProblem& problem, const Inputs& inputs, Arithmetic arithmetic) {
    return arithmetic == Arithmetic::kExact ? forward<double>(problem, inputs, arithmetic)
                                            : forward<float>(problem, inputs, arithmetic);
}

}  // namespace

DenseOutput dense_forward(const DenseProblem& problem, const DenseForwardArgs& args,
                          Arithmetic arithmetic) {
    Inputs inputs = common_inputs(args);
    inputs.block_table = args.block_table;
    return forward(problem, inputs, arithmetic);
}

DenseGradients dense_backward(const DenseProblem& problem, const DenseBackwardArgs& args,
                              Arithmetic arithmetic, const DenseOutput* given) {
    const Inputs inputs = common_inputs(args);
    const DenseOutput output = given != nullptr ? *given : forward(problem, inputs, arithmetic);
    return arithmetic == Arithmetic::kExact
               ? Backward<double>(problem, arithmetic, args, output).run(inputs)
               : Backward<float>(problem, arithmetic, args, output).run(inputs);
}

}  // namespace fattn::reference
