// Holds modifiers against forms.
#include "exec/spelling.h"

#include <algorithm>
#include <string>
#include <vector>

namespace fattn::vgpu {
namespace {

std::vector<std::string_view> split(std::string_view text, char between) {
    std::vector<std::string_view> parts;
    for (size_t begin = 0; begin <= text.size();) {
        const size_t end = std::min(text.find(between, begin), text.size());
        parts.push_back(text.substr(begin, end - begin));
        begin = end + 1;
    }
    return parts;
}

// Whether all words of a choice are among `left`, from which they are then taken.
bool take_choice(std::vector<std::string_view>& left, std::string_view choice) {
    std::vector<std::string_view> rest = left;
    for (const std::string_view word : split(choice, '.')) {
        const auto found = std::find(rest.begin(), rest.end(), word);
        if (found == rest.end()) return false;
        rest.erase(found);
    }
    left = std::move(rest);
    return true;
}

bool fits(std::vector<std::string_view> left, std::string_view form) {
    for (std::string_view slot : split(form, ' ')) {
        const bool optional = slot.starts_with('?');
        if (optional) slot.remove_prefix(1);
        const std::vector<std::string_view> choices = split(slot, ',');
        const bool taken = std::any_of(choices.begin(), choices.end(), [&](std::string_view one) {
            return take_choice(left, one);
        });
        if (!taken && !optional) return false;
    }
    return left.empty();
}

// As the PTX documentation writes it: .arrive{.release.cta, .release.cluster}.b64
std::string written(std::string_view form) {
    std::string made;
    for (std::string_view slot : split(form, ' ')) {
        const bool optional = slot.starts_with('?');
        if (optional) slot.remove_prefix(1);
        const std::vector<std::string_view> choices = split(slot, ',');
        const bool braces = optional || choices.size() > 1;
        if (braces) made += optional ? "{" : "(";
        for (size_t i = 0; i < choices.size(); ++i)
            made += (i == 0 ? "." : ", .") + std::string(choices[i]);
        if (braces) made += optional ? "}" : ")";
    }
    return made;
}

}  // namespace

void need_form(const Decoding& d, Forms forms) {
    need_form(d, {d.in.modifiers.begin(), d.in.modifiers.end()}, forms);
}

void need_form(const Decoding& d, const std::vector<std::string_view>& words, Forms forms) {
    std::string allowed;
    for (const std::string_view form : forms) {
        if (fits(words, form)) return;
        allowed += (allowed.empty() ? "" : "; ") + written(form);
    }
    d.fail("the modifiers do not go together; allowed are " + allowed);
}

}  // namespace fattn::vgpu
