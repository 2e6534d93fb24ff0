// The keys of linear attention for f16 tensors.
#include "cuda/device/lightning_scan.h"

FATTN_LIGHTNING(lightning_f16_d64, fattn::f16, 64)
FATTN_LIGHTNING(lightning_f16_d128, fattn::f16, 128)
FATTN_LIGHTNING(lightning_f16_d256, fattn::f16, 256)
