// What an H100 gave for the probes (recordings/h100.txt, made by record/) against what the
// interpreter gives.
#include <gtest/gtest.h>

#include <map>

#include "cases/probes.h"
#include "cases/recorded.h"
#include "gpu/tensor_map.h"
#include "test/device.h"

namespace fattn::vgpu::test {
namespace {

TensorMapLayout layout_of(const ProbeMap& map, uint64_t address) {
    TensorMapLayout made{};
    made.magic = kTensorMapMagic;
    made.data_type = static_cast<uint8_t>(map.type);
    made.rank = static_cast<uint8_t>(map.dims.size());
    made.swizzle = static_cast<uint8_t>(map.swizzle);
    made.nan_fill = map.nan;
    made.address = address;
    for (size_t axis = 0; axis < map.dims.size(); ++axis) {
        made.dims[axis] = map.dims[axis];
        made.box[axis] = static_cast<uint16_t>(map.box[axis]);
        made.element_strides[axis] = map.steps[axis];
        if (axis > 0) made.strides[axis - 1] = map.strides[axis - 1];
    }
    return made;
}

struct ProbeRun {
    std::optional<Fault> fault;
    std::vector<uint32_t> words;
};

ProbeRun run_probe(const Probe& probe, const LaunchOptions& options) {
    Memory memory;
    Kernel kernel(memory, probe.text, kSm90a, probe.name);
    std::vector<uint64_t> places;
    for (const std::vector<uint32_t>& buffer : probe.buffers)
        places.push_back(memory.upload(buffer));
    Arguments arguments;
    for (const ProbeParameter& one : probe.parameters) {
        switch (one.kind) {
            case ProbeParameter::Kind::kBuffer:
                arguments.add(places[one.value]);
                break;
            case ProbeParameter::Kind::kMap: {
                const ProbeMap& map = probe.maps[one.value];
                arguments.add(layout_of(map, places[map.buffer]));
                break;
            }
            case ProbeParameter::Kind::kWord:
                arguments.add(static_cast<uint32_t>(one.value));
                break;
            case ProbeParameter::Kind::kWide:
                arguments.add(one.value);
        }
    }
    const Dim3 cluster = kernel.module().entries()[0].required_cluster;
    const LaunchResult result =
        kernel.run(memory, {probe.grid[0], probe.grid[1], probe.grid[2]},
                   {probe.block[0], probe.block[1], probe.block[2]}, arguments, probe.shared_bytes,
                   options, cluster.count() == 0 ? Dim3{} : cluster);
    return {result.fault, memory.download<uint32_t>(places.back())};
}

// By name: the words behind it of lines of this kind.
std::map<std::string, std::vector<std::string>> lines_of(const std::string& kind) {
    std::map<std::string, std::vector<std::string>> made;
    for_each_recorded_line(
        [&](const std::string& first, const std::string& name, std::istream& words) {
            if (first != kind) return;
            std::vector<std::string>& values = made[name];
            for (std::string word; words >> word;) values.push_back(word);
        });
    return made;
}

// Where the interpreter is not hardware: recordings/README.md says how.
bool is_open(const std::string& name) {
    for (const char* begin : {"fragment.", "nan.tanh."}) {
        if (name.starts_with(begin)) return true;
    }
    return false;
}

TEST(Probes, GiveTheWordsOfHardware) {
    const auto recorded = lines_of("probe"), refused = lines_of("refused");
    int compared = 0;
    for (const Probe& probe : all_probes(FATTN_VIRTUAL_GPU_DIR)) {
        if (!probe.name.starts_with("fault.") && refused.contains(probe.name)) {
            // What the driver refuses is tested with the driver.
            const bool launched = refused.at(probe.name)[0] == "cuCtxSynchronize";
            EXPECT_TRUE(!launched || run_probe(probe, {}).fault) << probe.name;
            continue;
        }
        if (is_open(probe.name) || probe.name.starts_with("fault.")) continue;
        const auto found = recorded.find(probe.name);
        ASSERT_NE(found, recorded.end()) << probe.name;
        const ProbeRun run = run_probe(probe, {});
        if (run.fault) {
            ADD_FAILURE() << run.fault->text();
            continue;
        }
        EXPECT_EQ(std::stoull(found->second[0], nullptr, 16), words_hash(run.words)) << probe.name;
        for (size_t i = 1; i < found->second.size(); ++i) {
            EXPECT_EQ(std::stoul(found->second[i], nullptr, 16), run.words[i - 1])
                << probe.name << " word " << i - 1;
        }
        ++compared;
    }
    EXPECT_GT(compared, 1000);
}

}  // namespace
}  // namespace fattn::vgpu::test
