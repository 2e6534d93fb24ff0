// A small lossless compression for kernel images and sources, which repeat themselves at any
// distance; written by the build's packer, read by the image container.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace fattn::cuda {

// Format: a sequence of
//   number of literals, the literals, length of a match, its distance back in the output
// until the output is complete; numbers are little-endian in groups of 7 bits, the high bit says
// that another group follows. A match is at least kShortestMatch long and its length is stored less
// that; behind the last literals there is no match. Distances reach back to the start of the
// output.
inline constexpr std::size_t kShortestMatch = 5;

std::string compress(std::string_view bytes);

/// False, with unspecified output, for input that compress never makes of size bytes. Never reads
/// or writes out of bounds.
bool decompress(std::string_view compressed, std::size_t size, std::string* out);

}  // namespace fattn::cuda
