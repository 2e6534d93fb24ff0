// Checks and arithmetic on tensor layouts that every family shares: extents, strides, overlap; used
// by the *_check files.
#pragma once

#include "api/status.h"
#include "core/tensor_view.h"

namespace fattn::api {

constexpr int64 kMaxExtent = 2147483647;  // tokens, pages and tiles are counted in 32 bits
constexpr int64 kMaxHeadDim = 576;

/// Reads a layout that was given: rank 4, extents, strides of an input, a known dtype (or
/// kDefault), bytes within 63 bits.
Status read_layout(const fattn_layout& given, const char* name, TensorLayout* out);

/// Bytes, elements and their range must fit in 63 bits.
Status check_size(const TensorLayout& layout, const char* name);

/// Layout of a tensor that was not given: contiguous, within the same bounds.
Status default_layout(const int64 (&shape)[4], DType dtype, const char* name, TensorLayout* out);

/// "k.shape[0] is 3; it must be 2, the batch of q" unless the extent is as expected.
Status check_extent(const TensorLayout& layout, const char* name, int axis, int64 expected,
                    const char* meaning);

/// No two elements may share memory.
Status check_no_self_overlap(const TensorLayout& layout, const char* name);

/// "; allowed are f32 and f16, the dtype of q": what results may be stored in.
std::string allowed_dtypes(DType q_dtype);
/// A result has the dtype of q, or f32.
Status check_result_dtype(const TensorLayout& layout, const char* name, DType q_dtype);

struct GradientNames {
    const char* gradient;
    const char* tensor;
};
/// Layout of the gradient of a tensor: as given, or where rank 0 is given the tensor's own.
Status read_gradient(const fattn_layout& given, const TensorLayout& of, GradientNames names,
                     DType q_dtype, TensorLayout* out);

bool is_empty(const TensorLayout& layout);

/// Bytes from the first to past the last element; 0 when empty.
int64 byte_extent(const TensorLayout& layout);

/// Whether two elements of one tensor share memory; nothing when finding out would take too long.
enum class Overlap { kNo, kYes, kUnknown };
Overlap self_overlap(const TensorLayout& layout);

/// Bytes at an address, with the layout of what lies there (null: all of them).
struct Region {
    const void* data;
    int64 bytes;
    const TensorLayout* layout;
};

/// Whether the address ranges of two regions meet.
bool ranges_meet(const Region& a, const Region& b);

/// Whether it is certain that no element of one shares memory with one of the other, for example
/// because both are interleaved views of one packed buffer.
bool are_disjoint(const Region& a, const Region& b);

}  // namespace fattn::api
