// Where wgmma looks for its elements: the other factor is a one in a place of its own, so that sums
// are elements, and elements are numbers of their places.
#include <cstring>
#include <initializer_list>

#include "cases/elements.h"
#include "cases/wgmma_text.h"

namespace fattn::vgpu {
namespace {

constexpr uint32_t kNumbered = 32 * 1024;  // bytes in which elements are numbers of their places
constexpr uint32_t kLayoutDepth = 16, kNumbersAPart = 2048;

// The f16 of a whole number below 2048.
uint32_t f16_of_number(uint32_t number) {
    if (number == 0) return 0;
    const int exponent = std::bit_width(number) - 1;
    return element_bits(kF16Elements, false, exponent, uint64_t{number} << (10 - exponent));
}

struct Layout {
    std::string name;
    uint32_t swizzle = 0;                         // 0 none, 1, 2, 3 for 32, 64, 128 bytes
    uint32_t start = 0, leading = 0, stride = 0;  // bytes
    uint32_t base_offset = 0;
    bool transposed = false;
    bool of_a = false;
    uint32_t columns = 64;

    uint64_t descriptor() const {
        return uint64_t{(start >> 4) & 0x3fff} | uint64_t{leading >> 4} << 16 |
               uint64_t{stride >> 4} << 32 | uint64_t{base_offset} << 49 |
               uint64_t{(4 - swizzle) % 4} << 62;
    }
};

// `high`: which 2048 of the numbers, else which of these.
Probe layout_probe(const Layout& layout, bool high) {
    Probe made;
    made.name = "layout." + layout.name + (high ? ".high" : ".low");
    WgmmaText text;
    text.d = "f32";
    text.a = text.b = "f16";
    text.columns = layout.of_a ? 16 : layout.columns;
    text.takes_transpositions = true;
    (layout.of_a ? text.transposes_a : text.transposes_b) = layout.transposed;
    text.image_bytes = kNumbered + 4096;
    made.text = text.text();
    made.block[0] = 128;
    made.shared_bytes = text.image_bytes;
    std::vector<uint32_t> image(text.image_bytes / 4, 0);
    const auto put = [&](uint32_t at, uint32_t bits) { image[at / 4] |= bits << (at % 4 * 8); };
    for (uint32_t i = 0; i < kNumbered / 2; ++i)
        put(2 * i, f16_of_number(high ? i / kNumbersAPart : i % kNumbersAPart));
    // Ones where row (or column) is K, all 16 rows anew: core matrices of 8 rows by 16 bytes.
    for (uint32_t row = 0; row < (layout.of_a ? 16u : 64u); ++row) {
        const uint32_t k = row % kLayoutDepth;
        put(kNumbered + row / 8 * 256 + k / 8 * 128 + row % 8 * 16 + k % 8 * 2, f16_of_number(1));
    }
    made.buffers = {image, std::vector<uint32_t>(512, 0),
                    std::vector<uint32_t>(128 * text.registers(), 0)};
    const uint64_t ones =
        uint64_t{kNumbered >> 4} | uint64_t{128 >> 4} << 16 | uint64_t{256 >> 4} << 32;
    for (uint64_t i = 0; i < 3; ++i) made.take_buffer(i);
    made.take_wide(layout.of_a ? layout.descriptor() : ones);
    made.take_wide(layout.of_a ? ones : layout.descriptor());
    made.take_word(0);
    return made;
}

std::string with_number(const std::string& name, uint32_t number) {
    return name + std::to_string(number);
}

// Tiles that begin at some rows within the pattern of a swizzle, with and without a base offset.
void add_begins(const Layout& whole, std::initializer_list<uint32_t> rows,
                std::vector<Layout>* layouts) {
    for (const uint32_t row : rows) {
        for (const uint32_t base : {0u, row}) {
            if (whole.swizzle == 0 && base != 0) continue;
            Layout changed = whole;
            changed.name = with_number(with_number(whole.name + ".begin", row) + ".base", base);
            changed.start = 128 * row;
            changed.base_offset = base;
            layouts->push_back(changed);
        }
    }
}

}  // namespace

void add_wgmma_layouts(std::vector<Probe>& probes) {
    std::vector<Layout> layouts;
    for (const bool of_a : {false, true}) {
        const std::string which = of_a ? "a." : "b.";
        for (uint32_t swizzle = 0; swizzle < 4; ++swizzle) {
            const uint32_t span = 16u << swizzle;
            const std::string kind = which + with_number("swizzle", swizzle == 0 ? 0 : span);
            Layout plain = {.name = kind + ".k", .swizzle = swizzle, .of_a = of_a};
            plain.stride = swizzle == 0 ? 256 : 8 * span;
            plain.leading = swizzle == 0 ? 128 : 16;
            layouts.push_back(plain);
            // What leads nowhere, strides of no atom, slices of K within an atom.
            Layout changed = plain;
            changed.name += ".leading";
            changed.leading = 1040;
            layouts.push_back(changed);
            changed = plain;
            changed.name += ".stride";
            changed.stride += 144;
            layouts.push_back(changed);
            for (uint32_t start = 32; start < span; start += 32) {
                changed = plain;
                changed.name = with_number(plain.name + ".from", start);
                changed.start = start;
                layouts.push_back(changed);
            }
            add_begins(plain, {1, 3, 4, 7}, &layouts);
            changed = plain;
            changed.name += ".base5";
            changed.base_offset = 5;
            layouts.push_back(changed);
            Layout across = {
                .name = kind + ".mn", .swizzle = swizzle, .transposed = true, .of_a = of_a};
            across.stride = swizzle == 0 ? 256 : 8 * span;
            across.leading = swizzle == 0 ? 2048 : 2 * 8 * span;
            layouts.push_back(across);
            changed = across;
            changed.name += ".apart";
            changed.leading += 1024;
            changed.stride += 512;
            layouts.push_back(changed);
            add_begins(across, {1, 6}, &layouts);
            if (of_a) continue;
            // Fewer columns than an atom has, and more than one has.
            for (const uint32_t columns : {8u, 24u, 128u}) {
                changed = across;
                changed.name = with_number(across.name + ".columns", columns);
                changed.columns = columns;
                layouts.push_back(changed);
            }
        }
    }
    for (const Layout& layout : layouts) {
        for (const bool high : {false, true}) probes.push_back(layout_probe(layout, high));
    }
}

}  // namespace fattn::vgpu
