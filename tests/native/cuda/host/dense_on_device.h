// Dense cases of the tests on a CUDA device: their arrays in device memory and whole runs through
// the C interface; used by the tests of plans.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <list>

#include "cuda/runtime/memory.h"
#include "cuda/virtual_device.h"
#include "support/dense_case.h"
#include "support/dense_truth.h"

namespace fattn::cuda {

/// Tests of dense plans on the virtual GPU.
class DensePlanOnCuda : public OnVirtualDevice {
  protected:
    void SetUp() override {
        OnVirtualDevice::SetUp();
        if (device != nullptr) handle = open_handle(kVirtualSm80);
    }

    test::DeviceHandle open_handle(int index) {
        fattn_device* opened = nullptr;
        EXPECT_TRUE(test::ok(fattn_device_open(FATTN_DEVICE_KIND_CUDA, index, nullptr, &opened)));
        return test::DeviceHandle(opened);
    }

    test::PlanHandle plan_of(const test::DenseCase& c) {
        const fattn_dense_problem problem = c.c_problem();
        fattn_plan* plan = nullptr;
        EXPECT_TRUE(test::ok(fattn_dense_plan(handle.get(), &problem, &plan)))
            << describe(c.spec());
        return test::PlanHandle(plan);
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
    void* put(test::Tensor& tensor) {
        if (!tensor.present()) return nullptr;
        const auto& memory = tensor.memory();
        return static_cast<char*>(put(memory.data(), memory.size())) + test::Tensor::first_byte();
    }
    const int32* put(const std::vector<int32>& numbers) { return put_numbers(numbers); }
    /// Null where there are none.
    template <class Number>
    Number* put_numbers(const std::vector<Number>& numbers) {
        if (numbers.empty()) return nullptr;
        return static_cast<Number*>(put(numbers.data(), numbers.size() * sizeof(Number)));
    }
    /// Copies back what put_numbers() of these returned.
    template <class Number>
    void get_numbers(const Number* address, std::vector<Number>& numbers) {
        if (address != nullptr) copy_back(address, numbers.data(), numbers.size() * sizeof(Number));
    }
    /// Copies back what put() of this tensor returned.
    void get(const void* address, test::Tensor& tensor) {
        if (address == nullptr) return;
        copy_back(static_cast<const char*>(address) - test::Tensor::first_byte(),
                  tensor.memory().data(), tensor.memory().size());
    }

    /// Memory of the device that holds nothing yet.
    void* reserve(std::size_t bytes) {
        const std::vector<char> nothing(bytes);
        return put(nothing.data(), bytes);
    }

  private:
    void copy_back(const void* address, void* to, std::size_t bytes) {
        EXPECT_TRUE(
            copy_to_host(stream_, to, reinterpret_cast<std::uintptr_t>(address), bytes).ok());
        const Status status = stream_.synchronize();
        EXPECT_TRUE(status.ok()) << status.message();
    }
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

/// The tensor anew, contiguous and in another type.
inline void retype(test::Tensor* tensor, DType dtype) {
    const TensorLayout layout = tensor->layout();
    const int64* n = layout.shape;
    *tensor = test::Tensor(contiguous(n[0], n[1], n[2], n[3], dtype));
}

/// Whether a tensor holds the numbers of another, rounded to its type.
inline bool is_rounded(const test::Tensor& wide, const test::Tensor& narrow) {
    test::Tensor rounded(narrow.layout());
    const std::vector<double> values = wide.values();
    rounded.fill([next = values.begin()]() mutable { return *next++; });
    return rounded.values() == narrow.values();
}

/// A forward run of the case on the device, with the workspace that the plan asks for or without
/// any; o and lse are copied back.
inline void run_forward(const std::shared_ptr<const Device>& device, fattn_plan* plan,
                        test::DenseCase& c, bool with_workspace = true) {
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
    fattn_run run{};
    run.struct_size = sizeof(run);
    std::uint64_t bytes = 0;
    ASSERT_TRUE(test::ok(fattn_plan_workspace(plan, FATTN_PASS_FORWARD, 0, nullptr, &bytes)));
    if (bytes > 0 && with_workspace) {
        run.workspace = memory.reserve(bytes);
        run.workspace_bytes = bytes;
    }
    ASSERT_TRUE(test::ok(fattn_dense_forward(plan, &args, &run))) << describe(c.spec());
    memory.get(args.o, c.o);
    memory.get(args.lse, c.lse);
}

/// The arguments of a backward run of a case whose forward has run, in device memory, and the run's
/// workspace. A gradient is left out by setting its pointer to null.
class BackwardOnDevice {
  public:
    BackwardOnDevice(const std::shared_ptr<const Device>& device, fattn_plan* plan,
                     test::DenseCase& c)
        : case_(c), memory_(device), plan_(plan) {
        c.reset_gradients();
        args = c.c_backward();
        args.q = memory_.put(c.q);
        args.k = memory_.put(c.k);
        args.v = memory_.put(c.v);
        args.d_o = memory_.put(c.d_o);
        args.d_lse = floats(c.d_lse);
        args.bias = memory_.put(c.bias);
        args.mask = memory_.put(c.mask);
        args.alibi_slopes = floats(c.alibi_slopes);
        args.sink_logits = floats(c.sink_logits);
        args.cu_seqlens_q = memory_.put(c.cu_seqlens_q);
        args.cu_seqlens_k = memory_.put(c.cu_seqlens_k);
        args.kv_len = memory_.put(c.spec().kv_len_of_run);
        args.o = c.spec().sigmoid ? nullptr : memory_.put(c.o);
        if (args.lse != nullptr) args.lse = floats(c.lse);
        args.d_q = memory_.put(c.d_q);
        args.d_k = memory_.put(c.d_k);
        args.d_v = memory_.put(c.d_v);
        args.d_bias = floats(c.d_bias);
        args.d_sink_logits = floats(c.d_sink_logits);
        args.flags = FATTN_DENSE_ARGS_LENGTHS_ON_DEVICE;
        run.struct_size = sizeof(run);
        std::uint64_t bytes = 0;
        EXPECT_TRUE(test::ok(fattn_plan_workspace(plan, FATTN_PASS_BACKWARD, 0, nullptr, &bytes)));
        if (bytes == 0) return;
        run.workspace = memory_.reserve(bytes);
        run.workspace_bytes = bytes;
    }

    fattn_status start() const { return fattn_dense_backward(plan_, &args, &run); }

    void get_gradients() {
        memory_.get(args.d_q, case_.d_q);
        memory_.get(args.d_k, case_.d_k);
        memory_.get(args.d_v, case_.d_v);
        memory_.get(args.d_bias, case_.d_bias);
        memory_.get(args.d_sink_logits, case_.d_sink_logits);
    }

    fattn_dense_backward_args args{};
    fattn_run run{};

  private:
    float* floats(test::Tensor& tensor) { return static_cast<float*>(memory_.put(tensor)); }

    test::DenseCase& case_;
    OnDevice memory_;
    fattn_plan* plan_;
};

/// A backward run of a case whose forward has run; the gradients are copied back.
inline void run_backward(const std::shared_ptr<const Device>& device, fattn_plan* plan,
                         test::DenseCase& c) {
    BackwardOnDevice backward(device, plan, c);
    ASSERT_TRUE(test::ok(backward.start())) << describe(c.spec());
    backward.get_gradients();
}

}  // namespace fattn::cuda
