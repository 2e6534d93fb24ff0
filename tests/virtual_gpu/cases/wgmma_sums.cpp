// How wgmma adds: every pair of types with elements of many kinds.
#include <cstring>

#include "cases/elements.h"
#include "cases/wgmma_text.h"

namespace fattn::vgpu {
namespace {

constexpr uint32_t kSumsRows = 64, kSumsColumns = 8;

struct Types {
    const char* d;
    const ElementFormat& a;
    const ElementFormat& b;
    bool saturates = false;
};

struct Variant {
    const char* name;
    bool a_in_registers = false, negates_a = false, negates_b = false, adds = true;
};

// Rows of 32 bytes in core matrices of 8 rows by 16 bytes, two beside each other.
void put_rows(std::vector<uint8_t>& image, uint32_t begin, uint32_t rows,
              const ElementFormat& format, const std::vector<uint32_t>& values) {
    const uint32_t depth = 32 / format.bytes;
    for (uint32_t row = 0; row < rows; ++row) {
        for (uint32_t k = 0; k < depth; ++k) {
            const uint32_t byte = k * format.bytes;
            const uint32_t at = begin + row / 8 * 256 + byte / 16 * 128 + row % 8 * 16 + byte % 16;
            std::memcpy(&image[at], &values[row * depth + k], format.bytes);
        }
    }
}

std::vector<uint32_t> as_words(const std::vector<uint8_t>& bytes) {
    std::vector<uint32_t> made(bytes.size() / 4);
    std::memcpy(made.data(), bytes.data(), bytes.size());
    return made;
}

// Rows g and g + 8 of a warp's 16 in turn, then the other half of K.
std::vector<uint32_t> in_registers(const ElementFormat& format, const std::vector<uint32_t>& a) {
    const uint32_t depth = 32 / format.bytes, per = 4 / format.bytes;
    std::vector<uint32_t> made(128 * 4);
    for (uint32_t t = 0; t < 128; ++t) {
        for (uint32_t r = 0; r < 4; ++r) {
            for (uint32_t e = 0; e < per; ++e) {
                const uint32_t row = t / 32 * 16 + t % 32 / 4 + 8 * (r % 2);
                const uint32_t k = r / 2 * depth / 2 + t % 4 * per + e;
                made[t * 4 + r] |= a[row * depth + k] << (32 / per * e);
            }
        }
    }
    return made;
}

Probe sums_probe(const Types& types, Spread spread, const Variant& variant) {
    const uint32_t depth = 32 / types.a.bytes;
    Probe made;
    const std::string kind = std::string(types.d) + "." + types.a.name + "." + types.b.name +
                             (types.saturates ? ".satfinite" : "");
    const std::string plain = kind + "." + kSpreadNames[static_cast<int>(spread)];
    made.name = "wgmma." + plain + variant.name;
    WgmmaText text;
    text.d = types.d;
    text.a = types.a.name;
    text.b = types.b.name;
    text.depth = depth;
    text.columns = kSumsColumns;
    text.saturates = types.saturates;
    text.a_in_registers = variant.a_in_registers;
    text.negates_a = variant.negates_a;
    text.negates_b = variant.negates_b;
    text.takes_transpositions = types.a.bytes == 2;
    made.text = text.text();
    made.block[0] = 128;
    made.shared_bytes = text.image_bytes;
    // Every variant has the elements of the plain one.
    Draw draw(plain);
    std::vector<uint32_t> a(kSumsRows * depth), b(kSumsColumns * depth), sums;
    for (uint32_t i = 0; i < a.size(); ++i)
        a[i] = draw_element(types.a, spread, draw, i % depth != i / depth % depth);
    for (uint32_t& one : b) one = draw_element(types.b, spread, draw, false);
    const bool half = std::string(types.d) == "f16";
    for (uint32_t i = 0; i < 128 * text.registers(); ++i) {
        uint32_t word = draw_accumulator(types.d, types.a, spread, draw);
        if (half) word |= draw_accumulator(types.d, types.a, spread, draw) << 16;
        sums.push_back(word);
    }
    std::vector<uint8_t> image(text.image_bytes, 0);
    put_rows(image, 0, kSumsRows, types.a, a);
    put_rows(image, 2048, kSumsColumns, types.b, b);
    made.buffers = {as_words(image), in_registers(types.a, a), sums};
    const uint64_t strides = uint64_t{128 >> 4} << 16 | uint64_t{256 >> 4} << 32;
    for (uint64_t i = 0; i < 3; ++i) made.take_buffer(i);
    made.take_wide(strides);
    made.take_wide(strides | 2048 >> 4);
    made.take_word(variant.adds);
    return made;
}

}  // namespace

void add_wgmma_sums(std::vector<Probe>& probes) {
    const Types floats[] = {
        {"f32", kF16Elements, kF16Elements},   {"f16", kF16Elements, kF16Elements},
        {"f32", kBf16Elements, kBf16Elements}, {"f32", kTf32Elements, kTf32Elements},
        {"f32", kE4m3Elements, kE4m3Elements}, {"f32", kE4m3Elements, kE5m2Elements},
        {"f32", kE5m2Elements, kE4m3Elements}, {"f32", kE5m2Elements, kE5m2Elements},
        {"f16", kE4m3Elements, kE4m3Elements}, {"f16", kE5m2Elements, kE5m2Elements}};
    const Variant registers = {".registers", true}, negates_a = {".negative", false, true},
                  negates_both = {".positive", true, true, true},
                  anew = {".anew", false, false, false, false};
    for (const Types& types : floats) {
        for (const Spread spread : {Spread::kNear, Spread::kWide, Spread::kWider, Spread::kCancels,
                                    Spread::kLarge, Spread::kTiny, Spread::kSparse, Spread::kSingle,
                                    Spread::kSpecial, Spread::kSubnormal, Spread::kFar})
            probes.push_back(sums_probe(types, spread, {""}));
        for (const Spread spread : {Spread::kWide, Spread::kSpecial}) {
            for (const Variant& variant : {registers, negates_a, negates_both, anew})
                probes.push_back(sums_probe(types, spread, variant));
        }
    }
    probes.push_back(sums_probe({"f32", kTf32Elements, kTf32Elements}, Spread::kUntrimmed, {""}));
    probes.push_back(
        sums_probe({"f32", kTf32Elements, kTf32Elements}, Spread::kUntrimmed, registers));
    for (const ElementFormat* a : {&kS8Elements, &kU8Elements}) {
        for (const ElementFormat* b : {&kS8Elements, &kU8Elements}) {
            for (const bool saturates : {false, true}) {
                for (const Spread spread : {Spread::kNear, Spread::kLarge, Spread::kSpecial})
                    probes.push_back(sums_probe({"s32", *a, *b, saturates}, spread, {""}));
                probes.push_back(
                    sums_probe({"s32", *a, *b, saturates}, Spread::kSpecial, registers));
            }
        }
    }
}

}  // namespace fattn::vgpu
