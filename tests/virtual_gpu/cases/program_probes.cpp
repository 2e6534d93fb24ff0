// The small programs of programs/, and the list of all probes.
#include <bit>
#include <fstream>
#include <sstream>

#include "cases/probes.h"

namespace fattn::vgpu {
namespace {

constexpr uint32_t kMapOfF32 = 7, kMapOfBf16 = 9, kSwizzle128Bytes = 3;

Probe program(const std::string& folder, const std::string& entry) {
    std::ifstream file(folder + "/programs/" + entry + ".ptx");
    std::stringstream text;
    text << file.rdbuf();
    Probe made;
    made.name = "program." + entry;
    made.text = text.str();
    made.entry = entry;
    return made;
}

std::vector<uint32_t> small_words(Draw& draw, size_t count) {
    std::vector<uint32_t> made(count);
    for (uint32_t& word : made) word = draw.below(2001) - 1000u;
    return made;
}

std::vector<uint32_t> small_f32(size_t count) {
    std::vector<uint32_t> made;
    for (size_t i = 0; i < count; ++i)
        made.push_back(std::bit_cast<uint32_t>(static_cast<float>(i)));
    return made;
}

// Pairs of numbers with a fraction, so that the sums of products are not exact.
std::vector<uint32_t> pairs_of_bf16(Draw& draw, size_t elements) {
    std::vector<uint32_t> made(elements / 2);
    for (uint32_t& word : made) word = (draw.word() & 0x80ff80ff) | 0x3f003f00;
    return made;
}

ProbeMap square_boxes(uint32_t buffer, uint32_t type, uint64_t columns, uint64_t rows, uint32_t box,
                      uint32_t swizzle) {
    ProbeMap made;
    made.buffer = buffer;
    made.type = type;
    made.dims = {columns, rows};
    made.strides = {columns * (type == kMapOfBf16 ? 2 : 4)};
    made.box = {box, box};
    made.steps = {1, 1};
    made.swizzle = swizzle;
    return made;
}

}  // namespace

void add_programs(std::vector<Probe>& probes, const std::string& folder) {
    Draw draw("programs");
    {
        Probe made = program(folder, "reduction");
        made.grid[0] = 6;
        made.block[0] = 128;
        made.buffers = {small_words(draw, 5000), std::vector<uint32_t>(6, 0), {0}, {0}};
        made.take_buffer(0);
        made.take_word(5000);
        for (uint64_t i = 1; i < 4; ++i) made.take_buffer(i);
        probes.push_back(made);
    }
    {
        Probe made = program(folder, "scan");
        made.grid[0] = 3;
        made.block[0] = 256;
        made.buffers = {small_words(draw, 768), std::vector<uint32_t>(768, 0)};
        made.take_buffer(0);
        made.take_buffer(1);
        probes.push_back(made);
    }
    {
        Probe made = program(folder, "transpose");
        made.grid[0] = 3;
        made.grid[1] = 2;
        made.block[1] = 8;
        made.buffers = {small_f32(40 * 70), std::vector<uint32_t>(40 * 70, 0)};
        made.take_buffer(0);
        made.take_buffer(1);
        made.take_word(40);
        made.take_word(70);
        probes.push_back(made);
    }
    {
        Probe made = program(folder, "gemm");
        made.block[0] = 128;
        made.buffers = {pairs_of_bf16(draw, 64 * 96), pairs_of_bf16(draw, 64 * 96),
                        std::vector<uint32_t>(64 * 64, 0)};
        for (uint64_t i = 0; i < 3; ++i) made.take_buffer(i);
        made.take_word(96);
        probes.push_back(made);
    }
    {
        Probe made = program(folder, "wgmma_gemm");
        made.grid[0] = 2;
        made.block[0] = 256;
        made.shared_bytes = 3 * 2 * 8192;
        made.buffers = {pairs_of_bf16(draw, 64 * 256), pairs_of_bf16(draw, 128 * 256),
                        std::vector<uint32_t>(64 * 128, 0)};
        made.maps = {square_boxes(0, kMapOfBf16, 256, 64, 64, kSwizzle128Bytes),
                     square_boxes(1, kMapOfBf16, 256, 128, 64, kSwizzle128Bytes)};
        made.take_map(0);
        made.take_map(1);
        made.take_buffer(2);
        made.take_word(128);
        made.take_word(256);
        probes.push_back(made);
    }
    {
        Probe made = program(folder, "tma_transpose");
        made.grid[0] = made.grid[1] = 2;
        made.block[0] = 128;
        made.buffers = {small_f32(52 * 40), std::vector<uint32_t>(52 * 40, 0)};
        made.maps = {square_boxes(0, kMapOfF32, 52, 40, 32, 0),
                     square_boxes(1, kMapOfF32, 40, 52, 32, 0)};
        made.take_map(0);
        made.take_map(1);
        probes.push_back(made);
    }
}

std::vector<Probe> all_probes(const std::string& folder) {
    std::vector<Probe> probes;
    add_programs(probes, folder);
    add_wgmma_sums(probes);
    add_wgmma_layouts(probes);
    add_mma_corners(probes);
    add_wmma_sums(probes);
    add_tensor_boxes(probes);
    add_nans(probes);
    add_lanes(probes);
    add_atomics(probes);
    add_faults(probes);
    return probes;
}

}  // namespace fattn::vgpu
