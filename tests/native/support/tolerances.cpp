// Applies the table of tolerances.
#include "support/tolerances.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "reference/numeric.h"

namespace fattn::test {

namespace {

/// What the largest of PlainError::kEnough normally distributed errors is expected to stay below,
/// in standard deviations.
constexpr double kLargestOfEnough = 3.667;

/// For n normally distributed errors: times their root mean square it is what the largest of
/// PlainError::kEnough such errors is expected to stay below (Student's distribution, Abramowitz
/// and Stegun 26.7.5, to the second order in 1 / n).
double largest_of_enough(double n) { return kLargestOfEnough + 13.24 / n + 42.87 / (n * n); }

}  // namespace

void PlainError::add(const std::vector<double>& truth, const std::vector<double>& plain) {
    std::unordered_map<double, double> errors;  // of a result: the largest of equal ones
    for (std::size_t n = 0; n < truth.size(); ++n) {
        if (!std::isfinite(truth[n]) || !std::isfinite(plain[n])) continue;
        const double error = std::abs(truth[n] - plain[n]);
        largest_error_ = std::max(largest_error_, error);
        largest_result_ = std::max(largest_result_, std::abs(truth[n]));
        // Beyond kEnough neither how many there are nor their sum matters.
        if (static_cast<int64>(errors.size()) >= kEnough) continue;
        double& largest = errors[truth[n]];
        largest = std::max(largest, error);
    }
    count_ += static_cast<int64>(errors.size());
    for (const auto& [result, error] : errors) sum_of_squares_ += error * error;
}

void PlainError::add_other(const std::vector<double>& truth, const std::vector<double>& plain) {
    for (std::size_t n = 0; n < truth.size(); ++n)
        if (std::isfinite(truth[n]) && std::isfinite(plain[n]))
            largest_error_ = std::max(largest_error_, std::abs(truth[n] - plain[n]));
}

double PlainError::error() const {
    if (count_ == 0 || count_ >= kEnough) return largest_error_;
    const auto n = static_cast<double>(count_);
    return std::max(largest_error_, largest_of_enough(n) * std::sqrt(sum_of_squares_ / n));
}

double tolerance(Quantity quantity, DType dtype, DType stored, const PlainError& plain) {
    for (const ToleranceRule& rule : kTolerances) {
        if (rule.quantity != quantity || rule.dtype != dtype) continue;
        return std::max(
            rule.plain_factor * plain.error(),
            rule.roundoff_factor * reference::unit_roundoff(stored) * plain.largest_result());
    }
    return 0;
}

double linear_tolerance(DType dtype, DType stored) {
    for (const LinearToleranceRule& rule : kLinearTolerances) {
        if (rule.dtype == dtype)
            return rule.share + rule.stored_roundoffs * reference::unit_roundoff(stored);
    }
    return 0;
}

double excess_of_few(double n) {
    // Wilson and Hilferty: the cube root of a mean of n squares is about normally distributed.
    const double variance = 2 / (9 * n);
    return std::pow(1 - variance + kLargestOfEnough * std::sqrt(variance), 1.5);
}

}  // namespace fattn::test
