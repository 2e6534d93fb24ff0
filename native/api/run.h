// How every family carries out a run of a plan: reads its arguments, checks them, and only then
// lets the kernel write; used by the family files.
#pragma once

#include <memory>
#include <utility>

#include "api/growing.h"
#include "api/plan.h"
#include "api/run_check.h"

namespace fattn::api {

/// What the bodies of all families hold: the checked problem and the kernel that runs it.
template <class CheckedProblem, class FamilyKernelType>
class FamilyBody : public PlanBody {
  public:
    using Problem = CheckedProblem;
    using RunKernel = FamilyKernelType;

    FamilyBody(fattn_family made_by, const char* flag, const CheckedProblem& checked_problem,
               std::unique_ptr<FamilyKernelType> made)
        : PlanBody(made_by, flag), checked(checked_problem), run_kernel(std::move(made)) {}

    const Kernel& kernel() const final { return *run_kernel; }

    const CheckedProblem checked;
    const std::unique_ptr<FamilyKernelType> run_kernel;
};

/// One kind of run of a family: what its arguments are called, how they are checked against a
/// problem (nothing is written when that fails), and the kernel's function.
template <class Body, class Given, class Checked>
struct RunKind {
    const char* type;
    Status (*check)(const typename Body::Problem& plan, const Given& given,
                    RunMemoryChecker* memory, Checked* out);
    Status (Body::RunKernel::*run)(const Checked& args, const RunOptions& run) const;
};

template <class Body, class Given, class Checked>
Status run_plan(const RunKind<Body, Given, Checked>& kind, fattn_plan* handle, const Given* given,
                const fattn_run* run) {
    if (handle == nullptr) return invalid("plan is NULL");
    const Reference plan(handle);  // a release during the run is safe
    const Body* body = nullptr;
    Given args;
    RunOptions options;
    Checked checked{};
    FATTN_RETURN_IF_ERROR(body_of(*plan, &body));
    FATTN_RETURN_IF_ERROR(read_growing(given, "args", kind.type, &args));
    const fattn_device_kind device_kind = plan->device->description.kind;
    FATTN_RETURN_IF_ERROR(read_run(device_kind, run, &options));
    RunMemoryChecker memory(*plan->device, body->checked.alignment(), options.stream);
    FATTN_RETURN_IF_ERROR(kind.check(body->checked, args, &memory, &checked));
    options.lengths_on_host = memory.lengths_on_host();
    memory.add_workspace(options.workspace, options.workspace_bytes);
    FATTN_RETURN_IF_ERROR(memory.check_overlaps());
    return ((*body->run_kernel).*kind.run)(checked, options);
}

}  // namespace fattn::api
