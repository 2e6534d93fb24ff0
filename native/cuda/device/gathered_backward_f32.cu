// The gathered backward keys of f32 tensors.
#include "cuda/device/gathered_backward.h"

FATTN_GATHERED_BACKWARD(gathered_backward_f32_d64_queries, float, 64, fattn::cuda::Side::kQueries)
FATTN_GATHERED_BACKWARD(gathered_backward_f32_d64_keys, float, 64, fattn::cuda::Side::kKeys)
FATTN_GATHERED_BACKWARD(gathered_backward_f32_d128_queries, float, 128, fattn::cuda::Side::kQueries)
FATTN_GATHERED_BACKWARD(gathered_backward_f32_d128_keys, float, 128, fattn::cuda::Side::kKeys)
FATTN_GATHERED_BACKWARD(gathered_backward_f32_d256_queries, float, 256, fattn::cuda::Side::kQueries)
FATTN_GATHERED_BACKWARD(gathered_backward_f32_d256_keys, float, 256, fattn::cuda::Side::kKeys)
