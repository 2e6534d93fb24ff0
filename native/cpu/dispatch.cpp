// Reads what the processor offers and picks the kernel table; see dispatch.h.
#include "cpu/dispatch.h"

#include <cstdlib>
#include <cstring>
#include <string_view>

#include "backend/text.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace fattn::cpu {
namespace {

constexpr uint32 bit_of(Target target) { return 1u << static_cast<uint32>(target); }

constexpr Target kAllTargets[] = {Target::kScalar, Target::kAvx2, Target::kAvx512,
                                  Target::kAvx512Bf16, Target::kNeon};

const KernelTable* kernels_of(Target target) {
    switch (target) {
#if defined(FATTN_HAS_TARGET_SCALAR)
        case Target::kScalar:
            return &kScalarKernels;
#endif
#if defined(FATTN_HAS_TARGET_AVX2)
        case Target::kAvx2:
            return &kAvx2Kernels;
#endif
#if defined(FATTN_HAS_TARGET_AVX512)
        case Target::kAvx512:
            return &kAvx512Kernels;
#endif
#if defined(FATTN_HAS_TARGET_AVX512_BF16)
        case Target::kAvx512Bf16:
            return &kAvx512Bf16Kernels;
#endif
#if defined(FATTN_HAS_TARGET_NEON)
        case Target::kNeon:
            return &kNeonKernels;
#endif
        default:
            return nullptr;
    }
}

#if defined(__x86_64__)
struct CpuidRegisters {
    uint32 eax = 0;
    uint32 ebx = 0;
    uint32 ecx = 0;
    uint32 edx = 0;
};

/// Zeros for a leaf that the processor does not have.
CpuidRegisters cpuid(uint32 leaf, uint32 subleaf) {
    CpuidRegisters r;
    __get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx);
    return r;
}

/// Register states that the operating system saves, or 0.
uint64 saved_states() {
    constexpr uint32 kOsxsave = 1u << 27;
    if ((cpuid(1, 0).ecx & kOsxsave) == 0) return 0;
    uint32 low = 0;
    uint32 high = 0;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (static_cast<uint64>(high) << 32) | low;
}

constexpr bool has_all(uint64 word, uint64 bits) { return (word & bits) == bits; }

/// Targets this processor runs, built or not. Conditions are the -m flags of the target's file.
uint32 detect() {
    constexpr uint64 kYmmState = 0x6;   // xmm, upper halves of ymm
    constexpr uint64 kZmmState = 0xE6;  // and mask registers, upper halves of zmm, zmm16-31
    constexpr uint32 kFma = 1u << 12;
    constexpr uint32 kAvx = 1u << 28;
    constexpr uint32 kF16c = 1u << 29;
    constexpr uint32 kAvx2 = 1u << 5;
    constexpr uint32 kBmi2 = 1u << 8;
    constexpr uint32 kAvx512F = 1u << 16;
    constexpr uint32 kAvx512Dq = 1u << 17;
    constexpr uint32 kAvx512Bw = 1u << 30;
    constexpr uint32 kAvx512Vl = 1u << 31;
    constexpr uint32 kAvx512Bf16 = 1u << 5;

    const uint64 states = saved_states();
    const CpuidRegisters leaf1 = cpuid(1, 0);
    const CpuidRegisters leaf7 = cpuid(7, 0);
    const CpuidRegisters leaf7_1 = cpuid(7, 1);
    uint32 targets = bit_of(Target::kScalar);
    if (!has_all(states, kYmmState) || !has_all(leaf1.ecx, kFma | kAvx | kF16c) ||
        !has_all(leaf7.ebx, kAvx2)) {
        return targets;
    }
    targets |= bit_of(Target::kAvx2);
    if (!has_all(states, kZmmState) ||
        !has_all(leaf7.ebx, kBmi2 | kAvx512F | kAvx512Dq | kAvx512Bw | kAvx512Vl)) {
        return targets;
    }
    targets |= bit_of(Target::kAvx512);
    if (has_all(leaf7_1.eax, kAvx512Bf16)) targets |= bit_of(Target::kAvx512Bf16);
    return targets;
}
#elif defined(__aarch64__)
uint32 detect() { return bit_of(Target::kScalar) | bit_of(Target::kNeon); }
#else
uint32 detect() { return bit_of(Target::kScalar); }
#endif

