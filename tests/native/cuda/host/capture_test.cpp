// Runs of the younger families on the virtual GPU inside a graph: they only enqueue, and a replay
// gives the bits of a run. (Dense plans have such tests beside their others.)
#include <gtest/gtest.h>

#include "cuda/graph_capture.h"
#include "cuda/host/sparse_on_device.h"
#include "support/lightning_case.h"

namespace fattn::cuda {
namespace {

using test::PlanHandle;

class RunsInGraphs : public SparseOnCuda {
  protected:
    void SetUp() override {
        SparseOnCuda::SetUp();
        if (device != nullptr) {
            ASSERT_STATUS_OK(Stream::create(device, 0, &stream));
        }
    }

    /// Captures what start() enqueues with a run's stream set, and replays it.
    template <class Args, class Start>
    void replay(RunOnDevice<Args>* on, Start start) {
        on->run.stream = stream.handle();
        GraphCapture capture(stream);
        ASSERT_EQ(capture.begin(), Result::kSuccess);
        ASSERT_TRUE(test::ok(start(&on->args, &on->run)));
        ASSERT_EQ(capture.end(), Result::kSuccess) << "a run neither waits nor allocates nor loads";
        ASSERT_EQ(capture.replay(), Result::kSuccess);
        ASSERT_STATUS_OK(stream.synchronize());
    }

