// Inclusive prefix sums of 256 words a block, by warps and then over warps; what
// test/programs_test.cpp runs. Compiled to PTX with
//   nvcc -ptx -arch=sm_80 scan.cu
extern "C" __global__ void __launch_bounds__(256) scan(const int* values, int* sums) {
    __shared__ int s_warps[8];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int at = blockIdx.x * blockDim.x + threadIdx.x;
    int sum = values[at];
    for (int step = 1; step < 32; step *= 2) {
        const int before = __shfl_up_sync(~0u, sum, step);
        if (lane >= step) sum += before;
    }
    if (lane == 31) s_warps[warp] = sum;
    __syncthreads();
    if (warp == 0 && lane < 8) {
        int of_warp = s_warps[lane];
        for (int step = 1; step < 8; step *= 2) {
            const int before = __shfl_up_sync(0xffu, of_warp, step);
            if (lane >= step) of_warp += before;
        }
        s_warps[lane] = of_warp;
    }
    __syncthreads();
    sums[at] = sum + (warp > 0 ? s_warps[warp - 1] : 0);
}
