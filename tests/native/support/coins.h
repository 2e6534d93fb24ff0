// Random choices from a seed, for the generators of random problems.
#pragma once

#include <cstddef>
#include <random>

#include "core/types.h"

namespace fattn::test {

class Coins {
  public:
    explicit Coins(uint64 seed) : random_(seed * 0x9E3779B97F4A7C15 + 1) {}

    bool chance(double p) { return std::uniform_real_distribution<double>()(random_) < p; }
    /// Uniform in [low, high].
    int64 between(int64 low, int64 high) {
        return std::uniform_int_distribution<int64>(low, high)(random_);
    }
    template <class T, std::size_t N>
    T pick(const T (&values)[N]) {
        return values[static_cast<std::size_t>(between(0, static_cast<int64>(N) - 1))];
    }

  private:
    std::mt19937_64 random_;
};

}  // namespace fattn::test
