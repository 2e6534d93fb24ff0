// Builds the sentences of errors and reasons from parts; used by api/ and by backends.
#pragma once

#include <concepts>
#include <cstdio>
#include <string>
#include <string_view>

#include "core/tensor_view.h"

namespace fattn {

constexpr const char* dtype_name(DType dtype) {
    switch (dtype) {
        case DType::kDefault:
            return "not given";
        case DType::kF32:
            return "f32";
        case DType::kF16:
            return "f16";
        case DType::kBF16:
            return "bf16";
        case DType::kI32:
            return "i32";
        case DType::kU8:
            return "u8";
        case DType::kBit:
            return "bit";
        case DType::kF8E4M3:
            return "f8_e4m3";
        case DType::kF8E5M2:
            return "f8_e5m2";
        case DType::kI8:
            return "i8";
    }
    return "an unknown dtype";
}

inline void append(std::string& out, std::string_view part) { out += part; }
inline void append(std::string& out, const char* part) { out += part; }
inline void append(std::string& out, DType dtype) { out += dtype_name(dtype); }

template <std::integral T>
void append(std::string& out, T value) {
    out += std::to_string(value);
}

inline void append(std::string& out, double value) {
    char digits[32];
    std::snprintf(digits, sizeof(digits), "%.9g", value);
    out += digits;
}
inline void append(std::string& out, float value) { append(out, static_cast<double>(value)); }

/// The parts, one after the other; numbers in decimal.
template <class... Parts>
std::string text(const Parts&... parts) {
    std::string out;
    (append(out, parts), ...);
    return out;
}

/// Four extents or strides as "[2, 8, 128, 64]".
inline std::string list_text(const int64 (&values)[4]) {
    return text("[", values[0], ", ", values[1], ", ", values[2], ", ", values[3], "]");
}

}  // namespace fattn
