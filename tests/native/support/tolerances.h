// How far a kernel may be from the double-precision reference: the one table of tolerances and the
// rule that uses it. Called by conformance and law tests.
#pragma once

#include <vector>

#include "core/tensor_view.h"

namespace fattn::test {

enum class Quantity {
    kOutput,
    kLse,
    kGradient,
    kBiasGradient,
    kSinkGradient,
    kMergedOutput,
    kMergedLse,
    kImportance,
    kCoverage
};

/// allowed = max(plain_factor * error of the plain evaluation, roundoff_factor * unit roundoff *
/// largest result). The plain evaluation (reference/dense.h) scales with shape, features and data,
/// which no fixed number does.
struct ToleranceRule {
    Quantity quantity;
    DType dtype;  // of q, k, v
    double plain_factor;
    double roundoff_factor;
    const char* reason;
};

inline constexpr const char* kOrderOfSums =
    "a tiled evaluation rounds as often as a plain one, in another order; twice allows for the "
    "largest of many errors falling in other places";
inline constexpr const char* kLogOfSum =
    "the LSE is the largest score plus the log of a sum of weights relative to it: as the output";
inline constexpr const char* kStoredOnce =
    "weights and results are stored in 16 bits between the same operations in both evaluations";
inline constexpr const char* kChained =
    "as the output, but weights are found again from a rounded LSE, whose error all gradients of a "
    "row share; FlashAttention-3's rule for gradients, three times, where twice fails for one "
    "problem in some hundreds";
inline constexpr const char* kRanks =
    "weights that only rank keys and blocks, evaluated in f32 for every dtype; ranks of weights "
    "closer than their error may be either way";
inline constexpr const char* kSumOverRows = "as other gradients, in one sum over all rows";

inline constexpr ToleranceRule kTolerances[] = {
    {Quantity::kOutput, DType::kF32, 2, 2, kOrderOfSums},
    {Quantity::kOutput, DType::kF16, 2, 2, kStoredOnce},
    {Quantity::kOutput, DType::kBF16, 2, 2, kStoredOnce},
    {Quantity::kLse, DType::kF32, 2, 2, kLogOfSum},
    {Quantity::kLse, DType::kF16, 2, 2, kLogOfSum},
    {Quantity::kLse, DType::kBF16, 2, 2, kLogOfSum},
    {Quantity::kGradient, DType::kF32, 3, 2, kChained},
    {Quantity::kGradient, DType::kF16, 3, 2, kChained},
    {Quantity::kGradient, DType::kBF16, 3, 2, kChained},
    {Quantity::kBiasGradient, DType::kF32, 3, 2, kChained},
    {Quantity::kBiasGradient, DType::kF16, 3, 2, kChained},
    {Quantity::kBiasGradient, DType::kBF16, 3, 2, kChained},
    {Quantity::kSinkGradient, DType::kF32, 3, 2, kSumOverRows},
    {Quantity::kSinkGradient, DType::kF16, 3, 2, kSumOverRows},
    {Quantity::kSinkGradient, DType::kBF16, 3, 2, kSumOverRows},
    {Quantity::kMergedOutput, DType::kF32, 2, 2, kOrderOfSums},
    {Quantity::kMergedOutput, DType::kF16, 2, 2, kStoredOnce},
    {Quantity::kMergedOutput, DType::kBF16, 2, 2, kStoredOnce},
    {Quantity::kMergedLse, DType::kF32, 2, 2, kLogOfSum},
    {Quantity::kMergedLse, DType::kF16, 2, 2, kLogOfSum},
    {Quantity::kMergedLse, DType::kBF16, 2, 2, kLogOfSum},
    {Quantity::kImportance, DType::kF32, 2, 2, kRanks},
    {Quantity::kImportance, DType::kF16, 2, 2, kRanks},
    {Quantity::kImportance, DType::kBF16, 2, 2, kRanks},
    {Quantity::kCoverage, DType::kF32, 2, 4, kRanks},
    {Quantity::kCoverage, DType::kF16, 2, 4, kRanks},
    {Quantity::kCoverage, DType::kBF16, 2, 4, kRanks},
};

/// Linear attention: the root mean square of the errors may be so large a share of that of the
/// results. stored_roundoffs counts unit roundoffs of the type that holds the results.
struct LinearToleranceRule {
    DType dtype;  // of q, k, v
    double share;
    double stored_roundoffs;
    const char* reason;
};

inline constexpr const char* kLongSums =
    "a sum of some hundred products is rounded in f32 after each, in random directions, and then "
    "added to a state that keeps what rounding leaves: some dozen unit roundoffs at any length, "
    "more where terms of both signs nearly cancel";
inline constexpr const char* kFieldsRule =
    "the field's rule for linear attention (SEMANTICS A.14): operands, weights and the state's "
    "copy "
    "are rounded to bf16 once each, and the results";
inline constexpr const char* kRoundedInput =
    "f16 is computed in f32; results are stored once in 16 bits";

inline constexpr LinearToleranceRule kLinearTolerances[] = {
    {DType::kF32, 3e-6, 0, kLongSums},
    {DType::kF16, 3e-6, 1, kRoundedInput},
    {DType::kBF16, 5e-3, 0, kFieldsRule},
};

/// dtype of q, k and v; stored: type that holds the results.
double linear_tolerance(DType dtype, DType stored);

/// By how much the root mean square of n errors may exceed that of their distribution: 4 times for
/// one error, 1.8 for 12, 1.12 for 512. n independent, normally distributed errors stay below it as
/// surely as the largest of PlainError::kEnough of them is below what PlainError expects.
double excess_of_few(double n);

/// Errors of the plain evaluation over results of one distribution.
class PlainError {
  public:
    /// Results that are not finite in either evaluation are left out; equal ones, as rows that see
    /// the same keys without a score have, count once.
    void add(const std::vector<double>& truth, const std::vector<double>& plain);
    /// Results of another plain evaluation of the same results: their largest error counts.
    void add_other(const std::vector<double>& truth, const std::vector<double>& plain);

    int64 count() const { return count_; }
    double largest_result() const { return largest_result_; }
    /// The largest error of kEnough results; of fewer at least what so many would show if errors
    /// were normally distributed.
    double error() const;

    static constexpr int64 kEnough = 4096;

  private:
    int64 count_ = 0;
    double largest_error_ = 0;
    double sum_of_squares_ = 0;
    double largest_result_ = 0;
};

/// stored: type that holds the results.
double tolerance(Quantity quantity, DType dtype, DType stored, const PlainError& plain);

}  // namespace fattn::test
