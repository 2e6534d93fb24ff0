// Dense attention at the C boundary: makes plans and runs them.
#include "api/dense.h"

#include "api/growing.h"
#include "api/run_check.h"
#include "plan/tile_map.h"

namespace fattn::api {

void DenseBody::write_tiles(int64 /*batch*/, int64 head, uint8* to) const {
    write_tile_map(schedule().schedule(), head, to);
}

namespace {

Status check_problem(fattn_device* device, const fattn_dense_problem* given, CheckedDense* out) {
    if (device == nullptr) return invalid("device is NULL");
    fattn_dense_problem problem;
    FATTN_RETURN_IF_ERROR(read_growing(given, "problem", "fattn_dense_problem", &problem));
    FATTN_RETURN_IF_ERROR(check_dense_problem(problem, out));
    return device->backend->supports(out->problem);
}

Status make_plan(fattn_device* device, const fattn_dense_problem* given, fattn_plan** out) {
    if (out == nullptr) return invalid("plan is NULL; a place for the handle is needed");
    *out = nullptr;
    CheckedDense checked;
    FATTN_RETURN_IF_ERROR(check_problem(device, given, &checked));
    std::unique_ptr<DenseKernel> kernel;
    FATTN_RETURN_IF_ERROR(device->backend->make_dense(checked.problem, &kernel));
    *out = new fattn_plan(
        device, std::make_unique<DenseBody>(checked, device->backend->dense_tiles(checked.problem),
                                            std::move(kernel)));
    return {};
}

/// What forward and backward runs do before they differ.
template <class Args>
Status read_run(const Args* given, const char* type, const fattn_run* run, Args* args,
                RunOptions* options) {
    FATTN_RETURN_IF_ERROR(read_growing(given, "args", type, args));
    return read_cpu_run(run, options);
}

Status forward(fattn_plan* handle, const fattn_dense_forward_args* given, const fattn_run* run) {
    if (handle == nullptr) return invalid("plan is NULL");
    const Reference plan(handle);  // a release during the run is safe
    const DenseBody* body = nullptr;
    fattn_dense_forward_args args;
    RunOptions options;
    DenseForwardArgs checked;
    FATTN_RETURN_IF_ERROR(body_of(*plan, &body));
    FATTN_RETURN_IF_ERROR(read_run(given, "fattn_dense_forward_args", run, &args, &options));
    RunMemoryChecker memory(body->checked.pointer_alignment);
    FATTN_RETURN_IF_ERROR(check_dense_forward(body->checked, args, &memory, &checked));
    memory.add_workspace(options.workspace, options.workspace_bytes);
    FATTN_RETURN_IF_ERROR(memory.check_overlaps());
    return body->dense_kernel->forward(checked, options);
}

Status backward(fattn_plan* handle, const fattn_dense_backward_args* given, const fattn_run* run) {
    if (handle == nullptr) return invalid("plan is NULL");
    const Reference plan(handle);  // a release during the run is safe
    const DenseBody* body = nullptr;
    fattn_dense_backward_args args;
    RunOptions options;
    DenseBackwardArgs checked;
    FATTN_RETURN_IF_ERROR(body_of(*plan, &body));
    FATTN_RETURN_IF_ERROR(read_run(given, "fattn_dense_backward_args", run, &args, &options));
    RunMemoryChecker memory(body->checked.pointer_alignment);
    FATTN_RETURN_IF_ERROR(check_dense_backward(body->checked, args, &memory, &checked));
    memory.add_workspace(options.workspace, options.workspace_bytes);
    FATTN_RETURN_IF_ERROR(memory.check_overlaps());
    return body->dense_kernel->backward(checked, options);
}

}  // namespace
}  // namespace fattn::api

using fattn::api::guarded;

fattn_status fattn_dense_plan(fattn_device* device, const fattn_dense_problem* problem,
                              fattn_plan** plan) {
    return guarded([&] { return fattn::api::make_plan(device, problem, plan); });
}

fattn_status fattn_supports_dense(fattn_device* device, const fattn_dense_problem* problem) {
    return guarded([&] {
        fattn::api::CheckedDense checked;
        return fattn::api::check_problem(device, problem, &checked);
    });
}

fattn_status fattn_dense_forward(fattn_plan* plan, const fattn_dense_forward_args* args,
                                 const fattn_run* run) {
    return guarded([&] { return fattn::api::forward(plan, args, run); });
}

fattn_status fattn_dense_backward(fattn_plan* plan, const fattn_dense_backward_args* args,
                                  const fattn_run* run) {
    return guarded([&] { return fattn::api::backward(plan, args, run); });
}
