// How a driver function fails: a result code with the sentence that explains it. Thrown inside,
// turned into a code by entry.h.
#pragma once

#include <string>

#include "driver/cuda_types.h"

namespace fattn::vgpu::driver {

struct Failure {
    cuda::CUresult code;
    std::string text;
};

[[noreturn, gnu::format(printf, 2, 3)]] void fail(cuda::CUresult code, const char* format, ...);

[[gnu::format(printf, 1, 2)]] std::string format_text(const char* format, ...);

const char* result_name(cuda::CUresult code);      // null for a number that is no code
const char* result_sentence(cuda::CUresult code);  // null for a number that is no code

}  // namespace fattn::vgpu::driver
