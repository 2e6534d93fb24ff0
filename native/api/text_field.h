// Copies texts into the fixed fields of public structs; used by the files of api/ that describe
// something.
#pragma once

#include <algorithm>
#include <cstring>
#include <string_view>

namespace fattn::api {

/// As much as fits with the zero at its end, cut between two UTF-8 characters.
template <std::size_t N>
void copy_text(std::string_view from, char (&to)[N]) {
    std::size_t length = std::min(from.size(), N - 1);
    while (length < from.size() && length > 0 &&
           (static_cast<unsigned char>(from[length]) & 0xC0U) == 0x80U) {
        --length;
    }
    std::memcpy(to, from.data(), length);
    to[length] = '\0';
}

}  // namespace fattn::api
