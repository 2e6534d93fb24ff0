// Tensors, runs and figures that the benchmark programs share.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <random>
#include <vector>

#include "core/convert.h"
#include "fused_attention/fused_attention.h"

namespace fattn::bench {

inline fattn_layout layout(int64_t a, int64_t b, int64_t c, int64_t d, fattn_dtype dtype) {
    return {{a, b, c, d}, {b * c * d, c * d, d, 1}, dtype, 4};
}

/// Memory on whole cache lines, as HostBuffer and most tensor libraries give it.
template <class T>
struct LineAllocator {
    using value_type = T;
    static constexpr std::align_val_t kLine{64};

    LineAllocator() = default;
    template <class U>
    explicit LineAllocator(const LineAllocator<U>&) {}
    T* allocate(size_t count) { return static_cast<T*>(::operator new(count * sizeof(T), kLine)); }
    void deallocate(T* memory, size_t) { ::operator delete(memory, kLine); }
    bool operator==(const LineAllocator&) const = default;
};
/// The bytes of a tensor.
using Bytes = std::vector<uint8_t, LineAllocator<uint8_t>>;

/// Writes an element; returns where the next one lies.
template <class T>
uint8_t* put(T element, uint8_t* to) {
    std::memcpy(to, &element, sizeof(element));
    return to + sizeof(element);
}

/// Values as f32, f16 or bf16.
inline Bytes stored(const std::vector<float>& values, fattn_dtype dtype) {
    Bytes data(values.size() * (dtype == FATTN_DTYPE_F32 ? sizeof(float) : sizeof(uint16_t)));
    uint8_t* to = data.data();
    for (const float x : values) {
        if (dtype == FATTN_DTYPE_F32) {
            to = put(x, to);
        } else {
            to = put(dtype == FATTN_DTYPE_F16 ? to_f16(x).bits : to_bf16(x).bits, to);
        }
    }
    return data;
}

/// Unit-normal values.
inline Bytes random_tensor(int64_t count, fattn_dtype dtype, unsigned seed) {
    std::minstd_rand generator(seed);
    std::normal_distribution<float> normal;
    // A period that is no power of two keeps rows different.
    std::vector<float> some(65521);
    for (float& x : some) x = normal(generator);
    const Bytes period = stored(some, dtype);
    Bytes data(static_cast<size_t>(count) * (period.size() / some.size()));
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
