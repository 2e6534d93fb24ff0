// The AVX-512 target: its kernel table and nothing else leaves this translation unit.
#define FATTN_CPU_TARGET_NAMESPACE avx512

#include "cpu/simd/vec_avx512.h"
// The vocabulary comes first.
#include "cpu/generic/table.h"

namespace fattn::cpu {
extern const KernelTable kAvx512Kernels;
const KernelTable kAvx512Kernels = avx512::make_table("avx512");
}  // namespace fattn::cpu
