// How the state of linear attention decays; used by the linear kernels, the reference's tests and
// api/.
//
// The state after token t is S_t = e^(-slope) S_(t-1) + k_t v_t^T, so a state of tokens before a
// run of n tokens enters the state after them with weight e^(-slope n), and token j of the n with
// weight e^(-slope (n - 1 - j)). All weights are powers with exponents <= 0: nothing is ever
// divided by a power, so no slope overflows, and the weight of distance 0 is exactly 1.
#pragma once

#include "core/float_ops.h"
#include "core/numeric.h"
#include "core/types.h"

namespace fattn {

/// Tokens of a chunk. Inside a chunk the work of a token grows with the chunk's length, between
/// chunks it does not; but the state is loaded and stored once a chunk.
constexpr int64 kLinearChunk = 96;

/// Operations of a causal sum over num_tokens tokens with states [rows, columns]: two products over
/// the pairs inside chunks, and one from and one into the state for every token.
FATTN_HD constexpr double linear_flops(int64 num_tokens, int64 rows, int64 columns) {
    const double chunk = static_cast<double>(kLinearChunk);
    const double rest = static_cast<double>(num_tokens % kLinearChunk);
    const double pairs = static_cast<double>(num_tokens / kLinearChunk) * chunk * (chunk + 1) / 2 +
                         rest * (rest + 1) / 2;
    const double r = static_cast<double>(rows);
    const double c = static_cast<double>(columns);
    return 2 * pairs * (r + c) + 4 * static_cast<double>(num_tokens) * r * c;
}

/// e^(-slope distance) for slope >= 0 and distance >= 0. Error at most 2 ULP where the result is
/// normal; exactly 1 at distance 0 and slope 0, 0 where it is below the smallest denormal.
FATTN_HD inline float decay(float slope, int64 distance) {
    constexpr double kLog2EDouble = 1.4426950408889634074;
    constexpr double kFarBelow = -1000.0;  // 2^-1000 is 0 in f32
    double exponent = -static_cast<double>(slope) * static_cast<double>(distance) * kLog2EDouble;
    if (exponent < kFarBelow) exponent = kFarBelow;
    const int64 whole = static_cast<int64>(exponent);
    const float rest = static_cast<float>(exponent - static_cast<double>(whole));
    return ldexp(exp2(rest), static_cast<float>(whole));
}

}  // namespace fattn
