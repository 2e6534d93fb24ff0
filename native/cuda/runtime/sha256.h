// SHA-256 (FIPS 180-4): names entries of the kernel cache and guards stored images against damage.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace fattn::cuda {

using Digest = std::array<unsigned char, 32>;

/// Takes bytes in any number of parts.
class Sha256 {
  public:
    void update(std::string_view bytes);
    /// Ends the message; the object is of no more use afterwards.
    Digest finish();

  private:
    void block(const unsigned char* bytes);

    std::array<std::uint32_t, 8> state_{0x6a09e667U, 0xbb67ae85U, 0x3c6ef372U, 0xa54ff53aU,
                                        0x510e527fU, 0x9b05688cU, 0x1f83d9abU, 0x5be0cd19U};
    std::array<unsigned char, 64> pending_{};
    std::uint64_t total_bytes_ = 0;
};

Digest sha256(std::string_view bytes);

/// 64 lower-case hexadecimal digits.
std::string hex(const Digest& digest);

/// The digest's bytes as a string.
std::string_view bytes_of(const Digest& digest);

}  // namespace fattn::cuda
