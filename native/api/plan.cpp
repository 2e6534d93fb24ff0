// What all plans share: references, description, workspace and schedule queries.
#include "api/plan.h"

#include <algorithm>
#include <cstring>

#include "api/growing.h"
#include "backend/text.h"
#include "core/predicate.h"

namespace fattn::api {
namespace {

static_assert(FATTN_PASS_FORWARD == static_cast<fattn_pass>(Pass::kForward));
static_assert(FATTN_PASS_BACKWARD == static_cast<fattn_pass>(Pass::kBackward));

template <std::size_t N>
void copy_name(const char* from, char (&to)[N]) {
    const std::size_t length = std::min(std::strlen(from), N - 1);
    std::memcpy(to, from, length);
    to[length] = '\0';
}

Status describe(const fattn_plan& plan, fattn_plan_description* out) {
    const DenseProblem& p = plan.dense.problem;
    fattn_plan_description value{};
    value.family = plan.family;
    value.device_kind = plan.device->description.kind;
    value.forward_workspace_bytes = plan.dense_kernel->workspace(Pass::kForward, 0).host;
    copy_name(plan.dense_kernel->name(Pass::kForward), value.forward_kernel);
    if (p.backward) {
        value.backward_workspace_bytes = plan.dense_kernel->workspace(Pass::kBackward, 0).host;
        copy_name(plan.dense_kernel->name(Pass::kBackward), value.backward_kernel);
    }
    return write_growing(value, "description", "fattn_plan_description", out);
}

Status workspace(const fattn_plan& plan, fattn_pass pass, int32_t max_threads, uint64_t* host_bytes,
                 uint64_t* device_bytes) {
    if (pass > FATTN_PASS_BACKWARD) {
        return invalid(text("pass is ", pass, "; allowed are 0 (forward) and 1 (backward)"));
    }
    if (pass == FATTN_PASS_BACKWARD && !plan.dense.problem.backward) {
        return invalid("pass is 1 (backward); the plan was made without FATTN_DENSE_BACKWARD");
    }
    if (max_threads < 0) {
        return invalid(text("max_threads is ", max_threads,
                            "; allowed are positive numbers, and 0 for the device's own"));
    }
    const WorkspaceSize size = plan.dense_kernel->workspace(static_cast<Pass>(pass), max_threads);
    if (host_bytes != nullptr) *host_bytes = size.host;
    if (device_bytes != nullptr) *device_bytes = size.device;
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
