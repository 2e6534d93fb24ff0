// Fixed-width types and markers for code that compiles as plain C++, under nvcc and under NVRTC;
// included by all of core.
#pragma once

// FATTN_HD marks functions usable on host and device. Inside a CPU target's translation unit they
// are always inlined, so that no copy compiled for a newer instruction set can be linked into code
// that runs everywhere.
#if defined(__CUDACC__)
#define FATTN_HD __host__ __device__
#elif defined(FATTN_CPU_TARGET_NAMESPACE)
#define FATTN_HD [[gnu::always_inline]]
#else
#define FATTN_HD
#endif

namespace fattn {

#if defined(__INT64_TYPE__)
using int8 = __INT8_TYPE__;
using int16 = __INT16_TYPE__;
using int32 = __INT32_TYPE__;
using int64 = __INT64_TYPE__;
using uint8 = __UINT8_TYPE__;
using uint16 = __UINT16_TYPE__;
using uint32 = __UINT32_TYPE__;
using uint64 = __UINT64_TYPE__;
#else
using int8 = signed char;
using int16 = short;
using int32 = int;
using int64 = long long;
using uint8 = unsigned char;
using uint16 = unsigned short;
using uint32 = unsigned int;
using uint64 = unsigned long long;
#endif

static_assert(sizeof(int64) == 8 && sizeof(int32) == 4 && sizeof(int16) == 2 && sizeof(int8) == 1,
              "fixed-width types must have their widths");

/// Storage of IEEE binary16 and of bfloat16, the upper half of a float; conversions are in
/// convert.h.
struct f16 {
    uint16 bits;
};
struct bf16 {
    uint16 bits;
};

template <class T>
FATTN_HD constexpr T min_of(T a, T b) {
    return b < a ? b : a;
}

template <class T>
FATTN_HD constexpr T max_of(T a, T b) {
    return a < b ? b : a;
}

template <class T>
FATTN_HD constexpr T clamp_to(T x, T low, T high) {
    return min_of(max_of(x, low), high);
}

/// Quotient of non-negative a by positive b, rounded up.
template <class T>
FATTN_HD constexpr T ceil_div(T a, T b) {
    return (a + b - 1) / b;
}

/// Smallest multiple of positive b that is at least non-negative a.
template <class T>
FATTN_HD constexpr T round_up(T a, T b) {
    return ceil_div(a, b) * b;
}

/// Conversion to a smaller type of a value that its maker has checked to fit.
template <class To, class From>
FATTN_HD constexpr To narrow(From x) {
    return static_cast<To>(x);
}

/// Quotient rounded towards minus infinity; b positive.
FATTN_HD constexpr int64 floor_div(int64 a, int64 b) { return a / b - (a % b < 0 ? 1 : 0); }

}  // namespace fattn
