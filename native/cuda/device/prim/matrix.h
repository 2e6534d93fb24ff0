// Tensor-core instructions and the loads of their fragments; called by the products of a tile.
//
// Fragments, with g = lane / 4 and t = lane % 4. C of 16x8: c[0], c[1] at row g, columns 2t, 2t +
// 1; c[2], c[3] at row g + 8. An 8x8 block of 16-bit values gives a lane the two values of row g
// from column 2t on, or, transposed, those of column g from row 2t on. A (16x16) is the blocks rows
// 0-7, rows 8-15, then both for columns 8-15; B (16x8) is rows 0-7, rows 8-15, transposed. With
// 32-bit values a block is 8x4, A (16x8) and B (8x4 twice) alike.
#pragma once

#include "core/types.h"

namespace fattn::prim {

/// Four 8x8 blocks of 16-bit values, or A of one mma.
struct Blocks {
    uint32 x[4];
};

/// ldmatrix.x4: lane l gives the address of row l % 8 of block l / 8.
__device__ inline Blocks load_blocks(uint32 s_row) {
    Blocks b;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(b.x[0]), "=r"(b.x[1]), "=r"(b.x[2]), "=r"(b.x[3])
                 : "r"(s_row)
                 : "memory");
    return b;
}

/// ldmatrix.x4.trans
__device__ inline Blocks load_blocks_transposed(uint32 s_row) {
    Blocks b;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(b.x[0]), "=r"(b.x[1]), "=r"(b.x[2]), "=r"(b.x[3])
                 : "r"(s_row)
                 : "memory");
    return b;
}

/// mma.m16n8k16 of f16, sums in f32: c += a b.
__device__ inline void multiply_add(f16, float (&c)[4], const uint32 (&a)[4], uint32 b0,
                                    uint32 b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// mma.m16n8k16 of bf16, sums in f32: c += a b.
__device__ inline void multiply_add(bf16, float (&c)[4], const uint32 (&a)[4], uint32 b0,
                                    uint32 b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// mma.m16n8k8 of tf32, sums in f32: c += a b. The 13 low bits of operands do not count.
__device__ inline void multiply_add_tf32(float (&c)[4], const uint32 (&a)[4], uint32 b0,
                                         uint32 b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

}  // namespace fattn::prim
