// Tensors and figures that the benchmark programs share.
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

/// Unit-normal values as f32 or bf16.
inline std::vector<uint8_t> random_tensor(int64_t count, fattn_dtype dtype, unsigned seed) {
    const size_t bytes = dtype == FATTN_DTYPE_F32 ? 4 : 2;
    std::vector<uint8_t> data(static_cast<size_t>(count) * bytes);
    std::minstd_rand generator(seed);
    std::normal_distribution<float> normal;
    std::vector<float> some(65536);
    for (float& x : some) x = normal(generator);
    for (int64_t i = 0; i < count; ++i) {
        // A period that is no power of two keeps rows different.
        const float x = some[static_cast<size_t>(i % 65521)];
        uint32_t bits;
        __builtin_memcpy(&bits, &x, 4);
        const auto half = static_cast<uint16_t>(bits >> 16);
        uint8_t* at = data.data() + static_cast<size_t>(i) * bytes;
        if (bytes == 4) {
            __builtin_memcpy(at, &x, 4);
        } else {
            __builtin_memcpy(at, &half, 2);
        }
    }
    return data;
}

inline double median(std::vector<double> values) {
    std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(values.size() / 2),
                     values.end());
    return values[values.size() / 2];
}

}  // namespace fattn::bench
