// The Vec vocabulary of the bf16 AVX-512 target as a table for tests; nothing else leaves this
// translation unit.
#define FATTN_CPU_TARGET_NAMESPACE avx512_bf16_vec
#define FATTN_CPU_TARGET_PAIRS 1

#include "cpu/simd/vec_avx512.h"
// The vocabulary comes first.
#include "cpu/simd/make_vec_table.h"

namespace fattn::cpu {
extern const VecTable kAvx512Bf16Vec;
const VecTable kAvx512Bf16Vec = avx512_bf16_vec::make_vec_table();
}  // namespace fattn::cpu
