// The text of one wgmma over an image of shared memory; used by the probes of its sums and layouts.
#pragma once

#include <cstdint>
#include <string>

namespace fattn::vgpu {

struct WgmmaText {
    std::string d, a, b;  // types
    uint32_t depth = 16, columns = 8;
    bool a_in_registers = false, saturates = false;
    bool negates_a = false, negates_b = false;
    bool takes_transpositions = false;  // of 16-bit elements
    bool transposes_a = false, transposes_b = false;
    uint32_t image_bytes = 4096;  // a multiple of 2048

    uint32_t registers() const { return d == "f16" ? columns / 4 : columns / 2; }

    // `run(image, fragments, sums, da, db, adds)`: 128 threads copy the image to dynamic shared
    // memory; descriptors count from its begin. Thread t has four registers of A at 16 t of
    // `fragments`, and its accumulators beside each other in `sums`, where the results go too.
    std::string text() const {
        const std::string count = std::to_string(registers());
        std::string flags;
        if (d != "s32")
            flags = std::string(negates_a ? ", -1" : ", 1") + (negates_b ? ", -1" : ", 1");
        if (takes_transpositions && !a_in_registers) flags += transposes_a ? ", 1" : ", 0";
        if (takes_transpositions) flags += transposes_b ? ", 1" : ", 0";
        const auto list = [](const char* name, uint32_t n) {
            std::string made = "{";
            for (uint32_t i = 0; i < n; ++i) made += (i ? ", %" : "%") + (name + std::to_string(i));
            return made + "}";
        };
        std::string made = R"(.version 8.4
.target sm_90a
.address_size 64
.extern .shared .align 1024 .b8 tiles[];
.visible .entry run(.param .u64 image, .param .u64 fragments, .param .u64 sums, .param .u64 da,
                    .param .u64 db, .param .u32 adds) {
    .reg .b32 %t, %i, %s, %r, %v<4>, %a<4>, %d<)" +
                           count + R"(>; .reg .b64 %q, %o, %da, %db, %f, %x; .reg .pred %p, %w;
    ld.param.u64 %q, [image]; ld.param.u64 %f, [fragments]; ld.param.u64 %x, [sums];
    ld.param.u64 %da, [da]; ld.param.u64 %db, [db]; ld.param.u32 %r, [adds];
    setp.ne.u32 %p, %r, 0; mov.u32 %t, %tid.x; mov.u32 %s, tiles; shl.b32 %i, %t, 4;
    shr.u32 %r, %s, 4; cvt.u64.u32 %o, %r; add.u64 %da, %da, %o; add.u64 %db, %db, %o;
LOOP:
    cvt.u64.u32 %o, %i; add.u64 %o, %o, %q; ld.global.v4.b32 {%v0, %v1, %v2, %v3}, [%o];
    add.u32 %r, %s, %i; st.shared.v4.b32 [%r], {%v0, %v1, %v2, %v3};
    add.u32 %i, %i, 2048; setp.lt.u32 %w, %i, )" +
                           std::to_string(image_bytes) + R"(; @%w bra LOOP;
    fence.proxy.async;
    bar.sync 0;
    mul.wide.u32 %o, %t, 16; add.u64 %o, %o, %f;
    ld.global.v4.b32 {%a0, %a1, %a2, %a3}, [%o];
    mul.wide.u32 %o, %t, )" +
                           std::to_string(4 * registers()) + "; add.u64 %x, %x, %o;\n";
        for (uint32_t i = 0; i < registers(); ++i) {
            made += "    ld.global.b32 %d" + std::to_string(i) + ", [%x+" + std::to_string(4 * i) +
                    "];\n";
        }
        made += "    wgmma.fence.sync.aligned;\n    wgmma.mma_async.sync.aligned.m64n" +
                std::to_string(columns) + "k" + std::to_string(depth) +
                (saturates ? ".satfinite." : ".") + d + "." + a + "." + b + " " +
                list("d", registers()) + ", " + (a_in_registers ? list("a", 4) : "%da") +
                ", %db, %p" + flags +
                ";\n    wgmma.commit_group.sync.aligned;\n    wgmma.wait_group.sync.aligned 0;\n";
        for (uint32_t i = 0; i < registers(); ++i) {
            made += "    st.global.b32 [%x+" + std::to_string(4 * i) + "], %d" + std::to_string(i) +
                    ";\n";
        }
        return made + "    ret;\n}\n";
    }
};

}  // namespace fattn::vgpu
