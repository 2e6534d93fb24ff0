// Small kernels in PTX for the tests of modules and launches. Included by module_test.cpp and
// launch_test.cpp.
#pragma once

namespace fattn::vgpu::cuda {

// fill(out, value, n): out[i] = value for i < n. scale(out, n): out[i] *= factor, a variable.
// swap(out): thread 0 stores what thread 1 left in dynamic shared memory, 1. wild(out, i): out[i] =
// 1 by one thread.
inline constexpr const char* kKernels = R"(
.version 8.4
.target sm_80
.address_size 64

.visible .global .align 4 .u32 factor = 3;
.visible .const .align 4 .b32 table[2] = {10, 20};
.extern .shared .align 16 .b8 dynamic[];

.visible .entry fill(.param .u64 out, .param .u32 value, .param .u32 n) {
    .reg .pred %p<2>; .reg .b32 %r<7>; .reg .b64 %rd<4>;
    ld.param.u64 %rd1, [out];
    ld.param.u32 %r1, [value];
    ld.param.u32 %r2, [n];
    mov.u32 %r3, %ctaid.x;
    mov.u32 %r4, %ntid.x;
    mov.u32 %r5, %tid.x;
    mad.lo.u32 %r6, %r3, %r4, %r5;
    setp.ge.u32 %p1, %r6, %r2;
    @%p1 bra $done;
    mul.wide.u32 %rd2, %r6, 4;
    add.s64 %rd3, %rd1, %rd2;
    st.global.u32 [%rd3], %r1;
$done:
    ret;
}

.visible .entry scale(.param .u64 out, .param .u32 n) {
    .reg .pred %p<2>; .reg .b32 %r<7>; .reg .b64 %rd<5>;
    ld.param.u64 %rd1, [out];
    ld.param.u32 %r1, [n];
    mov.u32 %r2, %tid.x;
    setp.ge.u32 %p1, %r2, %r1;
    @%p1 bra $done;
    ld.global.u32 %r3, [factor];
    mul.wide.u32 %rd2, %r2, 4;
    add.s64 %rd3, %rd1, %rd2;
    ld.global.u32 %r4, [%rd3];
    mul.lo.u32 %r5, %r4, %r3;
    st.global.u32 [%rd3], %r5;
$done:
    ret;
}

.visible .entry wild(.param .u64 out, .param .u32 i) {
    .reg .b32 %r<3>; .reg .b64 %rd<4>;
    ld.param.u64 %rd1, [out];
    ld.param.u32 %r1, [i];
    mov.u32 %r2, 1;
    mul.wide.s32 %rd2, %r1, 4;
    add.s64 %rd3, %rd1, %rd2;
    st.global.u32 [%rd3], %r2;
    ret;
}

.visible .entry small(.param .u64 out) .maxntid 64, 1, 1 {
    ret;
}

.visible .entry exact(.param .u64 out) .reqntid 32, 2, 1 {
    ret;
}

.visible .entry swap(.param .u64 out) {
    .reg .pred %p<2>; .reg .b32 %r<8>; .reg .b64 %rd<2>;
    .shared .align 4 .b8 fixed[1024];
    ld.param.u64 %rd1, [out];
    mov.u32 %r1, %tid.x;
    mov.u32 %r2, dynamic;
    shl.b32 %r3, %r1, 2;
    add.u32 %r4, %r2, %r3;
    st.shared.u32 [%r4], %r1;
    mov.u32 %r5, fixed;
    add.u32 %r5, %r5, %r3;
    st.shared.u32 [%r5], %r1;
    bar.sync 0;
    xor.b32 %r6, %r3, 4;
    add.u32 %r6, %r2, %r6;
    ld.shared.u32 %r7, [%r6];
    setp.ne.u32 %p1, %r1, 0;
    @%p1 bra $done;
    st.global.u32 [%rd1], %r7;
$done:
    ret;
}
)";

}  // namespace fattn::vgpu::cuda
