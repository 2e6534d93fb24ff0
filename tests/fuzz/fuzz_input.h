// What fuzz programs read their problems from: choices made by the fuzzer's bytes, layouts, and
// memory that is exactly as large as a layout says.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "fused_attention/fused_attention.h"

namespace fattn::fuzz {

/// Ends the program, which the fuzzer reports with the input.
inline void require(bool condition) {
    if (!condition) std::abort();
}

/// Reads choices from the input; zeros once it has ended.
class Choices {
  public:
    Choices(const uint8_t* data, std::size_t size) : data_(data), size_(size) {}

    uint8_t byte() {
        if (size_ == 0) return 0;
        --size_;
        return *data_++;
    }
    /// Between low and high, both included.
    int64_t number(int64_t low, int64_t high) { return low + byte() % (high - low + 1); }
    bool flag() { return (byte() & 1) != 0; }
    /// Mostly small numbers around what is right, now and then anything.
    int32_t index(int64_t right) {
        const uint8_t choice = byte();
        if (choice < 200) return static_cast<int32_t>(right);
        if (choice < 250) return static_cast<int32_t>(right + number(-3, 3));
        uint32_t any = 0;
        for (int i = 0; i < 4; ++i) any = any << 8 | byte();
        return static_cast<int32_t>(any);
    }

  private:
    const uint8_t* data_;
    std::size_t size_;
};

inline int64_t bits_of(fattn_dtype dtype) {
    switch (dtype) {
        case FATTN_DTYPE_F32:
            return 32;
        case FATTN_DTYPE_U8:
            return 8;
        case FATTN_DTYPE_BIT:
            return 1;
        default:
            return 16;
    }
}

/// A layout with some room between rows, and now and then a dimension that broadcasts.
inline fattn_layout choose_layout(Choices& in, const int64_t (&shape)[4], fattn_dtype dtype,
                                  bool output) {
    fattn_layout layout{};
    layout.dtype = dtype;
    layout.rank = 4;
    int64_t stride = 1;
    for (int axis = 3; axis >= 0; --axis) {
        layout.shape[axis] = shape[axis];
        layout.strides[axis] = stride;
        stride *= shape[axis] > 0 ? shape[axis] : 1;
        if (axis == 3) stride += in.number(0, 2);
    }
    if (!output && in.byte() > 240) layout.strides[in.number(0, 2)] = 0;
    return layout;
}

/// Exactly the bytes from a tensor's first to its last element, so that the sanitizer sees every
/// step beyond.
class Memory {
  public:
    Memory(Choices& in, const fattn_layout& layout) {
        int64_t elements = layout.rank == 0 ? 0 : 1;
        for (int axis = 0; axis < 4; ++axis) {
            elements = layout.shape[axis] == 0 ? 0 : elements;
            elements += elements == 0 ? 0 : (layout.shape[axis] - 1) * layout.strides[axis];
        }
        const auto bytes = static_cast<std::size_t>((elements * bits_of(layout.dtype) + 7) / 8);
        if (bytes == 0) return;
        bytes_.reset(new unsigned char[bytes]);
        // A short pattern of any bits, infinities and NaN included.
        unsigned char pattern[8] = {};
        for (unsigned char& b : pattern) b = in.byte();
        for (std::size_t i = 0; i < bytes; ++i) bytes_[i] = pattern[i % 8];
    }
    void* data() const { return bytes_.get(); }
    float* floats() const { return reinterpret_cast<float*>(bytes_.get()); }

  private:
    std::unique_ptr<unsigned char[]> bytes_;
};

inline fattn_layout vector_layout(int64_t length) {
    return {{1, 1, 1, length}, {length, length, length, 1}, FATTN_DTYPE_F32, 4};
}

/// A call succeeds or is refused with a sentence.
inline void check(fattn_status status) {
    if (status == FATTN_STATUS_OK) return;
    require(status == FATTN_STATUS_INVALID_ARGUMENT || status == FATTN_STATUS_UNSUPPORTED);
    require(*fattn_last_error() != '\0');
}

/// The CPU device, opened once.
inline fattn_device* cpu() {
    static fattn_device* const device = [] {
        fattn_device* opened = nullptr;
        require(fattn_device_cpu(&opened) == FATTN_STATUS_OK);
        return opened;
    }();
    return device;
}

}  // namespace fattn::fuzz
