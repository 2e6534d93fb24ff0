// What all plans share: references, description, workspace and schedule queries.
#include "api/plan.h"

#include <algorithm>
#include <cstring>

#include "api/growing.h"
#include "backend/text.h"
#include "core/schedule.h"

namespace fattn::api {

Status check_tile_map(const PlanBody& body, const ScheduleStats& stats,
                      const TileMapRequest& request) {
    const PlanBody::Heads heads = body.heads();
    if (request.batch < 0 || request.batch >= heads.batch) {
        return invalid(
            text("batch is ", request.batch, "; allowed are 0 up to ", heads.batch, ", excluded"));
    }
    if (request.head < 0 || request.head >= heads.num_q_heads) {
        return invalid(text("head is ", request.head, "; allowed are 0 up to ", heads.num_q_heads,
                            ", excluded"));
    }
    const uint64 needed =
        static_cast<uint64>(stats.num_q_tiles) * static_cast<uint64>(stats.num_kv_tiles);
    if (request.num_bytes < needed) {
        return invalid(text("num_bytes is ", request.num_bytes, "; the map has ", stats.num_q_tiles,
                            " times ", stats.num_kv_tiles, " bytes"));
    }
    if (request.tiles == nullptr && needed > 0) {
        return invalid(text("tiles is NULL; room for ", needed, " bytes is needed"));
    }
    return {};
}

Status write_schedule_stats(const ScheduleStats& stats, fattn_schedule_stats* out) {
    const fattn_schedule_stats value{.struct_size = 0,
                                     .flags = 0,
                                     .tile_q = stats.tile_q,
                                     .tile_kv = stats.tile_kv,
                                     .num_q_tiles = stats.num_q_tiles,
                                     .num_kv_tiles = stats.num_kv_tiles,
                                     .full_tiles = stats.full_tiles,
                                     .partial_tiles = stats.partial_tiles,
                                     .skipped_tiles = stats.skipped_tiles,
                                     .needed_pairs = stats.needed_pairs,
                                     .visited_pairs = stats.visited_pairs};
    return write_growing(value, "stats", "fattn_schedule_stats", out);
}

namespace {

static_assert(FATTN_PASS_FORWARD == static_cast<fattn_pass>(Pass::kForward));
static_assert(FATTN_PASS_BACKWARD == static_cast<fattn_pass>(Pass::kBackward));

template <std::size_t N>
void copy_name(const char* from, char (&to)[N]) {
    const std::size_t length = std::min(std::strlen(from), N - 1);
    std::memcpy(to, from, length);
    to[length] = '\0';
}

static_assert(FATTN_TILE_SKIPPED == static_cast<fattn_tile>(TileState::kSkipped));
static_assert(FATTN_TILE_PARTIAL == static_cast<fattn_tile>(TileState::kPartial));
static_assert(FATTN_TILE_FULL == static_cast<fattn_tile>(TileState::kFull));

Status describe(const fattn_plan& plan, fattn_plan_description* out) {
    const PlanBody& body = *plan.body;
    const Kernel& kernel = body.kernel();
    fattn_plan_description value{};
    value.family = body.family;
    value.device_kind = plan.device->description.kind;
    const WorkspaceSize forward = kernel.workspace(Pass::kForward, 0);
    value.forward_workspace_bytes = forward.host;
    value.forward_device_workspace_bytes = forward.device;
    value.forward_flops = body.flops(Pass::kForward);
    copy_name(kernel.name(Pass::kForward), value.forward_kernel);
    if (body.has_backward()) {
        const WorkspaceSize backward = kernel.workspace(Pass::kBackward, 0);
        value.backward_workspace_bytes = backward.host;
        value.backward_device_workspace_bytes = backward.device;
        value.backward_flops = body.flops(Pass::kBackward);
        copy_name(kernel.name(Pass::kBackward), value.backward_kernel);
    }
    return write_growing(value, "description", "fattn_plan_description", out);
}

Status check_pass(const fattn_plan& plan, fattn_pass pass) {
    if (pass > FATTN_PASS_BACKWARD) {
        return invalid(text("pass is ", pass, "; allowed are 0 (forward) and 1 (backward)"));
    }
    if (pass == FATTN_PASS_BACKWARD && !plan.body->has_backward()) {
        return invalid(
            text("pass is 1 (backward); the plan was made without ", plan.body->backward_flag));
    }
    return {};
}

Status workspace(const fattn_plan& plan, fattn_pass pass, int32_t max_threads, uint64_t* host_bytes,
                 uint64_t* device_bytes) {
    FATTN_RETURN_IF_ERROR(check_pass(plan, pass));
    if (max_threads < 0) {
        return invalid(text("max_threads is ", max_threads,
                            "; allowed are positive numbers, and 0 for the device's own"));
    }
    const WorkspaceSize size = plan.body->kernel().workspace(static_cast<Pass>(pass), max_threads);
    if (host_bytes != nullptr) *host_bytes = size.host;
    if (device_bytes != nullptr) *device_bytes = size.device;
    return {};
}

Status prepare(const fattn_plan& plan, fattn_pass pass, void* stream) {
    FATTN_RETURN_IF_ERROR(check_pass(plan, pass));
    if (plan.device->description.kind == FATTN_DEVICE_KIND_CPU && stream != nullptr) {
        return invalid("stream is given; on the CPU it must be NULL, runs are synchronous");
    }
    return plan.body->kernel().prepare(static_cast<Pass>(pass), stream);
}

Status write_stats(const fattn_plan& plan, fattn_schedule_stats* out) {
    ScheduleStats stats{};
    FATTN_RETURN_IF_ERROR(plan.body->stats(&stats));
    return write_schedule_stats(stats, out);
}

Status write_tiles(const fattn_plan& plan, const TileMapRequest& request) {
    ScheduleStats stats{};
    FATTN_RETURN_IF_ERROR(plan.body->stats(&stats));
    FATTN_RETURN_IF_ERROR(check_tile_map(*plan.body, stats, request));
    plan.body->write_tiles(request.batch, request.head, request.tiles);
    return {};
}

}  // namespace

}  // namespace fattn::api

