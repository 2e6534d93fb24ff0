// One head of one sequence as plain matrices: gathered from the strided tensors of a problem,
// scored and weighted; the parts that the reference's forward and backward share.
#pragma once

#include <vector>

#include "core/problem.h"

namespace fattn::reference {

/// The inputs that forward and backward have in common.
struct Inputs {
    const void* q;
    const void* k;
    const void* v;
    const void* bias;
    const void* mask;
    const float* alibi_slopes;
    const float* sink_logits;
    const int32* cu_seqlens_q;
    const int32* cu_seqlens_k;
    const int32* kv_len;
    const int32* block_table;
    uint64 dropout_seed;
    uint64 dropout_offset;
    int64 q_position_offset;
    int64 k_position_offset;
};

/// Where the tokens of one entry of the batch lie.
struct Entry {
    int64 number;     // batch entry, or sequence of a packed batch
    int64 batch_idx;  // its index along B of q, k, v, o
    int64 first_q;
    int64 first_k;
    int64 num_q;
    int64 num_k;
};

Entry find_entry(const DenseProblem& problem, const Inputs& inputs, int64 number);

/// Place of token j of an entry in the tensor of keys or values, in elements.
int64 key_row(const TensorLayout& layout, const DenseProblem& problem, const Inputs& inputs,
              const Entry& entry, int64 head, int64 j);

/// Whether query i may look at key j, as the intervals of causality, window and chunk and the
/// caller's mask say.
bool is_visible(const DenseProblem& problem, const Inputs& inputs, const Entry& entry, int64 q_head,
                int64 i, int64 j);

/// Row-major matrix.
template <class Real>
struct Matrix {
    int64 num_rows = 0;
    int64 num_columns = 0;
    std::vector<Real> values;

    Matrix() = default;
    Matrix(int64 rows, int64 columns, Real value = Real(0))
        : num_rows(rows),
          num_columns(columns),
          values(static_cast<std::size_t>(rows * columns), value) {}

    Real* row(int64 r) { return values.data() + r * num_columns; }
    const Real* row(int64 r) const { return values.data() + r * num_columns; }
};

/// One query head of one entry. Real is double for the truth and float for the plain evaluation,
/// whose exponents are in base 2 with log2(e) folded into the scale.
template <class Real>
struct Head {
    int64 number;
    Matrix<Real> q;               // [num_q, D]
    Matrix<Real> k_transposed;    // [D, num_k]: lets the compiler vectorise over keys
    Matrix<Real> v;               // [num_k, Dv]
    Matrix<Real> exponent;        // [num_q, num_k] scores in the base of Real, -inf where hidden
    Matrix<Real> softcap_slope;   // [num_q, num_k] derivative of the soft-cap; empty without one
    Matrix<Real> dropout_factor;  // [num_q, num_k] 0 or 1/(1-p); empty without dropout
    std::vector<bool> visible;    // [num_q * num_k]
    bool has_sink = false;
    Real sink_logit = 0;

    bool sees(int64 i, int64 j) const {
        return visible[static_cast<std::size_t>(i * exponent.num_columns + j)];
    }
    Real dropout(int64 i, int64 j) const {
        return dropout_factor.values.empty() ? Real(1) : dropout_factor.row(i)[j];
    }
};

/// Order in which a dot product of a query and a key is summed. A backward pass recomputes the
/// scores of the forward pass and need not round as it did, so a plain evaluation sums them the
/// other way round.
enum class SumOrder { kFirstToLast, kLastToFirst };

template <class Real>
Head<Real> load_head(const DenseProblem& problem, const Inputs& inputs, const Entry& entry,
                     int64 q_head, SumOrder order);

/// Weights of a row before dropout, 0 where hidden.
template <class Real>
struct RowWeights {
    std::vector<Real> weights;  // [num_k]
    Real sum;                   // what results are yet to be divided by
    Real lse;  // natural log of the row sum; -inf for a row that sees nothing; 0 with sigmoid
               // weights
};

/// How exponents become softmax weights.
enum class Shift {
    /// Their difference from the row's maximum or LSE is exact but for its rounding, and weights
    /// are divided by their sum before they are used.
    kExact,
    /// The maximum or LSE is off by half a unit in its last place, and results are divided by the
    /// sum.
    kRounded
};

/// As the forward pass finds them.
template <class Real>
RowWeights<Real> weigh_row(const DenseProblem& problem, const Head<Real>& head, int64 i,
                           Shift shift);

/// As a backward pass finds them again from the row's lse.
template <class Real>
std::vector<Real> weights_from_lse(const DenseProblem& problem, const Head<Real>& head, int64 i,
                                   Real lse, Shift shift);

/// e to the power of x, in the arithmetic of Real.
template <class Real>
Real exponential(Real x);

}  // namespace fattn::reference
