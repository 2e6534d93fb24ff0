// Reads the quota of control groups, version 2 and version 1.
#include "cpu/cpu_quota.h"

#include <charconv>
#include <fstream>
#include <iterator>

#include "core/types.h"

namespace fattn::cpu {
namespace {

constexpr std::string_view kSpace = " \t\n";

/// Takes the first word off a text.
std::string_view take_word(std::string_view* text) {
    const std::size_t begin = text->find_first_not_of(kSpace);
    if (begin == std::string_view::npos) return {};
    const std::size_t end = min_of(text->find_first_of(kSpace, begin), text->size());
    const std::string_view word = text->substr(begin, end - begin);
    text->remove_prefix(end);
    return word;
}

/// 0 when the word is not a positive number.
int64 positive_number(std::string_view word) {
    int64 value = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
    const bool whole = error == std::errc() && end == word.data() + word.size();
    return whole && value > 0 ? value : 0;
}

std::string contents(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
}

int smaller_quota(int a, int b) {
    if (a == kNoQuota || b == kNoQuota) return a + b;
    return min_of(a, b);
}

/// Calls quota_of with the folder of the group and of every group around it, up to the hierarchy's
/// own folder. A container may see a group's name without its folder: those have no file to read.
template <class F>
int smallest_quota(const std::string& hierarchy, std::string_view group, const F& quota_of) {
    int smallest = quota_of(hierarchy);
    for (std::size_t end = group.size(); end != std::string_view::npos && end > 1;
         end = group.rfind('/', end - 1)) {
        const std::string folder = hierarchy + std::string(group.substr(0, end));
        smallest = smaller_quota(smallest, quota_of(folder));
    }
    return smallest;
}

bool lists(std::string_view controllers, std::string_view controller) {
    for (;;) {
        const std::size_t comma = min_of(controllers.find(','), controllers.size());
        if (controllers.substr(0, comma) == controller) return true;
        if (comma == controllers.size()) return false;
        controllers.remove_prefix(comma + 1);
    }
}

}  // namespace

int processors_of_quota(std::string_view quota, std::string_view period) {
    const int64 time = positive_number(take_word(&quota));
    const int64 of = positive_number(take_word(&period));
    if (time == 0 || of == 0) return kNoQuota;
    constexpr int64 kMost = 1 << 20;
    return static_cast<int>(min_of((time - 1) / of + 1, kMost));
}

int processors_of_cpu_max(std::string_view text) {
    const std::string_view quota = take_word(&text);
    return processors_of_quota(quota, text);
}

std::string_view group_path(std::string_view proc_self_cgroup, std::string_view controller) {
    while (!proc_self_cgroup.empty()) {
        const std::size_t end = min_of(proc_self_cgroup.find('\n'), proc_self_cgroup.size());
        const std::string_view line = proc_self_cgroup.substr(0, end);
        proc_self_cgroup.remove_prefix(min_of(end + 1, proc_self_cgroup.size()));
        const std::size_t first = line.find(':');
        if (first == std::string_view::npos) continue;
        const std::size_t second = line.find(':', first + 1);
        if (second == std::string_view::npos) continue;
        if (lists(line.substr(first + 1, second - first - 1), controller))
            return line.substr(second + 1);
    }
    return {};
}

int quota_processors(const std::string& root) {
    const std::string groups = contents(root + "/proc/self/cgroup");
    const std::string folder = root + "/sys/fs/cgroup";
    const int unified =
        smallest_quota(folder, group_path(groups, ""), [](const std::string& group) {
            return processors_of_cpu_max(contents(group + "/cpu.max"));
        });
    const int separate =
        smallest_quota(folder + "/cpu", group_path(groups, "cpu"), [](const std::string& group) {
            return processors_of_quota(contents(group + "/cpu.cfs_quota_us"),
                                       contents(group + "/cpu.cfs_period_us"));
        });
    return smaller_quota(unified, separate);
}

}  // namespace fattn::cpu
