// Fuzz target: the first byte says how the rest is read. Even: as a fattn_neighborhood_problem,
// byte for byte; whatever it says, making a plan answers with a status and a text. Odd: as the
// numbers of a small valid problem, which is run on exactly as much memory as it needs.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "fuzz_input.h"

namespace {

using fattn::fuzz::Choices;
using fattn::fuzz::cpu;
using fattn::fuzz::require;

bool is_small(const fattn_neighborhood_problem& problem) {
    return std::all_of(problem.q.shape, problem.q.shape + 4, [](int64_t n) { return n <= 2048; }) &&
           problem.additional_k.shape[2] <= 2048;
}

void query(fattn_plan* plan) {
    fattn_plan_description description{};
    description.struct_size = sizeof(description);
    require(fattn_plan_info(plan, &description) == FATTN_STATUS_OK);
    fattn_schedule_stats stats{};
    stats.struct_size = sizeof(stats);
    require(fattn_plan_schedule_stats(plan, &stats) == FATTN_STATUS_OK);
    require(stats.visited_pairs >= stats.needed_pairs);
    const int64_t num_tiles = stats.num_q_tiles * stats.num_kv_tiles;
    if (num_tiles > 1 << 20) return;
    std::vector<uint8_t> tiles(static_cast<std::size_t>(num_tiles));
    if (stats.full_tiles + stats.partial_tiles + stats.skipped_tiles == 0) return;  // no heads
    require(fattn_plan_schedule_tiles(plan, 0, 0, tiles.data(), tiles.size()) == FATTN_STATUS_OK);
}

void plan_any(const uint8_t* data, std::size_t size) {
    // Room for the largest struct_size that the library believes, so that a wild one reads zeros.
    static constexpr std::size_t kRoom = 16384;
    alignas(fattn_neighborhood_problem) static unsigned char memory[kRoom];
    std::memset(memory, 0, kRoom);
    std::memcpy(memory, data, std::min(size, kRoom));
    const auto* problem = reinterpret_cast<const fattn_neighborhood_problem*>(memory);
    const fattn_status supported = fattn_supports_neighborhood(cpu(), problem);
    // A plan costs memory along every axis; a huge grid is only asked about.
    if (supported == FATTN_STATUS_OK && !is_small(*problem)) return;
    fattn_plan* plan = nullptr;
    const fattn_status status = fattn_neighborhood_plan(cpu(), problem, &plan);
    require(supported == status);
    if (status != FATTN_STATUS_OK) {
        require(status == FATTN_STATUS_INVALID_ARGUMENT || status == FATTN_STATUS_UNSUPPORTED);
        require(plan == nullptr && *fattn_last_error() != '\0');
        return;
    }
    require(plan != nullptr);
    query(plan);
    fattn_plan_release(plan);
}

fattn_layout contiguous(int64_t a, int64_t b, int64_t c, int64_t d) {
    return {{a, b, c, d}, {b * c * d, c * d, d, 1}, FATTN_DTYPE_F32, 4};
}

std::vector<float> memory_of(const fattn_layout& layout) {
    int64_t elements = 1;
    for (const int64_t extent : layout.shape) elements *= extent;
    std::vector<float> result(static_cast<std::size_t>(layout.rank == 0 ? 0 : elements));
    float x = 0;
    for (float& element : result) element = std::fmod(x += 0.37F, 2.0F) - 1;
    return result;
}

bool all_finite(const std::vector<float>& values) {
    return std::all_of(values.begin(), values.end(), [](float x) { return std::isfinite(x); });
}

void run_small(Choices in) {
    fattn_neighborhood_problem p{};
    p.struct_size = sizeof(p);
    p.flags = FATTN_NEIGHBORHOOD_BACKWARD;
    const int64_t heads = in.number(1, 4);
    const int64_t kv_heads = in.number(1, heads);
    const int64_t d = in.number(1, 20);
    const int64_t dv = in.number(1, 20);
    const int64_t additional = in.number(0, 9);
    p.num_axes = static_cast<uint32_t>(in.number(1, 3));
    int64_t tokens = 1;
    for (uint32_t n = 0; n < p.num_axes; ++n) {
        p.grid[n] = in.number(1, p.num_axes == 1 ? 200 : p.num_axes == 2 ? 24 : 8);
        p.dilation[n] = in.number(1, std::min<int64_t>(p.grid[n], 4));
        p.kernel_size[n] = in.number(1, p.grid[n] / p.dilation[n]);
        p.stride[n] = in.number(1, p.kernel_size[n]);
        p.causal[n] = static_cast<uint32_t>(in.number(0, 1));
        tokens *= p.grid[n];
    }
    p.q = contiguous(1, heads, tokens, d);
    p.k = contiguous(1, kv_heads, tokens, d);
    p.v = contiguous(1, kv_heads, tokens, dv);
    if (additional > 0) {
        p.flags |= FATTN_NEIGHBORHOOD_HAS_ADDITIONAL_KV;
        p.additional_k = contiguous(1, kv_heads, additional, d);
        p.additional_v = contiguous(1, kv_heads, additional, dv);
    }
    fattn_plan* plan = nullptr;
    require(fattn_neighborhood_plan(cpu(), &p, &plan) == FATTN_STATUS_OK);
    query(plan);

    const std::vector<float> q = memory_of(p.q), k = memory_of(p.k), v = memory_of(p.v);
    const std::vector<float> extra_k = memory_of(p.additional_k),
                             extra_v = memory_of(p.additional_v);
    const fattn_layout o_layout = contiguous(1, heads, tokens, dv);
    const std::vector<float> d_o = memory_of(o_layout);
    std::vector<float> o = memory_of(o_layout), lse = memory_of(contiguous(1, heads, tokens, 1));
    std::vector<float> d_q = q, d_k = k, d_v = v, d_extra_k = extra_k, d_extra_v = extra_v;
    fattn_neighborhood_forward_args forward{};
    forward.struct_size = sizeof(forward);
    forward.q = q.data();
    forward.k = k.data();
    forward.v = v.data();
    forward.o = o.data();
    forward.lse = lse.data();
    fattn_neighborhood_backward_args backward{};
    backward.struct_size = sizeof(backward);
    backward.q = q.data();
    backward.k = k.data();
    backward.v = v.data();
    backward.o = o.data();
    backward.lse = lse.data();
    backward.d_o = d_o.data();
    backward.d_q = d_q.data();
    backward.d_k = d_k.data();
    backward.d_v = d_v.data();
    if (additional > 0) {
        forward.additional_k = backward.additional_k = extra_k.data();
        forward.additional_v = backward.additional_v = extra_v.data();
        backward.d_additional_k = d_extra_k.data();
        backward.d_additional_v = d_extra_v.data();
    }
    require(fattn_neighborhood_forward(plan, &forward, nullptr) == FATTN_STATUS_OK);
    require(fattn_neighborhood_backward(plan, &backward, nullptr) == FATTN_STATUS_OK);
    for (const auto* result : {&o, &lse, &d_q, &d_k, &d_v, &d_extra_k, &d_extra_v}) {
        require(all_finite(*result));
    }
    fattn_plan_release(plan);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    if (data[0] % 2 == 0) {
        plan_any(data + 1, size - 1);
    } else {
        run_small(Choices(data + 1, size - 1));
    }
    return 0;
}
