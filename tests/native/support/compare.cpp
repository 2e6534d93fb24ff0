// Comparison of tensors with messages that locate the difference.
#include "support/compare.h"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <limits>
#include <sstream>

#include "reference/numeric.h"

namespace fattn::test {
namespace {

bool same_kind(double a, double b) {
    if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
    if (std::isinf(a) || std::isinf(b)) return a == b;
    return true;
}

std::string coordinates(const TensorLayout& layout, std::size_t idx) {
    int64 rest = static_cast<int64>(idx);
    int64 at[4];
    for (int n = 3; n >= 0; --n) {
        at[n] = rest % layout.shape[n];
        rest /= layout.shape[n];
    }
    std::ostringstream text;
    text << "[" << at[0] << "," << at[1] << "," << at[2] << "," << at[3] << "]";
    return text.str();
}

}  // namespace

testing::AssertionResult near(const std::string& name, const std::vector<double>& expected,
                              const Tensor& actual, double allowed, const std::string& context) {
    const std::vector<double> got = actual.values();
    if (expected.size() != got.size())
        return testing::AssertionFailure() << name << ": " << got.size() << " results, expected "
                                           << expected.size() << "; " << context;
    const DType dtype = actual.layout().dtype;
    std::size_t num_wrong_kind = 0, first_wrong_kind = 0, num_beyond = 0, worst = 0;
    double worst_error = -1;
    for (std::size_t n = 0; n < got.size(); ++n) {
        const double rounded = reference::round_to(dtype, expected[n]);
        const double want = std::isinf(rounded) ? rounded : expected[n];
        if (!same_kind(want, got[n])) {
            if (num_wrong_kind++ == 0) first_wrong_kind = n;
        } else if (std::isfinite(want)) {
            const double error = std::abs(want - got[n]);
            if (error > allowed) ++num_beyond;
            if (error > worst_error) {
                worst_error = error;
                worst = n;
            }
        }
    }
    if (num_wrong_kind == 0 && num_beyond == 0) return testing::AssertionSuccess();
    std::ostringstream text;
    text << std::setprecision(9) << name << " (" << name_of(dtype) << "): ";
    if (num_wrong_kind > 0)
        text << num_wrong_kind << " of " << got.size() << " differ in being finite, first at "
             << coordinates(actual.layout(), first_wrong_kind) << ": " << got[first_wrong_kind]
             << ", expected " << expected[first_wrong_kind] << "; ";
    if (worst_error >= 0)
        text << num_beyond << " beyond " << allowed << ", worst error " << worst_error << " at "
             << coordinates(actual.layout(), worst) << ": " << got[worst] << ", expected "
             << expected[worst] << "; ";
    return testing::AssertionFailure() << text.str() << context;
}

testing::AssertionResult near_rms(const std::string& name, const std::vector<double>& expected,
                                  const Tensor& actual, double allowed, const std::string& context,
                                  double least_size) {
    const std::vector<double> got = actual.values();
    double errors = 0, squares = 0;
    for (std::size_t n = 0; n < std::min(got.size(), expected.size()); ++n) {
        if (!std::isfinite(got[n]) || !std::isfinite(expected[n])) continue;
        errors += (got[n] - expected[n]) * (got[n] - expected[n]);
        squares += expected[n] * expected[n];
    }
    const double count = static_cast<double>(std::max<std::size_t>(got.size(), 1));
    const double error = std::sqrt(errors / count);
    const double bound = allowed * std::max(std::sqrt(squares / count), least_size);
    // Single errors say where a wrong result stands, and that what is not finite agrees.
    const double everything = std::numeric_limits<double>::infinity();
    if (error <= bound) return near(name, expected, actual, everything, context);
    return testing::AssertionFailure() << "RMS error " << error << " beyond " << bound << "; "
                                       << near(name, expected, actual, bound, context).message();
}

testing::AssertionResult same_bits(const std::string& name, const Tensor& expected,
                                   const Tensor& actual, const std::string& context) {
    if (expected.same_bytes(actual)) return testing::AssertionSuccess();
    const std::vector<double> want = expected.values();
    const std::vector<double> got = actual.values();
    for (std::size_t n = 0; n < std::min(want.size(), got.size()); ++n)
        if (!same_kind(want[n], got[n]) || (std::isfinite(want[n]) && want[n] != got[n]))
            return testing::AssertionFailure()
                   << std::setprecision(9) << name << ": bits differ, first at "
                   << coordinates(actual.layout(), n) << ": " << got[n] << ", expected " << want[n]
                   << "; " << context;
    return testing::AssertionFailure() << name << ": bits differ; " << context;
}

}  // namespace fattn::test
