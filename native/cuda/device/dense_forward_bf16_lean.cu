// The lean dense forward keys of bf16 tensors.
#include "cuda/device/dense_forward.h"

FATTN_DENSE_FORWARD(dense_forward_bf16_d32_lean, fattn::bf16, 32, fattn::cuda::Features::kLean)
FATTN_DENSE_FORWARD(dense_forward_bf16_d64_lean, fattn::bf16, 64, fattn::cuda::Features::kLean)
FATTN_DENSE_FORWARD(dense_forward_bf16_d96_lean, fattn::bf16, 96, fattn::cuda::Features::kLean)
FATTN_DENSE_FORWARD(dense_forward_bf16_d128_lean, fattn::bf16, 128, fattn::cuda::Features::kLean)
FATTN_DENSE_FORWARD(dense_forward_bf16_d192_lean, fattn::bf16, 192, fattn::cuda::Features::kLean)
FATTN_DENSE_FORWARD(dense_forward_bf16_d256_lean, fattn::bf16, 256, fattn::cuda::Features::kLean)
