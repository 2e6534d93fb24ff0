// Dense plans on CUDA devices through the C interface: what is refused and why, and forward runs on
// the virtual GPU against the double-precision reference.
#include <gtest/gtest.h>

#include <cstring>
#include <list>

#include "cuda/graph_capture.h"
#include "cuda/runtime/memory.h"
#include "cuda/virtual_device.h"
#include "support/dense_truth.h"
#include "support/random_dense.h"

namespace fattn::cuda {
namespace {

using test::DenseCase;
using test::DenseSpec;
using test::ok;
using test::PlanHandle;
using test::Tensor;

DenseSpec spec_of(DType dtype, int64 q_len, int64 kv_len, int64 head_dim) {
    DenseSpec spec;
    spec.dtype = dtype;
    spec.q_len = q_len;
    spec.kv_len = kv_len;
    spec.head_dim = spec.head_dim_v = head_dim;
    return spec;
}

class DensePlanOnCuda : public OnVirtualDevice {
  protected:
    void SetUp() override {
        OnVirtualDevice::SetUp();
        if (device != nullptr) handle = open_handle(kVirtualSm80);
    }

    test::DeviceHandle open_handle(int index) {
        fattn_device* opened = nullptr;
        EXPECT_TRUE(ok(fattn_device_open(FATTN_DEVICE_KIND_CUDA, index, nullptr, &opened)));
        return test::DeviceHandle(opened);
    }

    PlanHandle plan_of(const DenseCase& c) {
        const fattn_dense_problem problem = c.c_problem();
        fattn_plan* plan = nullptr;
        EXPECT_TRUE(ok(fattn_dense_plan(handle.get(), &problem, &plan))) << describe(c.spec());
        return PlanHandle(plan);
    }

    test::DeviceHandle handle;
};

/// The arrays of a case in device memory, for as long as the object lives.
class OnDevice {
  public:
    explicit OnDevice(std::shared_ptr<const Device> device) : device_(std::move(device)) {
        EXPECT_TRUE(Stream::borrow(device_, nullptr, &stream_).ok());
    }

    /// Copies the tensor's memory with its margins; the address of its first element.
    void* put(Tensor& tensor) {
        if (!tensor.present()) return nullptr;
        const auto& memory = tensor.memory();
        return static_cast<char*>(put(memory.data(), memory.size())) + Tensor::first_byte();
    }
    const int32* put(const std::vector<int32>& numbers) {
        if (numbers.empty()) return nullptr;
        return static_cast<const int32*>(put(numbers.data(), numbers.size() * sizeof(int32)));
    }
    /// Copies back what put() of this tensor returned.
    void get(const void* address, Tensor& tensor) {
        if (address == nullptr) return;
        const auto pointer = reinterpret_cast<std::uintptr_t>(address) - Tensor::first_byte();
        EXPECT_TRUE(
            copy_to_host(stream_, tensor.memory().data(), pointer, tensor.memory().size()).ok());
        const Status status = stream_.synchronize();
        EXPECT_TRUE(status.ok()) << status.message();
    }

  private:
    void* put(const void* data, std::size_t bytes) {
        DeviceMemory& memory = memories_.emplace_back();
        EXPECT_TRUE(DeviceMemory::allocate(device_, bytes, &memory).ok());
        EXPECT_TRUE(copy_to_device(stream_, memory.address(), data, bytes).ok());
        EXPECT_TRUE(stream_.synchronize().ok());
        return reinterpret_cast<void*>(static_cast<std::uintptr_t>(memory.address()));
    }

