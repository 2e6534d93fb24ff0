// The keys of linear attention for bf16 tensors.
#include "cuda/device/lightning_scan.h"

FATTN_LIGHTNING(lightning_bf16_d64, fattn::bf16, 64)
FATTN_LIGHTNING(lightning_bf16_d128, fattn::bf16, 128)
FATTN_LIGHTNING(lightning_bf16_d256, fattn::bf16, 256)
