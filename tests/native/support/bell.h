// Random values for tensors that tests fill; used by the cases of every family.
#pragma once

#include <random>

#include "core/types.h"

namespace fattn::test {

/// A value of mean 0 and variance 1 between -3.47 and 3.47, bell-shaped: the sum of four uniform
/// values, which one number of the engine holds. std::normal_distribution takes logarithms, a third
/// of the time of all random problems.
inline double bell(std::mt19937_64& random) {
    constexpr double kUnit = 1.7320508075688772 / 65536;  // a uniform value has variance 1 / 12
    const uint64 bits = random();
    const uint64 sum =
        (bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48);
    return (static_cast<double>(sum) - 131070) * kUnit;
}

}  // namespace fattn::test
