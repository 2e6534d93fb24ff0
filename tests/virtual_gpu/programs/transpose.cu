// A matrix transposed by tiles of 32 x 32 through shared memory, with a column to spare so that no
// two lanes meet in a bank; what test/programs_test.cpp runs. Compiled to PTX with
//   nvcc -ptx -arch=sm_80 transpose.cu
extern "C" __global__ void __launch_bounds__(256)
    transpose(const float* from, float* to, int rows, int columns) {
    __shared__ float s_tile[32][33];
    const int x = blockIdx.x * 32 + threadIdx.x, y = blockIdx.y * 32;
    for (int i = threadIdx.y; i < 32; i += 8) {
        if (x < columns && y + i < rows) s_tile[i][threadIdx.x] = from[(y + i) * columns + x];
    }
    __syncthreads();
    const int out_x = blockIdx.y * 32 + threadIdx.x, out_y = blockIdx.x * 32;
    for (int i = threadIdx.y; i < 32; i += 8) {
        if (out_x < rows && out_y + i < columns)
            to[(out_y + i) * rows + out_x] = s_tile[threadIdx.x][i];
    }
}
