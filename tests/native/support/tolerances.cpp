// Applies the table of tolerances.
#include "support/tolerances.h"

#include <algorithm>
#include <cmath>

#include "reference/numeric.h"

namespace fattn::test {

void PlainError::add(const std::vector<double>& truth, const std::vector<double>& plain) {
    for (std::size_t n = 0; n < truth.size(); ++n) {
        if (!std::isfinite(truth[n]) || !std::isfinite(plain[n])) continue;
        const double error = std::abs(truth[n] - plain[n]);
        largest_error_ = std::max(largest_error_, error);
        sum_of_squares_ += error * error;
        largest_result_ = std::max(largest_result_, std::abs(truth[n]));
        ++count_;
    }
}

double PlainError::error() const {
    if (count_ == 0 || count_ >= kEnough) return largest_error_;
    return std::max(largest_error_, 4 * std::sqrt(sum_of_squares_ / static_cast<double>(count_)));
}

double tolerance(Quantity quantity, DType dtype, DType stored, const PlainError& plain) {
    const bool is_log = quantity == Quantity::kLse || quantity == Quantity::kMergedLse;
    const double largest = is_log ? std::max(plain.largest_result(), 1.0) : plain.largest_result();
    for (const ToleranceRule& rule : kTolerances) {
        if (rule.quantity != quantity || rule.dtype != dtype) continue;
        return std::max(rule.plain_factor * plain.error(),
                        rule.roundoff_factor * reference::unit_roundoff(stored) * largest);
    }
    return 0;
}

}  // namespace fattn::test
