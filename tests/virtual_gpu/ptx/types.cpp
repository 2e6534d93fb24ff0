// The table of PTX types that types.h declares.
#include "ptx/types.h"

#include <array>

namespace fattn::vgpu::ptx {
namespace {

constexpr std::array<TypeInfo, 26> kTypes = {{
    {"", 0, '-'},     {"pred", 1, 'p'},  {"b8", 1, 'b'},     {"b16", 2, 'b'},    {"b32", 4, 'b'},
    {"b64", 8, 'b'},  {"b128", 16, 'b'}, {"u8", 1, 'u'},     {"u16", 2, 'u'},    {"u32", 4, 'u'},
    {"u64", 8, 'u'},  {"s8", 1, 's'},    {"s16", 2, 's'},    {"s32", 4, 's'},    {"s64", 8, 's'},
    {"f16", 2, 'f'},  {"f16x2", 4, 'f'}, {"bf16", 2, 'f'},   {"bf16x2", 4, 'f'}, {"tf32", 4, 'f'},
    {"e4m3", 1, 'f'}, {"e5m2", 1, 'f'},  {"e4m3x2", 2, 'f'}, {"e5m2x2", 2, 'f'}, {"f32", 4, 'f'},
    {"f64", 8, 'f'},
}};

}  // namespace

const TypeInfo& info(Type type) { return kTypes[static_cast<size_t>(type)]; }

std::optional<Type> type_of(std::string_view name) {
    for (size_t i = 1; i < kTypes.size(); ++i) {
        if (kTypes[i].name == name) return static_cast<Type>(i);
    }
    return std::nullopt;
}

}  // namespace fattn::vgpu::ptx
