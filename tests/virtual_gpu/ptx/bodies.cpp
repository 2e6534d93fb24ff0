// A walk over the braces of a text.
#include "ptx/bodies.h"

#include <algorithm>
#include <array>

namespace fattn::vgpu::ptx {
namespace {

// The word that `text` begins with, after spaces.
std::string_view word_of(std::string_view text) {
    constexpr std::string_view kSpaces = " \t\r\n";
    text.remove_prefix(std::min(text.find_first_not_of(kSpaces), text.size()));
    return text.substr(0, text.find_first_of(" \t\r\n(){};/"));
}

}  // namespace

std::vector<Body> entry_bodies(std::string_view text) {
    std::vector<Body> made;
    size_t depth = 0, begin = 0;
    std::string_view entry;  // whose body comes next; empty: none's
    constexpr std::string_view kEntry = ".entry", kFunction = ".func";
    constexpr auto kStops = [] {
        std::array<bool, 256> stops{};
        for (const char c : std::string_view("{}/\".;"))
            stops[static_cast<unsigned char>(c)] = true;
        return stops;
    }();
    for (size_t at = 0; at < text.size();) {
        if (!kStops[static_cast<unsigned char>(text[at])]) {
            ++at;
            continue;
        }
        const std::string_view rest = text.substr(at);
        if (rest.starts_with("//")) {
            at = std::min(text.find('\n', at), text.size());
        } else if (rest.starts_with("/*")) {
            const size_t end = text.find("*/", at + 2);
            at = end == std::string_view::npos ? text.size() : end + 2;
        } else if (rest[0] == '"') {
            const size_t end = text.find('"', at + 1);
            at = end == std::string_view::npos ? text.size() : end + 1;
        } else {
            if (rest[0] == '{' && depth++ == 0) begin = at + 1;
            if (rest[0] == '}') {
                if (depth == 0) return {};
                if (--depth == 0) {
                    if (!entry.empty()) made.push_back({entry, begin, at});
                    entry = {};
                }
            }
            if (depth == 0 && rest.starts_with(kEntry)) entry = word_of(rest.substr(kEntry.size()));
            // A declaration ends before its body; a function that is no entry has one too.
            if (depth == 0 && (rest[0] == ';' || rest.starts_with(kFunction))) entry = {};
            ++at;
        }
    }
    return depth == 0 ? made : std::vector<Body>{};
}

std::string with_one_body(std::string_view text, const std::vector<Body>& bodies, size_t kept) {
    std::string made;
    size_t from = 0;
    for (size_t i = 0; i < bodies.size(); ++i) {
        if (i == kept) continue;
        const Body& body = bodies[i];
        made += text.substr(from, body.begin - from);
        const std::string_view inside = text.substr(body.begin, body.end - body.begin);
        made.append(static_cast<size_t>(std::count(inside.begin(), inside.end(), '\n')), '\n');
        from = body.end;
    }
    made += text.substr(from);
    return made;
}

}  // namespace fattn::vgpu::ptx
