// The sum of all words, made by warps, then blocks, then the block that ends last; what
// test/programs_test.cpp runs. Compiled to PTX with
//   nvcc -ptx -arch=sm_80 reduction.cu
extern "C" __global__ void __launch_bounds__(128)
    reduction(const int* values, int count, int* partial, unsigned* tickets, int* total) {
    __shared__ int s_sums[4];
    __shared__ bool s_last;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int sum = 0;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x)
        sum += values[i];
    for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
    if (lane == 0) s_sums[warp] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
        partial[blockIdx.x] = s_sums[0] + s_sums[1] + s_sums[2] + s_sums[3];
        __threadfence();
        s_last = atomicAdd(tickets, 1u) == gridDim.x - 1;
        __threadfence();
    }
    __syncthreads();
    if (!s_last || threadIdx.x != 0) return;
    sum = 0;
    for (int i = 0; i < gridDim.x; ++i) sum += partial[i];
    *total = sum;
}
