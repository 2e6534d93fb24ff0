// Corners of mma (infinities, subnormal numbers, exponents from end to end) and sums of wmma.
#include <algorithm>
#include <cstring>

#include "cases/cases.h"
#include "cases/elements.h"

namespace fattn::vgpu {
namespace {

const ElementFormat& format_of(const std::string& name) {
    for (const ElementFormat* one : {&kF16Elements, &kBf16Elements, &kTf32Elements, &kE4m3Elements,
                                     &kE5m2Elements, &kS8Elements, &kU8Elements}) {
        if (name == one->name) return *one;
    }
    return kF32Elements;
}

uint32_t word_of(const ElementFormat& format, Spread spread, Draw& draw) {
    uint32_t made = 0;
    for (uint32_t i = 0; i < 4; i += format.bytes)
        made |= draw_element(format, spread, draw, false) << (8 * i);
    return made;
}

struct Corner {
    MmaCase product;
    const char* a;
    const char* b;
    const char* sum;
};

Probe corner_probe(const Corner& corner, Spread spread) {
    Probe made;
    made.name = "corner." + corner.product.name + "." + kSpreadNames[static_cast<int>(spread)];
    made.text = mma_ptx(corner.product);
    Draw draw(made.name);
    std::vector<uint32_t> in(320);
    for (uint32_t lane = 0; lane < 32; ++lane) {
        uint32_t* const words = &in[size_t{lane} * 10];
        for (uint32_t i = 0; i < 4; ++i) words[i] = word_of(format_of(corner.a), spread, draw);
        for (uint32_t i = 4; i < 6; ++i) words[i] = word_of(format_of(corner.b), spread, draw);
        for (uint32_t i = 6; i < 10; ++i) {
            words[i] = draw_accumulator(corner.sum, format_of(corner.a), spread, draw);
            if (std::string(corner.sum) == "f16")
                words[i] |= draw_accumulator("f16", format_of(corner.a), spread, draw) << 16;
        }
    }
    made.buffers = {in, std::vector<uint32_t>(128, 0)};
    made.take_buffer(0);
    made.take_buffer(1);
    return made;
}

struct WmmaShape {
    const char* name;
    uint32_t rows, columns, depth;
    const char* type;
    uint32_t a_registers, b_registers;
    const char* sum;
    bool saturates = false;
};

std::string wmma_probe_text(const WmmaShape& shape) {
    const std::string sum = shape.sum, type = shape.type, dims = std::string(".") + shape.name;
    const uint32_t sums = sum == "f16" ? 4 : 8;
    const std::string types =
        type == "f16" ? sum + "." + sum : sum + "." + type + "." + type + "." + sum;
    const auto list = [](const char* name, uint32_t n) {
        std::string made = "{";
        for (uint32_t i = 0; i < n; ++i) made += (i ? ", %" : "%") + (name + std::to_string(i));
        return made + "}";
    };
    const auto load = [&](const std::string& part, const char* order, const std::string& of,
                          uint32_t registers, uint32_t stride) {
        return "    wmma.load." + part + ".sync.aligned." + order + dims + ".global." + of + " " +
               list(("f" + part).c_str(), registers) + ", [%p" + part + "], " +
               std::to_string(stride) + ";\n";
    };
    return R"(.version 8.4
.target sm_90
.address_size 64
.visible .entry run(.param .u64 a, .param .u64 b, .param .u64 c) {
    .reg .b64 %pa, %pb, %pc; .reg .b32 %fa<8>, %fb<8>, %fc<8>;
    ld.param.u64 %pa, [a]; ld.param.u64 %pb, [b]; ld.param.u64 %pc, [c];
)" + load("a", "row", type, shape.a_registers, shape.depth) +
           load("b", "col", type, shape.b_registers, shape.depth) +
           load("c", "row", sum, sums, shape.columns) + "    wmma.mma.sync.aligned.row.col" + dims +
           "." + types + (shape.saturates ? ".satfinite " : " ") + list("fc", sums) + ", " +
           list("fa", shape.a_registers) + ", " + list("fb", shape.b_registers) + ", " +
           list("fc", sums) + ";\n    wmma.store.d.sync.aligned.row" + dims + ".global." + sum +
           " [%pc], " + list("fc", sums) + ", " + std::to_string(shape.columns) +
           ";\n    ret;\n}\n";
}

Probe wmma_probe(const WmmaShape& shape, Spread spread) {
    Probe made;
    made.name = std::string("wmma.") + shape.name + "." + shape.sum + "." + shape.type +
                (shape.saturates ? ".satfinite." : ".") + kSpreadNames[static_cast<int>(spread)];
    made.text = wmma_probe_text(shape);
    Draw draw(made.name);
    const ElementFormat& format = format_of(shape.type);
    const auto matrix = [&](uint32_t count) {
        std::vector<uint32_t> words(count * format.bytes / 4);
        for (uint32_t& word : words) word = word_of(format, spread, draw);
        return words;
    };
    const bool half = std::string(shape.sum) == "f16";
    std::vector<uint32_t> sums(shape.rows * shape.columns / (half ? 2 : 1));
    for (uint32_t& word : sums) {
        word = draw_accumulator(shape.sum, format, spread, draw);
        if (half) word |= draw_accumulator("f16", format, spread, draw) << 16;
    }
    made.buffers = {matrix(shape.rows * shape.depth), matrix(shape.columns * shape.depth), sums};
    for (uint64_t i = 0; i < 3; ++i) made.take_buffer(i);
    return made;
}

// Which register of which lane holds what: words that are loaded and stored one by one.
Probe fragment_probe(const WmmaShape& shape, const std::string& part, bool by_rows) {
    Probe made;
    const std::string type = part == "c" ? shape.sum : shape.type;
    made.name = std::string("fragment.") + shape.name + "." + shape.sum + "." + shape.type + "." +
                part + (by_rows ? ".row" : ".col");
    const uint32_t registers = part == "a"     ? shape.a_registers
                               : part == "b"   ? shape.b_registers
                               : type == "f16" ? 4
                                               : 8;
    const uint32_t rows = part == "b" ? shape.depth : shape.rows,
                   columns = part == "a" ? shape.depth : shape.columns;
    const uint32_t bytes = type == "f16" || type == "bf16" ? 2
                           : type == "s8" || type == "u8"  ? 1
                                                           : 4;
    // Lines begin at multiples of 32 bytes.
    const uint32_t line = by_rows ? columns : rows, lines = by_rows ? rows : columns,
                   stride = std::max(line, 32 / bytes);
    std::string list;
    for (uint32_t i = 0; i < registers; ++i) list += (i ? ", %f" : "%f") + std::to_string(i);
    made.text = R"(.version 8.4
.target sm_90
.address_size 64
.visible .entry run(.param .u64 in, .param .u64 out) {
    .reg .b64 %x, %y, %o; .reg .b32 %t, %f<8>;
    ld.param.u64 %x, [in]; ld.param.u64 %y, [out]; mov.u32 %t, %tid.x; mul.wide.u32 %o, %t, 32;
    add.u64 %y, %y, %o;
    wmma.load.)" +
                part + ".sync.aligned." + (by_rows ? "row." : "col.") + shape.name + ".global." +
                type + " {" + list + "}, [%x], " + std::to_string(stride) + ";\n";
    for (uint32_t i = 0; i < registers; ++i)
        made.text +=
            "    st.global.b32 [%y+" + std::to_string(4 * i) + "], %f" + std::to_string(i) + ";\n";
    made.text += "    ret;\n}\n";
    std::vector<uint32_t> in(lines * stride * bytes / 4, 0);
    for (uint32_t i = 0; i < lines * stride; ++i) in[i * bytes / 4] |= i << (i * bytes % 4 * 8);
    made.buffers = {in, std::vector<uint32_t>(256, 0)};
    made.take_buffer(0);
    made.take_buffer(1);
    return made;
}

}  // namespace

void add_mma_corners(std::vector<Probe>& probes) {
    const Corner floats[] = {
        {{"f16.k16", "f32.f16.f16.f32", "m16n8k16", 4, 2, 4, 4, 'e'}, "f16", "f16", "f32"},
        {{"f16.k16.f16", "f16.f16.f16.f16", "m16n8k16", 4, 2, 2, 2, 'e'}, "f16", "f16", "f16"},
        {{"bf16.k16", "f32.bf16.bf16.f32", "m16n8k16", 4, 2, 4, 4, 'r'}, "bf16", "bf16", "f32"},
        {{"bf16.k8", "f32.bf16.bf16.f32", "m16n8k8", 2, 1, 4, 4, 'r'}, "bf16", "bf16", "f32"},
        {{"tf32.k8", "f32.tf32.tf32.f32", "m16n8k8", 4, 2, 4, 4, 't'}, "tf32", "tf32", "f32"},
        {{"tf32.k4", "f32.tf32.tf32.f32", "m16n8k4", 2, 1, 4, 4, 't'}, "tf32", "tf32", "f32"},
        {{"e4m3.k32", "f32.e4m3.e4m3.f32", "m16n8k32", 4, 2, 4, 4, '3'}, "e4m3", "e4m3", "f32"},
        {{"e5m2.k32", "f32.e5m2.e5m2.f32", "m16n8k32", 4, 2, 4, 4, '5'}, "e5m2", "e5m2", "f32"},
        {{"e4m3.e5m2", "f32.e4m3.e5m2.f32", "m16n8k32", 4, 2, 4, 4, '3'}, "e4m3", "e5m2", "f32"},
        {{"e5m2.e4m3", "f32.e5m2.e4m3.f32", "m16n8k32", 4, 2, 4, 4, '5'}, "e5m2", "e4m3", "f32"}};
    for (const Corner& corner : floats) {
        for (const Spread spread :
             {Spread::kSpecial, Spread::kSubnormal, Spread::kSparse, Spread::kTiny, Spread::kFar})
            probes.push_back(corner_probe(corner, spread));
        if (corner.product.element == 't')
            probes.push_back(corner_probe(corner, Spread::kUntrimmed));
    }
    const Corner integers[] = {
        {{"s8.u8", "s32.s8.u8.s32", "m16n8k32", 4, 2, 4, 4, 's'}, "s8", "u8", "s32"},
        {{"u8.s8", "s32.u8.s8.s32", "m16n8k32", 4, 2, 4, 4, 'u'}, "u8", "s8", "s32"},
        {{"s8.satfinite", "satfinite.s32.s8.s8.s32", "m16n8k32", 4, 2, 4, 4, 's'},
         "s8",
         "s8",
         "s32"},
        {{"u8.satfinite", "satfinite.s32.u8.u8.s32", "m16n8k32", 4, 2, 4, 4, 'u'},
         "u8",
         "u8",
         "s32"}};
    for (const Corner& corner : integers) {
        for (const Spread spread : {Spread::kNear, Spread::kSpecial})
            probes.push_back(corner_probe(corner, spread));
    }
}

void add_wmma_sums(std::vector<Probe>& probes) {
    const WmmaShape floats[] = {{"m16n16k16", 16, 16, 16, "f16", 8, 8, "f32"},
                                {"m16n16k16", 16, 16, 16, "f16", 8, 8, "f16"},
                                {"m32n8k16", 32, 8, 16, "f16", 8, 8, "f32"},
                                {"m8n32k16", 8, 32, 16, "f16", 8, 8, "f16"},
                                {"m16n16k16", 16, 16, 16, "bf16", 4, 4, "f32"},
                                {"m32n8k16", 32, 8, 16, "bf16", 8, 2, "f32"},
                                {"m8n32k16", 8, 32, 16, "bf16", 2, 8, "f32"},
                                {"m16n16k8", 16, 16, 8, "tf32", 4, 4, "f32"}};
    for (const WmmaShape& shape : floats) {
        for (const char* part : {"a", "b", "c"}) {
            for (const bool by_rows : {false, true})
                probes.push_back(fragment_probe(shape, part, by_rows));
        }
        for (const Spread spread :
             {Spread::kNear, Spread::kWide, Spread::kWider, Spread::kCancels, Spread::kLarge,
              Spread::kTiny, Spread::kSparse, Spread::kSpecial, Spread::kSubnormal, Spread::kFar})
            probes.push_back(wmma_probe(shape, spread));
    }
    probes.push_back(wmma_probe({"m16n16k8", 16, 16, 8, "tf32", 4, 4, "f32"}, Spread::kUntrimmed));
    for (const bool saturates : {false, true}) {
        const WmmaShape integers[] = {{"m16n16k16", 16, 16, 16, "s8", 2, 2, "s32", saturates},
                                      {"m32n8k16", 32, 8, 16, "u8", 4, 1, "s32", saturates},
                                      {"m8n32k16", 8, 32, 16, "s8", 1, 4, "s32", saturates}};
        for (const WmmaShape& shape : integers) {
            for (const char* part : {"a", "b", "c"}) {
                if (!saturates) probes.push_back(fragment_probe(shape, part, true));
                if (!saturates) probes.push_back(fragment_probe(shape, part, false));
            }
            for (const Spread spread : {Spread::kNear, Spread::kSpecial})
                probes.push_back(wmma_probe(shape, spread));
        }
    }
}

}  // namespace fattn::vgpu
