// The Vec vocabulary of the AVX2 target as a table for tests; nothing else leaves this
// translation unit.
#define FATTN_CPU_TARGET_NAMESPACE avx2_vec

#include "cpu/simd/vec_avx2.h"
// The vocabulary comes first.
#include "cpu/simd/make_vec_table.h"

namespace fattn::cpu {
extern const VecTable kAvx2Vec;
const VecTable kAvx2Vec = avx2_vec::make_vec_table();
}  // namespace fattn::cpu
