// How long tests look for the errors of plain evaluations, and a truth that is looked for a second
// time before anything is found to be wrong; used by the truths of all families.
#pragma once

#include <functional>
#include <initializer_list>
#include <utility>

#include <gtest/gtest.h>

#include "support/tolerances.h"

namespace fattn::test {

/// How long to look for the plain errors. A quick estimate may rest on too few results and then be
/// too low: it is enough to accept a result, a thorough one has the last word on the others.
enum class Effort { kQuick, kThorough };

/// Whether the errors of Arithmetic::kPlainWide count beside those of kPlain: always in a thorough
/// estimate, in a quick one where 16-bit problems have results in f32, which kPlain alone often
/// finds without an error.
bool wide_counts(Effort effort, DType dtype, bool f32_output);

/// Whether one more problem of a distribution is evaluated: until the plain errors rest on enough
/// results, or what that may cost is spent.
class PlainSearch {
  public:
    /// magnitude: of the inputs; work: multiply-adds of a problem, about.
    PlainSearch(Effort effort, double magnitude, double work)
        : effort_(effort), magnitude_(magnitude), work_(work < 1 ? 1 : work) {}

    /// num_rows: softmax rows that the errors rest on; num_sums: sums over all rows of a head.
    bool wants_another(int64 num_rows, std::initializer_list<const PlainError*> errors,
                       int64 num_sums = 0);

  private:
    bool lacks_rows(int64 num_rows, int64 num_sums) const;

    Effort effort_;
    double magnitude_;
    double work_;
    double spent_ = 0;
    int num_evaluated_ = 0;
};

/// A truth with quick errors first, and with thorough ones from the first result on that is not
/// near it.
template <class Truth>
class TruthInTwoSteps {
  public:
    explicit TruthInTwoSteps(std::function<Truth(Effort)> find)
        : find_(std::move(find)), truth_(find_(Effort::kQuick)) {}

    template <class IsNear>
    testing::AssertionResult check(const IsNear& is_near) {
        const testing::AssertionResult quick = is_near(truth_);
        if (quick || thorough_) return quick;
        truth_ = find_(Effort::kThorough);
        thorough_ = true;
        return is_near(truth_);
    }

  private:
    std::function<Truth(Effort)> find_;
    Truth truth_;
    bool thorough_ = false;
};

}  // namespace fattn::test
