// Passes over the scores of a warp that are compiled once for all of a lane's blocks; called by the
// softmax kernels for what only some problems ask for.
//
// Accumulators have to be named by constants, so a loop over them is unrolled, and a long body is
// there once for each of them. Here the loop stays a loop, and the blocks move past its body.
#pragma once

#include "core/types.h"

namespace fattn::cuda {

/// Every block of each row of blocks takes the place of the one before it, the first that of the
/// last.
template <int kRows, int kBlocks>
__device__ inline void rotate_blocks(float (&r)[kRows][kBlocks][4]) {
#pragma unroll
    for (int m = 0; m < kRows; ++m) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
            const float first = r[m][0][e];
#pragma unroll
            for (int n = 0; n + 1 < kBlocks; ++n) r[m][n][e] = r[m][n + 1][e];
            r[m][kBlocks - 1][e] = first;
        }
    }
}

/// Calls visit(number) for all numbers.
template <int kRows, int kBlocks, class Visit>
__device__ inline void for_each_number(float (&r)[kRows][kBlocks][4], const Visit& visit) {
#pragma unroll
    for (int m = 0; m < kRows; ++m) {
#pragma unroll
        for (int n = 0; n < kBlocks; ++n) {
#pragma unroll
            for (int e = 0; e < 4; ++e) visit(r[m][n][e]);
        }
    }
}

/// Calls visit(number, m, n, e) for the e-th number of every block; n is no constant.
template <int kRows, int kBlocks, class Visit>
__device__ inline void for_each_in_blocks(float (&r)[kRows][kBlocks][4], const Visit& visit) {
#pragma unroll 1
    for (int n = 0; n < kBlocks; ++n) {
#pragma unroll
        for (int m = 0; m < kRows; ++m) {
#pragma unroll
            for (int e = 0; e < 4; ++e) visit(r[m][0][e], m, n, e);
        }
        rotate_blocks(r);
    }
}

/// Every number of the first block of each row takes the place of the one before it, the first that
/// of the last.
template <int kRows, int kBlocks>
__device__ inline void rotate_first_block(float (&r)[kRows][kBlocks][4]) {
    const float first = r[0][0][0];
#pragma unroll
    for (int i = 0; i + 1 < 4 * kRows; ++i) r[i / 4][0][i % 4] = r[(i + 1) / 4][0][(i + 1) % 4];
    r[kRows - 1][0][3] = first;
}

/// Calls visit(number, m, n, e) for all numbers, by a body that is there once: for bodies whose
/// branches or stores would keep the compiler from mixing several of them.
template <int kRows, int kBlocks, class Visit>
__device__ inline void for_each_in_turn(float (&r)[kRows][kBlocks][4], const Visit& visit) {
#pragma unroll 1
    for (int n = 0; n < kBlocks; ++n) {
#pragma unroll 1
        for (int i = 0; i < 4 * kRows; ++i) {
            visit(r[0][0][0], i / 4, n, i % 4);
            rotate_first_block(r);
        }
        rotate_blocks(r);
    }
}

/// The same for two numbers of one place: visit(a, b, m, n, e).
template <int kRows, int kBlocks, class Visit>
__device__ inline void for_each_in_turn(float (&r_a)[kRows][kBlocks][4],
                                        float (&r_b)[kRows][kBlocks][4], const Visit& visit) {
#pragma unroll 1
    for (int n = 0; n < kBlocks; ++n) {
#pragma unroll 1
        for (int i = 0; i < 4 * kRows; ++i) {
            visit(r_a[0][0][0], r_b[0][0][0], i / 4, n, i % 4);
            rotate_first_block(r_a);
            rotate_first_block(r_b);
        }
        rotate_blocks(r_a);
        rotate_blocks(r_b);
    }
}

}  // namespace fattn::cuda
