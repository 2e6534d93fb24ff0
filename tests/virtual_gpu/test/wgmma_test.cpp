// wgmma against sums over every element: types, shapes, layouts in shared memory, fragments; and
// what it asks of those who use it.
#include <gtest/gtest.h>

#include <functional>
#include <random>

#include "exec/half.h"
#include "test/device.h"
#include "test/pattern.h"

namespace fattn::vgpu::test {
namespace {

struct Element {
    const char* name;
    uint32_t bytes;
    uint32_t (*bits)(int);
};

const Element kOfF16 = {"f16", 2, [](int v) { return uint32_t{to_f16(v)}; }};
const Element kOfBf16 = {"bf16", 2, [](int v) { return uint32_t{to_bf16(v)}; }};
const Element kOfTf32 = {"tf32", 4,
                         [](int v) { return std::bit_cast<uint32_t>(static_cast<float>(v)); }};
const Element kOfE4m3 = {"e4m3", 1, [](int v) { return uint32_t{to_e4m3(v)}; }};
const Element kOfE5m2 = {"e5m2", 1, [](int v) { return uint32_t{to_e5m2(v)}; }};
const Element kOfS8 = {"s8", 1, [](int v) { return static_cast<uint32_t>(v) & 255; }};
const Element kOfU8 = {"u8", 1, [](int v) { return static_cast<uint32_t>(v) & 255; }};

enum class From { kRegisters, kShared };

struct Shape {
    const Element& a;
    const Element& b;
    const char* d;  // f32, f16 or s32
    uint32_t columns;
    From a_from = From::kShared;
    uint32_t swizzle_a = 0, swizzle_b = 0;  // 0 none, 1, 2, 3 for 32, 64, 128 bytes
    bool transposed_a = false, transposed_b = false;
    bool negated_a = false, negated_b = false;
    bool adds = true;

