// Parses and keeps the table; see gpu/register_table.h.
#include "gpu/register_table.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <mutex>
#include <stdexcept>
#include <utility>
#include <vector>

namespace fattn::vgpu {
namespace {

using Rows = std::map<std::pair<std::string, std::string>, uint32_t>;  // by target and kernel

std::mutex& mutex() {
    static std::mutex one;
    return one;
}

Rows& rows() {
    static Rows one;
    return one;
}

std::vector<std::string> fields_of(std::string_view line) {
    std::vector<std::string> fields;
    while (true) {
        const size_t tab = line.find('\t');
        fields.emplace_back(line.substr(0, tab));
        if (tab == std::string_view::npos) return fields;
        line.remove_prefix(tab + 1);
    }
}

Rows parse(std::string_view text) {
    constexpr const char* kNeeded[] = {"target", "kernel", "registers"};
    Rows parsed;
    std::vector<std::string> columns;
    size_t place[3] = {};
    while (!text.empty()) {
        const size_t end = std::min(text.find('\n'), text.size());
        const std::string_view line = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        if (line.empty() || line.front() == '#') continue;
        const std::vector<std::string> fields = fields_of(line);
        if (columns.empty()) {
            columns = fields;
            for (size_t n = 0; n < 3; ++n) {
                const auto found = std::find(columns.begin(), columns.end(), kNeeded[n]);
                if (found == columns.end()) {
                    throw std::invalid_argument(std::string("a table with a column \"") +
                                                kNeeded[n] + "\"");
                }
                place[n] = static_cast<size_t>(found - columns.begin());
            }
            continue;
        }
        uint32_t registers = 0;
        if (fields.size() == columns.size()) {
            const std::string& number = fields[place[2]];
            const char* last = number.data() + number.size();
            if (std::from_chars(number.data(), last, registers).ptr != last) registers = 0;
        }
        if (registers == 0 || registers > 255) {
            throw std::invalid_argument(
                "a table whose rows have all columns and 1 to 255 registers, unlike \"" +
                std::string(line) + "\"");
        }
        parsed[{fields[place[0]], fields[place[1]]}] = registers;
    }
    return parsed;
}

}  // namespace

void set_register_table(std::string_view text) {
    Rows parsed = parse(text);
    const std::lock_guard lock(mutex());
    rows() = std::move(parsed);
}

std::optional<uint32_t> registers_by_table(const std::string& kernel, const DeviceModel& model) {
    const std::lock_guard lock(mutex());
    const auto found = rows().find({model.compute_major >= 9 ? "sm_90a" : "sm_80", kernel});
    if (found == rows().end()) return std::nullopt;
    return found->second;
}

}  // namespace fattn::vgpu
