// What one warp executes, written down as it does. Asked for by tests and by the driver's setting
// `trace`.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "gpu/fault.h"

namespace fattn::vgpu {

struct Trace {
    Dim3 block{0, 0, 0};
    uint32_t warp = 0;  // of the block
    uint32_t first_line = 0;
    uint32_t last_line = 0xffffffff;
    bool source_lines = false;  // lines of the source (-lineinfo) instead of the PTX text
    bool stops = false;         // a fault ends the grid behind the first instruction written down
    uint64_t most = 10'000;     // instructions written down
    // Called for each instruction behind its execution: its line and text, then for each register
    // that it wrote (or read, when it wrote none) the values of the lanes that executed it.
    std::function<void(const std::string&)> write;
};

// Words separated by commas: "block 0.1.0", "warp 2", "lines 100-120", "most 50", "source", "stop";
// what is not said stays as above. Anything else throws std::invalid_argument. `write` is left to
// the caller.
Trace parse_trace(const std::string& text);

}  // namespace fattn::vgpu
