// The keys of linear attention for f32 tensors.
#include "cuda/device/lightning_scan.h"

FATTN_LIGHTNING(lightning_f32_d64, float, 64)
FATTN_LIGHTNING(lightning_f32_d128, float, 128)
FATTN_LIGHTNING(lightning_f32_d256, float, 256)
