// The AVX-512 target with bf16 dot products: its kernel table and nothing else leaves this
// translation unit.
#define FATTN_CPU_TARGET_NAMESPACE avx512_bf16
#define FATTN_CPU_TARGET_PAIRS 1

#include "cpu/simd/vec_avx512.h"
// The vocabulary comes first.
#include "cpu/generic/table.h"

namespace fattn::cpu {
extern const KernelTable kAvx512Bf16Kernels;
const KernelTable kAvx512Bf16Kernels = avx512_bf16::make_table("avx512_bf16");
}  // namespace fattn::cpu
