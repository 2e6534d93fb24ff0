// The fundamental types of PTX, their sizes and spellings. Used by the parser and the decoder.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace fattn::vgpu::ptx {

enum class Type : uint8_t {
    kNone,
    kPred,
    kB8,
    kB16,
    kB32,
    kB64,
    kB128,
    kU8,
    kU16,
    kU32,
    kU64,
    kS8,
    kS16,
    kS32,
    kS64,
    kF16,
    kF16x2,
    kBf16,
    kBf16x2,
    kTf32,
    kE4m3,
    kE5m2,
    kE4m3x2,
    kE5m2x2,
    kF32,
    kF64,
};

struct TypeInfo {
    std::string_view name;
    uint8_t bytes;
    char family;  // b bits, u unsigned, s signed, f floating point, p predicate
};

const TypeInfo& info(Type type);
std::optional<Type> type_of(std::string_view name);  // name without its dot

inline uint32_t bytes_of(Type type) { return info(type).bytes; }
inline bool is_float(Type type) { return info(type).family == 'f'; }
inline bool is_signed(Type type) { return info(type).family == 's'; }

enum class Space : uint8_t { kGeneric, kReg, kGlobal, kShared, kLocal, kParam, kConst };

}  // namespace fattn::vgpu::ptx
