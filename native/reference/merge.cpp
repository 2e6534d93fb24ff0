// LSE = log sum_r exp(LSE_r), O = sum_r exp(LSE_r - LSE) O_r, row by row.
#include "reference/merge.h"

#include <cmath>
#include <limits>
#include <type_traits>

#include "reference/numeric.h"

namespace fattn::reference {
namespace {

template <class Real>
DenseOutput merge_parts(const MergeProblem& problem) {
    constexpr Real kAbsent = -std::numeric_limits<Real>::infinity();
    const TensorLayout& part = problem.part;
    DenseOutput merged;
    for (int64 row = 0; row < part.shape[0] * part.shape[1] * part.shape[2]; ++row) {
        const int64 token = row % part.shape[2];
        const int64 head = row / part.shape[2] % part.shape[1];
        const int64 at = part.row(row / part.shape[2] / part.shape[1], head, token);
        Real largest = kAbsent;
        for (int64 r = 0; r < problem.num_parts; ++r)
            largest = std::fmax(largest, static_cast<Real>(problem.lse_parts[r][row]));
        Real sum = 0;
        std::vector<Real> o(static_cast<std::size_t>(part.shape[3]));
        for (int64 r = 0; r < problem.num_parts && largest > kAbsent; ++r) {
            const Real lse = static_cast<Real>(problem.lse_parts[r][row]);
            if (lse == kAbsent) continue;
            const Real weight = std::exp(lse - largest);
            sum += weight;
            for (std::size_t d = 0; d < o.size(); ++d)
                o[d] +=
                    weight * static_cast<Real>(load(part.dtype, problem.o_parts[r],
                                                    at + static_cast<int64>(d) * part.strides[3]));
        }
        for (Real& x : o) {
            const Real value = largest > kAbsent ? x / sum : Real(0);
            merged.o.push_back(std::is_same_v<Real, double> ? value
                                                            : round_to(problem.o.dtype, value));
        }
        merged.lse.push_back(largest > kAbsent ? largest + std::log(sum) : kAbsent);
    }
    return merged;
}

}  // namespace

DenseOutput merge(const MergeProblem& problem, Arithmetic arithmetic) {
    return arithmetic == Arithmetic::kExact ? merge_parts<double>(problem)
                                            : merge_parts<float>(problem);
}

}  // namespace fattn::reference
