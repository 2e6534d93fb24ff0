// The Vec vocabulary of the scalar target as a table for tests; nothing else leaves this
// translation unit.
#define FATTN_CPU_TARGET_NAMESPACE scalar_vec

#include "cpu/simd/vec_scalar.h"
// The vocabulary comes first.
#include "cpu/simd/make_vec_table.h"

namespace fattn::cpu {
extern const VecTable kScalarVec;
const VecTable kScalarVec = scalar_vec::make_vec_table();
}  // namespace fattn::cpu
