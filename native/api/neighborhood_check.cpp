// Checks neighborhood problems and the data of their runs; see neighborhood_check.h.
#include "api/neighborhood_check.h"

#include "api/softmax_base.h"
#include "api/tensor_check.h"
#include "backend/text.h"

namespace fattn::api {
namespace {

constexpr FamilyFlags kNeighborhoodFlags{
    .known = 2 * static_cast<uint32>(FATTN_NEIGHBORHOOD_DETERMINISTIC) - 1,
    .has_scale = FATTN_NEIGHBORHOOD_HAS_SCALE,
    .has_scale_name = "FATTN_NEIGHBORHOOD_HAS_SCALE",
    .backward = FATTN_NEIGHBORHOOD_BACKWARD,
    .backward_name = "FATTN_NEIGHBORHOOD_BACKWARD"};

/// "name[n] is x; allowed are low to high" and, where it helps, why.
Status check_range(const char* name, uint32 n, int64 value, int64 low, int64 high,
                   const std::string& why) {
    if (value >= low && value <= high) return {};
    return invalid(text(name, "[", n, "] is ", value, "; allowed are ", low, " to ", high, why));
}

Status read_axis(const fattn_neighborhood_problem& given, uint32 n, NeighborhoodAxis* out) {
    const int64 extent = given.grid[n];
    FATTN_RETURN_IF_ERROR(check_range("grid", n, extent, 1, kMaxExtent, ""));
    FATTN_RETURN_IF_ERROR(check_range("dilation", n, given.dilation[n], 0, extent,
                                      text(", the extent of the axis, 0 for 1")));
    const int64 dilation = max_of<int64>(given.dilation[n], 1);
    FATTN_RETURN_IF_ERROR(check_range(
        "kernel_size", n, given.kernel_size[n], 1, extent / dilation,
        text(": ", extent, " tokens along the axis hold that many at dilation ", dilation)));
    FATTN_RETURN_IF_ERROR(check_range("stride", n, given.stride[n], 0, given.kernel_size[n],
                                      text(", the kernel size, 0 for 1")));
    *out = {.extent = narrow<int32>(extent),
            .dilation = narrow<int32>(dilation),
            .window = narrow<int32>(given.kernel_size[n]),
            .stride = narrow<int32>(max_of<int64>(given.stride[n], 1)),
            .causal = given.causal[n] != 0};
    return {};
}

Status read_grid(const fattn_neighborhood_problem& given, const DenseProblem& dense,
                 NeighborhoodGrid* out) {
    if (given.num_axes < 1 || given.num_axes > PatchGrid::kAxes) {
        return invalid(text("num_axes is ", given.num_axes, "; allowed are 1 to 3"));
    }
    *out = {{single_token_axis(), single_token_axis(), single_token_axis()}};
    int64 tokens = 1;
    for (uint32 n = 0; n < given.num_axes; ++n) {
        NeighborhoodAxis& axis = out->axis[PatchGrid::kAxes - given.num_axes + n];
        FATTN_RETURN_IF_ERROR(read_axis(given, n, &axis));
        if (__builtin_mul_overflow(tokens, int64{axis.extent}, &tokens) || tokens > kMaxExtent) {
            return invalid(text("grid comes to more than ", kMaxExtent, " tokens"));
        }
    }
    FATTN_RETURN_IF_ERROR(check_extent(dense.q, "q", 2, tokens, "the tokens of the grid"));
    return check_extent(dense.k, "k", 2, tokens, "the tokens of the grid");
}

/// Additional keys or values: as those of the grid but for their number.
Status read_additional_tensor(const fattn_layout& given, const char* name, const TensorLayout& like,
                              const char* like_name, TensorLayout* out) {
    FATTN_RETURN_IF_ERROR(read_layout(given, name, out));
    if (out->dtype == DType::kDefault) out->dtype = like.dtype;
    if (out->dtype != like.dtype) {
        return invalid(text(name, ".dtype is ", out->dtype, "; it must be ", like.dtype,
                            ", the dtype of ", like_name));
    }
    for (const int axis : {0, 1, 3}) {
        const std::string meaning = text("as in ", like_name);
        FATTN_RETURN_IF_ERROR(check_extent(*out, name, axis, like.shape[axis], meaning.c_str()));
    }
    return {};
}

Status read_additional(const fattn_neighborhood_problem& given, CheckedNeighborhood* out) {
    NeighborhoodProblem& p = out->problem;
    const DenseProblem& dense = p.dense;
    out->has_additional = (given.flags & FATTN_NEIGHBORHOOD_HAS_ADDITIONAL_KV) != 0;
    const bool any_gradient = given.d_additional_k.rank != 0 || given.d_additional_v.rank != 0;
    if (!out->has_additional) {
        if (given.additional_k.rank == 0 && given.additional_v.rank == 0 && !any_gradient) {
            return {};
        }
        return invalid(
            "the layout of additional_k, additional_v or a gradient of them is given, but flags "
            "lack FATTN_NEIGHBORHOOD_HAS_ADDITIONAL_KV");
    }
    FATTN_RETURN_IF_ERROR(
        read_additional_tensor(given.additional_k, "additional_k", dense.k, "k", &p.additional_k));
    FATTN_RETURN_IF_ERROR(
        read_additional_tensor(given.additional_v, "additional_v", dense.v, "v", &p.additional_v));
    p.num_additional = p.additional_k.shape[2];
    FATTN_RETURN_IF_ERROR(check_extent(p.additional_v, "additional_v", 2, p.num_additional,
                                       "the number of tokens of additional_k"));
    if (p.num_additional > kMaxExtent - p.num_tokens()) {
        return invalid(text("additional_k.shape[2] is ", p.num_additional, "; with ",
                            p.num_tokens(), " tokens of the grid allowed are 0 to ",
                            kMaxExtent - p.num_tokens()));
    }
    if (!dense.backward) {
        if (!any_gradient) return {};
        return invalid(text("the layout of a gradient is given, but flags lack ",
                            kNeighborhoodFlags.backward_name));
    }
    FATTN_RETURN_IF_ERROR(read_gradient(given.d_additional_k, p.additional_k,
                                        {"d_additional_k", "additional_k"}, dense.q.dtype,
                                        &p.d_additional_k));
    return read_gradient(given.d_additional_v, p.additional_v, {"d_additional_v", "additional_v"},
                         dense.q.dtype, &p.d_additional_v);
}

constexpr const char* kNoAdditional =
    "the plan was made without FATTN_NEIGHBORHOOD_HAS_ADDITIONAL_KV";

Status check_additional(const CheckedNeighborhood& plan, const char* name, const void* data,
                        const TensorLayout& layout, RunMemoryChecker* memory) {
    return plan.has_additional ? memory->need(name, data, layout, Role::kInput)
                               : reject(name, data, kNoAdditional);
}

}  // namespace

Status check_neighborhood_problem(const fattn_neighborhood_problem& given,
                                  CheckedNeighborhood* out) {
    *out = CheckedNeighborhood{};
    FATTN_RETURN_IF_ERROR(check_softmax_base(given, kNeighborhoodFlags, &out->tensors));
    out->problem.dense = out->tensors.problem;
    const DenseProblem& dense = out->problem.dense;
    FATTN_RETURN_IF_ERROR(check_extent(dense.v, "v", 1, dense.num_k_heads, "the heads of k"));
    FATTN_RETURN_IF_ERROR(read_grid(given, dense, &out->problem.grid));
    return read_additional(given, out);
}

Status check_neighborhood_forward(const CheckedNeighborhood& plan,
                                  const fattn_neighborhood_forward_args& given,
                                  RunMemoryChecker* memory, NeighborhoodForwardArgs* out) {
    const NeighborhoodProblem& p = plan.problem;
    FATTN_RETURN_IF_ERROR(check_softmax_forward(plan.tensors, given, memory, &out->dense));
    FATTN_RETURN_IF_ERROR(
        check_additional(plan, "args->additional_k", given.additional_k, p.additional_k, memory));
    FATTN_RETURN_IF_ERROR(
        check_additional(plan, "args->additional_v", given.additional_v, p.additional_v, memory));
    out->additional_k = address_of(given.additional_k);
    out->additional_v = address_of(given.additional_v);
    return {};
}

Status check_neighborhood_backward(const CheckedNeighborhood& plan,
                                   const fattn_neighborhood_backward_args& given,
                                   RunMemoryChecker* memory, NeighborhoodBackwardArgs* out) {
    const NeighborhoodProblem& p = plan.problem;
    FATTN_RETURN_IF_ERROR(check_softmax_backward(
        plan.tensors, given, kNeighborhoodFlags.backward_name, memory, &out->dense));
    FATTN_RETURN_IF_ERROR(
        check_additional(plan, "args->additional_k", given.additional_k, p.additional_k, memory));
    FATTN_RETURN_IF_ERROR(
        check_additional(plan, "args->additional_v", given.additional_v, p.additional_v, memory));
    struct Gradient {
        const char* name;
        void* data;
        const TensorLayout& layout;
    };
    for (const Gradient& gradient :
         {Gradient{"args->d_additional_k", given.d_additional_k, p.d_additional_k},
          Gradient{"args->d_additional_v", given.d_additional_v, p.d_additional_v}}) {
        FATTN_RETURN_IF_ERROR(
            plan.has_additional
                ? memory->may(gradient.name, gradient.data, gradient.layout, Role::kOutput)
                : reject(gradient.name, gradient.data, kNoAdditional));
    }
    out->additional_k = address_of(given.additional_k);
    out->additional_v = address_of(given.additional_v);
    out->d_additional_k = given.d_additional_k;
    out->d_additional_v = given.d_additional_v;
    return {};
}

}  // namespace fattn::api
