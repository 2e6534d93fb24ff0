// Instructions and values as text.
#include "gpu/trace.h"

#include <bit>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <sstream>
#include <stdexcept>

#include "exec/cta.h"
#include "exec/grid.h"
#include "exec/lanes.h"

namespace fattn::vgpu {
namespace {

uint64_t lane_bits(Warp& w, Row row, uint32_t bytes, uint32_t lane) {
    if (bytes == 1) return *w.lanes<uint32_t>(row) >> lane & 1;
    uint64_t bits = 0;
    std::memcpy(&bits, w.lanes<std::byte>(row) + size_t{lane} * bytes, std::min(bytes, 8u));
    return bits;
}

std::string value_text(uint64_t bits, uint32_t bytes) {
    char text[64];
    if (bytes == 4) {
        const float value = std::bit_cast<float>(static_cast<uint32_t>(bits));
        std::snprintf(text, sizeof text, "0x%x(%.6g)", static_cast<uint32_t>(bits),
                      static_cast<double>(value));
    } else {
        std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(bits));
    }
    return text;
}

// The values of the lanes of `mask`; one when all are alike.
std::string row_text(Warp& w, Row row, uint32_t bytes, uint32_t mask) {
    const uint32_t defined = w.defined(row);
    const auto lane_text = [&](uint32_t lane) {
        return defined >> lane & 1 ? value_text(lane_bits(w, row, bytes, lane), bytes)
                                   : std::string("?");
    };
    const std::string first = lane_text(static_cast<uint32_t>(std::countr_zero(mask)));
    bool alike = true;
    std::string all;
    each_lane(mask, [&](uint32_t lane) {
        const std::string text = lane_text(lane);
        alike = alike && text == first;
        all += " " + std::to_string(lane) + ":" + text;
    });
    return alike ? " all:" + first : all;
}

uint32_t number(const std::string& text, const std::string& word) {
    uint32_t made = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), made);
    if (error != std::errc() || end != text.data() + text.size())
        throw std::invalid_argument("the part '" + word + "' of a trace has no number '" + text +
                                    "'");
    return made;
}

}  // namespace

void trace_instruction(Warp& w, const Op& op, uint32_t mask) {
    const Trace& trace = *w.grid.options.trace;
    const OpInfo& info = w.program.infos[w.program.index_of(op)];
    const uint32_t line = trace.source_lines ? info.source_line : info.line;
    if (line < trace.first_line || line > trace.last_line || w.traced++ >= trace.most) return;
    char lanes[16];
    std::snprintf(lanes, sizeof lanes, "%08x", mask);
    std::string text = std::to_string(line) + " [" + lanes + "] " + info.text + "\n";
    const bool writes = op.num_dst > 0;
    const uint32_t count = writes ? op.num_dst : op.num_src;
    for (uint32_t i = 0; i < count; ++i) {
        text += std::string(writes ? "  wrote" : "  read") +
                row_text(w, op.rows[i], w.program.row_bytes[op.first_row + i], mask) + "\n";
    }
    trace.write(text);
    if (!trace.stops) return;
    w.fault(op, static_cast<uint32_t>(std::countr_zero(mask)), FaultKind::kTrap,
            "the trace stops here");
}

Trace parse_trace(const std::string& text) {
    Trace made;
    std::stringstream words(text);
    for (std::string word; std::getline(words, word, ',');) {
        const size_t space = word.find(' ');
        const std::string name = word.substr(0, space);
        const std::string value = space == std::string::npos ? "" : word.substr(space + 1);
        if (word == "source") {
            made.source_lines = true;
        } else if (word == "stop") {
            made.stops = true;
        } else if (name == "warp") {
            made.warp = number(value, word);
        } else if (name == "most") {
            made.most = number(value, word);
        } else if (name == "lines") {
            const size_t dash = value.find('-');
            made.first_line = number(value.substr(0, dash), word);
            made.last_line =
                dash == std::string::npos ? made.first_line : number(value.substr(dash + 1), word);
        } else if (name == "block") {
            uint32_t* const axes[] = {&made.block.x, &made.block.y, &made.block.z};
            std::stringstream parts(value);
            size_t axis = 0;
            for (std::string part; std::getline(parts, part, '.'); ++axis) {
                if (axis == 3) throw std::invalid_argument("a block of a trace has three numbers");
                *axes[axis] = number(part, word);
            }
        } else {
            throw std::invalid_argument(
                "the part '" + word +
                "' of a trace is none of block X.Y.Z, warp N, lines A-B, most N, source, stop");
        }
    }
    return made;
}

}  // namespace fattn::vgpu
