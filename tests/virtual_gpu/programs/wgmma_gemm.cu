// C = A B^T of 64x64 tiles for Hopper: one thread of a producer warpgroup keeps a ring of tensor
// copies going, a consumer warpgroup multiplies with wgmma. Compiled to wgmma_gemm.ptx, which the
// tests run.
#include <cuda.h>
#include <cuda_bf16.h>
#include <stdint.h>

constexpr int kStages = 3, kTile = 64, kTileBytes = kTile * kTile * 2;

__device__ uint32_t shared_address(const void* p) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

__device__ void wait(uint32_t barrier, uint32_t parity) {
    asm volatile(
        "{ .reg .pred done;\n"
        "AGAIN: mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
        "@!done bra AGAIN; }" ::"r"(barrier),
        "r"(parity)
        : "memory");
}

__device__ void load(uint32_t to, const CUtensorMap* map, int x, int y, uint32_t barrier) {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
        "[%0], [%1, {%2, %3}], [%4];" ::"r"(to),
        "l"(map), "r"(x), "r"(y), "r"(barrier)
        : "memory");
}

// K contiguous, swizzled over 128 bytes: groups of 8 rows lie 1024 bytes apart.
__device__ uint64_t descriptor(uint32_t address) {
    return static_cast<uint64_t>((address & 0x3ffff) >> 4) | uint64_t{1} << 16 |
           uint64_t{1024 >> 4} << 32 | uint64_t{1} << 62;
}

extern "C" __global__ void __launch_bounds__(256, 1)
    wgmma_gemm(const __grid_constant__ CUtensorMap a, const __grid_constant__ CUtensorMap b,
               float* c, int columns, int depth) {
    extern __shared__ __align__(1024) uint8_t tiles[];  // A then B of each stage
    __shared__ uint64_t full[kStages], empty[kStages];
    const int t = threadIdx.x, num_tiles = depth / kTile;
    if (t == 0) {
        for (int s = 0; s < kStages; ++s) {
            asm volatile("mbarrier.init.shared.b64 [%0], 1;" ::"r"(shared_address(&full[s])));
            asm volatile("mbarrier.init.shared.b64 [%0], 1;" ::"r"(shared_address(&empty[s])));
        }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    __syncthreads();
    if (t >= 128) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
        if (t == 128) {
            for (int i = 0; i < num_tiles; ++i) {
                const int s = i % kStages;
                if (i >= kStages) wait(shared_address(&empty[s]), (i / kStages - 1) & 1);
                const uint32_t barrier = shared_address(&full[s]);
                const uint32_t tile = shared_address(tiles) + s * 2 * kTileBytes;
                asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(barrier),
                             "r"(2 * kTileBytes)
                             : "memory");
                load(tile, &a, i * kTile, blockIdx.y * kTile, barrier);
                load(tile + kTileBytes, &b, i * kTile, blockIdx.x * kTile, barrier);
            }
        }
        return;
    }
    asm volatile("setmaxnreg.inc.sync.aligned.u32 240;");
    float d[32];
    for (int i = 0; i < num_tiles; ++i) {
        const int s = i % kStages;
        wait(shared_address(&full[s]), i / kStages & 1);
        const uint32_t tile = shared_address(tiles) + s * 2 * kTileBytes;
        asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#pragma unroll
        for (int k = 0; k < kTile / 16; ++k) {
            asm volatile(
                "{ .reg .pred adds;\n"
                "setp.ne.b32 adds, %34, 0;\n"
                "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
                "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, "
                "%18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
                "%32, %33, adds, 1, 1, 0, 0; }"
                : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]),
                  "+f"(d[6]), "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]),
                  "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), "+f"(d[17]),
                  "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]),
                  "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]),
                  "+f"(d[30]), "+f"(d[31])
                : "l"(descriptor(tile + 32 * k)), "l"(descriptor(tile + kTileBytes + 32 * k)),
                  "r"(i + k));
        }
        asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
        asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
        // One thread speaks for the warpgroup, whose operations end together.
        if (t == 0)
            asm volatile("mbarrier.arrive.shared.b64 _, [%0];" ::"r"(shared_address(&empty[s]))
                         : "memory");
    }
    const int row = blockIdx.y * kTile + t / 32 * 16 + t % 32 / 4;
    const int column = blockIdx.x * kTile + t % 4 * 2;
#pragma unroll
    for (int i = 0; i < 32; ++i)
        c[(row + (i >> 1 & 1) * 8) * columns + column + i / 4 * 8 + (i & 1)] = d[i];
}
