// Where the bodies of a text's entries lie, found without parsing them. Used by Module, which reads
// large texts entry by entry.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace fattn::vgpu::ptx {

// What stands between the braces of the body of `name`.
struct Body {
    std::string_view name;
    size_t begin;
    size_t end;
};

// The bodies of .entry functions in the order of the text. Of a text whose braces do not match,
// none.
std::vector<Body> entry_bodies(std::string_view text);

// The text with every body but number `kept` emptied (none is kept when there is no such number),
// lines staying where they are.
std::string with_one_body(std::string_view text, const std::vector<Body>& bodies, size_t kept);

}  // namespace fattn::vgpu::ptx
