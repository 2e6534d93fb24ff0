// Fuzz target: the input is a fattn_lightning_problem, byte for byte. Whatever it says, making a
// plan answers with a status and a text; plans that are made also describe themselves.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "fuzz_input.h"

using fattn::fuzz::cpu;
using fattn::fuzz::require;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
    // Room for the largest struct_size that the library believes, so that a wild one reads zeros.
    static constexpr std::size_t kRoom = 16384;
    alignas(fattn_lightning_problem) static unsigned char memory[kRoom];
    std::memset(memory, 0, kRoom);
    if (size > 0) std::memcpy(memory, data, std::min(size, kRoom));
    const auto* problem = reinterpret_cast<const fattn_lightning_problem*>(memory);

    fattn_plan* plan = nullptr;
    const fattn_status status = fattn_lightning_plan(cpu(), problem, &plan);
    require(fattn_supports_lightning(cpu(), problem) == status);
    fattn::fuzz::check(status);
    require((status == FATTN_STATUS_OK) == (plan != nullptr));
    if (plan == nullptr) return 0;
    fattn_plan_description description{};
    description.struct_size = sizeof(description);
    require(fattn_plan_info(plan, &description) == FATTN_STATUS_OK);
    require(description.forward_flops >= 0 && description.backward_flops >= 0);
    fattn_schedule_stats stats{};
    stats.struct_size = sizeof(stats);
    require(fattn_plan_schedule_stats(plan, &stats) == FATTN_STATUS_UNSUPPORTED);
    fattn_plan_release(plan);
    return 0;
}
