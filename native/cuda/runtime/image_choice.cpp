// Ranks images by what their target says.
#include "cuda/runtime/image_choice.h"

#include <algorithm>
#include <charconv>

#include "backend/text.h"

namespace fattn::cuda {
namespace {

/// How well an image fits; 0 when it does not run there.
int rank_of(const ImageEntry& entry, int architecture) {
    const std::size_t underscore = entry.target.find('_');
    if (underscore == std::string::npos) return 0;
    const char* const end = entry.target.data() + entry.target.size();
    int target = 0;
    const auto number = std::from_chars(entry.target.data() + underscore + 1, end, target);
    if (number.ec != std::errc()) return 0;

    const bool specific = number.ptr != end && *number.ptr == 'a';
    if (specific && target != architecture) return 0;
    if (target > architecture) return 0;
    const bool machine_code = entry.kind == ImageKind::kCubin;
    if (machine_code && target / 10 != architecture / 10) return 0;
    return (machine_code ? 10000 : 0) + 10 * target + (specific ? 1 : 0);
}

}  // namespace

std::vector<std::size_t> images_for(const ImagePack& pack, const std::string& name,
                                    int architecture) {
    std::vector<std::size_t> found;
    const auto rank = [&](std::size_t i) { return rank_of(pack.entries()[i], architecture); };
    for (std::size_t i = 0; i < pack.entries().size(); ++i) {
        if (pack.entries()[i].name == name && rank(i) > 0) found.push_back(i);
    }
    std::stable_sort(found.begin(), found.end(),
                     [&](std::size_t a, std::size_t b) { return rank(a) > rank(b); });
    return found;
}

std::string targets_of(const ImagePack& pack, const std::string& name) {
    std::string targets;
    for (const ImageEntry& entry : pack.entries()) {
        if (entry.name == name) targets += text(targets.empty() ? "" : ", ", entry.target);
    }
    return targets.empty() ? "none" : targets;
}

}  // namespace fattn::cuda
