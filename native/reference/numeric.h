// Stored element types as real numbers: reading, rounding and encoding f32, f16 and bf16; used by
// the reference and by tests that make data. Written apart from the library's own conversions, so
// that the two check each other.
#pragma once

#include <cstdint>

#include "core/tensor_view.h"

namespace fattn::reference {

/// The nearest value that the type holds, ties to even; beyond the largest it is an infinity.
float round_to(DType dtype, float x);
double round_to(DType dtype, double x);

/// Element idx of an array of the type: f32, f16, bf16, u8, or one bit (0 or 1).
double load(DType dtype, const void* data, int64 idx);

/// to[n step] = element idx + n, for n from 0 to count - 1; Real is double or float.
template <class Real>
void load_row(DType dtype, const void* data, int64 idx, int64 count, Real* to, int64 step);

/// Writes the nearest value of the type (f32, f16, bf16, u8, bit) to element idx.
void store(DType dtype, void* data, int64 idx, double x);

/// Half the distance from 1 to the next larger number: 2^-24, 2^-11, 2^-8.
double unit_roundoff(DType dtype);

}  // namespace fattn::reference
