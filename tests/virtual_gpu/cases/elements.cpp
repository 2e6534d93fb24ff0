// Elements as bits.
#include "cases/elements.h"

#include <algorithm>

namespace fattn::vgpu {
namespace {

int draw_between(Draw& draw, int least, int most) {
    return least + static_cast<int>(draw.below(static_cast<uint32_t>(most - least + 1)));
}

uint32_t draw_special(const ElementFormat& format, Draw& draw) {
    const uint32_t sign = draw.next() & 1 ? format.sign_bit() : 0;
    const uint32_t all = (1u << format.exponent_bits) - 1, fraction = 1u << format.fraction_bits;
    uint32_t made = 0;
    switch (draw.below(5)) {
        case 0:
            break;
        case 1:  // an infinity; the largest number of e4m3
            made = format.fraction_bits == 3 ? 0x7e : all << format.fraction_bits;
            break;
        case 2:
            made = (all << format.fraction_bits) + (fraction - 1);
            break;
        case 3:  // the largest number
            made = format.fraction_bits == 3 ? 0x7e
                                             : ((all - 1) << format.fraction_bits) + fraction - 1;
            break;
        default:
            made = 1;
    }
    return (sign | made) << format.unused_bits;
}

}  // namespace

uint32_t element_bits(const ElementFormat& format, bool negative, int exponent, uint64_t fraction) {
    const int used = std::clamp(exponent, 1 - format.bias(), format.highest());
    const auto biased = static_cast<uint32_t>(used + format.bias());
    auto low = static_cast<uint32_t>(fraction) & ((1u << format.fraction_bits) - 1);
    // The last of e4m3 is its NaN.
    if (format.fraction_bits == 3 && used == format.highest()) low = std::min(low, 6u);
    return ((negative ? format.sign_bit() : 0) | biased << format.fraction_bits | low)
           << format.unused_bits;
}

uint32_t draw_element(const ElementFormat& format, Spread spread, Draw& draw, bool zero) {
    const uint64_t random = draw.next();
    if (format.integer()) {
        if (spread == Spread::kSpecial)
            return format.is_signed ? (random & 7 ? 0x80 : 0x7f) : (random & 7 ? 0xff : 0xfe);
        return static_cast<uint32_t>(random >> 8) & 255;
    }
    const bool negative = random & 1;
    const uint64_t fraction = random >> 8;
    const int lowest = 1 - format.bias();
    int width = 1;
    switch (spread) {
        case Spread::kNear:
        case Spread::kUntrimmed:
            break;
        case Spread::kWide:
            width = 6;
            break;
        case Spread::kWider:
            width = 12;
            break;
        case Spread::kCancels:
        case Spread::kLarge:
            width = 4;
            break;
        case Spread::kTiny:
            return element_bits(format, negative, draw_between(draw, lowest, lowest + 4), fraction);
        case Spread::kSparse:
            if (draw.below(3) != 0) return 0;
            return element_bits(format, negative, draw_between(draw, -9, 9), 0);
        case Spread::kSingle:
            if (zero) return 0;
            width = 9;
            break;
        case Spread::kSpecial:
            if (draw.below(24) == 0) return draw_special(format, draw);
            break;
        case Spread::kSubnormal:
            if (draw.below(2) == 0) {
                const uint32_t bits =
                    static_cast<uint32_t>(fraction) & ((1u << format.fraction_bits) - 1);
                return (bits | (negative ? format.sign_bit() : 0)) << format.unused_bits;
            }
            return element_bits(format, negative, draw_between(draw, lowest, lowest + 6), fraction);
        case Spread::kFar:
            return element_bits(format, negative, draw_between(draw, lowest, format.highest()),
                                fraction);
    }
    uint32_t made = element_bits(format, negative, draw_between(draw, -width, width), fraction);
    if (spread == Spread::kUntrimmed) made |= draw.word() & ((1u << format.unused_bits) - 1);
    return made;
}

uint32_t draw_accumulator(const std::string& format, const ElementFormat& of_elements,
                          Spread spread, Draw& draw) {
    const uint64_t random = draw.next();
    if (format == "s32") {
        if (spread == Spread::kSpecial)
            return static_cast<uint32_t>((random & 1 ? 0x7fffffff : 0x80000000) ^
                                         (random >> 8 & 0x7ffff));
        return static_cast<uint32_t>(random >> 8) >> (spread == Spread::kLarge ? 0 : 8);
    }
    const ElementFormat& kind = format == "f16" ? kF16Elements : kF32Elements;
    const bool negative = random & 1;
    const uint64_t fraction = random >> 8;
    const int lowest = 2 * (1 - of_elements.bias());
    switch (spread) {
        case Spread::kNear:
        case Spread::kUntrimmed:
            return element_bits(kind, negative, draw_between(draw, -2, 2), fraction);
        case Spread::kWide:
            return element_bits(kind, negative, draw_between(draw, -8, 8), fraction);
        case Spread::kWider:
            return element_bits(kind, negative, draw_between(draw, -16, 16), fraction);
        case Spread::kCancels:
            return 0;
        case Spread::kLarge:
            return element_bits(kind, negative, draw_between(draw, 8, 14), fraction);
        case Spread::kTiny:
        case Spread::kSubnormal:
            if (draw.below(4) == 0)
                return static_cast<uint32_t>(fraction & ((1u << kind.fraction_bits) - 1));
            return element_bits(kind, negative, draw_between(draw, lowest, lowest + 8), fraction);
        case Spread::kSparse:
            if (draw.below(3) == 0) return 0;
            return element_bits(kind, negative, draw_between(draw, -18, 18), 0);
        case Spread::kSingle:
            return element_bits(kind, negative, draw_between(draw, -18, 18), fraction);
        case Spread::kSpecial:
            if (draw.below(12) == 0) return draw_special(kind, draw);
            return element_bits(kind, negative, draw_between(draw, -2, 2), fraction);
        case Spread::kFar:
            return element_bits(kind, negative, draw_between(draw, -40, 40), fraction);
    }
    return 0;
}

}  // namespace fattn::vgpu
