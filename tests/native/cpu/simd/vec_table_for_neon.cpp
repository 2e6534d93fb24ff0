// The Vec vocabulary of the NEON target as a table for tests; nothing else leaves this
// translation unit.
#define FATTN_CPU_TARGET_NAMESPACE neon_vec

#include "cpu/simd/vec_neon.h"
// The vocabulary comes first.
#include "cpu/simd/make_vec_table.h"

namespace fattn::cpu {
extern const VecTable kNeonVec;
const VecTable kNeonVec = neon_vec::make_vec_table();
}  // namespace fattn::cpu
