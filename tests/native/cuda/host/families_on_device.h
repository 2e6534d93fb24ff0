// The five families with the tensors that all of them have, in device memory and through the C
// interface; used by tests of what no family does by itself.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <functional>

#include "cuda/host/dense_on_device.h"

namespace fattn::cuda {

enum TensorName : std::size_t { kQ, kK, kV, kO, kDO, kDQ, kDK, kDV, kTensorNames };

struct TensorAt {
    fattn_layout layout;
    void* data;
};
using TensorsAt = std::array<TensorAt, kTensorNames>;

/// A family's functions, and what its structs have beside these tensors.
template <class Problem, class Forward, class Backward>
struct FamilyOnDevice {
    const char* name;
    fattn_status (*make)(fattn_device*, const Problem*, fattn_plan**);
    fattn_status (*forward)(fattn_plan*, const Forward*, const fattn_run*);
    fattn_status (*backward)(fattn_plan*, const Backward*, const fattn_run*);
    std::function<void(Problem&)> set_problem;
    const float* slopes;  // of both heads, where runs read them

    fattn_status plan(fattn_device* device, const TensorsAt& t, test::PlanHandle* plan) const {
        Problem problem{};
        problem.struct_size = sizeof(problem);
        problem.q = t[kQ].layout;
        problem.k = t[kK].layout;
        problem.v = t[kV].layout;
        problem.o = t[kO].layout;
        problem.d_o = t[kDO].layout;
        problem.d_q = t[kDQ].layout;
        problem.d_k = t[kDK].layout;
        problem.d_v = t[kDV].layout;
        set_problem(problem);
        fattn_plan* made = nullptr;
        const fattn_status status = make(device, &problem, &made);
        plan->reset(made);
        return status;
    }

    fattn_status run_forward(fattn_plan* plan, const TensorsAt& t, float* lse,
                             const fattn_run* run) const {
        Forward args{};
        set_inputs(&args, t);
        args.o = t[kO].data;
        if constexpr (requires { args.lse; }) args.lse = lse;
        return forward(plan, &args, run);
    }

    fattn_status run_backward(fattn_plan* plan, const TensorsAt& t, const float* lse,
                              const fattn_run* run) const {
        Backward args{};
        set_inputs(&args, t);
        if constexpr (requires { args.o; }) args.o = t[kO].data;
        if constexpr (requires { args.lse; }) args.lse = lse;
        args.d_o = t[kDO].data;
        args.d_q = t[kDQ].data;
        args.d_k = t[kDK].data;
        args.d_v = t[kDV].data;
        return backward(plan, &args, run);
    }

  private:
    template <class Args>
    void set_inputs(Args* args, const TensorsAt& t) const {
        args->struct_size = sizeof(*args);
        args->q = t[kQ].data;
        args->k = t[kK].data;
        args->v = t[kV].data;
        if constexpr (requires { args->slopes; }) args->slopes = slopes;
    }
};

/// Calls visit(family) for each, with both passes; len: of all sequences, an even number.
template <class Visit>
void for_each_family(int64 len, const float* slopes, const Visit& visit) {
    visit(FamilyOnDevice<fattn_dense_problem, fattn_dense_forward_args, fattn_dense_backward_args>{
        "dense", fattn_dense_plan, fattn_dense_forward, fattn_dense_backward,
        [](auto& p) { p.flags = FATTN_DENSE_BACKWARD | FATTN_DENSE_CAUSAL; }, nullptr});
    visit(FamilyOnDevice<fattn_neighborhood_problem, fattn_neighborhood_forward_args,
                         fattn_neighborhood_backward_args>{
        "neighborhood", fattn_neighborhood_plan, fattn_neighborhood_forward,
        fattn_neighborhood_backward,
        [len](auto& p) {
            p.flags = FATTN_NEIGHBORHOOD_BACKWARD;
            p.num_axes = 1;
            p.grid[0] = static_cast<int32>(len);
            p.kernel_size[0] = 2;
        },
        nullptr});
    visit(FamilyOnDevice<fattn_lightning_problem, fattn_lightning_forward_args,
                         fattn_lightning_backward_args>{
        "lightning", fattn_lightning_plan, fattn_lightning_forward, fattn_lightning_backward,
        [](auto& p) { p.flags = FATTN_LIGHTNING_BACKWARD; }, slopes});
    visit(FamilyOnDevice<fattn_permuted_block_problem, fattn_permuted_block_forward_args,
                         fattn_permuted_block_backward_args>{
        "permuted block", fattn_permuted_block_plan, fattn_permuted_block_forward,
        fattn_permuted_block_backward,
        [](auto& p) {
            p.flags = FATTN_PERMUTED_BLOCK_BACKWARD;
            p.block_size = p.query_block = p.segment_size = 2;
        },
        nullptr});
    visit(FamilyOnDevice<fattn_s2_problem, fattn_s2_forward_args, fattn_s2_backward_args>{
        "S2", fattn_s2_plan, fattn_s2_forward, fattn_s2_backward,
        [](auto& p) {
            p.flags = FATTN_S2_BACKWARD;
            p.block_size = 1;
            p.local_blocks = p.vertical_stride = 2;
        },
        nullptr});
}

/// What a pass of a plan asks for, in device memory.
inline fattn_run run_with_workspace(OnDevice* memory, fattn_plan* plan, fattn_pass pass) {
    fattn_run run{};
    run.struct_size = sizeof(run);
    EXPECT_TRUE(test::ok(fattn_plan_workspace(plan, pass, 0, nullptr, &run.workspace_bytes)));
    if (run.workspace_bytes > 0) run.workspace = memory->reserve(run.workspace_bytes);
    return run;
}

}  // namespace fattn::cuda
