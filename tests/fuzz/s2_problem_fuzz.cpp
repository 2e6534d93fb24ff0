// Fuzz target: the input is a fattn_s2_problem, byte for byte. Whatever it says, making a plan
// answers with a status and a text; small plans are also described, drawn and asked what they
// cover.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "fuzz_input.h"

namespace {

using fattn::fuzz::require;

bool is_small(const fattn_layout& layout) {
    return std::all_of(layout.shape, layout.shape + 4, [](int64_t n) { return n <= 2048; });
}

void query(fattn_plan* plan, const fattn_s2_problem& problem) {
    fattn_plan_description description{};
    description.struct_size = sizeof(description);
    require(fattn_plan_info(plan, &description) == FATTN_STATUS_OK);
    fattn_schedule_stats stats{};
    stats.struct_size = sizeof(stats);
    require(fattn_plan_schedule_stats(plan, &stats) == FATTN_STATUS_OK);
    require(stats.visited_pairs >= stats.needed_pairs);
    fattn_s2_coverage coverage{};
    coverage.struct_size = sizeof(coverage);
    require(fattn_s2_coverage_of(plan, &coverage) == FATTN_STATUS_OK);
    require(coverage.unseen_blocks >= 0 && coverage.unseen_blocks <= coverage.allowed_blocks);
    require(coverage.unseen_shards >= 0 && coverage.unseen_shards < coverage.num_shards);
    if (problem.k.shape[1] > 0) {
        std::vector<uint8_t> needed(static_cast<std::size_t>(stats.num_kv_tiles));
        require(fattn_s2_needed_blocks(plan, 0, 0, needed.data(), needed.size()) ==
                FATTN_STATUS_OK);
    }
    const int64_t num_tiles = stats.num_q_tiles * stats.num_kv_tiles;
    if (num_tiles > 1 << 16 || problem.q.shape[0] == 0 || problem.q.shape[1] == 0) return;
    std::vector<uint8_t> tiles(static_cast<std::size_t>(num_tiles));
    require(fattn_plan_schedule_tiles(plan, 0, 0, tiles.data(), tiles.size()) == FATTN_STATUS_OK);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
    // Room for the largest struct_size that the library believes, so that a wild one reads zeros.
    static constexpr std::size_t kRoom = 16384;
    alignas(fattn_s2_problem) static unsigned char memory[kRoom];
    std::memset(memory, 0, kRoom);
    if (size > 0) std::memcpy(memory, data, std::min(size, kRoom));
    const auto* problem = reinterpret_cast<const fattn_s2_problem*>(memory);

    fattn_device* const device = fattn::fuzz::cpu();
    fattn_plan* plan = nullptr;
    const fattn_status status = fattn_s2_plan(device, problem, &plan);
    require(fattn_supports_s2(device, problem) == status);
    if (status != FATTN_STATUS_OK) {
        require(status == FATTN_STATUS_INVALID_ARGUMENT || status == FATTN_STATUS_UNSUPPORTED);
        require(plan == nullptr && *fattn_last_error() != '\0');
        return 0;
    }
    require(plan != nullptr);
    if (is_small(problem->q) && is_small(problem->k)) query(plan, *problem);
    fattn_plan_release(plan);
    return 0;
}
