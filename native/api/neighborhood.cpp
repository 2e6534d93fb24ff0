// Neighborhood attention at the C boundary: makes plans and runs them.
#include "api/neighborhood.h"

#include "api/growing.h"
#include "api/run_check.h"

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
        FATTN_RETURN_IF_ERROR(backend.make_neighborhood(
            checked.problem, {schedule->keys_of_queries(), schedule->queries_of_keys()}, &kernel));
    }
    *out = new fattn_plan(device, std::make_unique<NeighborhoodBody>(checked, std::move(schedule),
                                                                     std::move(kernel)));
    return {};
}

/// One pass: what forward and backward runs differ in are their structs, their check and the
/// kernel's function.
template <class Args, class Checked>
Status run_pass(fattn_plan* handle, const Args* given, const char* type, const fattn_run* run,
                Status (*check)(const CheckedNeighborhood&, const Args&, RunMemoryChecker*,
                                Checked*),
                Status (NeighborhoodKernel::*pass)(const Checked&, const RunOptions&) const) {
    if (handle == nullptr) return invalid("plan is NULL");
    const Reference plan(handle);  // a release during the run is safe
    const NeighborhoodBody* body = nullptr;
    Args args;
    RunOptions options;
    Checked checked{};
    FATTN_RETURN_IF_ERROR(body_of(*plan, &body));
    FATTN_RETURN_IF_ERROR(read_growing(given, "args", type, &args));
    FATTN_RETURN_IF_ERROR(read_cpu_run(run, &options));
    RunMemoryChecker memory(body->checked.tensors.pointer_alignment);
    FATTN_RETURN_IF_ERROR(check(body->checked, args, &memory, &checked));
    memory.add_workspace(options.workspace, options.workspace_bytes);
    FATTN_RETURN_IF_ERROR(memory.check_overlaps());
    return (body->neighborhood_kernel.get()->*pass)(checked, options);
}

}  // namespace
}  // namespace fattn::api

using fattn::api::guarded;

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
    return guarded([&] {
        return fattn::api::run_pass(plan, args, "fattn_neighborhood_forward_args", run,
                                    fattn::api::check_neighborhood_forward,
                                    &fattn::NeighborhoodKernel::forward);
    });
}

fattn_status fattn_neighborhood_backward(fattn_plan* plan,
                                         const fattn_neighborhood_backward_args* args,
                                         const fattn_run* run) {
    return guarded([&] {
        return fattn::api::run_pass(plan, args, "fattn_neighborhood_backward_args", run,
                                    fattn::api::check_neighborhood_backward,
                                    &fattn::NeighborhoodKernel::backward);
    });
}
