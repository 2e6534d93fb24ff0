// Cases of the sparse families on a CUDA device: their arrays in device memory and whole runs
// through the C interface; used by the tests of their plans.
#pragma once

#include <gtest/gtest.h>

#include "cuda/host/dense_on_device.h"
#include "support/neighborhood_truth.h"
#include "support/permuted_block_truth.h"
#include "support/s2_case.h"

namespace fattn::cuda {

/// Tests of sparse plans on the virtual GPU.
class SparseOnCuda : public DensePlanOnCuda {
  protected:
    test::PlanHandle sparse_plan(const test::S2Case& c) {
        const fattn_s2_problem problem = c.c_problem();
        fattn_plan* plan = nullptr;
        EXPECT_TRUE(test::ok(fattn_s2_plan(handle.get(), &problem, &plan))) << describe(c.spec());
        return test::PlanHandle(plan);
    }
    test::PlanHandle sparse_plan(const test::PermutedBlockCase& c) {
        const fattn_permuted_block_problem problem = c.c_problem();
        fattn_plan* plan = nullptr;
        EXPECT_TRUE(test::ok(fattn_permuted_block_plan(handle.get(), &problem, &plan)))
            << describe(c.spec());
        return test::PlanHandle(plan);
    }
    test::PlanHandle sparse_plan(const test::NeighborhoodCase& c) {
        const fattn_neighborhood_problem problem = c.c_problem();
        fattn_plan* plan = nullptr;
        EXPECT_TRUE(test::ok(fattn_neighborhood_plan(handle.get(), &problem, &plan)))
            << describe(c.spec());
        return test::PlanHandle(plan);
    }
};

/// Arrays of a run in device memory in place of those in its arguments, and its workspace.
template <class Args>
class RunOnDevice {
  public:
    RunOnDevice(const std::shared_ptr<const Device>& device, fattn_plan* plan, fattn_pass pass,
                const Args& of_case)
        : args(of_case), memory(device) {
        run.struct_size = sizeof(run);
        std::uint64_t bytes = 0;
        EXPECT_TRUE(test::ok(fattn_plan_workspace(plan, pass, 0, nullptr, &bytes)));
        if (bytes == 0) return;
        run.workspace = memory.reserve(bytes);
        run.workspace_bytes = bytes;
    }

    float* floats(test::Tensor& tensor) { return static_cast<float*>(memory.put(tensor)); }

