// Dense attention at the C boundary: makes plans and runs them.
#include "api/dense.h"

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

constexpr RunKind<DenseBody, fattn_dense_forward_args, DenseForwardArgs> kDenseForward{
    "fattn_dense_forward_args", check_dense_forward, &DenseKernel::forward};
constexpr RunKind<DenseBody, fattn_dense_backward_args, DenseBackwardArgs> kDenseBackward{
    "fattn_dense_backward_args", check_dense_backward, &DenseKernel::backward};

}  // namespace
}  // namespace fattn::api

using fattn::api::guarded;
using fattn::api::run_plan;

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
    return guarded([&] { return run_plan(fattn::api::kDenseForward, plan, args, run); });
}

fattn_status fattn_dense_backward(fattn_plan* plan, const fattn_dense_backward_args* args,
                                  const fattn_run* run) {
    return guarded([&] { return run_plan(fattn::api::kDenseBackward, plan, args, run); });
}