using fattn::Status;
using fattn::api::guarded;
using fattn::api::invalid;

fattn_status fattn_plan_retain(fattn_plan* plan) {
    return guarded([&] {
        if (plan == nullptr) return invalid("plan is NULL");
        fattn::api::retain(plan);
        return Status();
    });
}

void fattn_plan_release(fattn_plan* plan) {
    if (plan != nullptr) fattn::api::release(plan);
}

fattn_status fattn_plan_info(fattn_plan* plan, fattn_plan_description* description) {
    return guarded([&] {
        if (plan == nullptr) return invalid("plan is NULL");
        return fattn::api::describe(*plan, description);
    });
}

fattn_status fattn_plan_workspace(fattn_plan* plan, fattn_pass pass, int32_t max_threads,
                                  uint64_t* host_bytes, uint64_t* device_bytes) {
    return guarded([&] {
        if (plan == nullptr) return invalid("plan is NULL");
        return fattn::api::workspace(*plan, pass, max_threads, host_bytes, device_bytes);
    });
}

fattn_status fattn_plan_prepare(fattn_plan* plan, fattn_pass pass, void* stream) {
    return guarded([&] {
        if (plan == nullptr) return invalid("plan is NULL");
        return fattn::api::prepare(*plan, pass, stream);
    });
}

fattn_status fattn_plan_schedule_stats(fattn_plan* plan, fattn_schedule_stats* stats) {
    return guarded([&] {
        if (plan == nullptr) return invalid("plan is NULL");
        return fattn::api::write_stats(*plan, stats);
    });
}

fattn_status fattn_plan_schedule_tiles(fattn_plan* plan, int64_t batch, int64_t head,
                                       uint8_t* tiles, uint64_t num_bytes) {
    return guarded([&] {
        if (plan == nullptr) return invalid("plan is NULL");
        return fattn::api::write_tiles(*plan, {batch, head, tiles, num_bytes});
    });
}