    Args args;
    OnDevice memory;
    fattn_run run{};
};

/// What runs of all families have.
template <class Args, class Case>
void put_forward_inputs(RunOnDevice<Args>* on, Case& c) {
    on->args.q = on->memory.put(c.q);
    on->args.k = on->memory.put(c.k);
    on->args.v = on->memory.put(c.v);
}
template <class Args, class Case>
void put_forward(RunOnDevice<Args>* on, Case& c) {
    put_forward_inputs(on, c);
    on->args.o = on->memory.put(c.o);
    on->args.lse = on->floats(c.lse);
}
template <class Args, class Case>
void get_forward(RunOnDevice<Args>* on, Case& c) {
    on->memory.get(on->args.o, c.o);
    on->memory.get(on->args.lse, c.lse);
}
template <class Args, class Case>
void put_backward(RunOnDevice<Args>* on, Case& c) {
    put_forward_inputs(on, c);
    on->args.o = on->memory.put(c.o);
    on->args.lse = on->floats(c.lse);
    on->args.d_o = on->memory.put(c.d_o);
    if (on->args.d_lse != nullptr) on->args.d_lse = on->floats(c.d_lse);
    on->args.d_q = on->memory.put(c.d_q);
    on->args.d_k = on->memory.put(c.d_k);
    on->args.d_v = on->memory.put(c.d_v);
}
template <class Args, class Case>
void get_backward(RunOnDevice<Args>* on, Case& c) {
    on->memory.get(on->args.d_q, c.d_q);
    on->memory.get(on->args.d_k, c.d_k);
    on->memory.get(on->args.d_v, c.d_v);
}

// --- S2 ------------------------------------------------------------------------------------------

inline void run_forward(const std::shared_ptr<const Device>& device, fattn_plan* plan,
                        test::S2Case& c) {
    c.dense.reset_outputs();
    RunOnDevice on(device, plan, FATTN_PASS_FORWARD, c.c_forward());
    put_forward(&on, c.dense);
    ASSERT_TRUE(test::ok(fattn_s2_forward(plan, &on.args, &on.run))) << describe(c.spec());
    get_forward(&on, c.dense);
}
inline void run_backward(const std::shared_ptr<const Device>& device, fattn_plan* plan,
                         test::S2Case& c) {
    c.dense.reset_gradients();
    RunOnDevice on(device, plan, FATTN_PASS_BACKWARD, c.c_backward());
    put_backward(&on, c.dense);
    ASSERT_TRUE(test::ok(fattn_s2_backward(plan, &on.args, &on.run))) << describe(c.spec());
    get_backward(&on, c.dense);
}

// --- Permuted blocks -----------------------------------------------------------------------------

template <class Args>
void put_selection(RunOnDevice<Args>* on, test::PermutedBlockCase& c) {
    on->args.permutation = on->memory.put_numbers(c.permutation);
    on->args.block_mask = on->memory.put_numbers(c.block_mask);
}
inline void run_forward(const std::shared_ptr<const Device>& device, fattn_plan* plan,
                        test::PermutedBlockCase& c) {
    c.reset_outputs();
    RunOnDevice on(device, plan, FATTN_PASS_FORWARD, c.c_forward());
    put_forward(&on, c);
    put_selection(&on, c);
    ASSERT_TRUE(test::ok(fattn_permuted_block_forward(plan, &on.args, &on.run)))
        << describe(c.spec());
    get_forward(&on, c);
}
inline void run_backward(const std::shared_ptr<const Device>& device, fattn_plan* plan,
                         test::PermutedBlockCase& c) {
    c.reset_gradients();
    RunOnDevice on(device, plan, FATTN_PASS_BACKWARD, c.c_backward());
    put_backward(&on, c);
    put_selection(&on, c);
    ASSERT_TRUE(test::ok(fattn_permuted_block_backward(plan, &on.args, &on.run)))
        << describe(c.spec());
    get_backward(&on, c);
}

// --- Neighborhoods -------------------------------------------------------------------------------

inline void run_forward(const std::shared_ptr<const Device>& device, fattn_plan* plan,
                        test::NeighborhoodCase& c) {
    c.reset_outputs();
    RunOnDevice on(device, plan, FATTN_PASS_FORWARD, c.c_forward());
    put_forward(&on, c);
    on.args.additional_k = on.memory.put(c.additional_k);
    on.args.additional_v = on.memory.put(c.additional_v);
    ASSERT_TRUE(test::ok(fattn_neighborhood_forward(plan, &on.args, &on.run)))
        << describe(c.spec());
    get_forward(&on, c);
}
inline void run_backward(const std::shared_ptr<const Device>& device, fattn_plan* plan,
                         test::NeighborhoodCase& c) {
    c.reset_gradients();
    RunOnDevice on(device, plan, FATTN_PASS_BACKWARD, c.c_backward());
    put_backward(&on, c);
    on.args.additional_k = on.memory.put(c.additional_k);
    on.args.additional_v = on.memory.put(c.additional_v);
    on.args.d_additional_k = on.memory.put(c.d_additional_k);
    on.args.d_additional_v = on.memory.put(c.d_additional_v);
    ASSERT_TRUE(test::ok(fattn_neighborhood_backward(plan, &on.args, &on.run)))
        << describe(c.spec());
    get_backward(&on, c);
    on.memory.get(on.args.d_additional_k, c.d_additional_k);
    on.memory.get(on.args.d_additional_v, c.d_additional_v);
}

}  // namespace fattn::cuda
