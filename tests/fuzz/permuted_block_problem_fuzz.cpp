// Fuzz target: the input is a fattn_permuted_block_problem, byte for byte. Whatever it says, making
// a plan answers with a status and a text; plans of few heads say what they need, small ones are
// also described and drawn.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "fused_attention/fused_attention.h"
#include "fuzz_input.h"

namespace {

using fattn::fuzz::check;
using fattn::fuzz::cpu;
using fattn::fuzz::require;

bool is_small(const fattn_layout& layout) {
    return std::all_of(layout.shape, layout.shape + 4, [](int64_t n) { return n <= 512; });
}

bool has_few_heads(const fattn_permuted_block_problem& problem) {
    return problem.q.shape[0] <= 4096 && problem.q.shape[1] <= 4096;
}

void query(fattn_plan* plan, const fattn_permuted_block_problem& problem) {
    fattn_plan_description description{};
    description.struct_size = sizeof(description);
    require(fattn_plan_info(plan, &description) == FATTN_STATUS_OK);
    const int64_t heads = problem.q.shape[0] * problem.q.shape[1];
    if (heads > 64) return;  // counting visits every tile of every head
    fattn_schedule_stats stats{};
    stats.struct_size = sizeof(stats);
    require(fattn_permuted_block_stats(plan, nullptr, &stats) == FATTN_STATUS_OK);
    require(stats.visited_pairs >= stats.needed_pairs);
    require(description.forward_flops >= 0);
    const int64_t num_tiles = stats.num_q_tiles * stats.num_kv_tiles;
    if (heads == 0) return;
    std::vector<uint8_t> tiles(static_cast<std::size_t>(num_tiles));
    require(fattn_plan_schedule_tiles(plan, 0, 0, tiles.data(), tiles.size()) == FATTN_STATUS_OK);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
    // Room for the largest struct_size that the library believes, so that a wild one reads zeros.
    static constexpr std::size_t kRoom = 16384;
    alignas(fattn_permuted_block_problem) static unsigned char memory[kRoom];
    std::memset(memory, 0, kRoom);
    if (size > 0) std::memcpy(memory, data, std::min(size, kRoom));
    const auto* problem = reinterpret_cast<const fattn_permuted_block_problem*>(memory);

    const fattn_status supported = fattn_supports_permuted_block(cpu(), problem);
    check(supported);
    // A plan costs memory for every head; huge problems are only asked about.
    if (supported == FATTN_STATUS_OK && !has_few_heads(*problem)) return 0;
    fattn_plan* plan = nullptr;
    require(fattn_permuted_block_plan(cpu(), problem, &plan) == supported);
    require((plan != nullptr) == (supported == FATTN_STATUS_OK));
    if (plan == nullptr) return 0;
    uint64_t bytes = 0;
    check(fattn_plan_workspace(plan, FATTN_PASS_FORWARD, 1, &bytes, nullptr));
    check(fattn_plan_workspace(plan, FATTN_PASS_BACKWARD, 1, &bytes, nullptr));
    if (is_small(problem->q) && is_small(problem->k)) query(plan, *problem);
    fattn_plan_release(plan);
    return 0;
}
