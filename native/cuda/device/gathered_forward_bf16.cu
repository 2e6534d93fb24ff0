// The gathered forward keys of bf16 tensors.
#include "cuda/device/gathered_forward.h"

FATTN_GATHERED_FORWARD(gathered_forward_bf16_d64, fattn::bf16, 64, 16)
FATTN_GATHERED_FORWARD(gathered_forward_bf16_d128, fattn::bf16, 128, 16)
FATTN_GATHERED_FORWARD(gathered_forward_bf16_d256, fattn::bf16, 256, 16)
FATTN_GATHERED_FORWARD(gathered_forward_bf16_d128_rows32, fattn::bf16, 128, 32)
