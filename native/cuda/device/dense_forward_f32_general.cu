// The general dense forward keys of f32 tensors, which have no lean ones.
#include "cuda/device/dense_forward.h"

FATTN_DENSE_FORWARD(dense_forward_f32_d32_general, float, 32, fattn::cuda::Features::kGeneral)
FATTN_DENSE_FORWARD(dense_forward_f32_d64_general, float, 64, fattn::cuda::Features::kGeneral)
FATTN_DENSE_FORWARD(dense_forward_f32_d96_general, float, 96, fattn::cuda::Features::kGeneral)
FATTN_DENSE_FORWARD(dense_forward_f32_d128_general, float, 128, fattn::cuda::Features::kGeneral)
FATTN_DENSE_FORWARD(dense_forward_f32_d192_general, float, 192, fattn::cuda::Features::kGeneral)
FATTN_DENSE_FORWARD(dense_forward_f32_d256_general, float, 256, fattn::cuda::Features::kGeneral)
