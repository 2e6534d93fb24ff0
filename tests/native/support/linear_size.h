// How large results of linear attention are that come from one distribution: what their errors are
// measured against; used by the truth of linear attention.
#pragma once

#include <cstddef>
#include <vector>

#include "core/types.h"

namespace fattn::test {

/// Mean squares of the results of one tensor, place by place, over problems that differ in their
/// data alone.
///
/// An error of a sum is in proportion to the size of its terms, not to what is left of them when
/// terms of both signs meet: one of 3000 tokens that happen to cancel is as wrong as its
/// neighbours. The mean square of a sum of terms with random signs is the sum of their squares, so
/// the results of many problems show the size of the terms of each.
class LinearSize {
  public:
    /// Results of one more problem; those that are not finite are left out.
    void add(const std::vector<double>& results);
    /// The same where a result is the sum of two terms that may cancel in every problem.
    void add(const std::vector<double>& terms, const std::vector<double>& other_terms);

    int64 count() const { return count_; }
    /// Of all results.
    double root_mean_square() const;
    /// How many results of one size show as much as those of one problem: fewer than there are
    /// where some, of heads that forget slowly, are much larger than others.
    double num_equal() const;

  private:
    void add_square(std::size_t place, double square);

    std::vector<double> squares_;  // summed over problems
    int64 count_ = 0;              // of results
};

}  // namespace fattn::test
