// Fuzz target: the input is a fattn_dense_problem, byte for byte. Whatever it says, making a plan
// answers with a status and a text; small plans are also described and drawn.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "fuzz_input.h"

namespace fattn::fuzz {
namespace {

constexpr int64_t kManyHeads = 1 << 16;

bool is_small(const fattn_layout& layout) {
    return std::all_of(layout.shape, layout.shape + 4, [](int64_t n) { return n <= 2048; });
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

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
    // Room for the largest struct_size that the library believes, so that a wild one reads zeros.
    static constexpr std::size_t kRoom = 16384;
    alignas(fattn_dense_problem) static unsigned char memory[kRoom];
    std::memset(memory, 0, kRoom);
    if (size > 0) std::memcpy(memory, data, std::min(size, kRoom));
    const auto* problem = reinterpret_cast<const fattn_dense_problem*>(memory);

    // A plan lists its heads. Millions of them take seconds, in which no other input would be
    // tried.
    if (problem->q.shape[1] > kManyHeads) {
        const fattn_status answer = fattn_supports_dense(cpu(), problem);
        require(answer == FATTN_STATUS_OK || answer == FATTN_STATUS_INVALID_ARGUMENT ||
                answer == FATTN_STATUS_UNSUPPORTED);
        return 0;
    }
    fattn_plan* plan = nullptr;
    const fattn_status status = fattn_dense_plan(cpu(), problem, &plan);
    require(fattn_supports_dense(cpu(), problem) == status);
    if (status != FATTN_STATUS_OK) {
        require(status == FATTN_STATUS_INVALID_ARGUMENT || status == FATTN_STATUS_UNSUPPORTED);
        require(plan == nullptr && *fattn_last_error() != '\0');
        return 0;
    }
    require(plan != nullptr);
    if (is_small(problem->q) && is_small(problem->k) && problem->max_pages_per_seq <= 2048) {
        query(plan);
    }
    fattn_plan_release(plan);
    return 0;
}

}  // namespace fattn::fuzz
