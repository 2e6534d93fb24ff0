// Faults of kernels: the error that an H100 answered (recordings/h100.txt) is the one that the
// driver gives.
#include <map>

#include "cases/probes.h"
#include "cases/recorded.h"
#include "driver/virtual_driver.h"

namespace fattn::vgpu::cuda {
namespace {

// By name of the probe; 0 where the GPU went on.
std::map<std::string, int> recorded_errors() {
    std::map<std::string, int> made;
    for_each_recorded_line(
        [&](const std::string& kind, const std::string& name, std::istream& words) {
            std::string call;
            int error = 0;
            if (kind == "refused") words >> call >> error;
            made[name] = error;
        });
    return made;
}

class RecordedFaults : public DriverTest {};

TEST_F(RecordedFaults, HaveTheErrorsOfHardware) {
    const std::map<std::string, int> recorded = recorded_errors();
    std::vector<Probe> probes;
    add_faults(probes);
    for (const Probe& probe : probes) {
        const auto found = recorded.find(probe.name);
        ASSERT_NE(found, recorded.end()) << probe.name;
        end_context();
        ASSERT_OK(api().cuCtxCreate_v2(&context_, 0, 0));
        CUmodule module = nullptr;
        CUfunction function = nullptr;
        ASSERT_OK(api().cuModuleLoadData(&module, probe.text.c_str()));
        ASSERT_OK(api().cuModuleGetFunction(&function, module, probe.entry.c_str()));
        const size_t bytes = 4 * probe.buffers.back().size();
        CUdeviceptr out = alloc(bytes);
        ASSERT_OK(api().cuMemcpyHtoD_v2(out, probe.buffers.back().data(), bytes));
        void* parameters[] = {&out};
        ASSERT_OK(
            api().cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, nullptr, parameters, nullptr));
        const CUresult error = api().cuCtxSynchronize();
        // What a GPU lets pass may be a fault here.
        const bool strict = found->second == 0 && probe.name != "fault.nothing";
        EXPECT_TRUE(strict || error == found->second)
            << probe.name << " gives " << error << ", not " << found->second << ": "
            << last_error();
    }
}

}  // namespace
}  // namespace fattn::vgpu::cuda
