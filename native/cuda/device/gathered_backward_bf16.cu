// The gathered backward keys of bf16 tensors.
#include "cuda/device/gathered_backward.h"

FATTN_GATHERED_BACKWARD(gathered_backward_bf16_d64_queries, fattn::bf16, 64,
                        fattn::cuda::Side::kQueries)
FATTN_GATHERED_BACKWARD(gathered_backward_bf16_d64_keys, fattn::bf16, 64, fattn::cuda::Side::kKeys)
FATTN_GATHERED_BACKWARD(gathered_backward_bf16_d128_queries, fattn::bf16, 128,
                        fattn::cuda::Side::kQueries)
FATTN_GATHERED_BACKWARD(gathered_backward_bf16_d128_keys, fattn::bf16, 128,
                        fattn::cuda::Side::kKeys)
FATTN_GATHERED_BACKWARD(gathered_backward_bf16_d256_queries, fattn::bf16, 256,
                        fattn::cuda::Side::kQueries)
FATTN_GATHERED_BACKWARD(gathered_backward_bf16_d256_keys, fattn::bf16, 256,
                        fattn::cuda::Side::kKeys)
