// The Vec vocabulary of the AVX-512 target as a table for tests; nothing else leaves this
// translation unit.
#define FATTN_CPU_TARGET_NAMESPACE avx512_vec

#include "cpu/simd/vec_avx512.h"
// The vocabulary comes first.
#include "cpu/simd/make_vec_table.h"

namespace fattn::cpu {
extern const VecTable kAvx512Vec;
const VecTable kAvx512Vec = avx512_vec::make_vec_table();
}  // namespace fattn::cpu
