// Dense plans on CUDA devices through the C interface: what is refused and why, and forward runs on
// the virtual GPU against the double-precision reference.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>

#include "cuda/graph_capture.h"
#include "cuda/host/dense_on_device.h"
#include "support/random_dense.h"
#include "support/sampling.h"

namespace fattn::cuda {
namespace {

using test::DenseCase;
using test::DenseSpec;
using test::ok;
using test::PlanHandle;

DenseSpec dense_spec_of(DType dtype, int64 q_len, int64 kv_len, int64 head_dim) {
    DenseSpec spec;
    spec.dtype = dtype;
    spec.q_len = q_len;
    spec.kv_len = kv_len;
    spec.head_dim = spec.head_dim_v = head_dim;
    return spec;
}

TEST_F(DensePlanOnCuda, TheDeviceDescribesItself) {
    fattn_device_description description{};
    description.struct_size = sizeof(description);
    ASSERT_TRUE(ok(fattn_device_info(handle.get(), &description)));
    EXPECT_EQ(description.kind, static_cast<fattn_device_kind>(FATTN_DEVICE_KIND_CUDA));
    EXPECT_EQ(description.index, kVirtualSm80);
    EXPECT_EQ(device->properties().name, description.name);
    const std::string model = "sm_" + std::to_string(device->properties().architecture);
    EXPECT_NE(std::strstr(description.reason, (model + ", driver of CUDA 12").c_str()), nullptr)
        << description.reason;
}

TEST_F(DensePlanOnCuda, WhatHasNoKernelIsRefusedByName) {
    DenseSpec spec = dense_spec_of(DType::kF16, 4, 4, 32);
    spec.head_dim = 320;
    const fattn_dense_problem problem = DenseCase(spec).c_problem();
    EXPECT_EQ(fattn_supports_dense(handle.get(), &problem), FATTN_STATUS_UNSUPPORTED);
    EXPECT_NE(std::strstr(fattn_last_error(), "head dim is 320"), nullptr) << fattn_last_error();
}

TEST_F(DensePlanOnCuda, RunsRefuseWhatOnlyTheCpuTakes) {
    DenseCase c(dense_spec_of(DType::kBF16, 4, 4, 32));
    const PlanHandle plan = plan_of(c);
    ASSERT_NE(plan, nullptr);
    fattn_dense_forward_args args = c.c_forward();
    EXPECT_EQ(fattn_dense_forward(plan.get(), &args, nullptr), FATTN_STATUS_INVALID_ARGUMENT);
    EXPECT_NE(std::strstr(fattn_last_error(), "args->q is not device memory"), nullptr)
        << fattn_last_error();
    const int32_t cancel = 0;
    fattn_run run{};
    run.struct_size = sizeof(run);
    run.cancel = &cancel;
    EXPECT_EQ(fattn_dense_forward(plan.get(), &args, &run), FATTN_STATUS_INVALID_ARGUMENT);
    EXPECT_NE(std::strstr(fattn_last_error(), "run->cancel"), nullptr) << fattn_last_error();
}

TEST_F(DensePlanOnCuda, PointersAndStreamsOfAnotherDeviceAreRefused) {
    DenseCase c(dense_spec_of(DType::kBF16, 4, 4, 32));
    const PlanHandle plan = plan_of(c);
    ASSERT_NE(plan, nullptr);
    const std::shared_ptr<const Device> other = open(kVirtualSm89);
    OnDevice here(device), there(other);
    fattn_dense_forward_args args = c.c_forward();
    args.q = here.put(c.q);
    args.k = there.put(c.k);
    args.v = here.put(c.v);
    args.o = here.put(c.o);
    args.lse = static_cast<float*>(here.put(c.lse));
    EXPECT_EQ(fattn_dense_forward(plan.get(), &args, nullptr), FATTN_STATUS_INVALID_ARGUMENT);
    EXPECT_NE(std::strstr(fattn_last_error(), "args->k was allocated in another context"), nullptr)
        << fattn_last_error();
    args.k = here.put(c.k);
    Stream stream;
    ASSERT_TRUE(Stream::create(other, 0, &stream).ok());
    fattn_run run{};
    run.struct_size = sizeof(run);
    run.stream = stream.handle();
    EXPECT_EQ(fattn_dense_forward(plan.get(), &args, &run), FATTN_STATUS_INVALID_ARGUMENT);
    EXPECT_NE(std::strstr(fattn_last_error(), "the stream belongs to another context"), nullptr)
        << fattn_last_error();
}

TEST_F(DensePlanOnCuda, ForwardIsNearTheReference) {
    DenseSpec causal = dense_spec_of(DType::kBF16, 70, 130, 64);
    causal.num_q_heads = 2;
    causal.causal = true;
    DenseSpec two_dims = dense_spec_of(DType::kF16, 33, 65, 128);
    two_dims.batch = 2;
    two_dims.head_dim_v = 96;
    DenseSpec modified = dense_spec_of(DType::kF32, 40, 70, 40);
    modified.softcap = 5;
    modified.alibi = modified.sink = true;
    DenseSpec dropped = dense_spec_of(DType::kBF16, 20, 90, 32);
    dropped.dropout_p = 0.25F;
    dropped.bias = DType::kF32;
    // Whose sums of tensor cores, which truncate, have to be short.
    DenseSpec many_sums = dense_spec_of(DType::kF32, 70, 130, 64);
    many_sums.num_q_heads = 4;
    many_sums.num_k_heads = many_sums.num_v_heads = 2;
    many_sums.causal = true;
    // Whose first tile of queries sees no key: its block copies queries and nothing else.
    DenseSpec unseen = dense_spec_of(DType::kBF16, 200, 40, 64);
    unseen.causal = true;
    DenseSpec unseen_general = unseen, unseen_f16 = unseen, unseen_f32 = unseen;
    unseen_general.softcap = unseen_f16.softcap = 5;
    unseen_f16.dtype = DType::kF16;
    unseen_f32.dtype = DType::kF32;
    for (const DenseSpec& spec : {causal, two_dims, modified, dropped, many_sums, unseen,
                                  unseen_general, unseen_f16, unseen_f32}) {
        DenseCase c(spec);
        const PlanHandle plan = plan_of(c);
        ASSERT_NE(plan, nullptr);
        run_forward(device, plan.get(), c);
        EXPECT_TRUE(forward_is_near(dense_truth(c), c));
    }
}

TEST_F(DensePlanOnCuda, KeysOfFewQueriesAreSplitWhereThereIsAWorkspace) {
    DenseSpec packed = dense_spec_of(DType::kBF16, 1, 700, 64);
    packed.batch = 2;
    packed.num_q_heads = 8;
    packed.num_k_heads = packed.num_v_heads = 2;
    packed.causal = true;
    packed.kv_len_of_run = {700, 129};
    DenseSpec many_features = dense_spec_of(DType::kF32, 3, 600, 20);
    many_features.num_q_heads = 2;
    many_features.alibi = many_features.sink = true;
    DenseSpec empty_parts = dense_spec_of(DType::kF16, 2, 900, 40);
    empty_parts.causal = true;
    empty_parts.window_left = 100;
    empty_parts.f32_output = true;
    DenseSpec pages = dense_spec_of(DType::kBF16, 1, 640, 32);
    pages.num_q_heads = 4;
    pages.page_size = 16;
    pages.kv_len_of_run = {555};
    DenseSpec sums = dense_spec_of(DType::kBF16, 5, 700, 64);
    sums.sigmoid = true;
    sums.sigmoid_bias = -5;
    sums.num_q_heads = 2;
    sums.causal = true;
    DenseSpec packed_sums = dense_spec_of(DType::kF32, 1, 640, 20);
    packed_sums.sigmoid = packed_sums.alibi = true;
    packed_sums.num_q_heads = 2;
    DenseSpec sequences = dense_spec_of(DType::kBF16, 1, 1, 64);
    sequences.batch = 3;
    sequences.q_lens = {3, 0, 5};
    sequences.kv_lens = {700, 90, 150};
    sequences.num_q_heads = 2;
    sequences.causal = sequences.sink = true;
    DenseSpec sums_of_sequences = sequences;
    sums_of_sequences.dtype = DType::kF32;
    sums_of_sequences.sink = false;
    sums_of_sequences.sigmoid = true;
    // A row a part: what starts at 16 bytes in one does not in the next.
    DenseSpec one_row = dense_spec_of(DType::kF32, 1, 513, 47);
    for (const DenseSpec& spec : {packed, many_features, empty_parts, pages, sums, packed_sums,
                                  sequences, sums_of_sequences, one_row}) {
        DenseCase c(spec);
        const PlanHandle plan = plan_of(c);
        ASSERT_NE(plan, nullptr);
        std::uint64_t bytes = 0;
        ASSERT_TRUE(ok(fattn_plan_workspace(plan.get(), FATTN_PASS_FORWARD, 0, nullptr, &bytes)));
        EXPECT_GE(bytes, 2 * sizeof(float) * static_cast<std::size_t>(c.o.size()))
            << describe(spec);
        const test::DenseTruth truth = dense_truth(c);
        for (const bool with_workspace : {true, false}) {
            run_forward(device, plan.get(), c, with_workspace);
            EXPECT_TRUE(forward_is_near(truth, c)) << "workspace: " << with_workspace;
        }
        DenseCase again(spec), once_more(spec);
        run_forward(device, plan.get(), again);
        run_forward(device, plan.get(), once_more);
        EXPECT_TRUE(again.o.same_bytes(once_more.o)) << "parts are joined in their order";
        EXPECT_TRUE(again.lse.same_bytes(once_more.lse));
    }
}

TEST_F(DensePlanOnCuda, SplitRunsLeaveRowsOfNoSequenceAsTheyAre) {
    DenseSpec spec = dense_spec_of(DType::kBF16, 1, 1, 32);
    spec.batch = 2;
    spec.q_lens = {4, 6};
    spec.kv_lens = {700, 600};
    DenseCase c(spec);
    const PlanHandle plan = plan_of(c);
    ASSERT_NE(plan, nullptr);
    DenseCase whole(spec);
    c.cu_seqlens_q = whole.cu_seqlens_q = {0, 3, 8};
    run_forward(device, plan.get(), c);
    run_forward(device, plan.get(), whole, false);
    for (int64 token = 0; token < 10; ++token) {
        const bool written = token < 8;
        EXPECT_NE(std::isnan(c.o.at(0, 0, token, 0)), written) << token;
        EXPECT_NE(std::isnan(c.lse.at(0, 0, token, 0)), written) << token;
        if (!written) continue;
        EXPECT_NEAR(c.lse.at(0, 0, token, 0), whole.lse.at(0, 0, token, 0), 1e-5);
    }
}

TEST_F(DensePlanOnCuda, ASplitRunRefusesAWorkspaceThatIsTooSmall) {
    DenseCase c(dense_spec_of(DType::kBF16, 1, 700, 64));
    const PlanHandle plan = plan_of(c);
    ASSERT_NE(plan, nullptr);
    OnDevice memory(device);
    fattn_dense_forward_args args = c.c_forward();
    args.q = memory.put(c.q);
    args.k = memory.put(c.k);
    args.v = memory.put(c.v);
    args.o = memory.put(c.o);
    args.lse = static_cast<float*>(memory.put(c.lse));
    fattn_run run{};
    run.struct_size = sizeof(run);
    run.workspace = memory.reserve(64);
    run.workspace_bytes = 64;
    EXPECT_EQ(fattn_dense_forward(plan.get(), &args, &run), FATTN_STATUS_WORKSPACE_TOO_SMALL);
    EXPECT_NE(std::strstr(fattn_last_error(), "this run needs 528 bytes"), nullptr)
        << fattn_last_error();
}

TEST_F(DensePlanOnCuda, InfiniteValuesReachOnlyRowsThatSeeThem) {
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
        DenseSpec spec = dense_spec_of(dtype, 70, 70, 64);
        spec.causal = true;
        DenseCase finite(spec);
        const PlanHandle plan = plan_of(finite);
        ASSERT_NE(plan, nullptr);
        run_forward(device, plan.get(), finite);
        // Key 68 is seen by the last two queries.
        DenseCase c(spec);
        c.v.set(0, 0, 68, 3, INFINITY);
        c.v.set(0, 0, 68, 10, -INFINITY);
        c.v.set(0, 0, 68, 63, NAN);
        run_forward(device, plan.get(), c);
        for (int64 i = 0; i < spec.q_len; ++i) {
            for (int64 d = 0; d < spec.head_dim_v; ++d) {
                const double x = c.o.at(0, 0, i, d);
                if (i < 68 || (d != 3 && d != 10 && d != 63)) {
                    ASSERT_EQ(x, finite.o.at(0, 0, i, d)) << "row " << i << ", number " << d;
                }
            }
        }
        for (int64 i = 68; i < spec.q_len; ++i) {
            EXPECT_EQ(c.o.at(0, 0, i, 3), INFINITY) << "row " << i;
            EXPECT_EQ(c.o.at(0, 0, i, 10), -INFINITY) << "row " << i;
            EXPECT_TRUE(std::isnan(c.o.at(0, 0, i, 63))) << "row " << i;
        }
    }
}

// The block of the second 64 rows has two tiles in part, the first with an infinity that its rows
// do not see: the loop for such tiles takes both.
TEST_F(DensePlanOnCuda, AnInfinityLeftOfTheWindowReachesNobody) {
    for (const float softcap : {0.0F, 5.0F}) {  // by the lean and the general key
        DenseSpec spec = dense_spec_of(DType::kBF16, 128, 128, 64);
        spec.causal = true;
        spec.window_left = 40;
        spec.softcap = softcap;
        DenseCase finite(spec), c(spec);
        const PlanHandle plan = plan_of(finite);
        ASSERT_NE(plan, nullptr);
        run_forward(device, plan.get(), finite);
        c.v.set(0, 0, 10, 3, INFINITY);
        run_forward(device, plan.get(), c);
        for (int64 i = 0; i < spec.q_len; ++i) {
            const bool sees = i >= 10 && i <= 50;
            for (int64 d = 0; d < spec.head_dim_v; ++d) {
                const double expected = sees && d == 3 ? INFINITY : finite.o.at(0, 0, i, d);
                ASSERT_EQ(c.o.at(0, 0, i, d), expected) << "row " << i << ", number " << d;
            }
        }
    }
}

TEST_F(DensePlanOnCuda, ForwardIsNearTheReferenceOnAnotherModel) {
    device = open(kVirtualSm89);
    handle = open_handle(kVirtualSm89);
    ASSERT_NE(device, nullptr);
    ASSERT_NE(handle, nullptr);
    DenseSpec lean = dense_spec_of(DType::kBF16, 70, 130, 64);
    lean.causal = true;
    DenseSpec general =
        dense_spec_of(DType::kF16, 33, 65, 256);  // of all keys the most shared memory
    general.softcap = 5;
    for (const DenseSpec& spec : {lean, general}) {
        DenseCase c(spec);
        const PlanHandle plan = plan_of(c);
        ASSERT_NE(plan, nullptr);
        run_forward(device, plan.get(), c);
        EXPECT_TRUE(forward_is_near(dense_truth(c), c));
    }
}

TEST_F(DensePlanOnCuda, ARunIsCapturedAndReplayed) {
    DenseCase c(dense_spec_of(DType::kBF16, 20, 40, 64));
    const PlanHandle plan = plan_of(c);
    ASSERT_NE(plan, nullptr);
    c.reset_outputs();
    OnDevice memory(device);
    Stream stream;
    ASSERT_STATUS_OK(Stream::create(device, 0, &stream));
    fattn_dense_forward_args args = c.c_forward();
    args.q = memory.put(c.q);
    args.k = memory.put(c.k);
    args.v = memory.put(c.v);
    args.o = memory.put(c.o);
    args.lse = static_cast<float*>(memory.put(c.lse));
    fattn_run run{};
    run.struct_size = sizeof(run);
    run.stream = stream.handle();
    GraphCapture capture(stream);
    ASSERT_EQ(capture.begin(), Result::kSuccess);
    ASSERT_TRUE(ok(fattn_dense_forward(plan.get(), &args, &run)));
    ASSERT_EQ(capture.end(), Result::kSuccess) << "a run neither waits nor allocates nor loads";
    ASSERT_EQ(capture.replay(), Result::kSuccess);
    ASSERT_STATUS_OK(stream.synchronize());
    memory.get(args.o, c.o);
    memory.get(args.lse, c.lse);
    EXPECT_TRUE(forward_is_near(dense_truth(c), c));
}

TEST_F(DensePlanOnCuda, RandomProblemsAreNearTheReference) {
    constexpr double kMostWork = 1.5e6;  // multiply-adds that the interpreter does in some seconds
    const test::Sampling seeds = test::sampling(12, 200);
    int num_problems = 0;
    for (uint64 seed = seeds.first_seed; num_problems < seeds.count; ++seed) {
        const DenseSpec spec = test::random_dense_spec(seed, false);
        if (spec.work() > kMostWork || max_of(spec.head_dim, spec.head_dim_v) > 256) continue;
        ++num_problems;
        DenseCase c(spec);
        const PlanHandle plan = plan_of(c);
        ASSERT_NE(plan, nullptr);
        run_forward(device, plan.get(), c);
        test::TruthInTwoSteps<test::DenseTruth> truth(
            [&](test::Effort effort) { return dense_truth(c, {}, effort); });
        EXPECT_TRUE(truth.check([&](const test::DenseTruth& of_c) {
            return forward_is_near(of_c, c);
        })) << "seed "
            << seed;
    }
}

}  // namespace
}  // namespace fattn::cuda
