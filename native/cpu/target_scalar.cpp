// The scalar target: plain loops that every processor runs; reached through dispatch.
#include "core/problem.h"
#include "cpu/kernels.h"

namespace fattn::cpu {
namespace {

float load(const void* base, int64 idx, DType dtype) {
    if (dtype == DType::kF32) return static_cast<const float*>(base)[idx];
    const uint16 bits = static_cast<const uint16*>(base)[idx];
    if (dtype == DType::kBF16) return __builtin_bit_cast(float, static_cast<uint32>(bits) << 16);
    const uint32 sign = static_cast<uint32>(bits & 0x8000u) << 16;
    const uint32 magnitude = bits & 0x7FFFu;
    if (magnitude < 0x0400u) {  // zero and denormals: multiples of 2^-24
        const float value = static_cast<float>(magnitude) * 0x1p-24f;
        return __builtin_bit_cast(float, __builtin_bit_cast(uint32, value) | sign);
    }
    const uint32 exponent = magnitude >= 0x7C00u ? 0x70000000u : 0x38000000u;
    return __builtin_bit_cast(float, ((magnitude << 13) + exponent) | sign);
}

void store(void* base, int64 idx, DType dtype, float value) {
    if (dtype == DType::kF32) {
        static_cast<float*>(base)[idx] = value;
        return;
    }
    const uint32 bits = __builtin_bit_cast(uint32, value);
    uint16 out;
    if (dtype == DType::kBF16) {
        const bool is_nan = (bits & 0x7FFFFFFFu) > 0x7F800000u;
        out = static_cast<uint16>((bits + (is_nan ? 0 : 0x7FFFu + ((bits >> 16) & 1u))) >> 16);
        if (is_nan) out = static_cast<uint16>(out | 0x40u);
    } else {
        const uint32 sign = (bits >> 16) & 0x8000u;
        const uint32 magnitude = bits & 0x7FFFFFFFu;
        uint32 half;
        if (magnitude > 0x7F800000u) {
            half = 0x7E00u;
        } else if (magnitude >= 0x47800000u) {
            half = 0x7C00u;
        } else if (magnitude < 0x38800000u) {  // below 2^-14: the sum's last bits are the denormal
            const float shifted = __builtin_bit_cast(float, magnitude) + 0.5f;
            half = __builtin_bit_cast(uint32, shifted) - 0x3F000000u;
        } else {
            half = (magnitude - 0x38000000u + 0x0FFFu + ((magnitude >> 13) & 1u)) >> 13;
        }
        out = static_cast<uint16>(sign | half);
    }
    static_cast<uint16*>(base)[idx] = out;
}

void merge(const MergeProblem& problem, int64 row_begin, int64 row_end) {
    const float minus_infinity = -__builtin_inff();
    const int64* shape = problem.o.shape;
    for (int64 row = row_begin; row < row_end; ++row) {
        const int64 l = row % shape[2];
        const int64 h = row / shape[2] % shape[1];
        const int64 b = row / shape[2] / shape[1];
        const int64 in = problem.part.row(b, h, l);
        const int64 out = problem.o.row(b, h, l);
        float largest = minus_infinity;
        for (int64 r = 0; r < problem.num_parts; ++r) {
            largest = max_of(largest, problem.lse_parts[r][row]);
        }
        float sum = 0;
        if (largest > minus_infinity) {
            for (int64 r = 0; r < problem.num_parts; ++r) {
                sum += __builtin_expf(problem.lse_parts[r][row] - largest);
            }
        }
        const float lse = sum > 0 ? largest + __builtin_logf(sum) : minus_infinity;
        for (int64 d = 0; d < shape[3]; ++d) {
            float value = 0;
            for (int64 r = 0; r < problem.num_parts; ++r) {
                const float part_lse = problem.lse_parts[r][row];
                if (part_lse == minus_infinity) continue;
                value += __builtin_expf(part_lse - lse) *
                         load(problem.o_parts[r], in + d, problem.part.dtype);
            }
            store(problem.out, out + d, problem.o.dtype, value);
        }
        if (problem.lse != nullptr) problem.lse[row] = lse;
    }
}

/// Sixteen independent chains of multiply and add.
double peak_f32(MeasureTask& task) {
    float sums[16] = {};
    for (int64 i = 0; i < task.iterations; ++i) {
        for (float& sum : sums) sum = sum * 0.999f + 1e-3f;
    }
    for (const float sum : sums) task.sink += sum;
    return static_cast<double>(task.iterations) * 32;
}

double peak_read(MeasureTask& task) {
    float sums[16] = {};
    for (int64 i = 0; i + 16 <= task.num_floats; i += 16) {
        for (int64 j = 0; j < 16; ++j) sums[j] += task.data[i + j];
    }
    for (const float sum : sums) task.sink += sum;
    return static_cast<double>(task.num_floats) * 4;
}

}  // namespace

extern const KernelTable kScalarKernels;
const KernelTable kScalarKernels{.name = "scalar",
                                 .tile_q = 64,
                                 .tile_kv = 64,
                                 .bf16_dot = false,
                                 .forward_scratch = nullptr,
                                 .forward = nullptr,
                                 .decode_rows = 0,
                                 .decode_keys = 0,
                                 .decode = nullptr,
                                 .decode_scratch = nullptr,
                                 .merge_partials = nullptr,
                                 .merge = merge,
                                 .peak_f32 = peak_f32,
                                 .peak_bf16 = peak_f32,
                                 .peak_read = peak_read};

}  // namespace fattn::cpu
