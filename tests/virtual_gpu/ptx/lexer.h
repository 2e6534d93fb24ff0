// Cuts a PTX text into tokens. Called by the parser.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fattn::vgpu::ptx {

struct Token {
    enum class Kind : uint8_t {
        kName,    // add, %r1, $L__BB0_2, _ZN..., _
        kDot,     // .global, .v4, .shared::cta; the text has no dot
        kNumber,  // 12, 0x1F, 0f3F800000, 1.5
        kString,  // without its quotes
        kPunct,   // one character of , ; : [ ] ( ) { } + - @ ! = | < > * / ~ & ^
        kEnd,
    };
    Kind kind;
    uint32_t line;
    std::string_view text;
    const char* begin;  // where it starts in the text, quotes and dots included

    bool is(char punct) const { return kind == Kind::kPunct && text[0] == punct; }
    bool is_name(std::string_view name) const { return kind == Kind::kName && text == name; }
    bool is_dot(std::string_view name) const { return kind == Kind::kDot && text == name; }
};

// The tokens refer to `text`. Throws LoadError, in which `file` is named.
std::vector<Token> tokenize(std::string_view text, const std::string& file);

// "file:12: message\n    the line's text": how every error of a load reads.
std::string describe_line(const std::string& file, std::string_view text, uint32_t line,
                          const std::string& message);

}  // namespace fattn::vgpu::ptx
