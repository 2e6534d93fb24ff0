// The functions that a virtual GPU has and a driver has not. Called by tests and tools that know
// where they run.
#include <algorithm>
#include <cstring>

#include "driver/entry.h"
#include "driver/exports.h"

namespace fattn::vgpu::cuda {
namespace {

using driver::call_anytime;
using driver::Driver;
using driver::fail;

void give_text(const std::string& text, char* out, size_t capacity, size_t* length) {
    if (length != nullptr) *length = text.size();
    if (capacity == 0) return;
    driver::require_results(out);
    const size_t copied = std::min(text.size(), capacity - 1);
    std::memcpy(out, text.data(), copied);
    out[copied] = '\0';
}

std::string statistics_table(const Driver& state) {
    Statistics total;
    std::string text;
    for (const auto& [kernel, statistics] : state.statistics) {
        text += driver::format_text("%s, %llu launches\n", kernel.c_str(),
                                    static_cast<unsigned long long>(state.num_launches.at(kernel)));
        text += statistics.table();
        total.add(statistics);
    }
    if (state.statistics.size() > 1) text += "all kernels\n" + total.table();
    return text;
}

std::string statistics_json(const Driver& state) {
    std::string text = "{\"kernels\": [";
    const char* separator = "";
    for (const auto& [kernel, statistics] : state.statistics) {
        text += driver::format_text(
            "%s\n{\"name\": \"%s\", \"launches\": %llu, \"statistics\": ", separator,
            kernel.c_str(), static_cast<unsigned long long>(state.num_launches.at(kernel)));
        text += statistics.json() + "}";
        separator = ",";
    }
    return text + "]}";
}

}  // namespace

extern "C" {

CUresult fattnVirtualGpuConfigure(const char* text) {
    return call_anytime("fattnVirtualGpuConfigure", [&](Driver& state) {
        driver::require_results(text);
        const uint64_t seed = state.settings.seed;
        driver::configure(state.settings, text, state.initialised);
        if (state.settings.seed != seed) state.queue.reseed(state.settings.seed);
    });
}

CUresult fattnVirtualGpuLastError(char* text, size_t capacity, size_t* length) {
    return call_anytime("fattnVirtualGpuLastError", [&](Driver&) {
        give_text(driver::this_thread().last_error, text, capacity, length);
    });
}

CUresult fattnVirtualGpuReport(char* text, size_t capacity, size_t* length) {
    return call_anytime("fattnVirtualGpuReport",
                        [&](Driver& state) { give_text(state.report, text, capacity, length); });
}

CUresult fattnVirtualGpuStatistics(int json, char* text, size_t capacity, size_t* length) {
    return call_anytime("fattnVirtualGpuStatistics", [&](Driver& state) {
        give_text(json != 0 ? statistics_json(state) : statistics_table(state), text, capacity,
                  length);
    });
}

CUresult fattnVirtualGpuResetStatistics() {
    return call_anytime("fattnVirtualGpuResetStatistics", [](Driver& state) {
        state.statistics.clear();
        state.num_launches.clear();
    });
}

}  // extern "C"
}  // namespace fattn::vgpu::cuda
