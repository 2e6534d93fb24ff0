// Neighborhood attention at the C boundary: makes plans and runs them.
#include "api/neighborhood.h"

namespace fattn::api {
namespace {

/// Runs a neighborhood problem that says the same as a dense one.
class DenseNeighborhood final : public NeighborhoodKernel {
  public:
    explicit DenseNeighborhood(std::unique_ptr<DenseKernel> dense) : dense_(std::move(dense)) {}

    WorkspaceSize workspace(Pass pass, int max_threads) const override {
        return dense_->workspace(pass, max_threads);
    }
    const char* name(Pass pass) const override { return dense_->name(pass); }
    Status forward(const NeighborhoodForwardArgs& args, const RunOptions& run) const override {
        return dense_->forward(args.dense, run);
    }
    Status backward(const NeighborhoodBackwardArgs& args, const RunOptions& run) const override {
        return dense_->backward(args.dense, run);
    }

  private:
    std::unique_ptr<DenseKernel> dense_;
};

/// Whether dense attention says the same: every window covers its axis and hides nothing, or only
/// what causality hides on the single axis; and there are no keys besides.
bool is_dense(const NeighborhoodProblem& problem, DenseProblem* out) {
    if (problem.num_additional > 0) return false;
    *out = problem.dense;
    int causal_axes = 0;
    int other_axes = 0;
    for (const NeighborhoodAxis& axis : problem.grid.axis) {
        if (axis.extent == 1) continue;
        if (axis.window < axis.extent) return false;
        ++(axis.causal ? causal_axes : other_axes);
    }
    if (causal_axes == 0) return true;
    out->window_right = 0;
    return causal_axes == 1 && other_axes == 0;
}

Status check_problem(fattn_device* device, const fattn_neighborhood_problem* given,
                     CheckedNeighborhood* out) {
    if (device == nullptr) return invalid("device is NULL");
    fattn_neighborhood_problem problem;
    FATTN_RETURN_IF_ERROR(read_growing(given, "problem", "fattn_neighborhood_problem", &problem));
    FATTN_RETURN_IF_ERROR(check_neighborhood_problem(problem, out));
    return device->backend->supports(out->problem);
}

Status make_plan(fattn_device* device, const fattn_neighborhood_problem* given, fattn_plan** out) {
    if (out == nullptr) return invalid("plan is NULL; a place for the handle is needed");
    *out = nullptr;
    CheckedNeighborhood checked;
    FATTN_RETURN_IF_ERROR(check_problem(device, given, &checked));
    Backend& backend = *device->backend;
    auto schedule = std::make_unique<const NeighborhoodPlan>(
        checked.problem, backend.gather_tiles(checked.problem.dense));
    std::unique_ptr<NeighborhoodKernel> kernel;
    if (DenseProblem dense; is_dense(checked.problem, &dense)) {
        std::unique_ptr<DenseKernel> dense_kernel;
        FATTN_RETURN_IF_ERROR(backend.make_dense(dense, &dense_kernel));
        kernel = std::make_unique<DenseNeighborhood>(std::move(dense_kernel));
    } else {
        FATTN_RETURN_IF_ERROR(
            backend.make_neighborhood(checked.problem,
                                      {schedule->keys_of_queries(), schedule->queries_of_keys(),
                                       schedule->lanes(), schedule->lanes_backward()},
                                      &kernel));
    }
    *out = new fattn_plan(device, std::make_unique<NeighborhoodBody>(checked, std::move(schedule),
                                                                     std::move(kernel)));
    return {};
}

constexpr RunKind<NeighborhoodBody, fattn_neighborhood_forward_args, NeighborhoodForwardArgs>
    kNeighborhoodForward{"fattn_neighborhood_forward_args", check_neighborhood_forward,
                         &NeighborhoodKernel::forward};
constexpr RunKind<NeighborhoodBody, fattn_neighborhood_backward_args, NeighborhoodBackwardArgs>
    kNeighborhoodBackward{"fattn_neighborhood_backward_args", check_neighborhood_backward,
                          &NeighborhoodKernel::backward};

}  // namespace
}  // namespace fattn::api

using fattn::api::guarded;
using fattn::api::run_plan;

fattn_status fattn_neighborhood_plan(fattn_device* device,
                                     const fattn_neighborhood_problem* problem, fattn_plan** plan) {
    return guarded([&] { return fattn::api::make_plan(device, problem, plan); });
}

fattn_status fattn_supports_neighborhood(fattn_device* device,
                                         const fattn_neighborhood_problem* problem) {
    return guarded([&] {
        fattn::api::CheckedNeighborhood checked;
        return fattn::api::check_problem(device, problem, &checked);
    });
}

fattn_status fattn_neighborhood_forward(fattn_plan* plan,
                                        const fattn_neighborhood_forward_args* args,
                                        const fattn_run* run) {
    return guarded([&] { return run_plan(fattn::api::kNeighborhoodForward, plan, args, run); });
}

fattn_status fattn_neighborhood_backward(fattn_plan* plan,
                                         const fattn_neighborhood_backward_args* args,
                                         const fattn_run* run) {
    return guarded([&] { return run_plan(fattn::api::kNeighborhoodBackward, plan, args, run); });
}
