// The NEON target: its kernel table and nothing else leaves this translation unit.
#define FATTN_CPU_TARGET_NAMESPACE neon

#include "cpu/simd/vec_neon.h"
// The vocabulary comes first.
#include "cpu/generic/table.h"

namespace fattn::cpu {
extern const KernelTable kNeonKernels;
const KernelTable kNeonKernels = neon::make_table("neon");
}  // namespace fattn::cpu
