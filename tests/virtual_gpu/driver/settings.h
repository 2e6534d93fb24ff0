// What a user can set about the virtual GPU, by environment or by fattnVirtualGpuConfigure. Read by
// cuInit and by launches.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gpu/launch.h"

namespace fattn::vgpu::driver {

// Key in fattnVirtualGpuConfigure; the environment variable is FATTN_VIRTUAL_GPU_ and the key in
// capitals.
//
//   models      sm_80, sm_89 or sm_90a; several, separated by commas, are several devices (sm_80)
//   memory      bytes of one device's memory, with K, M or G                                  (4G)
//   driver      version that cuDriverGetVersion gives; newer functions are not found (12040)
//   seed        what order=seeded draws from, in streams and inside kernels                   (1)
//   order       early: an operation runs when it is issued; late: when something waits for it;
//               seeded: in between, as the seed says. Asynchronous instructions likewise (seeded)
//   checks      all, none, or words as in gpu/launch.h: "-races,strict"                       (all)
//   mma         cut: tensor cores cut their sums as hardware does; nearest: they round        (cut)
//   report      what is written to standard error: none; faults, with calls that are not
//               offered and leaks; all, with every call that fails (faults)
//   trace       what one warp executes goes to standard error: words as in gpu/trace.h, as
//               "warp 2,lines 100-120"; empty: nothing                                          ()
//   statistics  a file to whose end each launch adds a line of JSON; empty: none ()
//   registers   a file that says what ptxas gave each kernel, as gpu/register_table.h reads it;
//               kernels that it does not name, or all without one, get an estimate ()
struct Settings {
    std::vector<const DeviceModel*> models = {&kSm80};
    uint64_t memory = uint64_t{4} << 30;
    int driver_version = 12040;
    uint64_t seed = 1;
    Asynchrony order = Asynchrony::kSeeded;
    Checks checks;
    bool mma_round_to_nearest = false;
    enum class Report { kNone, kFaults, kAll } report = Report::kFaults;
    std::optional<Trace> trace;
    std::string statistics_file;
};

// "key=value;key=value"; throws Failure for what it does not know. Models, memory and driver are
// refused once `initialised`.
void configure(Settings& settings, std::string_view text, bool initialised);

// Everything that the environment says; throws Failure naming the variable.
void configure_from_environment(Settings& settings);

}  // namespace fattn::vgpu::driver
