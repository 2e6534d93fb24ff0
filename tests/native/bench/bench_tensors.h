// Tensors, runs and figures that the benchmark programs share.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "fused_attention/fused_attention.h"

namespace fattn::bench {

inline fattn_layout layout(int64_t a, int64_t b, int64_t c, int64_t d, fattn_dtype dtype) {
    return {{a, b, c, d}, {b * c * d, c * d, d, 1}, dtype, 4};
}

/// Values as f32, or as bf16, which is the upper half of an f32: the rest is cut off.
inline std::vector<uint8_t> stored(const std::vector<float>& values, fattn_dtype dtype) {
    const size_t bytes = dtype == FATTN_DTYPE_F32 ? 4 : 2;
    std::vector<uint8_t> data(values.size() * bytes);
    for (size_t i = 0; i < values.size(); ++i) {
        const auto* upper = reinterpret_cast<const uint8_t*>(&values[i]) + (4 - bytes);
        std::copy(upper, upper + bytes, data.data() + i * bytes);
    }
    return data;
}

/// Unit-normal values as f32 or bf16.
inline std::vector<uint8_t> random_tensor(int64_t count, fattn_dtype dtype, unsigned seed) {
    std::minstd_rand generator(seed);
    std::normal_distribution<float> normal;
    // A period that is no power of two keeps rows different.
    std::vector<float> some(65521);
    for (float& x : some) x = normal(generator);
    const std::vector<uint8_t> period = stored(some, dtype);
    std::vector<uint8_t> data(static_cast<size_t>(count) * (period.size() / some.size()));
    for (size_t at = 0; at < data.size(); at += period.size()) {
        std::copy_n(period.data(), std::min(period.size(), data.size() - at), data.data() + at);
    }
    return data;
}

inline fattn_run with_threads(int threads) {
    fattn_run run{};
    run.struct_size = sizeof run;
    run.max_threads = threads;
    return run;
}

inline double median(std::vector<double> values) {
    std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(values.size() / 2),
                     values.end());
    return values[values.size() / 2];
}

}  // namespace fattn::bench