    Stream stream;
};

TEST_F(RunsInGraphs, S2) {
    test::S2Spec spec;
    spec.dense.dtype = DType::kBF16;
    spec.dense.q_len = spec.dense.kv_len = 70;
    spec.dense.head_dim = spec.dense.head_dim_v = 32;
    spec.dense.backward = true;
    test::S2Case expected(spec);
    const PlanHandle plan = sparse_plan(expected);
    ASSERT_NE(plan, nullptr);
    run_forward(device, plan.get(), expected);
    run_backward(device, plan.get(), expected);

    test::S2Case c(spec);
    RunOnDevice forward(device, plan.get(), FATTN_PASS_FORWARD, c.c_forward());
    put_forward(&forward, c.dense);
    replay(&forward,
           [&](auto* args, auto* run) { return fattn_s2_forward(plan.get(), args, run); });
    get_forward(&forward, c.dense);
    EXPECT_TRUE(c.dense.o.same_bytes(expected.dense.o));
    RunOnDevice backward(device, plan.get(), FATTN_PASS_BACKWARD, c.c_backward());
    put_backward(&backward, c.dense);
    replay(&backward,
           [&](auto* args, auto* run) { return fattn_s2_backward(plan.get(), args, run); });
    get_backward(&backward, c.dense);
    EXPECT_TRUE(c.dense.d_q.same_bytes(expected.dense.d_q));
    EXPECT_TRUE(c.dense.d_k.same_bytes(expected.dense.d_k));
    EXPECT_TRUE(c.dense.d_v.same_bytes(expected.dense.d_v));
}

/// Under an output of f32, so that a backward run makes copies as well.
TEST_F(RunsInGraphs, Neighborhood) {
    test::NeighborhoodSpec spec;
    spec.dtype = DType::kF16;
    spec.f32_output = spec.backward = true;
    spec.axes = {{6, 1, 3, 1, false}, {7, 1, 5, 1, false}};
    spec.head_dim = spec.head_dim_v = 32;
    test::NeighborhoodCase expected(spec);
    const PlanHandle plan = sparse_plan(expected);
    ASSERT_NE(plan, nullptr);
    run_forward(device, plan.get(), expected);
    run_backward(device, plan.get(), expected);

    test::NeighborhoodCase c(spec);
    RunOnDevice forward(device, plan.get(), FATTN_PASS_FORWARD, c.c_forward());
    put_forward(&forward, c);
    replay(&forward, [&](auto* args, auto* run) {
        return fattn_neighborhood_forward(plan.get(), args, run);
    });
    get_forward(&forward, c);
    EXPECT_TRUE(c.o.same_bytes(expected.o));
    RunOnDevice backward(device, plan.get(), FATTN_PASS_BACKWARD, c.c_backward());
    put_backward(&backward, c);
    replay(&backward, [&](auto* args, auto* run) {
        return fattn_neighborhood_backward(plan.get(), args, run);
    });
    get_backward(&backward, c);
    EXPECT_TRUE(c.d_q.same_bytes(expected.d_q));
    EXPECT_TRUE(c.d_k.same_bytes(expected.d_k));
    EXPECT_TRUE(c.d_v.same_bytes(expected.d_v));
}

/// The selection too: it is made on the device, and the host reads nothing of it.
TEST_F(RunsInGraphs, PermutedBlocks) {
    test::PermutedBlockSpec spec;
    spec.dtype = DType::kBF16;
    spec.q_len = spec.kv_len = 70;
    spec.head_dim = spec.head_dim_v = 16;
    spec.block = 8;
    spec.segment = 16;
    spec.backward = true;
    test::PermutedBlockCase c(spec);
    const PlanHandle plan = sparse_plan(c);
    ASSERT_NE(plan, nullptr);
    c.reset_selection();
    RunOnDevice select(device, plan.get(), FATTN_PASS_FORWARD, c.c_select());
    select.args.q = select.memory.put(c.q);
    select.args.k = select.memory.put(c.k);
    select.args.permutation = select.memory.put_numbers(c.permutation);
    select.args.block_mask = select.memory.put_numbers(c.block_mask);
    select.args.coverage = nullptr;
    replay(&select, [&](auto* args, auto* run) {
        return fattn_permuted_block_select(plan.get(), args, run);
    });
    select.memory.get_numbers(select.args.permutation, c.permutation);
    select.memory.get_numbers(select.args.block_mask, c.block_mask);

    test::PermutedBlockCase expected(spec);
    expected.permutation = c.permutation;
    expected.block_mask = c.block_mask;
    run_forward(device, plan.get(), expected);
    run_backward(device, plan.get(), expected);
    EXPECT_TRUE(is_near(permuted_block_truth(expected), expected));

    RunOnDevice forward(device, plan.get(), FATTN_PASS_FORWARD, c.c_forward());
    put_forward(&forward, c);
    put_selection(&forward, c);
    replay(&forward, [&](auto* args, auto* run) {
        return fattn_permuted_block_forward(plan.get(), args, run);
    });
    get_forward(&forward, c);
    EXPECT_TRUE(c.o.same_bytes(expected.o));
    RunOnDevice backward(device, plan.get(), FATTN_PASS_BACKWARD, c.c_backward());
    put_backward(&backward, c);
    put_selection(&backward, c);
    replay(&backward, [&](auto* args, auto* run) {
        return fattn_permuted_block_backward(plan.get(), args, run);
    });
    get_backward(&backward, c);
    EXPECT_TRUE(c.d_q.same_bytes(expected.d_q));
    EXPECT_TRUE(c.d_k.same_bytes(expected.d_k));
    EXPECT_TRUE(c.d_v.same_bytes(expected.d_v));
}

TEST_F(RunsInGraphs, Lightning) {
    test::LightningSpec spec;
    spec.dtype = DType::kBF16;
    spec.len = 150;
    spec.head_dim = spec.head_dim_v = 32;
    spec.backward = true;
    test::LightningCase c(spec);
    const fattn_lightning_problem problem = c.c_problem();
    fattn_plan* made = nullptr;
    ASSERT_TRUE(test::ok(fattn_lightning_plan(handle.get(), &problem, &made)));
    const PlanHandle plan(made);
    RunOnDevice forward(device, plan.get(), FATTN_PASS_FORWARD, c.c_forward());
    put_forward_inputs(&forward, c);
    forward.args.slopes = forward.floats(c.slopes);
    forward.args.o = forward.memory.put(c.o);
    forward.args.final_state = forward.floats(c.final_state);
    const auto start_forward = [&](auto* args, auto* run) {
        return fattn_lightning_forward(plan.get(), args, run);
    };
    ASSERT_TRUE(test::ok(start_forward(&forward.args, &forward.run)));
    forward.memory.get(forward.args.o, c.o);
    const test::Tensor o = c.o;
    c.reset_outputs();
    RunOnDevice captured(device, plan.get(), FATTN_PASS_FORWARD, forward.args);
    captured.args.o = captured.memory.put(c.o);
    replay(&captured, start_forward);
    captured.memory.get(captured.args.o, c.o);
    EXPECT_TRUE(c.o.same_bytes(o));

    RunOnDevice backward(device, plan.get(), FATTN_PASS_BACKWARD, c.c_backward());
    put_forward_inputs(&backward, c);
    backward.args.slopes = forward.args.slopes;
    backward.args.d_o = backward.memory.put(c.d_o);
    backward.args.d_q = backward.memory.put(c.d_q);
    backward.args.d_k = backward.args.d_v = nullptr;
    const auto start_backward = [&](auto* args, auto* run) {
        return fattn_lightning_backward(plan.get(), args, run);
    };
    ASSERT_TRUE(test::ok(start_backward(&backward.args, &backward.run)));
    backward.memory.get(backward.args.d_q, c.d_q);
    const test::Tensor d_q = c.d_q;
    c.reset_gradients();
    RunOnDevice again(device, plan.get(), FATTN_PASS_BACKWARD, backward.args);
    again.args.d_q = again.memory.put(c.d_q);
    replay(&again, start_backward);
    again.memory.get(again.args.d_q, c.d_q);
    EXPECT_TRUE(c.d_q.same_bytes(d_q));
}

}  // namespace
}  // namespace fattn::cuda
