// What is not allowed: the error that ends the context.
#include "cases/probes.h"

namespace fattn::vgpu {

void add_faults(std::vector<Probe>& probes) {
    const auto add = [&](const std::string& name, const std::string& body) {
        Probe made;
        made.name = "fault." + name;
        made.text = R"(.version 8.4
.target sm_90a
.address_size 64
.shared .align 128 .b8 room[1024];
.shared .align 8 .b64 full;
.const .align 16 .b32 fixed[4] = {1, 2, 3, 4};
.visible .entry run(.param .u64 out) {
    .reg .b32 %t, %s, %f, %r<4>; .reg .b64 %y, %u<4>; .reg .pred %p;
    ld.param.u64 %y, [out]; mov.u32 %t, %tid.x; mov.u32 %s, room; mov.u32 %f, full; mov.u32 %r0, 1;
    setp.eq.u32 %p, %t, 0; @%p st.shared.b32 [%s], %t;
    )" + body + "\n    st.global.b32 [%y], %r0;\n    ret;\n}\n";
        made.buffers = {std::vector<uint32_t>(256, 0)};
        made.take_buffer(0);
        probes.push_back(made);
    };
    add("nothing", "");
    add("trap", "trap;");
    add("global.null", "mov.u64 %u0, 16; ld.global.b32 %r0, [%u0];");
    add("global.far", "mov.u64 %u0, 0x7f0000000000; st.global.b32 [%u0], %r0;");
    add("generic.null", "mov.u64 %u0, 16; ld.b32 %r0, [%u0];");
    add("global.misaligned", "ld.global.b32 %r0, [%y+2];");
    add("atomic.misaligned", "atom.global.add.u32 %r0, [%y+2], 1;");
    add("atomic.null", "mov.u64 %u0, 16; atom.global.add.u32 %r0, [%u0], 1;");
    add("shared.misaligned", "ld.shared.b32 %r0, [%s+2];");
    add("shared.far", "mov.u32 %r1, 0x40000; ld.shared.b32 %r0, [%r1];");
    add("shared.atomic.misaligned", "atom.shared.add.u32 %r0, [%s+2], 1;");
    add("ldmatrix.misaligned",
        "add.u32 %s, %s, 8; ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r0}, [%s];");
    add("cp.async.null",
        "mov.u64 %u0, 16; @%p cp.async.ca.shared.global [%s], [%u0], 16; cp.async.wait_all;");
    add("cp.async.misaligned",
        "@%p cp.async.ca.shared.global [%s+8], [%y], 16; cp.async.wait_all;");
    add("barrier.count", "mov.u32 %r1, 33; barrier.cta.sync 1, %r1;");
    add("bulk.size",
        "mov.u32 %r1, 24; @%p cp.async.bulk.global.shared::cta.bulk_group [%y], [%s], %r1; "
        "cp.async.bulk.commit_group; cp.async.bulk.wait_group 0;");
    add("bulk.misaligned",
        "add.u64 %u0, %y, 8; @%p cp.async.bulk.global.shared::cta.bulk_group [%u0], [%s], 16; "
        "cp.async.bulk.commit_group; cp.async.bulk.wait_group 0;");
    add("bulk.null",
        "mov.u64 %u0, 16; @%p cp.async.bulk.global.shared::cta.bulk_group [%u0], [%s], 16; "
        "cp.async.bulk.commit_group; cp.async.bulk.wait_group 0;");
    add("map.zeros",
        "mov.u32 %r1, 0; @%p cp.async.bulk.tensor.1d.global.shared::cta.tile.bulk_group [%y, "
        "{%r1}], [%s]; cp.async.bulk.commit_group; cp.async.bulk.wait_group 0;");
    add("constant.store", "mov.u64 %u0, fixed; cvta.const.u64 %u0, %u0; st.b32 [%u0], %r0;");
    add("wmma.misaligned",
        "add.u64 %u0, %y, 16; wmma.load.a.sync.aligned.row.m16n16k16.global.bf16 {%r0, %r1, %r2, "
        "%r3}, [%u0], 8;");
    add("setmaxnreg.alone", "setmaxnreg.inc.sync.aligned.u32 64;");
}

}  // namespace fattn::vgpu
