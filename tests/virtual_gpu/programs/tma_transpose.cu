// The transpose of a matrix of f32 in tiles of 32x32: a tensor copy in, a turn in shared memory, a
// tensor copy out that clips what lies outside. Compiled to tma_transpose.ptx, which the tests run.
#include <cuda.h>
#include <stdint.h>

constexpr int kTile = 32;

__device__ uint32_t shared_address(const void* p) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

extern "C" __global__ void __launch_bounds__(128)
    tma_transpose(const __grid_constant__ CUtensorMap from,
                  const __grid_constant__ CUtensorMap to) {
    __shared__ __align__(128) float in[kTile * kTile], out[kTile * kTile];
    __shared__ uint64_t full;
    const int t = threadIdx.x, x = blockIdx.x * kTile, y = blockIdx.y * kTile;
    if (t == 0) {
        asm volatile("mbarrier.init.shared.b64 [%0], 1;" ::"r"(shared_address(&full)));
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
        asm volatile(
            "mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(shared_address(&full)),
            "n"(kTile * kTile * 4)
            : "memory");
        asm volatile(
            "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
            "[%0], [%1, {%2, %3}], [%4];" ::"r"(shared_address(in)),
            "l"(&from), "r"(x), "r"(y), "r"(shared_address(&full))
            : "memory");
    }
    __syncthreads();
    asm volatile(
        "{ .reg .pred done;\n"
        "AGAIN: mbarrier.try_wait.parity.shared::cta.b64 done, [%0], 0;\n"
        "@!done bra AGAIN; }" ::"r"(shared_address(&full))
        : "memory");
    for (int i = t; i < kTile * kTile; i += 128) out[i] = in[i % kTile * kTile + i / kTile];
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    __syncthreads();
    if (t == 0) {
        asm volatile(
            "cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%0, {%1, %2}], [%3];" ::
                "l"(&to),
            "r"(y), "r"(x), "r"(shared_address(out))
            : "memory");
        asm volatile("cp.async.bulk.commit_group;" ::: "memory");
        asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
    }
}
