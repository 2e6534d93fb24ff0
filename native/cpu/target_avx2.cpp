// The AVX2 target: its kernel table and nothing else leaves this translation unit.
#define FATTN_CPU_TARGET_NAMESPACE avx2

#include "cpu/simd/vec_avx2.h"
// The vocabulary comes first.
#include "cpu/generic/table.h"

namespace fattn::cpu {
extern const KernelTable kAvx2Kernels;
const KernelTable kAvx2Kernels = avx2::make_table("avx2");
}  // namespace fattn::cpu