    uint32_t depth() const { return 32 / a.bytes; }
    bool half() const { return d == std::string("f16"); }
    bool integer() const { return d == std::string("s32"); }
    uint32_t registers() const { return half() ? columns / 4 : columns / 2; }
};

// A matrix of rows (of A, or columns of B) by depth in shared memory, and its descriptor.
struct Image {
    std::vector<uint8_t> bytes;
    uint64_t descriptor = 0;
};

// In atoms as the documentation draws them: without a transposition 8 rows of the swizzle's span,
// with one 8 lines of K of the span. A chunk's place in a line of an atom is combined with the
// number of the 128 bytes that it lies in. `slice` says which 32 bytes of K of an atom are meant.
Image image_of(uint32_t rows, uint32_t swizzle, bool transposed, uint32_t size, uint32_t slice,
               const std::function<uint32_t(uint32_t row, uint32_t k)>& value) {
    const uint32_t span = 16u << swizzle, depth = 32 / size, atom = 8 * span;
    // Distances that are not the smallest: groups are kept apart by what nobody reads.
    const uint32_t next_group = transposed ? 2 * atom + 1024 : rows > 128 ? atom : atom + 1024;
    const uint32_t across = 5 * 1024;
    Image made;
    made.bytes.assign(60 * 1024, 0xee);
    const auto put = [&](uint32_t at, uint32_t bits) {
        std::memcpy(made.bytes.data() + at, &bits, size);
    };
    const auto place = [&](uint32_t group_begin, uint32_t line, uint32_t byte) {
        const uint32_t plain = group_begin + line * span + byte;
        const uint32_t chunk = plain / 16 % 8, turned = chunk ^ (plain / 128 % (1u << swizzle));
        return plain / 128 * 128 + turned * 16 + plain % 16;
    };
    uint32_t leading = 0, stride = 0, start = 0;
    for (uint32_t row = 0; row < rows; ++row) {
        for (uint32_t k = 0; k < depth; ++k) {
            uint32_t at = 0;
            if (!transposed && swizzle == 0) {
                leading = across;
                stride = 256;
                at = row / 8 * stride + k * size / 16 * leading + row % 8 * 16 + k * size % 16;
            } else if (!transposed) {
                stride = next_group;
                leading = 16;
                start = 32 * slice;
                at = place(row / 8 * stride, row % 8, start + k * size);
            } else if (swizzle == 0) {
                stride = 384;
                leading = 13 * 1024;
                at = row / 8 * stride + k / 8 * leading + k % 8 * 16 + row % 8 * size;
            } else {
                leading = next_group;
                stride = atom;
                const uint32_t per_atom = span / size;
                at = place(row / per_atom * leading + k / 8 * stride, k % 8, row % per_atom * size);
            }
            put(at, value(row, k));
        }
    }
    made.descriptor = uint64_t{start >> 4} | uint64_t{leading >> 4} << 16 |
                      uint64_t{stride >> 4} << 32 | uint64_t{(4 - swizzle) % 4} << 62;
    return made;
}

std::string list(const char* prefix, uint32_t count) {
    std::string made = "{";
    for (uint32_t i = 0; i < count; ++i) made += (i ? ", %" : "%") + (prefix + std::to_string(i));
    return made + "}";
}

// Each thread copies its part of both images, loads its accumulators and, when A comes in
// registers, its fragment of A; multiplies; stores its accumulators.
std::string text_of(const Shape& shape) {
    const std::string n = std::to_string(shape.columns), d = std::to_string(shape.registers());
    std::string flags;
    if (!shape.integer()) {
        flags = std::string(shape.negated_a ? ", -1" : ", 1") + (shape.negated_b ? ", -1" : ", 1");
    }
    if (shape.a.bytes == 2) {
        if (shape.a_from == From::kShared) flags += shape.transposed_a ? ", 1" : ", 0";
        flags += shape.transposed_b ? ", 1" : ", 0";
    }
    std::string text = R"(.version 8.4
.target sm_90a
.address_size 64
.extern .shared .align 1024 .b8 tiles[];
.visible .entry run(.param .u64 images, .param .u64 fragments, .param .u64 sums, .param .u64 da,
                    .param .u64 db, .param .u32 adds) {
    .reg .b32 %t, %i, %s, %r, %v<4>, %a<4>, %d<)" +
                       d + R"(>; .reg .b64 %q, %o, %da, %db, %f, %x; .reg .pred %p, %w;
    ld.param.u64 %q, [images]; ld.param.u64 %f, [fragments]; ld.param.u64 %x, [sums];
    ld.param.u64 %da, [da]; ld.param.u64 %db, [db]; ld.param.u32 %r, [adds];
    setp.ne.u32 %p, %r, 0; mov.u32 %t, %tid.x; mov.u32 %s, tiles; shl.b32 %i, %t, 4;
LOOP:
    cvt.u64.u32 %o, %i; add.u64 %o, %o, %q; ld.global.v4.b32 {%v0, %v1, %v2, %v3}, [%o];
    add.u32 %r, %s, %i; st.shared.v4.b32 [%r], {%v0, %v1, %v2, %v3};
    add.u32 %i, %i, 2048; setp.lt.u32 %w, %i, 122880; @%w bra LOOP;
    fence.proxy.async.shared::cta;
    bar.sync 0;
    mul.wide.u32 %o, %t, 16; add.u64 %o, %o, %f;
    ld.global.v4.b32 {%a0, %a1, %a2, %a3}, [%o];
    mul.wide.u32 %o, %t, )" +
                       std::to_string(4 * shape.registers()) + "; add.u64 %x, %x, %o;\n";
    for (uint32_t i = 0; shape.adds && i < shape.registers(); ++i) {
        text +=
            "    ld.global.b32 %d" + std::to_string(i) + ", [%x+" + std::to_string(4 * i) + "];\n";
    }
    text += "    wgmma.fence.sync.aligned;\n    wgmma.mma_async.sync.aligned.m64n" + n + "k" +
            std::to_string(shape.depth()) + "." + shape.d + "." + shape.a.name + "." +
            shape.b.name + " " + list("d", shape.registers()) + ", " +
            (shape.a_from == From::kShared ? "%da" : list("a", 4)) + ", %db, %p" + flags +
            ";\n    wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 0;\n";
    for (uint32_t i = 0; i < shape.registers(); ++i)
        text +=
            "    st.global.b32 [%x+" + std::to_string(4 * i) + "], %d" + std::to_string(i) + ";\n";
    return text + "    ret;\n}\n";
}

// Thread t's register r of an accumulator of 32 bits holds this row and column, after the
// documentation's figure: warps have 16 rows each, 4 neighbours share a row.
uint32_t row_of(uint32_t t, uint32_t r) { return t / 32 * 16 + t % 32 / 4 + 8 * (r / 2 % 2); }
uint32_t column_of(uint32_t t, uint32_t r) { return r / 4 * 8 + t % 4 * 2 + r % 2; }

void expect_product(const Shape& shape, uint32_t slice, Asynchrony when) {
    std::mt19937 random(5);
    const uint32_t depth = shape.depth(), n = shape.columns;
    const bool is_unsigned_a = &shape.a == &kOfU8, is_unsigned_b = &shape.b == &kOfU8;
    std::vector<int> a(64 * depth), b(n * depth), c(64 * n);
    for (int& v : a) v = static_cast<int>(random() % 9) - (is_unsigned_a ? 0 : 4);
    for (int& v : b) v = static_cast<int>(random() % 9) - (is_unsigned_b ? 0 : 4);
    for (int& v : c) v = static_cast<int>(random() % 101) - 50;
    const Image image_a =
        image_of(64, shape.swizzle_a, shape.transposed_a, shape.a.bytes, slice,
                 [&](uint32_t row, uint32_t k) { return shape.a.bits(a[row * depth + k]); });
    const Image image_b =
        image_of(n, shape.swizzle_b, shape.transposed_b, shape.b.bytes, slice,
                 [&](uint32_t row, uint32_t k) { return shape.b.bits(b[row * depth + k]); });
    std::vector<uint8_t> images = image_a.bytes;
    images.insert(images.end(), image_b.bytes.begin(), image_b.bytes.end());
    // A in registers: rows g and g + 8 in turn, then the other half of K; elements beside each
    // other.
    const uint32_t per = 4 / shape.a.bytes;
    std::vector<uint32_t> fragments(128 * 4);
    for (uint32_t t = 0; t < 128; ++t) {
        for (uint32_t r = 0; r < 4; ++r) {
            for (uint32_t e = 0; e < per; ++e) {
                const uint32_t row = t / 32 * 16 + t % 32 / 4 + 8 * (r % 2);
                const uint32_t k = r / 2 * depth / 2 + t % 4 * per + e;
                fragments[t * 4 + r] |= shape.a.bits(a[row * depth + k]) << (32 / per * e);
            }
        }
    }
    const auto bits_of = [&](int value) {
        return shape.integer() ? static_cast<uint32_t>(value)
               : shape.half()  ? uint32_t{to_f16(value)}
                               : std::bit_cast<uint32_t>(static_cast<float>(value));
    };
    const int sign = shape.negated_a != shape.negated_b ? -1 : 1;
    std::vector<uint32_t> sums(128 * shape.registers()), expected(sums.size());
    for (uint32_t t = 0; t < 128; ++t) {
        for (uint32_t v = 0; v < n / 2; ++v) {
            const uint32_t row = row_of(t, v), column = column_of(t, v);
            int sum = shape.adds ? c[row * n + column] : 0;
            for (uint32_t k = 0; k < depth; ++k)
                sum += sign * a[row * depth + k] * b[column * depth + k];
            const uint32_t at = t * shape.registers() + (shape.half() ? v / 2 : v);
            const uint32_t shift = shape.half() ? v % 2 * 16 : 0;
            sums[at] |= bits_of(c[row * n + column]) << shift;
            expected[at] |= bits_of(sum) << shift;
        }
    }
    Memory memory;
    Kernel kernel(memory, text_of(shape));
    const uint64_t at_sums = memory.upload(sums);
    const uint64_t begin_b = uint64_t{60 * 1024} >> 4;
    LaunchOptions options;
    options.asynchrony = when;
    const LaunchResult result = kernel.run(memory, {1}, {128},
                                           Arguments()
                                               .add(memory.upload(images))
                                               .add(memory.upload(fragments))
                                               .add(at_sums)
                                               .add(image_a.descriptor)
                                               .add(image_b.descriptor + begin_b)
                                               .add(uint32_t{shape.adds}),
                                           120 * 1024, options);
    ASSERT_FALSE(result.fault) << result.fault->text();
    EXPECT_EQ(memory.download<uint32_t>(at_sums), expected)
        << shape.d << " " << shape.a.name << " " << shape.b.name << " n" << n << " swizzles "
        << shape.swizzle_a << " " << shape.swizzle_b << " transposed " << shape.transposed_a << " "
        << shape.transposed_b;
}

TEST(Wgmma, EveryLayoutInSharedMemoryIsRead) {
    for (uint32_t swizzle = 0; swizzle < 4; ++swizzle) {
        for (uint32_t transposed = 0; transposed < 4; ++transposed) {
            const Shape shape = {.a = kOfBf16,
                                 .b = kOfBf16,
                                 .d = "f32",
                                 .columns = 72,
                                 .swizzle_a = swizzle,
                                 .swizzle_b = 3 - swizzle,
                                 .transposed_a = (transposed & 1) != 0,
                                 .transposed_b = (transposed & 2) != 0};
            // 72 columns are no whole atoms across; 64 are.
            Shape whole = shape;
            whole.columns = 64;
            expect_product(transposed & 2 ? whole : shape, 0, Asynchrony::kSeeded);
        }
    }
    // Slices of K within an atom.
    for (uint32_t slice = 1; slice < 4; ++slice) {
        expect_product({.a = kOfF16,
                        .b = kOfF16,
                        .d = "f32",
                        .columns = 16,
                        .swizzle_a = 3,
                        .swizzle_b = slice < 2 ? 2u : 3u},
                       slice, Asynchrony::kLate);
    }
}

TEST(Wgmma, EveryTypeIsMultiplied) {
    struct Types {
        const Element &a, &b;
        const char* d;
    };
    for (const Types& types : {Types{kOfF16, kOfF16, "f32"}, Types{kOfF16, kOfF16, "f16"},
                               Types{kOfBf16, kOfBf16, "f32"}, Types{kOfTf32, kOfTf32, "f32"},
                               Types{kOfE4m3, kOfE4m3, "f32"}, Types{kOfE4m3, kOfE5m2, "f32"},
                               Types{kOfE5m2, kOfE4m3, "f16"}, Types{kOfE5m2, kOfE5m2, "f32"},
                               Types{kOfS8, kOfS8, "s32"}, Types{kOfS8, kOfU8, "s32"},
                               Types{kOfU8, kOfS8, "s32"}, Types{kOfU8, kOfU8, "s32"}}) {
        for (const From from : {From::kRegisters, From::kShared}) {
            expect_product({.a = types.a,
                            .b = types.b,
                            .d = types.d,
                            .columns = 32,
                            .a_from = from,
                            .swizzle_a = 1,
                            .swizzle_b = 3},
                           0, Asynchrony::kEarly);
        }
    }
}

TEST(Wgmma, WidthsSignsAndScalesAreKept) {
    for (const uint32_t columns : {8u, 24u, 200u, 256u})
        expect_product({.a = kOfBf16, .b = kOfBf16, .d = "f32", .columns = columns, .swizzle_b = 3},
                       0, Asynchrony::kLate);
    for (uint32_t signs = 1; signs < 4; ++signs) {
        expect_product({.a = kOfF16,
                        .b = kOfF16,
                        .d = "f32",
                        .columns = 16,
                        .a_from = signs == 3 ? From::kRegisters : From::kShared,
                        .negated_a = (signs & 1) != 0,
                        .negated_b = (signs & 2) != 0},
                       0, Asynchrony::kSeeded);
    }
    // What is not added to may hold anything: here it was never written.
    expect_product({.a = kOfBf16, .b = kOfBf16, .d = "f32", .columns = 8, .adds = false}, 0,
                   Asynchrony::kSeeded);
}

// All ones: two products add 32 to the 1 of every sum. Whose wait is over knows that all
// four warps' operations have read the tile, and may write to it.
const Pattern kProducts = {
    "two products",
    "sm_90a",
    ".shared .align 128 .b8 tile[2304];",
    R"(
    .reg .f32 %f<8>; .reg .b32 %a<4>;
    mov.u32 %r1, tile; shl.b32 %r2, %t, 4; add.u32 %r2, %r2, %r1; mov.b32 %r3, 0x3f803f80;
    mov.b32 %a0, 0x3f803f80; mov.b32 %a1, %a0; mov.b32 %a2, %a0; mov.b32 %a3, %a0;
    setp.lt.u32 %p1, %t, 16; setp.eq.u32 %p2, %t, %t;
    setp.ne.u32 %p3, %t, %t;
    st.shared.v4.b32 [%r2], {%r3, %r3, %r3, %r3};
    @%p1 st.shared.v4.b32 [%r2+2048], {%r3, %r3, %r3, %r3};
    shr.u32 %r4, %r1, 4; cvt.u64.u32 %u1, %r4; mov.b64 %u3, 0x1000080000; or.b64 %u1, %u1, %u3;
    add.u64 %u2, %u1, 128;
    fence.proxy.async.shared::cta;
    bar.sync 0;
    mov.f32 %f0, 0f3F800000; mov.f32 %f1, %f0; mov.f32 %f2, %f0; mov.f32 %f3, %f0;
    wgmma.fence.sync.aligned;
    wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%f0, %f1, %f2, %f3}, %u1, %u2, %p2, 1, 1, 0, 0;
    wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%f0, %f1, %f2, %f3}, {%a0, %a1, %a2, %a3}, %u2, %p2, 1, 1, 0;
    wgmma.commit_group.sync.aligned;
    wgmma.wait_group.sync.aligned 0;
    add.f32 %f4, %f0, %f3; mov.b32 %a1, 5;
    st.shared.v4.b32 [%r2], {%r3, %r3, %r3, %r3};
    cvt.rzi.u32.f32 %d, %f4;
)",
    {1},
    {128},
    [](uint32_t, uint32_t) { return 66u; },
    {{"fence.proxy.async.shared::cta;", {Kind::kMissingProxyFence}},
     {"bar.sync 0;", {Kind::kRace, Kind::kMissingProxyFence}},
     {"mov.f32 %f3, %f0;\n    wgmma.fence.sync.aligned;=>mov.f32 %f3, %f0;", {Kind::kInFlight}},
     {"wgmma.fence.sync.aligned;=>wgmma.fence.sync.aligned; mov.f32 %f1, %f0;", {Kind::kInFlight}},
     {"wgmma.fence.sync.aligned;=>wgmma.fence.sync.aligned; mov.b32 %a2, %a0;", {Kind::kInFlight}},
     {"wgmma.commit_group.sync.aligned;", {Kind::kInFlight}},
     {"wgmma.wait_group.sync.aligned 0;", {Kind::kInFlight}},
     {"wgmma.wait_group.sync.aligned 0;=>wgmma.wait_group.sync.aligned 1;", {Kind::kInFlight}},
     // A register of A changes, one is read, or the tile is written before the wait.
     {"wgmma.commit_group.sync.aligned;=>wgmma.commit_group.sync.aligned; mov.b32 %a1, 5;",
      {Kind::kInFlight}},
     {"wgmma.commit_group.sync.aligned;=>wgmma.commit_group.sync.aligned; mov.f32 %f5, %f1;",
      {Kind::kInFlight}},
     {"wgmma.commit_group.sync.aligned;=>wgmma.commit_group.sync.aligned; st.shared.b32 [%r2], "
      "%r3;",
      {Kind::kInFlight}},
     // Warps that do not execute the same.
     {"wgmma.commit_group.sync.aligned;=>setp.ge.u32 %p5, %t, 96; @%p5 bra SKIP;\n"
      "    wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%f0, %f1, %f2, %f3}, %u1, %u2, "
      "%p2, 1, 1, 0, 0;\nSKIP: wgmma.commit_group.sync.aligned;",
      {Kind::kDeadlock}},
     {"add.u64 %u2, %u1, 128;=>add.u64 %u2, %u1, 128; setp.lt.u32 %p5, %t, 32; @%p5 add.u64 %u1, "
      "%u1, 8;",
      {Kind::kDivergence}},
     // Descriptors.
     {"add.u64 %u2, %u1, 128;=>add.u64 %u2, %u1, 8192;", {Kind::kOutOfBounds}},
     {"add.u64 %u2, %u1, 128;=>add.u64 %u2, %u1, 128; cvt.u64.u32 %u4, %t; add.u64 %u2, %u2, "
      "%u4;",
      {Kind::kIllegal}}}};

