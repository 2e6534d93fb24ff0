// Lengths of CUDA runs in host memory, and index contents that are checked on request.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "cuda/graph_capture.h"
#include "cuda/host/dense_on_device.h"

namespace fattn::cuda {
namespace {

using test::DenseCase;
using test::DenseSpec;
using test::ok;

/// Three packed sequences, the second without queries, the last with fewer keys than it holds.
DenseSpec packed_spec(bool backward = false) {
    DenseSpec spec;
    spec.dtype = DType::kF16;
    spec.q_lens = {9, 0, 5};
    spec.kv_lens = {12, 7, 6};
    spec.kv_len_of_run = {12, 7, 4};
    spec.batch = 3;
    spec.head_dim = spec.head_dim_v = 32;
    spec.causal = true;
    spec.backward = backward;
    return spec;
}

class HostLengthsOnCuda : public DensePlanOnCuda {
  protected:
    /// Arguments whose tensors are on the device and whose lengths are not.
    fattn_dense_forward_args forward_args(DenseCase& c, OnDevice& memory) {
        fattn_dense_forward_args args = c.c_forward();
        args.q = memory.put(c.q);
        args.k = memory.put(c.k);
        args.v = memory.put(c.v);
        args.o = memory.put(c.o);
        args.lse = static_cast<float*>(memory.put(c.lse));
        return args;
    }

