// Sums squares of results, place by place.
#include "support/linear_size.h"

#include <algorithm>
#include <cmath>

namespace fattn::test {

void LinearSize::add_square(std::size_t place, double square) {
    if (!std::isfinite(square)) return;
    squares_.resize(std::max(squares_.size(), place + 1));
    squares_[place] += square;
    ++count_;
}

void LinearSize::add(const std::vector<double>& results) {
    for (std::size_t n = 0; n < results.size(); ++n) add_square(n, results[n] * results[n]);
}

void LinearSize::add(const std::vector<double>& terms, const std::vector<double>& other_terms) {
    for (std::size_t n = 0; n < terms.size(); ++n)
        add_square(n, terms[n] * terms[n] + other_terms[n] * other_terms[n]);
}

double LinearSize::root_mean_square() const {
    double sum = 0;
    for (const double square : squares_) sum += square;
    return std::sqrt(sum / static_cast<double>(std::max<int64>(count_, 1)));
}

double LinearSize::num_equal() const {
    double sum = 0, sum_of_squares = 0;
    for (const double square : squares_) {
        sum += square;
        sum_of_squares += square * square;
    }
    return sum_of_squares > 0 ? sum * sum / sum_of_squares : 1;
}

}  // namespace fattn::test