TEST(Wgmma, ProductsInFlightAreNotTouched) { check(kProducts); }

TEST(Wgmma, RegistersInFlightAreTouchedWhereNobodyChecksIt) {
    const std::string body =
        without(kProducts.body,
                "wgmma.commit_group.sync.aligned;=>wgmma.commit_group.sync.aligned; mov.f32 %f5, "
                "%f1;");
    LaunchOptions options;
    EXPECT_TRUE(run(kProducts, body, options, false));
    options.checks = parse_checks("-wgmma");
    EXPECT_FALSE(run(kProducts, body, options, true));
}

TEST(Wgmma, ScaleDMayBeAConstantOrANegation) {
    struct Case {
        const char* scale;
        uint32_t (*expected)(uint32_t, uint32_t);
    };
    // The first product goes on from the ones or starts anew.
    const auto on = [](uint32_t, uint32_t) { return 66u; };
    const auto anew = [](uint32_t, uint32_t) { return 64u; };
    for (const Case& one : {Case{"1", on}, Case{"0", anew}, Case{"!%p2", anew}, Case{"!%p3", on}}) {
        Pattern pattern = kProducts;
        pattern.expected = one.expected;
        const std::string body =
            without(pattern.body, std::string("%u1, %u2, %p2, 1, 1, 0, 0;=>%u1, %u2, ") +
                                      one.scale + ", 1, 1, 0, 0;");
        const auto fault = run(pattern, body, {}, true);
        EXPECT_FALSE(fault) << one.scale << fault->text();
    }
}

