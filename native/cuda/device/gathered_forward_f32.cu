// The gathered forward keys of f32 tensors.
#include "cuda/device/gathered_forward.h"

FATTN_GATHERED_FORWARD(gathered_forward_f32_d64, float, 64, 16)
FATTN_GATHERED_FORWARD(gathered_forward_f32_d128, float, 128, 16)
FATTN_GATHERED_FORWARD(gathered_forward_f32_d256, float, 256, 16)
