// The gathered forward keys of f16 tensors.
#include "cuda/device/gathered_forward.h"

FATTN_GATHERED_FORWARD(gathered_forward_f16_d64, fattn::f16, 64, 16)
FATTN_GATHERED_FORWARD(gathered_forward_f16_d128, fattn::f16, 128, 16)
FATTN_GATHERED_FORWARD(gathered_forward_f16_d256, fattn::f16, 256, 16)
FATTN_GATHERED_FORWARD(gathered_forward_f16_d128_rows32, fattn::f16, 128, 32)
