// Checks and arithmetic on tensor layouts; see tensor_check.h.
#include "api/tensor_check.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>

#include "backend/text.h"

namespace fattn::api {
namespace {

static_assert(sizeof(fattn_layout) == sizeof(TensorLayout));
#define FATTN_SAME_DTYPE(name, core) \
    static_assert(FATTN_DTYPE_##name == static_cast<fattn_dtype>(DType::core))
FATTN_SAME_DTYPE(DEFAULT, kDefault);
FATTN_SAME_DTYPE(F32, kF32);
FATTN_SAME_DTYPE(F16, kF16);
FATTN_SAME_DTYPE(BF16, kBF16);
FATTN_SAME_DTYPE(I32, kI32);
FATTN_SAME_DTYPE(U8, kU8);
FATTN_SAME_DTYPE(BIT, kBit);
FATTN_SAME_DTYPE(F8_E4M3, kF8E4M3);
FATTN_SAME_DTYPE(F8_E5M2, kF8E5M2);
FATTN_SAME_DTYPE(I8, kI8);

/// Bits of so many elements of any type are counted in 63 bits.
constexpr int64 kMostElements = std::numeric_limits<int64>::max() / 64;

/// Product of the extents, or false when it is above kMostElements. Extents of 0 count as 1:
/// products of the other extents are formed all the same.
bool count_elements(const int64 (&shape)[4], int64* elements) {
    *elements = 1;
    for (const int64 extent : shape) {
        if (__builtin_mul_overflow(*elements, max_of<int64>(extent, 1), elements)) return false;
    }
    return *elements <= kMostElements;
}

struct Axis {
    int64 extent;
    int64 stride;
};

struct Axes {
    Axis axes[4];

    Axis& operator[](int i) { return axes[i]; }
    const Axis& operator[](int i) const { return axes[i]; }
};

/// Axes of more than one element, largest stride first; returns their number.
int sorted_axes(const TensorLayout& layout, Axes* axes) {
    int num = 0;
    for (int i = 0; i < 4; ++i) {
        if (layout.shape[i] > 1) (*axes)[num++] = {layout.shape[i], layout.strides[i]};
    }
    std::sort(axes->axes, axes->axes + num,
              [](const Axis& a, const Axis& b) { return a.stride > b.stride; });
    return num;
}

/// Elements from the first to the last of the innermost axes of a sorted list.
int64 span_of(const Axis* axes, int num) {
    int64 span = 0;
    for (int i = 0; i < num; ++i) span += (axes[i].extent - 1) * axes[i].stride;
    return span;
}

/// Whether a non-zero combination of index differences gives distance 0, for sorted axes whose
/// strides do not nest. Tries the differences of all axes but the longest; the innermost one is an
/// interval when its stride is 1.
Overlap search_overlap(const Axes& sorted, int num) {
    constexpr int64 kMostTrials = int64{1} << 16;
    int64 width = 0;  // the innermost axis bridges distances -width..width
    if (sorted[num - 1].stride == 1) {
        width = sorted[num - 1].extent - 1;
        --num;
    }
    // The last dimension has stride 1 or one element, so three axes are left at most.
    std::array<Axis, 3> axes{Axis{1, 1}, Axis{1, 1}, Axis{1, 1}};
    std::copy(sorted.axes, sorted.axes + num, axes.begin());
    std::sort(axes.begin(), axes.end(),
              [](const Axis& a, const Axis& b) { return a.extent > b.extent; });
    const auto [longest, middle, shortest] = axes;
    if (middle.extent > kMostTrials / (2 * shortest.extent)) return Overlap::kUnknown;
    // A mirrored solution is one too, so one axis needs non-negative differences only.
    for (int64 a = 0; a < middle.extent; ++a) {
        for (int64 b = 1 - shortest.extent; b < shortest.extent; ++b) {
            const int64 distance = a * middle.stride + b * shortest.stride;
            const int64 low =
                max_of(-floor_div(width + distance, longest.stride), 1 - longest.extent);
            const int64 high =
                min_of(floor_div(width - distance, longest.stride), longest.extent - 1);
            const bool only_zero = a == 0 && b == 0 && low == 0 && high == 0;
            if (low <= high && !only_zero) return Overlap::kYes;
        }
    }
    return Overlap::kNo;
}

}  // namespace

bool is_empty(const TensorLayout& layout) {
    return std::find(layout.shape, layout.shape + 4, 0) != layout.shape + 4;
}

int64 byte_extent(const TensorLayout& layout) {
    if (is_empty(layout)) return 0;
    int64 elements = 1;
    for (int i = 0; i < 4; ++i) elements += (layout.shape[i] - 1) * layout.strides[i];
    return ceil_div<int64>(elements * bits_of(layout.dtype), 8);
}

Status check_size(const TensorLayout& layout, const char* name) {
    int64 elements = 0;
    int64 last = 1;
    bool fits = count_elements(layout.shape, &elements);
    for (int i = 0; i < 4; ++i) {
        int64 step = 0;
        fits = fits &&
               !__builtin_mul_overflow(max_of<int64>(layout.shape[i], 1) - 1, layout.strides[i],
                                       &step) &&
               !__builtin_add_overflow(last, step, &last);
    }
    if (fits && last <= kMostElements) return {};
    return invalid(text(name, ".shape is ", list_text(layout.shape), " with strides ",
                        list_text(layout.strides), "; extents and offsets may come to at most ",
                        kMostElements, " elements"));
}

Status default_layout(const int64 (&shape)[4], DType dtype, const char* name, TensorLayout* out) {
    // Before any stride is formed of the extents.
    int64 elements = 0;
    if (!count_elements(shape, &elements)) {
        return invalid(text(name, " is not given, so it takes the shape ", list_text(shape),
                            "; extents may come to at most ", kMostElements, " elements"));
    }
    *out = contiguous(shape[0], shape[1], shape[2], shape[3], dtype);
    return {};
}

Status read_layout(const fattn_layout& given, const char* name, TensorLayout* out) {
    if (given.rank != 4) {
        return invalid(given.rank == 0 ? text(name, ".rank is 0, so ", name,
                                              " is not given; it must be (rank 4)")
                                       : text(name, ".rank is ", given.rank, "; allowed is 4"));
    }
    if (given.dtype > FATTN_DTYPE_I8) {
        return invalid(text(name, ".dtype is ", given.dtype, "; allowed are the values 1 to ",
                            static_cast<uint32>(FATTN_DTYPE_I8), " of fattn_dtype"));
    }
    for (int i = 0; i < 4; ++i) {
        if (given.shape[i] < 0 || given.shape[i] > kMaxExtent) {
            return invalid(text(name, ".shape[", i, "] is ", given.shape[i], "; allowed are 0 to ",
                                kMaxExtent));
        }
        if (given.strides[i] < 0) {
            return invalid(text(name, ".strides[", i, "] is ", given.strides[i],
                                "; strides must not be negative"));
        }
        out->shape[i] = given.shape[i];
        out->strides[i] = given.strides[i];
    }
    if (given.shape[3] > 1 && given.strides[3] != 1) {
        return invalid(text(name, ".strides[3] is ", given.strides[3],
                            "; the last dimension must be contiguous (stride 1)"));
    }
    out->dtype = static_cast<DType>(given.dtype);
    out->rank = 4;
    return check_size(*out, name);
}

Status check_extent(const TensorLayout& layout, const char* name, int axis, int64 expected,
                    const char* meaning) {
    if (layout.shape[axis] == expected) return {};
    return invalid(text(name, ".shape[", axis, "] is ", layout.shape[axis], "; it must be ",
                        expected, ", ", meaning));
}

Overlap self_overlap(const TensorLayout& layout) {
    if (is_empty(layout)) return Overlap::kNo;
    Axes axes{};
    const int num = sorted_axes(layout, &axes);
    if (num == 0) return Overlap::kNo;
    if (axes[num - 1].stride == 0) return Overlap::kYes;
    // The usual case: every axis steps over all of the inner ones.
    bool nested = true;
    for (int i = 0; i + 1 < num; ++i) {
        nested = nested && axes[i].stride > span_of(&axes[i + 1], num - i - 1);
    }
    return nested ? Overlap::kNo : search_overlap(axes, num);
}

Status check_no_self_overlap(const TensorLayout& layout, const char* name) {
    switch (self_overlap(layout)) {
        case Overlap::kNo:
            return {};
        case Overlap::kYes:
            return invalid(
                text(name, ".strides ", list_text(layout.strides), " with shape ",
                     list_text(layout.shape),
                     " put two elements in one place; an output must not overlap itself"));
        case Overlap::kUnknown:
            break;
    }
    return unsupported(text(name, ".strides ", list_text(layout.strides), " with shape ",
                            list_text(layout.shape),
                            " interleave in a way that cannot be shown free of overlap; let every "
                            "stride step over all smaller ones"));
}

std::string allowed_dtypes(DType q_dtype) {
    return q_dtype == DType::kF32 ? "; allowed is f32, the dtype of q"
                                  : text("; allowed are f32 and ", q_dtype, ", the dtype of q");
}

Status check_result_dtype(const TensorLayout& layout, const char* name, DType q_dtype) {
    if (layout.dtype == q_dtype || layout.dtype == DType::kF32) return {};
    return invalid(text(name, ".dtype is ", layout.dtype, allowed_dtypes(q_dtype)));
}

Status read_gradient(const fattn_layout& given, const TensorLayout& of, GradientNames names,
                     DType q_dtype, TensorLayout* out) {
    if (given.rank == 0) {
        *out = of;
        if (given.dtype != FATTN_DTYPE_DEFAULT) out->dtype = static_cast<DType>(given.dtype);
        FATTN_RETURN_IF_ERROR(check_result_dtype(*out, names.gradient, q_dtype));
        if (self_overlap(*out) == Overlap::kNo) return {};
        return invalid(text(names.gradient, " is not given, so it takes the strides ",
                            list_text(of.strides), " of ", names.tensor,
                            ", which put two elements in one place; give it a layout"));
    }
    FATTN_RETURN_IF_ERROR(read_layout(given, names.gradient, out));
    for (int axis = 0; axis < 4; ++axis) {
        const std::string meaning = text("as in ", names.tensor);
        FATTN_RETURN_IF_ERROR(
            check_extent(*out, names.gradient, axis, of.shape[axis], meaning.c_str()));
    }
    if (out->dtype == DType::kDefault) out->dtype = q_dtype;
    FATTN_RETURN_IF_ERROR(check_result_dtype(*out, names.gradient, q_dtype));
    return check_no_self_overlap(*out, names.gradient);
}

bool ranges_meet(const Region& a, const Region& b) {
    if (a.data == nullptr || b.data == nullptr || a.bytes == 0 || b.bytes == 0) return false;
    const auto a_begin = reinterpret_cast<std::uintptr_t>(a.data);
    const auto b_begin = reinterpret_cast<std::uintptr_t>(b.data);
    return a_begin < b_begin ? b_begin - a_begin < static_cast<std::uint64_t>(a.bytes)
                             : a_begin - b_begin < static_cast<std::uint64_t>(b.bytes);
}

bool are_disjoint(const Region& a, const Region& b) {
    if (!ranges_meet(a, b)) return true;
    if (a.layout == nullptr || b.layout == nullptr) return false;

    // In bytes; dtypes of outputs are whole bytes.
    struct Bytes {
        Axes axes{};
        int num;
        int64 element;
    };
    const auto in_bytes = [](const TensorLayout& layout) {
        Bytes bytes;
        bytes.num = sorted_axes(layout, &bytes.axes);
        bytes.element = bits_of(layout.dtype) / 8;
        for (int i = 0; i < bytes.num; ++i) bytes.axes[i].stride *= bytes.element;
        return bytes;
    };
    /// Bytes used of every period, or -1 when the tensor does not repeat with it.
    const auto bytes_within = [](const Bytes& tensor, int64 period) {
        int outer = 0;
        while (outer < tensor.num && tensor.axes[outer].stride >= period) {
            if (tensor.axes[outer].stride % period != 0) return int64{-1};
            ++outer;
        }
        return span_of(&tensor.axes[outer], tensor.num - outer) + tensor.element;
    };

    const Bytes x = in_bytes(*a.layout);
    const Bytes y = in_bytes(*b.layout);
    const auto a_begin = reinterpret_cast<std::uintptr_t>(a.data);
    const auto b_begin = reinterpret_cast<std::uintptr_t>(b.data);
    const auto keeps_apart = [&](int64 period) {
        const int64 x_bytes = bytes_within(x, period);
        const int64 y_bytes = bytes_within(y, period);
        if (x_bytes < 0 || y_bytes < 0) return false;
        // Where y begins within the period that starts with x.
        const auto modulus = static_cast<std::uintptr_t>(period);
        const std::uintptr_t ahead = b_begin >= a_begin
                                         ? (b_begin - a_begin) % modulus
                                         : (modulus - (a_begin - b_begin) % modulus) % modulus;
        return static_cast<int64>(ahead) >= x_bytes &&
               static_cast<int64>(ahead) + y_bytes <= period;
    };
    for (const Bytes* tensor : {&x, &y}) {
        for (int i = 0; i < tensor->num; ++i) {
            const int64 period = tensor->axes[i].stride;
            if (period > 0 && keeps_apart(period)) return true;
        }
    }
    return false;
}

}  // namespace fattn::api
