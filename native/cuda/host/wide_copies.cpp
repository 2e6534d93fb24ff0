// See wide_copies.h.
#include "cuda/host/wide_copies.h"

#include <cstdint>

#include "cuda/host/dense_keys.h"
#include "cuda/host/launch_checks.h"
#include "cuda/runtime/error.h"

namespace fattn::cuda {
namespace {

constexpr int64 kRowsOfConvertBlock = 4;  // a warp has one

/// A tensor of f32 stays where it is.
TensorLayout copy_of(const TensorLayout& layout) {
    if (layout.rank == 0 || layout.dtype == DType::kF32) return layout;
    const int64* n = layout.shape;
    return contiguous(n[0], n[1], n[2], n[3], DType::kF32);
}

int64 rows_of(const TensorLayout& layout) {
    return layout.shape[0] * layout.shape[1] * layout.shape[2];
}

ConvertLaunch launch_of(const TensorLayout& from, const void* data, const TensorLayout& to,
                        void* result) {
    return {{from, data, to, result}, narrow<uint32>(ceil_div(rows_of(from), kRowsOfConvertBlock))};
}

}  // namespace

bool has_wide_backward(const DenseProblem& problem) {
    return problem.backward && problem.d_o.dtype == DType::kF32 && problem.q.dtype != DType::kF32;
}

DenseProblem backward_problem(const DenseProblem& problem) {
    DenseProblem p = problem;
    if (!has_wide_backward(problem)) return p;
    for (TensorLayout* layout : {&p.q, &p.k, &p.v, &p.d_q, &p.d_k, &p.d_v}) {
        *layout = copy_of(*layout);
    }
    return p;
}

void* WideCopies::take(const TensorLayout& layout) {
    const uint64 at = bytes_;
    bytes_ += round_up<uint64>(
        static_cast<uint64>(rows_of(layout) * layout.shape[3] * bytes_of(layout.dtype)), 64);
    return workspace_ == nullptr ? nullptr : static_cast<char*>(workspace_) + at;
}

const void* WideCopies::input(const TensorLayout& from, const TensorLayout& copy,
                              const void* data) {
    if (from.rank == 0 || from.dtype == copy.dtype) return data;
    void* const to = take(copy);
    if (data != nullptr) before_.push_back(launch_of(from, data, copy, to));
    return to;
}

void* WideCopies::output(const TensorLayout& copy, const TensorLayout& to, void* data) {
    if (to.rank == 0 || to.dtype == copy.dtype) return data;
    void* const from = take(copy);
    if (data == nullptr) return nullptr;
    after_.push_back(launch_of(copy, from, to, data));
    return from;
}

DenseBackwardArgs WideCopies::args(const DenseProblem& problem, const DenseBackwardArgs& given) {
    const DenseProblem wide = backward_problem(problem);
    DenseBackwardArgs args = given;
    args.q = input(problem.q, wide.q, given.q);
    args.k = input(problem.k, wide.k, given.k);
    args.v = input(problem.v, wide.v, given.v);
    args.d_q = output(wide.d_q, problem.d_q, given.d_q);
    args.d_k = output(wide.d_k, problem.d_k, given.d_k);
    args.d_v = output(wide.d_v, problem.d_v, given.d_v);
    return args;
}

void WideCopies::widen(GridBoxes* boxes) {
    const GridBoxes given = *boxes;
    boxes->additional_k = copy_of(given.additional_k);
    boxes->additional_v = copy_of(given.additional_v);
    boxes->d_additional_k = copy_of(given.d_additional_k);
    boxes->d_additional_v = copy_of(given.d_additional_v);
    boxes->k = input(given.additional_k, boxes->additional_k, given.k);
    boxes->v = input(given.additional_v, boxes->additional_v, given.v);
    boxes->d_k = output(boxes->d_additional_k, given.d_additional_k, given.d_k);
    boxes->d_v = output(boxes->d_additional_v, given.d_additional_v, given.d_v);
}

Status launch_converts(const Function& function, const std::vector<ConvertLaunch>& launches,
                       const Stream& stream) {
    for (ConvertLaunch launch : launches) {
        FATTN_CUDA_RETURN_IF_ERROR(
            launch_helper(function, launch.num_blocks, stream, &launch.params));
    }
    return {};
}

}  // namespace fattn::cuda
