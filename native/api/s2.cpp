// S2 attention at the C boundary: makes plans, runs them and answers what their patterns cover.
#include "api/run.h"
#include "api/s2_check.h"
#include "plan/s2_plan.h"
#include "plan/tile_map.h"

namespace fattn::api {
namespace {

class S2Body final : public FamilyBody<CheckedS2, DenseKernel> {
  public:
    static constexpr fattn_family kFamily = FATTN_FAMILY_S2;
    static constexpr const char* kFamilyName = "s2";

    S2Body(const CheckedS2& checked_problem, std::unique_ptr<DenseKernel> made)
        : FamilyBody(kFamily, "FATTN_S2_BACKWARD", checked_problem, std::move(made)),
          schedule(checked.dense.problem, checked.pattern) {}

    bool has_backward() const override { return checked.dense.problem.backward; }
    Heads heads() const override {
        return {checked.dense.problem.batch, checked.dense.problem.num_q_heads};
    }
    double flops(Pass pass) const override { return schedule.flops(pass); }
    Status stats(ScheduleStats* out) const override {
        *out = schedule.stats();
        return {};
    }
    void write_tiles(int64 /*batch*/, int64 head, uint8* tiles) const override {
        write_tile_map(schedule.schedule().view(), head, tiles);
    }

    const S2Plan schedule;
};

Status check_problem(fattn_device* device, const fattn_s2_problem* given, CheckedS2* out) {
    if (device == nullptr) return invalid("device is NULL");
    fattn_s2_problem problem;
    FATTN_RETURN_IF_ERROR(read_growing(given, "problem", "fattn_s2_problem", &problem));
    FATTN_RETURN_IF_ERROR(check_s2_problem(problem, out));
    return device->backend->supports(out->problem());
}

Status make_plan(fattn_device* device, const fattn_s2_problem* given, fattn_plan** out) {
    if (out == nullptr) return invalid("plan is NULL; a place for the handle is needed");
    *out = nullptr;
    CheckedS2 checked;
    FATTN_RETURN_IF_ERROR(check_problem(device, given, &checked));
    std::unique_ptr<DenseKernel> kernel;
    FATTN_RETURN_IF_ERROR(device->backend->make_s2(checked.problem(), &kernel));
    *out = new fattn_plan(device, std::make_unique<S2Body>(checked, std::move(kernel)));
    return {};
}

constexpr RunKind<S2Body, fattn_s2_forward_args, DenseForwardArgs> kS2Forward{
    "fattn_s2_forward_args", check_s2_forward, &DenseKernel::forward};
constexpr RunKind<S2Body, fattn_s2_backward_args, DenseBackwardArgs> kS2Backward{
    "fattn_s2_backward_args", check_s2_backward, &DenseKernel::backward};

Status coverage(fattn_plan* plan, fattn_s2_coverage* out) {
    if (plan == nullptr) return invalid("plan is NULL");
    const S2Body* body = nullptr;
    FATTN_RETURN_IF_ERROR(body_of(*plan, &body));
    const S2Coverage found = body->schedule.coverage();
    const fattn_s2_coverage value{.struct_size = 0,
                                  .flags = 0,
                                  .allowed_blocks = found.allowed_blocks,
                                  .unseen_blocks = found.unseen_blocks,
                                  .num_shards = found.num_shards,
                                  .unseen_shards = found.unseen_shards};
    return write_growing(value, "coverage", "fattn_s2_coverage", out);
}

Status needed_blocks(fattn_plan* plan, int64_t k_head, int64_t first_position, uint8_t* needed,
                     uint64_t num_bytes) {
    if (plan == nullptr) return invalid("plan is NULL");
    const S2Body* body = nullptr;
    FATTN_RETURN_IF_ERROR(body_of(*plan, &body));
    const int64 num_heads = body->checked.pattern.num_k_heads;
    if (k_head < 0 || k_head >= num_heads) {
        return invalid(
            text("k_head is ", k_head, "; allowed are 0 up to ", num_heads, ", excluded"));
    }
    if (first_position < 0 || first_position > kMaxExtent) {
        return invalid(
            text("first_position is ", first_position, "; allowed are 0 to ", kMaxExtent));
    }
    const auto blocks = static_cast<uint64>(body->schedule.num_kv_blocks());
    if (num_bytes < blocks) {
        return invalid(text("num_bytes is ", num_bytes, "; there are ", blocks, " key blocks"));
    }
    if (needed == nullptr && blocks > 0) {
        return invalid(text("needed is NULL; room for ", blocks, " bytes is needed"));
    }
    body->schedule.needed_blocks(k_head, first_position, needed);
    return {};
}

}  // namespace
}  // namespace fattn::api

using fattn::api::guarded;
using fattn::api::run_plan;

fattn_status fattn_s2_plan(fattn_device* device, const fattn_s2_problem* problem,
                           fattn_plan** plan) {
    return guarded([&] { return fattn::api::make_plan(device, problem, plan); });
}

fattn_status fattn_supports_s2(fattn_device* device, const fattn_s2_problem* problem) {
    return guarded([&] {
        fattn::api::CheckedS2 checked;
        return fattn::api::check_problem(device, problem, &checked);
    });
}

fattn_status fattn_s2_forward(fattn_plan* plan, const fattn_s2_forward_args* args,
                              const fattn_run* run) {
    return guarded([&] { return run_plan(fattn::api::kS2Forward, plan, args, run); });
}

fattn_status fattn_s2_backward(fattn_plan* plan, const fattn_s2_backward_args* args,
                               const fattn_run* run) {
    return guarded([&] { return run_plan(fattn::api::kS2Backward, plan, args, run); });
}

fattn_status fattn_s2_coverage_of(fattn_plan* plan, fattn_s2_coverage* coverage) {
    return guarded([&] { return fattn::api::coverage(plan, coverage); });
}

fattn_status fattn_s2_needed_blocks(fattn_plan* plan, int64_t k_head, int64_t first_position,
                                    uint8_t* needed, uint64_t num_bytes) {
    return guarded(
        [&] { return fattn::api::needed_blocks(plan, k_head, first_position, needed, num_bytes); });
}
