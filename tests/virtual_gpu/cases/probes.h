// Whole launches that a GPU was asked about: a text, memory, tensor maps. Run on a GPU by the
// recorder and in the interpreter by recordings_test.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace fattn::vgpu {

// What cuTensorMapEncodeTiled takes; numbers are those of its enumerations.
struct ProbeMap {
    uint32_t buffer = 0;
    uint32_t type = 0;
    std::vector<uint64_t> dims;     // elements, innermost first
    std::vector<uint64_t> strides;  // bytes, of all dimensions but the first
    std::vector<uint32_t> box;
    std::vector<uint32_t> steps;
    uint32_t swizzle = 0;
    bool nan = false;
};

struct ProbeParameter {
    enum class Kind { kBuffer, kMap, kWord, kWide };
    Kind kind;
    uint64_t value;  // an index, or the value itself
};

struct Probe {
    std::string name;
    std::string text;
    std::string entry = "run";
    uint32_t grid[3] = {1, 1, 1};
    uint32_t block[3] = {32, 1, 1};
    uint32_t shared_bytes = 0;
    std::vector<std::vector<uint32_t>> buffers;  // the last is what is recorded
    std::vector<ProbeMap> maps;
    std::vector<ProbeParameter> parameters;

    void take_map(uint64_t i) { parameters.push_back({ProbeParameter::Kind::kMap, i}); }
    void take_buffer(uint64_t i) { parameters.push_back({ProbeParameter::Kind::kBuffer, i}); }
    void take_word(uint32_t v) { parameters.push_back({ProbeParameter::Kind::kWord, v}); }
    void take_wide(uint64_t v) { parameters.push_back({ProbeParameter::Kind::kWide, v}); }
};

// Numbers that follow from a name alone.
class Draw {
  public:
    explicit Draw(const std::string& name) {
        for (const char c : name) state_ = mixed(state_ + static_cast<uint64_t>(c));
    }
    uint64_t next() { return state_ = mixed(state_ + 1); }
    uint32_t word() { return static_cast<uint32_t>(next() >> 16); }
    uint32_t below(uint32_t n) { return static_cast<uint32_t>((next() >> 20) % n); }
    std::vector<uint32_t> words(size_t count) {
        std::vector<uint32_t> made(count);
        for (uint32_t& one : made) one = word();
        return made;
    }

  private:
    static uint64_t mixed(uint64_t z) {
        z += 0x9e3779b97f4a7c15;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
        z = (z ^ z >> 27) * 0x94d049bb133111eb;
        return z ^ z >> 31;
    }
    uint64_t state_ = 0;
};

inline uint64_t words_hash(const std::vector<uint32_t>& words) {
    uint64_t hash = 14695981039346656037u;
    for (const uint32_t word : words) {
        for (uint32_t i = 0; i < 32; i += 8) hash = (hash ^ (word >> i & 255)) * 1099511628211u;
    }
    return hash;
}

// Each group is made by a file of its own and appended.
void add_wgmma_sums(std::vector<Probe>& probes);
void add_wgmma_layouts(std::vector<Probe>& probes);
void add_mma_corners(std::vector<Probe>& probes);
void add_wmma_sums(std::vector<Probe>& probes);
void add_tensor_boxes(std::vector<Probe>& probes);
void add_nans(std::vector<Probe>& probes);
void add_lanes(std::vector<Probe>& probes);
void add_atomics(std::vector<Probe>& probes);
void add_faults(std::vector<Probe>& probes);
// `folder` holds programs/*.ptx.
void add_programs(std::vector<Probe>& probes, const std::string& folder);

std::vector<Probe> all_probes(const std::string& folder);

}  // namespace fattn::vgpu
