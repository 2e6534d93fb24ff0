// C = A B^T of one 64x64 tile: cp.async in two stages, ldmatrix, mma.sync. Compiled to gemm.ptx,
// which the tests run.
#include <cuda_bf16.h>
#include <stdint.h>
// one tile GEMM: 64x64x64 with cp.async double buffer, ldmatrix, mma
extern "C" __global__ void gemm(const __nv_bfloat16* a, const __nv_bfloat16* b, float* c, int K) {
    __shared__ __align__(128) __nv_bfloat16 sa[2][64 * 40], sb[2][64 * 40];
    int t = threadIdx.x, warp = t / 32, lane = t % 32;
    float acc[8][4] = {};
    auto load = [&](int stage, int k0) {
        for (int i = t; i < 64 * 4; i += 128) {
            int r = i / 4, c8 = i % 4 * 8;
            uint32_t da = __cvta_generic_to_shared(&sa[stage][r * 40 + c8]);
            uint32_t db = __cvta_generic_to_shared(&sb[stage][r * 40 + c8]);
            asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(da),
                         "l"(a + r * K + k0 + c8));
            asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(db),
                         "l"(b + r * K + k0 + c8));
        }
        asm volatile("cp.async.commit_group;");
    };
    load(0, 0);
    for (int k0 = 0, s = 0; k0 < K; k0 += 32, s ^= 1) {
        if (k0 + 32 < K) {
            load(s ^ 1, k0 + 32);
            asm volatile("cp.async.wait_group 1;" ::: "memory");
        } else
            asm volatile("cp.async.wait_group 0;" ::: "memory");
        __syncthreads();
        for (int kk = 0; kk < 32; kk += 16) {
            uint32_t ra[4];
            uint32_t pa =
                __cvta_generic_to_shared(&sa[s][(warp * 16 + lane % 16) * 40 + kk + lane / 16 * 8]);
            asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                         : "=r"(ra[0]), "=r"(ra[1]), "=r"(ra[2]), "=r"(ra[3])
                         : "r"(pa));
            for (int n = 0; n < 8; n++) {
                uint32_t rb[2];
                uint32_t pb = __cvta_generic_to_shared(
                    &sb[s][(n * 8 + lane % 8) * 40 + kk + (lane / 8 % 2) * 8]);
                asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
                             : "=r"(rb[0]), "=r"(rb[1])
                             : "r"(pb));
                asm volatile(
                    "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, "
                    "{%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                    : "+f"(acc[n][0]), "+f"(acc[n][1]), "+f"(acc[n][2]), "+f"(acc[n][3])
                    : "r"(ra[0]), "r"(ra[1]), "r"(ra[2]), "r"(ra[3]), "r"(rb[0]), "r"(rb[1]));
            }
        }
        __syncthreads();
    }
    for (int n = 0; n < 8; n++) {
        float* o = c + (warp * 16 + lane / 4) * 64 + n * 8 + lane % 4 * 2;
        o[0] = acc[n][0];
        o[1] = acc[n][1];
        o[8 * 64] = acc[n][2];
        o[8 * 64 + 1] = acc[n][3];
    }
}
