// One dense forward key of each element type, for the cuda_core leg: they compile where no header
// exists too.
#include "cuda/device/dense_forward.h"

FATTN_DENSE_FORWARD(f16_general, fattn::f16, 64, fattn::cuda::Features::kGeneral)
FATTN_DENSE_FORWARD(bf16_lean, fattn::bf16, 96, fattn::cuda::Features::kLean)
FATTN_DENSE_FORWARD(f32_general, float, 32, fattn::cuda::Features::kGeneral)
