// Registers that warps give back and take with setmaxnreg. Used by grids.
#pragma once

#include <cstdint>

namespace fattn::vgpu {

struct DeviceModel;
struct EntryInfo;
struct Program;

// Registers of a thread when its block starts.
uint32_t starting_registers(const Program& program, const EntryInfo& entry,
                            const DeviceModel& model);

}  // namespace fattn::vgpu
