// The one source of chance in a grid: a small generator whose numbers depend on the seed alone.
#pragma once

#include <cstdint>

namespace fattn::vgpu {

class Random {
  public:
    explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15 + 0x2545f4914f6cdd1d) {}

    uint64_t next() {  // splitmix64
        uint64_t z = state_ += 0x9e3779b97f4a7c15;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
        z = (z ^ z >> 27) * 0x94d049bb133111eb;
        return z ^ z >> 31;
    }
    uint32_t below(uint32_t bound) { return static_cast<uint32_t>((next() >> 32) * bound >> 32); }
    bool coin() { return next() >> 63; }

  private:
    uint64_t state_;
};

}  // namespace fattn::vgpu
