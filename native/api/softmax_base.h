// What the sparse softmax families share with dense attention at the C boundary: their tensors are
// checked as those of a dense problem without features; used by their *_check files.
#pragma once

#include "api/dense_check.h"
#include "api/status.h"
#include "backend/text.h"

namespace fattn::api {

/// Names of the flags of a family whose problem struct has the tensors of a softmax family.
struct FamilyFlags {
    uint32 known;  // every flag of the family
    uint32 has_scale;
    const char* has_scale_name;
    uint32 backward;
    const char* backward_name;
};

/// Checks flags, tensors, gradients and scale of a problem with the fields q, k, v, o, d_o, d_q,
/// d_k, d_v, scale and pointer_alignment, and resolves their defaults. The result has every dense
/// feature off.
template <class Problem>
Status check_softmax_base(const Problem& given, const FamilyFlags& flags, CheckedDense* out) {
    if (const uint32 unknown = given.flags & ~flags.known; unknown != 0) {
        return unsupported(
            text("flags hold unknown bits (", unknown, "); this library knows ", flags.known));
    }
    const bool has_scale = (given.flags & flags.has_scale) != 0;
    if (given.scale != 0 && !has_scale) {
        return invalid(text("scale is given, but flags lack ", flags.has_scale_name));
    }
    const bool backward = (given.flags & flags.backward) != 0;
    const bool any_gradient =
        given.d_o.rank != 0 || given.d_q.rank != 0 || given.d_k.rank != 0 || given.d_v.rank != 0;
    if (any_gradient && !backward) {
        return invalid(
            text("the layout of a gradient is given, but flags lack ", flags.backward_name));
    }
    fattn_dense_problem dense{};
    dense.struct_size = sizeof(dense);
    dense.flags = (has_scale ? static_cast<uint32>(FATTN_DENSE_HAS_SCALE) : 0) |
                  (backward ? static_cast<uint32>(FATTN_DENSE_BACKWARD) : 0);
    dense.q = given.q;
    dense.k = given.k;
    dense.v = given.v;
    dense.o = given.o;
    dense.d_o = given.d_o;
    dense.d_q = given.d_q;
    dense.d_k = given.d_k;
    dense.d_v = given.d_v;
    dense.scale = given.scale;
    dense.pointer_alignment = given.pointer_alignment;
    return check_dense_problem(dense, out);
}

/// Checks the pointers of a forward run with the fields flags, q, k, v, o and lse.
template <class Args>
Status check_softmax_forward(const CheckedDense& plan, const Args& given, RunMemoryChecker* memory,
                             DenseForwardArgs* out) {
    if (given.flags != 0) {
        return unsupported(text("args->flags is ", given.flags, "; this library knows none"));
    }
    fattn_dense_forward_args dense{};
    dense.struct_size = sizeof(dense);
    dense.q = given.q;
    dense.k = given.k;
    dense.v = given.v;
    dense.o = given.o;
    dense.lse = given.lse;
    return check_dense_forward(plan, dense, memory, out);
}

/// Checks the pointers of a backward run with the fields flags, q, k, v, o, lse, d_o, d_lse, d_q,
/// d_k and d_v. flag_name is the problem's flag that asks for backward runs.
template <class Args>
Status check_softmax_backward(const CheckedDense& plan, const Args& given, const char* flag_name,
                              RunMemoryChecker* memory, DenseBackwardArgs* out) {
    if (given.flags != 0) {
        return unsupported(text("args->flags is ", given.flags, "; this library knows none"));
    }
    if (!plan.problem.backward) {
        return invalid(text("a backward run was asked for; the plan was made without ", flag_name));
    }
    fattn_dense_backward_args dense{};
    dense.struct_size = sizeof(dense);
    dense.q = given.q;
    dense.k = given.k;
    dense.v = given.v;
    dense.o = given.o;
    dense.lse = given.lse;
    dense.d_o = given.d_o;
    dense.d_lse = given.d_lse;
    dense.d_q = given.d_q;
    dense.d_k = given.d_k;
    dense.d_v = given.d_v;
    return check_dense_backward(plan, dense, memory, out);
}

}  // namespace fattn::api
