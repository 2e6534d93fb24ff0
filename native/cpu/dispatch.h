// Which instruction set the CPU kernels use on this machine and why; asked by the CPU backend and
// by api/ when a device is opened.
#pragma once

#include <string>

#include "backend/status.h"
#include "core/types.h"
#include "cpu/kernels.h"

namespace fattn::cpu {

/// Values are those of fattn_cpu_target; api/ asserts it.
enum class Target : uint32 {
    kBest = 0,
    kScalar = 1,
    kAvx2 = 2,
    kAvx512 = 3,
    kAvx512Bf16 = 4,
    kNeon = 5
};

#if defined(FATTN_HAS_TARGET_SCALAR)
extern const KernelTable kScalarKernels;
#endif
#if defined(FATTN_HAS_TARGET_AVX2)
extern const KernelTable kAvx2Kernels;
#endif
#if defined(FATTN_HAS_TARGET_AVX512)
extern const KernelTable kAvx512Kernels;
#endif
#if defined(FATTN_HAS_TARGET_AVX512_BF16)
extern const KernelTable kAvx512Bf16Kernels;
#endif
#if defined(FATTN_HAS_TARGET_NEON)
extern const KernelTable kNeonKernels;
#endif

struct Choice {
    Target target = Target::kBest;
    const KernelTable* kernels = nullptr;
    std::string reason;  // a sentence
};

/// Bit n stands for the target of value n.
uint32 targets_built();
/// Those of targets_built that this processor and its operating system run.
uint32 targets_available();

/// The table of a target, or of the best available one for kBest, for which the environment
/// variable FATTN_CPU_TARGET may name another. A target that is not available is an error that says
/// which are.
Status choose_target(Target wanted, Choice* choice);

/// "scalar", "avx2", ...; "best" for kBest.
const char* target_name(Target target);

/// Marketing name of the processor.
std::string processor_name();

}  // namespace fattn::cpu