    static void expect_refused(fattn_status found, const char* words) {
        EXPECT_NE(found, FATTN_STATUS_OK);
        EXPECT_NE(std::strstr(fattn_last_error(), words), nullptr) << fattn_last_error();
    }
};

TEST_F(HostLengthsOnCuda, AreTakenAlongAndMayChangeAtOnce) {
    DenseCase c(packed_spec(true));
    const test::PlanHandle plan = plan_of(c);
    ASSERT_NE(plan, nullptr);
    uint64_t bytes = 0;
    ASSERT_TRUE(ok(fattn_plan_workspace(plan.get(), FATTN_PASS_FORWARD, 0, nullptr, &bytes)));
    EXPECT_EQ(bytes, (4U + 4U + 3U) * sizeof(int32));

    c.reset_outputs();
    OnDevice memory(device);
    fattn_dense_forward_args args = forward_args(c, memory);
    std::vector<int32> starts = c.cu_seqlens_q;
    args.cu_seqlens_q = starts.data();
    expect_refused(fattn_dense_forward(plan.get(), &args, nullptr),
                   "the run needs 44 bytes of workspace");
    ASSERT_TRUE(ok(fattn_plan_prepare(plan.get(), FATTN_PASS_FORWARD, nullptr)));
    ASSERT_TRUE(ok(fattn_dense_forward(plan.get(), &args, nullptr)));
    std::fill(starts.begin(), starts.end(), 77);
    memory.get(args.o, c.o);
    memory.get(args.lse, c.lse);
    EXPECT_TRUE(forward_is_near(dense_truth(c), c));

    BackwardOnDevice backward(device, plan.get(), c);
    backward.args.flags = 0;
    backward.args.cu_seqlens_q = c.cu_seqlens_q.data();
    backward.args.cu_seqlens_k = c.cu_seqlens_k.data();
    backward.args.kv_len = c.spec().kv_len_of_run.data();
    ASSERT_TRUE(ok(backward.start()));
    backward.get_gradients();
    EXPECT_TRUE(backward_is_near(dense_truth(c), c));
}

TEST_F(HostLengthsOnCuda, AreCheckedLikeThoseOfTheCpu) {
    DenseCase c(packed_spec());
    const test::PlanHandle plan = plan_of(c);
    OnDevice memory(device);
    fattn_dense_forward_args args = forward_args(c, memory);
    const int32 falling[] = {0, 9, 8, 14};
    args.cu_seqlens_q = falling;
    expect_refused(fattn_dense_forward(plan.get(), &args, nullptr),
                   "args->cu_seqlens_q[2] is 8; it must be at least 9");
    args.cu_seqlens_q = c.cu_seqlens_q.data();
    const int32 many[] = {12, 7, 8};
    args.kv_len = many;
    expect_refused(fattn_dense_forward(plan.get(), &args, nullptr),
                   "args->kv_len[2] is 8; allowed are 0 to 6");
    args.kv_len = memory.put(c.spec().kv_len_of_run);
    expect_refused(fattn_dense_forward(plan.get(), &args, nullptr),
                   "args->kv_len is device memory; args->flags have to say so");
}

TEST_F(HostLengthsOnCuda, AreRefusedInACapture) {
    DenseCase c(packed_spec());
    const test::PlanHandle plan = plan_of(c);
    OnDevice memory(device);
    fattn_dense_forward_args args = forward_args(c, memory);
    Stream stream;
    ASSERT_STATUS_OK(Stream::create(device, 0, &stream));
    fattn_run run{};
    run.struct_size = sizeof(run);
    run.stream = stream.handle();
    run.workspace = memory.reserve(64);
    run.workspace_bytes = 64;
    GraphCapture capture(stream);
    ASSERT_EQ(capture.begin(), Result::kSuccess);
    expect_refused(fattn_dense_forward(plan.get(), &args, &run),
                   "the lengths are in host memory while the stream is being captured");
    ASSERT_EQ(capture.end(), Result::kSuccess);
}

TEST_F(HostLengthsOnCuda, ThoseOnTheDeviceAreCheckedOnRequest) {
    DenseCase c(packed_spec());
    const test::PlanHandle plan = plan_of(c);
    OnDevice memory(device);
    fattn_dense_forward_args args = forward_args(c, memory);
    args.flags = FATTN_DENSE_ARGS_LENGTHS_ON_DEVICE | FATTN_DENSE_ARGS_VALIDATE_ON_DEVICE;
    args.cu_seqlens_q = memory.put(std::vector<int32>{0, 9, 9, 99});
    args.cu_seqlens_k = memory.put(c.cu_seqlens_k);
    args.kv_len = memory.put(c.spec().kv_len_of_run);
    expect_refused(fattn_dense_forward(plan.get(), &args, nullptr),
                   "args->cu_seqlens_q[3] is 99; it must be at most 14, the packed tokens");
    args.cu_seqlens_q = c.cu_seqlens_q.data();
    expect_refused(fattn_dense_forward(plan.get(), &args, nullptr),
                   "args->cu_seqlens_q is not device memory");
    args.cu_seqlens_q = memory.put(c.cu_seqlens_q);
    EXPECT_TRUE(ok(fattn_dense_forward(plan.get(), &args, nullptr)));
}

TEST_F(HostLengthsOnCuda, PagesAreCheckedOnRequest) {
    DenseSpec spec;
    spec.dtype = DType::kF16;
    spec.batch = 2;
    spec.kv_len = 32;
    spec.page_size = 16;
    spec.kv_len_of_run = {20, 3};
    spec.head_dim = spec.head_dim_v = 32;
    DenseCase c(spec);
    const test::PlanHandle plan = plan_of(c);
    ASSERT_NE(plan, nullptr);
    ASSERT_TRUE(ok(fattn_plan_prepare(plan.get(), FATTN_PASS_FORWARD, nullptr)));
    OnDevice memory(device);
    fattn_dense_forward_args args = forward_args(c, memory);
    args.flags = FATTN_DENSE_ARGS_VALIDATE_ON_DEVICE;
    std::vector<int32> pages = c.block_table;
    pages[1] = -3;
    args.block_table = memory.put(pages);
    expect_refused(fattn_dense_forward(plan.get(), &args, nullptr),
                   "args->block_table[0][1] is -3; allowed are 0 to");
    pages = c.block_table;
    pages.back() = -3;  // of keys that do not exist
    args.block_table = memory.put(pages);
    EXPECT_TRUE(ok(fattn_dense_forward(plan.get(), &args, nullptr)));
}

}  // namespace
}  // namespace fattn::cuda