TEST(Wgmma, WhatWasNeverWrittenMakesItsRowsAndColumnsUndefined) {
    // Of A one row has not been written: threads of other rows may store their sums.
    Pattern pattern = kProducts;
    pattern.name = "an undefined row";
    pattern.removals.clear();
    const std::string body =
        without(without(pattern.body,
                        "{%a0, %a1, %a2, %a3}, %u2, %p2, 1, 1, 0;=>%u1, %u2, %p2, 1, 1, 0, 0;"),
                "st.shared.v4.b32 [%r2], {%r3, %r3, %r3, %r3};=>setp.ne.u32 %p6, %t, 3; "
                "@%p6 st.shared.v4.b32 [%r2], {%r3, %r3, %r3, %r3};");
    // Row 3 is in registers 0 and 1 of threads 12 to 15; registers 2 and 3 hold row 11.
    const auto store_of = [&](const char* sum, bool all) {
        std::string changed =
            without(body, std::string("add.f32 %f4, %f0, %f3;=>mov.f32 %f4, ") + sum + ";");
        if (!all)
            changed = without(changed,
                              "cvt.rzi.u32.f32 %d, %f4;=>shr.u32 %r9, %t, 2; setp.ne.u32 %p7, "
                              "%r9, 3; @%p7 cvt.rzi.u32.f32 %d, %f4;");
        return run(pattern, changed, {}, false);
    };
    EXPECT_FALSE(store_of("%f2", true));
    EXPECT_FALSE(store_of("%f0", false));
    const auto found = store_of("%f0", true);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->kind, Kind::kUninitialised) << found->text();
    EXPECT_EQ(found->thread.x, 12u);
}

