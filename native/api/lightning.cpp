// Linear attention at the C boundary: makes plans and runs them.
#include "api/lightning_check.h"
#include "api/run.h"
#include "core/linear_state.h"

namespace fattn::api {
namespace {

class LightningBody final : public FamilyBody<CheckedLightning, LightningKernel> {
  public:
    static constexpr fattn_family kFamily = FATTN_FAMILY_LIGHTNING;
    static constexpr const char* kFamilyName = "lightning";

    LightningBody(const CheckedLightning& checked_problem, std::unique_ptr<LightningKernel> made)
        : FamilyBody(kFamily, "FATTN_LIGHTNING_BACKWARD", checked_problem, std::move(made)) {}

    bool has_backward() const override { return checked.problem.backward; }
    Heads heads() const override { return {checked.problem.batch, checked.problem.num_q_heads}; }
    double flops(Pass pass) const override {
        const LightningProblem& p = checked.problem;
        const double sum = static_cast<double>(p.batch * p.num_q_heads) * (p.causal ? 1 : 2) *
                           linear_flops(p.len, p.state_rows(), p.state_columns());
        // One sum for each of dq, dk and dv, and that of the output again for its weights.
        return pass == Pass::kForward ? sum : (p.normalize ? 4 : 3) * sum;
    }
    Status stats(ScheduleStats*) const override {
        return unsupported(
            "a lightning plan has no schedule: every token is visited once, beside a state that "
            "stands for all tokens before it");
    }
    void write_tiles(int64 /*batch*/, int64 /*head*/, uint8* /*tiles*/) const override {}
};

Status check_problem(fattn_device* device, const fattn_lightning_problem* given,
                     CheckedLightning* out) {
    if (device == nullptr) return invalid("device is NULL");
    fattn_lightning_problem problem;
    FATTN_RETURN_IF_ERROR(read_growing(given, "problem", "fattn_lightning_problem", &problem));
    FATTN_RETURN_IF_ERROR(check_lightning_problem(problem, out));
    return device->backend->supports(out->problem);
}

Status make_plan(fattn_device* device, const fattn_lightning_problem* given, fattn_plan** out) {
    if (out == nullptr) return invalid("plan is NULL; a place for the handle is needed");
    *out = nullptr;
    CheckedLightning checked;
    FATTN_RETURN_IF_ERROR(check_problem(device, given, &checked));
    std::unique_ptr<LightningKernel> kernel;
    FATTN_RETURN_IF_ERROR(device->backend->make_lightning(checked.problem, &kernel));
    *out = new fattn_plan(device, std::make_unique<LightningBody>(checked, std::move(kernel)));
    return {};
}

template <class Given, class Checked>
using LightningKind = RunKind<LightningBody, Given, Checked>;

constexpr LightningKind<fattn_lightning_forward_args, LightningForwardArgs> kLightningForward{
    "fattn_lightning_forward_args", check_lightning_forward, &LightningKernel::forward};
constexpr LightningKind<fattn_lightning_forward_args, LightningForwardArgs> kStep{
    "fattn_lightning_forward_args", check_lightning_step, &LightningKernel::step};
constexpr LightningKind<fattn_lightning_backward_args, LightningBackwardArgs> kLightningBackward{
    "fattn_lightning_backward_args", check_lightning_backward, &LightningKernel::backward};

}  // namespace
}  // namespace fattn::api

using fattn::api::guarded;
using fattn::api::run_plan;

fattn_status fattn_lightning_plan(fattn_device* device, const fattn_lightning_problem* problem,
                                  fattn_plan** plan) {
    return guarded([&] { return fattn::api::make_plan(device, problem, plan); });
}

fattn_status fattn_supports_lightning(fattn_device* device,
                                      const fattn_lightning_problem* problem) {
    return guarded([&] {
        fattn::api::CheckedLightning checked;
        return fattn::api::check_problem(device, problem, &checked);
    });
}

fattn_status fattn_lightning_forward(fattn_plan* plan, const fattn_lightning_forward_args* args,
                                     const fattn_run* run) {
    return guarded([&] { return run_plan(fattn::api::kLightningForward, plan, args, run); });
}

fattn_status fattn_lightning_step(fattn_plan* plan, const fattn_lightning_forward_args* args,
                                  const fattn_run* run) {
    return guarded([&] { return run_plan(fattn::api::kStep, plan, args, run); });
}

fattn_status fattn_lightning_backward(fattn_plan* plan, const fattn_lightning_backward_args* args,
                                      const fattn_run* run) {
    return guarded([&] { return run_plan(fattn::api::kLightningBackward, plan, args, run); });
}
