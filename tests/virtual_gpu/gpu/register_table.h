// How many registers ptxas gave each kernel: a table of its reports in place of the interpreter's
// estimate. Filled by the driver's setting "registers", read when a kernel is decoded.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "gpu/device_model.h"

namespace fattn::vgpu {

// Takes the rows of a table as tests/checks/cuda_resources.tsv has them: columns named in a first
// line, tabs between them, "target", "kernel" and "registers" among them; lines that begin with #
// say nothing. Replaces what was there; nothing remains for an empty text. Throws
// std::invalid_argument that says what is wrong. For the whole process, before kernels are loaded.
void set_register_table(std::string_view text);

// What the table has for a kernel on a model: sm_90a's rows are for sm_90a, sm_80's for the others.
std::optional<uint32_t> registers_by_table(const std::string& kernel, const DeviceModel& model);

}  // namespace fattn::vgpu
