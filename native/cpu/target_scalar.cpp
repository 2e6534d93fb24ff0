// The scalar target: its kernel table and nothing else leaves this translation unit.
#define FATTN_CPU_TARGET_NAMESPACE scalar

#include "cpu/simd/vec_scalar.h"
// The vocabulary comes first.
#include "cpu/generic/table.h"

namespace fattn::cpu {
extern const KernelTable kScalarKernels;
const KernelTable kScalarKernels = scalar::make_table("scalar");
}  // namespace fattn::cpu
