// Reads and writes structs whose size may differ between caller and library (they begin with
// struct_size); used by every exported function that takes one.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "api/status.h"
#include "backend/text.h"

namespace fattn::api {

/// Largest struct_size that is believed: bytes past ours are read to see that they are zero.
constexpr uint32 kLargestStructSize = 16384;

/// Result of reading a struct_size that may be wrong; name is that of the parameter, type that of
/// the struct.
Status check_struct_size(const void* given, std::size_t own_size, const char* name,
                         const char* type);

/// Copies a caller's struct: a shorter one is continued with zeros, a longer one must be zero past
/// our end.
template <class T>
Status read_growing(const T* given, const char* name, const char* type, T* out) {
    FATTN_RETURN_IF_ERROR(check_struct_size(given, sizeof(T), name, type));
    *out = T{};
    std::memcpy(out, given, std::min<std::size_t>(given->struct_size, sizeof(T)));
    return {};
}

/// Writes as much of value as the caller's struct holds, and the number of bytes written.
template <class T>
Status write_growing(T value, const char* name, const char* type, T* out) {
    if (out == nullptr) return invalid(text(name, " is NULL; a ", type, " is needed"));
    if (out->struct_size < 2 * sizeof(uint32)) {
        return invalid(text(name, "->struct_size is ", out->struct_size, "; set it to sizeof(",
                            type, "), ", sizeof(T), " in this library"));
    }
    value.struct_size = std::min(out->struct_size, static_cast<uint32>(sizeof(T)));
    std::memcpy(out, &value, value.struct_size);
    return {};
}

}  // namespace fattn::api
