// Turns a fuzzer's bytes into numbers, small ones most of the time; used by every fuzz program.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fattn::fuzz {

/// Reads past the end give zeros, so that every prefix of an input is an input.
class Input {
  public:
    Input(const uint8_t* data, size_t size) : next_(data), end_(data + size) {}

    uint8_t byte() { return next_ == end_ ? uint8_t{0} : *next_++; }

    template <class Integer>
    Integer integer() {
        uint64_t value = 0;
        for (size_t i = 0; i < sizeof(Integer); ++i) value = value << 8 | byte();
        return static_cast<Integer>(value);
    }

    /// True once in one_in.
    bool rarely(unsigned one_in) { return byte() % one_in == one_in - 1; }

    /// Mostly in [0, limit], sometimes any 64-bit value at all.
    int64_t extent(int64_t limit) { return rarely(32) ? integer<int64_t>() : byte() % (limit + 1); }

    float number() { return static_cast<float>(integer<int16_t>()) / 1024.0f; }

  private:
    const uint8_t* next_;
    const uint8_t* end_;
};

}  // namespace fattn::fuzz