std::string names_of(uint32 targets) {
    std::string names;
    for (const Target target : kAllTargets) {
        if ((targets & bit_of(target)) == 0) continue;
        if (!names.empty()) names += ", ";
        names += target_name(target);
    }
    return names;
}

Target best_of(uint32 targets) {
    Target best = Target::kBest;
    for (const Target target : kAllTargets) {
        if ((targets & bit_of(target)) != 0) best = target;
    }
    return best;
}

}  // namespace

const char* target_name(Target target) {
    switch (target) {
        case Target::kBest:
            return "best";
        case Target::kScalar:
            return "scalar";
        case Target::kAvx2:
            return "avx2";
        case Target::kAvx512:
            return "avx512";
        case Target::kAvx512Bf16:
            return "avx512_bf16";
        case Target::kNeon:
            return "neon";
    }
    return "unknown";
}

uint32 targets_built() {
    uint32 targets = 0;
    for (const Target target : kAllTargets) {
        if (kernels_of(target) != nullptr) targets |= bit_of(target);
    }
    return targets;
}

uint32 targets_available() {
    static const uint32 detected = detect();
    return targets_built() & detected;
}

Status choose_target(Target wanted, Choice* choice) {
    const uint32 available = targets_available();
    if (available == 0) {
        return {StatusCode::kUnsupported,
                text("this build holds CPU kernels for ", names_of(targets_built()),
                     "; this processor runs none of them")};
    }
    const char* asked_by = "the device options";
    if (wanted == Target::kBest) {
        const char* name = std::getenv("FATTN_CPU_TARGET");
        if (name != nullptr && *name != '\0' && std::strcmp(name, "best") != 0) {
            asked_by = "FATTN_CPU_TARGET";
            for (const Target target : kAllTargets) {
                if (std::string_view(name) == target_name(target)) wanted = target;
            }
            if (wanted == Target::kBest) {
                return {StatusCode::kInvalidArgument,
                        text("FATTN_CPU_TARGET is \"", name,
                             "\"; this machine and build allow best, ", names_of(available))};
            }
        }
    }
    if (wanted == Target::kBest) {
        const Target best = best_of(available);
        *choice = {best, kernels_of(best),
                   text(target_name(best), " is the widest instruction set that this build holds (",
                        names_of(targets_built()), ") and this processor runs")};
        return {};
    }
    const uint32 bit = static_cast<uint32>(wanted) < 32 ? bit_of(wanted) : 0;
    if ((available & bit) == 0) {
        return {
            StatusCode::kUnsupported,
            text("instruction set ", target_name(wanted), " was asked for by ", asked_by, "; ",
                 (targets_built() & bit) != 0 ? "this processor lacks it" : "this build lacks it",
                 "; allowed here: ", names_of(available))};
    }
    *choice = {wanted, kernels_of(wanted),
               text(target_name(wanted), " was asked for by ", asked_by)};
    return {};
}

std::string processor_name() {
#if defined(__x86_64__)
    if (cpuid(0x80000000u, 0).eax >= 0x80000004u) {
        char name[49] = {};
        for (uint32 i = 0; i < 3; ++i) {
            const CpuidRegisters r = cpuid(0x80000002u + i, 0);
            std::memcpy(name + 16 * i, &r, sizeof(r));
        }
        const std::string_view view(name);
        const auto first = view.find_first_not_of(' ');
        if (first != view.npos) {
            return std::string(view.substr(first, view.find_last_not_of(' ') - first + 1));
        }
    }
    return "x86-64 processor";
#elif defined(__aarch64__)
    return "64-bit Arm processor";
#else
    return "processor";
#endif
}

}  // namespace fattn::cpu
