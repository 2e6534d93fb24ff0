// The table of conversions, as ptxas has them.
#include "exec/convert_forms.h"

#include <algorithm>
#include <string>
#include <vector>

#include "exec/spelling.h"

namespace fattn::vgpu {
namespace {

using ptx::Type;

// Letters for types: i integers, w those of 16 bits and more, h f16, b bf16, f f32, t tf32, d f64,
// H and B pairs of f16 and bf16, 8 pairs of 8-bit floats.
struct Conversions {
    std::string_view to, from;
    std::string_view forms[2];
};

constexpr Conversions kConversions[] = {
    {"i", "i", {"?sat"}},
    {"hd", "i", {"rn,rz,rm,rp ?sat"}},
    {"h", "d", {"rn,rz,rm,rp ?sat"}},
    {"f", "id", {"rn,rz,rm,rp ?ftz ?sat"}},
    {"b", "wd", {"rn,rz,rm,rp"}},
    {"i", "hd", {"rni,rzi,rmi,rpi ?sat"}},
    {"i", "f", {"rni,rzi,rmi,rpi ?ftz ?sat"}},
    {"w", "b", {"rni,rzi,rmi,rpi"}},
    {"8", "fH", {"rn satfinite ?relu"}},
    {"H", "8", {"rn ?relu"}},
    {"HB", "f", {"rn,rz ?satfinite ?relu"}},
    {"hd", "b", {"?rn,rz,rm,rp"}},
    {"b", "h", {"?rn,rz,rm,rp"}},
    {"h", "h", {"?rni,rzi,rmi,rpi ?sat"}},
    {"d", "d", {"?rni,rzi,rmi,rpi ?sat"}},
    {"b", "b", {"?rni,rzi,rmi,rpi"}},
    {"f", "f", {"?rni,rzi,rmi,rpi ?ftz ?sat"}},
    {"f", "h", {"?ftz ?sat"}},
    {"d", "f", {"?ftz ?sat"}},
    {"d", "h", {"?sat"}},
    {"f", "b", {"?rn,rz,rm,rp ?ftz"}},
    {"h", "f", {"rn,rz,rm,rp ?ftz ?sat", "rn,rz ?satfinite ?relu"}},
    {"b", "f", {"rn,rz,rm,rp ?ftz", "rn,rz ?satfinite ?relu"}},
    {"t", "f", {"rn,rz ?relu", "rna ?satfinite"}},
};

bool is_of(std::string_view letters, Type type) {
    switch (type) {
        case Type::kU8:
        case Type::kS8:
            return letters.find('i') != letters.npos;
        case Type::kF16:
            return letters.find('h') != letters.npos;
        case Type::kBf16:
            return letters.find('b') != letters.npos;
        case Type::kF32:
            return letters.find('f') != letters.npos;
        case Type::kTf32:
            return letters.find('t') != letters.npos;
        case Type::kF64:
            return letters.find('d') != letters.npos;
        case Type::kF16x2:
            return letters.find('H') != letters.npos;
        case Type::kBf16x2:
            return letters.find('B') != letters.npos;
        case Type::kE4m3x2:
        case Type::kE5m2x2:
            return letters.find('8') != letters.npos;
        default: {
            const char family = ptx::info(type).family;
            return (family == 'u' || family == 's') && letters.find_first_of("iw") != letters.npos;
        }
    }
}

}  // namespace

void need_conversion(const Decoding& d, Type to, Type from) {
    const auto found = std::find_if(
        std::begin(kConversions), std::end(kConversions),
        [&](const Conversions& one) { return is_of(one.to, to) && is_of(one.from, from); });
    if (found == std::end(kConversions)) {
        d.fail("no conversion makes ." + std::string(ptx::info(to).name) + " of ." +
               std::string(ptx::info(from).name));
    }
    std::vector<std::string_view> words;
    for (const std::string_view word : d.in.modifiers) {
        if (!ptx::type_of(word)) words.push_back(word);
    }
    need_form(d, words, Forms(found->forms, found->forms[1].empty() ? 1 : 2));
}

}  // namespace fattn::vgpu
