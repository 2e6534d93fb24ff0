// The general dense forward keys of f16 tensors.
#include "cuda/device/dense_forward.h"

FATTN_DENSE_FORWARD(dense_forward_f16_d32_general, fattn::f16, 32, fattn::cuda::Features::kGeneral)
FATTN_DENSE_FORWARD(dense_forward_f16_d64_general, fattn::f16, 64, fattn::cuda::Features::kGeneral)
FATTN_DENSE_FORWARD(dense_forward_f16_d96_general, fattn::f16, 96, fattn::cuda::Features::kGeneral)
FATTN_DENSE_FORWARD(dense_forward_f16_d128_general, fattn::f16, 128,
                    fattn::cuda::Features::kGeneral)
FATTN_DENSE_FORWARD(dense_forward_f16_d192_general, fattn::f16, 192,
                    fattn::cuda::Features::kGeneral)
FATTN_DENSE_FORWARD(dense_forward_f16_d256_general, fattn::f16, 256,
                    fattn::cuda::Features::kGeneral)