// Registers move from one warpgroup to the other.
TEST(RegisterPool, WhoAsksForMoreWaitsUntilOthersGaveThemBack) {
    const Pattern pattern = {
        "registers",
        "sm_90a",
        ".shared .align 8 .b64 unused;",
        R"(
    setp.lt.u32 %p1, %t, 128; @%p1 bra MORE;
    setmaxnreg.dec.sync.aligned.u32 40;
    bra END;
MORE:
    setmaxnreg.inc.sync.aligned.u32 232;
    mov.u32 %d, 1;
END:
)",
        {1},
        {512},
        [](uint32_t, uint32_t t) { return t < 128 ? 1u : 0u; },
        {{"setmaxnreg.dec.sync.aligned.u32 40;", {Kind::kDeadlock}},
         {"setmaxnreg.inc.sync.aligned.u32 232;=>setmaxnreg.inc.sync.aligned.u32 232; "
          "bar.sync 1, 128; setmaxnreg.inc.sync.aligned.u32 40;",
          {Kind::kIllegal}},
         {"setmaxnreg.dec.sync.aligned.u32 40;=>setmaxnreg.dec.sync.aligned.u32 240;",
          {Kind::kIllegal}},
         {"setp.lt.u32 %p1, %t, 128;=>setp.lt.u32 %p1, %t, 96;", {Kind::kDivergence}},
         {"setp.lt.u32 %p1, %t, 128;=>setp.lt.u32 %p1, %t, 100;", {Kind::kDivergence}}}};
    // Blocks of 512 threads start with 128 registers each.
    Pattern bounded = pattern;
    const auto run_bounded = [&](const std::string& body, const LaunchOptions& options) {
        Memory memory;
        std::string text = text_of(bounded, body);
        text.insert(text.find(") {\n") + 1, " .maxntid 512, 1, 1 .minnctapersm 1");
        Kernel kernel(memory, text);
        const uint64_t out = memory.allocate(512 * 4);
        const uint64_t array = memory.upload(std::vector<uint32_t>(kArrayWords, 0));
        const LaunchResult result =
            kernel.run(memory, {1}, {512}, Arguments().add(array).add(out), 0, options);
        if (!result.fault) {
            const auto got = memory.download<uint32_t>(out);
            for (uint32_t t = 0; t < 512; ++t) EXPECT_EQ(got[t], pattern.expected(0, t));
        }
        return result.fault;
    };
    for (const LaunchOptions& options : all_options()) {
        const auto fault = run_bounded(pattern.body, options);
        EXPECT_FALSE(fault) << fault->text();
        for (const Removal& removal : pattern.removals) {
            const auto found = run_bounded(without(pattern.body, removal.what), options);
            ASSERT_TRUE(found) << removal.what;
            EXPECT_EQ(found->kind, removal.found_as[0]) << removal.what << found->text();
        }
    }
}

}  // namespace
}  // namespace fattn::vgpu::test
