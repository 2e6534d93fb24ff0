// Parses settings. Called by cuInit and fattnVirtualGpuConfigure.
#include "driver/settings.h"

#include <charconv>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <optional>
#include <stdexcept>

#include "driver/failure.h"
#include "gpu/register_table.h"

namespace fattn::vgpu::driver {
namespace {

using cuda::CUDA_ERROR_INVALID_VALUE;

constexpr const char* kKeys[] = {"models", "memory", "driver", "seed",       "order",    "checks",
                                 "mma",    "report", "trace",  "statistics", "registers"};

[[noreturn]] void refuse(std::string_view key, std::string_view value, const char* allowed) {
    fail(CUDA_ERROR_INVALID_VALUE, "the virtual GPU's setting %.*s is \"%.*s\"; it may be %s",
         static_cast<int>(key.size()), key.data(), static_cast<int>(value.size()), value.data(),
         allowed);
}

std::optional<uint64_t> parse_number(std::string_view text) {
    uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return number;
}

uint64_t parse_bytes(std::string_view key, std::string_view value) {
    constexpr const char* kAllowed = "a number of bytes from 1 to 2^46, as 1000000, 64M or 4G";
    std::string_view digits = value;
    int shift = 0;
    if (!value.empty()) {
        const char last = value.back();
        shift = last == 'K' ? 10 : last == 'M' ? 20 : last == 'G' ? 30 : 0;
        if (shift != 0) digits.remove_suffix(1);
    }
    const std::optional<uint64_t> number = parse_number(digits);
    if (!number || *number == 0 || *number > (uint64_t{1} << (46 - shift))) {
        refuse(key, value, kAllowed);
    }
    return *number << shift;
}

std::vector<const DeviceModel*> parse_models(std::string_view key, std::string_view value) {
    std::vector<const DeviceModel*> models;
    std::string_view rest = value;
    while (true) {
        const size_t comma = rest.find(',');
        const std::string_view word = rest.substr(0, comma);
        if (word == "sm_80") {
            models.push_back(&kSm80);
        } else if (word == "sm_89") {
            models.push_back(&kSm89);
        } else if (word == "sm_90a") {
            models.push_back(&kSm90a);
        } else {
            refuse(key, value, "a list of sm_80, sm_89 and sm_90a, separated by commas");
        }
        if (comma == std::string_view::npos) return models;
        rest.remove_prefix(comma + 1);
    }
}

void set(Settings& settings, std::string_view key, std::string_view value, bool initialised) {
    if (initialised &&
        (key == "models" || key == "memory" || key == "driver" || key == "registers")) {
        fail(CUDA_ERROR_INVALID_VALUE, "the virtual GPU's setting %.*s came after cuInit",
             static_cast<int>(key.size()), key.data());
    }
    if (key == "models") {
        settings.models = parse_models(key, value);
    } else if (key == "memory") {
        settings.memory = parse_bytes(key, value);
    } else if (key == "driver") {
        const std::optional<uint64_t> version = parse_number(value);
        if (!version || *version < 11030 || *version > 12040) {
            refuse(key, value, "a CUDA version from 11030 to 12040");
        }
        settings.driver_version = static_cast<int>(*version);
    } else if (key == "seed") {
        const std::optional<uint64_t> seed = parse_number(value);
        if (!seed) refuse(key, value, "a whole number");
        settings.seed = *seed;
    } else if (key == "order") {
        if (value == "seeded") {
            settings.order = Asynchrony::kSeeded;
        } else if (value == "early") {
            settings.order = Asynchrony::kEarly;
        } else if (value == "late") {
            settings.order = Asynchrony::kLate;
        } else {
            refuse(key, value, "seeded, early or late");
        }
    } else if (key == "checks") {
        try {
            settings.checks = parse_checks(std::string(value));
        } catch (const std::invalid_argument& error) {
            refuse(key, value, error.what());
        }
    } else if (key == "mma") {
        if (value != "cut" && value != "nearest") refuse(key, value, "cut or nearest");
        settings.mma_round_to_nearest = value == "nearest";
    } else if (key == "report") {
        if (value == "none") {
            settings.report = Settings::Report::kNone;
        } else if (value == "faults") {
            settings.report = Settings::Report::kFaults;
        } else if (value == "all") {
            settings.report = Settings::Report::kAll;
        } else {
            refuse(key, value, "none, faults or all");
        }
    } else if (key == "trace") {
        try {
            settings.trace.reset();
            if (!value.empty()) settings.trace = parse_trace(std::string(value));
        } catch (const std::invalid_argument& error) {
            refuse(key, value, error.what());
        }
    } else if (key == "statistics") {
        settings.statistics_file = value;
    } else if (key == "registers") {
        std::ifstream file{std::string(value)};
        if (!value.empty() && !file) refuse(key, value, "the path of a file that can be read");
        const std::string table(std::istreambuf_iterator<char>(file), {});
        try {
            set_register_table(table);
        } catch (const std::invalid_argument& error) {
            refuse(key, value, error.what());
        }
    } else {
        fail(CUDA_ERROR_INVALID_VALUE,
             "the virtual GPU has no setting %.*s; it has models, memory, driver, seed, order, "
             "checks, mma, report, trace, statistics and registers",
             static_cast<int>(key.size()), key.data());
    }
}

}  // namespace

void configure(Settings& settings, std::string_view text, bool initialised) {
    Settings changed = settings;
    while (!text.empty()) {
        const size_t semicolon = text.find(';');
        const std::string_view item = text.substr(0, semicolon);
        const size_t equals = item.find('=');
        if (equals == std::string_view::npos) {
            fail(CUDA_ERROR_INVALID_VALUE, "\"%.*s\" is no setting; one is written as key=value",
                 static_cast<int>(item.size()), item.data());
        }
        set(changed, item.substr(0, equals), item.substr(equals + 1), initialised);
        text =
            semicolon == std::string_view::npos ? std::string_view() : text.substr(semicolon + 1);
    }
    settings = changed;
}

void configure_from_environment(Settings& settings) {
    for (const char* key : kKeys) {
        std::string variable = "FATTN_VIRTUAL_GPU_";
        for (const char* letter = key; *letter != '\0'; ++letter) {
            variable += static_cast<char>(*letter - 'a' + 'A');
        }
        if (const char* value = std::getenv(variable.c_str())) set(settings, key, value, false);
    }
}

}  // namespace fattn::vgpu::driver
