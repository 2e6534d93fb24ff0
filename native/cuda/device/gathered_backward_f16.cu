// The gathered backward keys of f16 tensors.
#include "cuda/device/gathered_backward.h"

FATTN_GATHERED_BACKWARD(gathered_backward_f16_d64_queries, fattn::f16, 64,
                        fattn::cuda::Side::kQueries)
FATTN_GATHERED_BACKWARD(gathered_backward_f16_d64_keys, fattn::f16, 64, fattn::cuda::Side::kKeys)
FATTN_GATHERED_BACKWARD(gathered_backward_f16_d128_queries, fattn::f16, 128,
                        fattn::cuda::Side::kQueries)
FATTN_GATHERED_BACKWARD(gathered_backward_f16_d128_keys, fattn::f16, 128, fattn::cuda::Side::kKeys)
FATTN_GATHERED_BACKWARD(gathered_backward_f16_d256_queries, fattn::f16, 256,
                        fattn::cuda::Side::kQueries)
FATTN_GATHERED_BACKWARD(gathered_backward_f16_d256_keys, fattn::f16, 256, fattn::cuda::Side::kKeys)
