// wmma: products of every shape, type and layout of memory against sums over plain matrices, and
// what is checked of their addresses.
#include <gtest/gtest.h>

#include <bit>
#include <functional>
#include <random>

#include "exec/half.h"
#include "test/device.h"

namespace fattn::vgpu::test {
namespace {

struct WmmaCase {
    const char* shape;
    uint32_t rows, columns, depth;
    const char* type;  // of A and B
    uint32_t a_registers, b_registers;
    const char* sum;  // type of C and D
};

const WmmaCase kWmmaCases[] = {
    {"m16n16k16", 16, 16, 16, "f16", 8, 8, "f32"},  {"m16n16k16", 16, 16, 16, "f16", 8, 8, "f16"},
    {"m32n8k16", 32, 8, 16, "f16", 8, 8, "f32"},    {"m8n32k16", 8, 32, 16, "f16", 8, 8, "f16"},
    {"m16n16k16", 16, 16, 16, "bf16", 4, 4, "f32"}, {"m32n8k16", 32, 8, 16, "bf16", 8, 2, "f32"},
    {"m8n32k16", 8, 32, 16, "bf16", 2, 8, "f32"},   {"m16n16k8", 16, 16, 8, "tf32", 4, 4, "f32"},
    {"m16n16k16", 16, 16, 16, "s8", 2, 2, "s32"},   {"m32n8k16", 32, 8, 16, "u8", 4, 1, "s32"},
    {"m8n32k16", 8, 32, 16, "s8", 1, 4, "s32"}};

uint32_t size_of(const std::string& type) {
    return type == "f16" || type == "bf16" ? 2 : type == "s8" || type == "u8" ? 1 : 4;
}

uint32_t bits_of(const std::string& type, float value) {
    if (type == "f16") return to_f16(value);
    if (type == "bf16") return std::bit_cast<uint32_t>(value) >> 16;
    if (type == "f32" || type == "tf32") return std::bit_cast<uint32_t>(value);
    return static_cast<uint32_t>(static_cast<int32_t>(value));
}

float value_of(const std::string& type, uint32_t bits) {
    if (type == "f16") return f16_value(static_cast<uint16_t>(bits));
    if (type == "f32") return std::bit_cast<float>(bits);
    return static_cast<float>(static_cast<int32_t>(bits));
}

// Rows and columns as memory has them; lines lie `stride` elements apart.
std::vector<uint8_t> in_memory(const std::string& type, uint32_t rows, uint32_t columns,
                               bool by_rows, uint32_t stride,
                               const std::function<float(uint32_t, uint32_t)>& at) {
    const uint32_t size = size_of(type);
    std::vector<uint8_t> made(size_t{by_rows ? rows : columns} * stride * size);
    for (uint32_t r = 0; r < rows; ++r) {
        for (uint32_t c = 0; c < columns; ++c) {
            const uint32_t bits = bits_of(type, at(r, c));
            const size_t place = by_rows ? size_t{r} * stride + c : size_t{c} * stride + r;
            std::memcpy(&made[place * size], &bits, size);
        }
    }
    return made;
}

std::string register_list(const char* name, uint32_t count) {
    std::string made = "{";
    for (uint32_t i = 0; i < count; ++i)
        made += (i ? ", %" : "%") + std::string(name) + std::to_string(i);
    return made + "}";
}

struct Layouts {
    bool a, b, c, d;  // by rows
};

const char* named(bool by_rows) { return by_rows ? "row" : "col"; }

std::string wmma_text(const WmmaCase& test, const Layouts& by_rows) {
    const std::string shape = std::string(".") + test.shape, type = test.type, sum = test.sum;
    const uint32_t sums = sum == "f16" ? 4 : 8;
    const std::string types =
        type == "f16" ? sum + "." + sum : sum + "." + type + "." + type + "." + sum;
    const auto load = [&](const char* part, bool rows, const std::string& of,
                          const std::string& to) {
        return "wmma.load." + std::string(part) + ".sync.aligned." + named(rows) + shape +
               ".global." + of + " " + to + ", [%p" + part + "], %l" + part + ";\n";
    };
    return R"(.version 8.4
.target sm_80
.address_size 64
.visible .entry run(.param .u64 a, .param .u64 b, .param .u64 c, .param .u64 d, .param .u32 la,
    .param .u32 lb, .param .u32 lc, .param .u32 ld) {
    .reg .b64 %pa, %pb, %pc, %pd; .reg .b32 %la, %lb, %lc, %ld;
    .reg .b32 %fa<8>, %fb<8>, %fc<8>;
    ld.param.u64 %pa, [a]; ld.param.u64 %pb, [b]; ld.param.u64 %pc, [c]; ld.param.u64 %pd, [d];
    ld.param.u32 %la, [la]; ld.param.u32 %lb, [lb]; ld.param.u32 %lc, [lc]; ld.param.u32 %ld, [ld];
)" + load("a", by_rows.a, type, register_list("fa", test.a_registers)) +
           load("b", by_rows.b, type, register_list("fb", test.b_registers)) +
           load("c", by_rows.c, sum, register_list("fc", sums)) + "wmma.mma.sync.aligned." +
           named(by_rows.a) + "." + named(by_rows.b) + shape + "." + types + " " +
           register_list("fc", sums) + ", " + register_list("fa", test.a_registers) + ", " +
           register_list("fb", test.b_registers) + ", " + register_list("fc", sums) + ";\n" +
           "wmma.store.d.sync.aligned." + named(by_rows.d) + shape + ".global." + sum + " [%pd], " +
           register_list("fc", sums) + ", %ld;\nret;\n}\n";
}

// Small integers, whose sums every type holds.
struct SmallMatrix {
    uint32_t seed;
    int32_t least;
    float operator()(uint32_t r, uint32_t c) const {
        return static_cast<float>(static_cast<int32_t>((r * 7 + c * 5 + r * c * 3 + seed) % 7) +
                                  least);
    }
};

TEST(Wmma, EveryShapeTypeAndLayoutGivesTheProduct) {
    for (const WmmaCase& test : kWmmaCases) {
        for (uint32_t layouts = 0; layouts < 16; ++layouts) {
            const Layouts by_rows{(layouts & 1) != 0, (layouts & 2) != 0, (layouts & 4) != 0,
                                  (layouts & 8) != 0};
            const int32_t least = std::string(test.type) == "u8" ? 0 : -3;
            const SmallMatrix a{1, least}, b{4, least}, c{2, -3};
            constexpr uint32_t kStride = 48;  // elements
            Memory memory;
            const auto upload = [&](const std::string& type, uint32_t rows, uint32_t columns,
                                    bool rows_first, const SmallMatrix& values) {
                return memory.upload(in_memory(type, rows, columns, rows_first, kStride, values));
            };
            const uint64_t out = memory.upload(std::vector<uint32_t>(32 * kStride, 0x7f7f7f7f));
            Arguments arguments;
            arguments.add(upload(test.type, test.rows, test.depth, by_rows.a, a))
                .add(upload(test.type, test.depth, test.columns, by_rows.b, b))
                .add(upload(test.sum, test.rows, test.columns, by_rows.c, c))
                .add(out);
            for (int i = 0; i < 4; ++i) arguments.add(kStride);
            Kernel kernel(memory, wmma_text(test, by_rows), kSm80);
            const LaunchResult result = kernel.run(memory, {1}, {32}, arguments);
            ASSERT_FALSE(result.fault) << result.fault->text();
            const std::vector<uint8_t> made = memory.download<uint8_t>(out);
            const uint32_t size = size_of(test.sum);
            for (uint32_t r = 0; r < test.rows; ++r) {
                for (uint32_t n = 0; n < test.columns; ++n) {
                    float wanted = c(r, n);
                    for (uint32_t k = 0; k < test.depth; ++k) wanted += a(r, k) * b(k, n);
                    const size_t place =
                        by_rows.d ? size_t{r} * kStride + n : size_t{n} * kStride + r;
                    uint32_t bits = 0;
                    std::memcpy(&bits, &made[place * size], size);
                    ASSERT_EQ(value_of(test.sum, bits), wanted)
                        << test.shape << " " << test.type << " " << test.sum << " layouts "
                        << layouts << " at " << r << ", " << n;
                }
            }
        }
    }
}

// A 16x16 product of f16 from shared memory of which the first `defined` rows are written, with the
// stride and offset given, stored to device memory.
LaunchResult run_from_shared(uint32_t rows, uint32_t stride, uint32_t offset) {
    const std::string text = R"(.version 8.4
.target sm_80
.address_size 64
.shared .align 128 .b8 tile[2048];
.visible .entry run(.param .u64 out, .param .u32 rows, .param .u32 stride, .param .u32 offset) {
    .reg .b64 %o; .reg .b32 %t, %n, %s, %f, %u, %z, %fa<8>, %fc<8>; .reg .pred %p;
    ld.param.u64 %o, [out]; ld.param.u32 %n, [rows]; ld.param.u32 %s, [stride];
    ld.param.u32 %f, [offset];
    mov.u32 %t, %tid.x; mov.u32 %z, 0; mov.u32 %u, tile; add.u32 %f, %f, %u;
    mad.lo.u32 %u, %t, 32, %u;
    setp.lt.u32 %p, %t, %n;
    @%p st.shared.v4.b32 [%u], {%z, %z, %z, %z};
    @%p st.shared.v4.b32 [%u+16], {%z, %z, %z, %z};
    bar.warp.sync 0xffffffff;
    wmma.load.a.sync.aligned.row.m16n16k16.shared.f16 {%fa0, %fa1, %fa2, %fa3, %fa4, %fa5, %fa6, %fa7}, [%f], %s;
    wmma.mma.sync.aligned.row.row.m16n16k16.f32.f32 {%fc0, %fc1, %fc2, %fc3, %fc4, %fc5, %fc6, %fc7},
        {%fa0, %fa1, %fa2, %fa3, %fa4, %fa5, %fa6, %fa7}, {%z, %z, %z, %z, %z, %z, %z, %z},
        {%z, %z, %z, %z, %z, %z, %z, %z};
    wmma.store.d.sync.aligned.row.m16n16k16.global.f32 [%o], {%fc0, %fc1, %fc2, %fc3, %fc4, %fc5, %fc6, %fc7};
    ret;
}
)";
    Memory memory;
    Kernel kernel(memory, text, kSm80);
    return kernel.run(memory, {1}, {32},
                      Arguments().add(memory.allocate(256 * 4)).add(rows).add(stride).add(offset));
}

TEST(Wmma, AllOfAMatrixHasToBeWritten) {
    EXPECT_FALSE(run_from_shared(16, 16, 0).fault);
    const LaunchResult result = run_from_shared(15, 16, 0);
    ASSERT_TRUE(result.fault);
    EXPECT_EQ(result.fault->kind, FaultKind::kUninitialised) << result.fault->text();
}

TEST(Wmma, LinesBeginWhereFragmentsMay) {
    EXPECT_FALSE(run_from_shared(32, 32, 0).fault);
    for (const LaunchResult& result : {run_from_shared(32, 24, 0), run_from_shared(32, 16, 16)}) {
        ASSERT_TRUE(result.fault);
        EXPECT_EQ(result.fault->kind, FaultKind::kMisaligned) << result.fault->text();
    }
}

TEST(Wmma, OtherShapesAndTypesAreRefusedByName) {
    const auto refused = [](const std::string& line) -> std::string {
        const std::string text =
            ".version 8.4\n.target sm_80\n.address_size 64\n.visible .entry run(.param .u64 a) {\n"
            ".reg .b64 %p; .reg .b32 %r<9>; .reg .f64 %d<3>;\nld.param.u64 %p, [a];\n" +
            line + "\nret;\n}\n";
        try {
            Module::load(text, "test.ptx", kSm80);
            return {};
        } catch (const std::exception& error) {
            return error.what();
        }
    };
    EXPECT_NE(
        refused("wmma.load.a.sync.aligned.row.m8n8k4.f64 {%d0}, [%p];").find("shapes offered"),
        std::string::npos);
    EXPECT_NE(
        refused("wmma.load.a.sync.aligned.row.m8n8k32.s4 {%r0}, [%p];").find("shapes offered"),
        std::string::npos);
    EXPECT_NE(
        refused("wmma.load.a.sync.aligned.row.m16n16k16.f32 {%r0}, [%p];").find("types offered"),
        std::string::npos);
    EXPECT_EQ(refused("wmma.load.a.sync.aligned.row.m16n16k16.s8 {%r0, %r1}, [%p];"), "");
}

}  // namespace
}  // namespace fattn::vgpu::test
