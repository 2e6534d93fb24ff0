// ldmatrix and stmatrix against the layout of fragments: where each element of each matrix goes.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "test/device.h"

namespace fattn::vgpu::test {
namespace {

constexpr uint32_t kRowBytes = 16;  // of a matrix: eight 16-bit elements

// Row r of matrix m lies in slot places[8 m + r]: rows may lie anywhere.
std::vector<uint32_t> shuffled_places() {
    std::vector<uint32_t> places(32);
    std::iota(places.begin(), places.end(), 0u);
    std::mt19937 random(11);
    std::shuffle(places.begin(), places.end(), random);
    return places;
}

// In every element its matrix, row and column.
uint16_t name_of(uint32_t m, uint32_t r, uint32_t c) {
    return static_cast<uint16_t>(m << 8 | r << 4 | c);
}

// Lane l holds of each matrix a pair of elements: those of row l / 4 from column 2 (l % 4) on, or,
// transposed, those of column l / 4 from row 2 (l % 4) on.
uint32_t fragment(uint32_t m, uint32_t lane, bool transposed) {
    const uint32_t group = lane / 4, first = 2 * (lane % 4);
    return transposed ? name_of(m, first, group) | uint32_t{name_of(m, first + 1, group)} << 16
                      : name_of(m, group, first) | uint32_t{name_of(m, group, first + 1)} << 16;
}

std::string registers(uint32_t count) {
    std::string made = "{";
    for (uint32_t i = 0; i < count; ++i) made += (i ? ", %d" : "%d") + std::to_string(i);
    return made + "}";
}

// Lane l copies 16 bytes of `in` to shared memory at 16 l, runs the body with %s, the address of
// its row, and copies 16 bytes back to `out`; %d0 to %d3 are loaded from and stored to `words`.
std::string matrix_text_of(const std::string& body) {
    return R"(.version 8.4
.target sm_90
.address_size 64
.shared .align 128 .b8 tile[512];
.visible .entry run(.param .u64 in, .param .u64 places, .param .u64 words, .param .u64 out) {
    .reg .b32 %t, %s, %u, %d<4>, %e<4>; .reg .b64 %i, %p, %w, %q, %o, %g;
    ld.param.u64 %i, [in]; ld.param.u64 %p, [places]; ld.param.u64 %w, [words];
    ld.param.u64 %q, [out];
    mov.u32 %t, %tid.x; mul.wide.u32 %o, %t, 16;
    add.u64 %i, %i, %o; add.u64 %w, %w, %o; add.u64 %q, %q, %o;
    ld.global.v4.b32 {%e0, %e1, %e2, %e3}, [%i];
    mov.u32 %u, tile; shl.b32 %s, %t, 4; add.u32 %u, %u, %s;
    st.shared.v4.b32 [%u], {%e0, %e1, %e2, %e3};
    ld.global.v4.b32 {%d0, %d1, %d2, %d3}, [%w];
    mul.wide.u32 %o, %t, 4; add.u64 %p, %p, %o; ld.global.u32 %s, [%p];
    shl.b32 %s, %s, 4; mov.u32 %e0, tile; add.u32 %s, %s, %e0;
    cvt.u64.u32 %g, %s; cvta.shared.u64 %g, %g;
    bar.sync 0;
)" + body + R"(
    bar.sync 0;
    ld.shared.v4.b32 {%e0, %e1, %e2, %e3}, [%u];
    st.global.v4.b32 [%w], {%d0, %d1, %d2, %d3};
    st.global.v4.b32 [%q], {%e0, %e1, %e2, %e3};
    ret;
}
)";
}

struct MatrixMade {
    std::vector<uint16_t> tile;
    std::vector<uint32_t> words;  // four a lane
};

MatrixMade run(const std::string& body, const std::vector<uint16_t>& tile,
               const std::vector<uint32_t>& words) {
    Memory memory;
    Kernel kernel(memory, matrix_text_of(body));
    const uint64_t out = memory.allocate(512), at_words = memory.upload(words);
    const LaunchResult result = kernel.run(memory, {1}, {32},
                                           Arguments()
                                               .add(memory.upload(tile))
                                               .add(memory.upload(shuffled_places()))
                                               .add(at_words)
                                               .add(out));
    EXPECT_FALSE(result.fault) << body << "\n" << result.fault->text();
    return {memory.download<uint16_t>(out), memory.download<uint32_t>(at_words)};
}

TEST(Matrices, FragmentsAreLoadedFromRowsAnywhere) {
    const std::vector<uint32_t> places = shuffled_places();
    std::vector<uint16_t> tile(256);
    for (uint32_t m = 0; m < 4; ++m) {
        for (uint32_t r = 0; r < 8; ++r) {
            for (uint32_t c = 0; c < 8; ++c)
                tile[places[8 * m + r] * kRowBytes / 2 + c] = name_of(m, r, c);
        }
    }
    constexpr uint32_t kUntouched = 0xdeadbeef;
    for (const uint32_t count : {1u, 2u, 4u}) {
        for (const bool transposed : {false, true}) {
            for (const char* address : {".shared.b16 ", ".b16 "}) {
                const bool generic = address[1] == 'b';
                const MatrixMade made =
                    run("ldmatrix.sync.aligned.m8n8.x" + std::to_string(count) +
                            (transposed ? ".trans" : "") + address + registers(count) +
                            (generic ? ", [%g];" : ", [%s];"),
                        tile, std::vector<uint32_t>(128, kUntouched));
                for (uint32_t lane = 0; lane < 32; ++lane) {
                    for (uint32_t m = 0; m < 4; ++m) {
                        EXPECT_EQ(made.words[4 * lane + m],
                                  m < count ? fragment(m, lane, transposed) : kUntouched)
                            << "x" << count << " lane " << lane << " matrix " << m;
                    }
                }
            }
        }
    }
}

TEST(Matrices, FragmentsAreStoredToRowsAnywhere) {
    const std::vector<uint32_t> places = shuffled_places();
    constexpr uint16_t kUntouched = 0xbeef;
    for (const uint32_t count : {1u, 2u, 4u}) {
        for (const bool transposed : {false, true}) {
            std::vector<uint32_t> words(128);
            for (uint32_t lane = 0; lane < 32; ++lane) {
                for (uint32_t m = 0; m < 4; ++m)
                    words[4 * lane + m] = fragment(m, lane, transposed);
            }
            const MatrixMade made = run("stmatrix.sync.aligned.m8n8.x" + std::to_string(count) +
                                            (transposed ? ".trans" : "") + ".shared.b16 [%s], " +
                                            registers(count) + ";",
                                        std::vector<uint16_t>(256, kUntouched), words);
            for (uint32_t m = 0; m < 4; ++m) {
                for (uint32_t r = 0; r < 8; ++r) {
                    for (uint32_t c = 0; c < 8; ++c) {
                        EXPECT_EQ(made.tile[places[8 * m + r] * kRowBytes / 2 + c],
                                  m < count ? name_of(m, r, c) : kUntouched)
                            << "x" << count << " matrix " << m << " row " << r << " column " << c;
                    }
                }
            }
        }
    }
}

}  // namespace
}  // namespace fattn::vgpu::test