    std::shared_ptr<const Device> device_;
    Stream stream_;
    std::list<DeviceMemory> memories_;
};

/// A forward run of the case on the device; o and lse are copied back.
void run_forward(const std::shared_ptr<const Device>& device, fattn_plan* plan, DenseCase& c) {
    c.reset_outputs();
    OnDevice memory(device);
    fattn_dense_forward_args args = c.c_forward();
    args.q = memory.put(c.q);
    args.k = memory.put(c.k);
    args.v = memory.put(c.v);
    args.bias = memory.put(c.bias);
    args.mask = memory.put(c.mask);
    args.alibi_slopes = static_cast<const float*>(memory.put(c.alibi_slopes));
    args.sink_logits = static_cast<const float*>(memory.put(c.sink_logits));
    args.cu_seqlens_q = memory.put(c.cu_seqlens_q);
    args.cu_seqlens_k = memory.put(c.cu_seqlens_k);
    args.kv_len = memory.put(c.spec().kv_len_of_run);
    args.block_table = memory.put(c.block_table);
    args.o = memory.put(c.o);
    if (args.lse != nullptr) args.lse = static_cast<float*>(memory.put(c.lse));
    args.flags = FATTN_DENSE_ARGS_LENGTHS_ON_DEVICE;
    ASSERT_TRUE(ok(fattn_dense_forward(plan, &args, nullptr))) << describe(c.spec());
    memory.get(args.o, c.o);
    memory.get(args.lse, c.lse);
}

TEST_F(DensePlanOnCuda, TheDeviceDescribesItself) {
    fattn_device_description description{};
    description.struct_size = sizeof(description);
    ASSERT_TRUE(ok(fattn_device_info(handle.get(), &description)));
    EXPECT_EQ(description.kind, static_cast<fattn_device_kind>(FATTN_DEVICE_KIND_CUDA));
    EXPECT_EQ(description.index, kVirtualSm80);
    EXPECT_EQ(device->properties().name, description.name);
    EXPECT_NE(std::strstr(description.reason, "sm_80, driver of CUDA 12"), nullptr)
        << description.reason;
}

TEST_F(DensePlanOnCuda, WhatHasNoKernelIsRefusedByName) {
    DenseSpec spec = spec_of(DType::kF16, 4, 4, 32);
    spec.backward = true;
    fattn_dense_problem problem = DenseCase(spec).c_problem();
    EXPECT_EQ(fattn_supports_dense(handle.get(), &problem), FATTN_STATUS_UNSUPPORTED);
    EXPECT_STREQ(
        fattn_last_error(),
        "the backward pass of dense attention has no CUDA kernel in this version; make the "
        "plan on the CPU device");
    spec.backward = false;
    spec.head_dim = 320;
    problem = DenseCase(spec).c_problem();
    EXPECT_EQ(fattn_supports_dense(handle.get(), &problem), FATTN_STATUS_UNSUPPORTED);
    EXPECT_NE(std::strstr(fattn_last_error(), "head dim is 320"), nullptr) << fattn_last_error();
}

TEST_F(DensePlanOnCuda, RunsRefuseWhatOnlyTheCpuTakes) {
    DenseCase c(spec_of(DType::kBF16, 4, 4, 32));
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
    DenseCase c(spec_of(DType::kBF16, 4, 4, 32));
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
    DenseSpec causal = spec_of(DType::kBF16, 70, 130, 64);
    causal.num_q_heads = 2;
    causal.causal = true;
    DenseSpec two_dims = spec_of(DType::kF16, 33, 65, 128);
    two_dims.batch = 2;
    two_dims.head_dim_v = 96;
    DenseSpec modified = spec_of(DType::kF32, 40, 70, 40);
    modified.softcap = 5;
    modified.alibi = modified.sink = true;
    DenseSpec dropped = spec_of(DType::kBF16, 20, 90, 32);
    dropped.dropout_p = 0.25F;
    dropped.bias = DType::kF32;
    for (const DenseSpec& spec : {causal, two_dims, modified, dropped}) {
        DenseCase c(spec);
        const PlanHandle plan = plan_of(c);
        ASSERT_NE(plan, nullptr);
        run_forward(device, plan.get(), c);
        EXPECT_TRUE(forward_is_near(dense_truth(c), c));
    }
}

TEST_F(DensePlanOnCuda, ForwardIsNearTheReferenceOnAnotherModel) {
    device = open(kVirtualSm89);
    handle = open_handle(kVirtualSm89);
    ASSERT_NE(device, nullptr);
    ASSERT_NE(handle, nullptr);
    DenseSpec lean = spec_of(DType::kBF16, 70, 130, 64);
    lean.causal = true;
    DenseSpec general = spec_of(DType::kF16, 33, 65, 256);  // of all keys the most shared memory
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
    DenseCase c(spec_of(DType::kBF16, 20, 40, 64));
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
    int num_problems = 0;
    for (uint64 seed = 1; num_problems < 12; ++seed) {
        const DenseSpec spec = test::random_dense_spec(seed, false);
        if (spec.work() > kMostWork) continue;
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
