// Offsets past 2^31 elements in device memory: the bits of tensors that lie close together. Between
// the two halves of a tensor lies nothing, so a wrong offset ends the run.
#include <gtest/gtest.h>

#include <cstddef>
#include <memory>
#include <random>
#include <vector>

#include "core/convert.h"
#include "cuda/host/families_on_device.h"
#include "support/sampling.h"

namespace fattn::cuda {
namespace {

constexpr std::uint64_t kFarBytes = (std::uint64_t{1} << 32) + (std::uint64_t{1} << 20);
constexpr std::size_t kHalfBytes = 16384;

/// Two blocks so far from each other that a step between them leaves 32 bits, in elements too.
struct FarBlocks {
    DeviceMemory low;
    DeviceMemory high;

    std::int64_t stride() const {
        return static_cast<std::int64_t>(high.address() - low.address()) / 2;
    }
};

/// Blocks of the virtual GPU never lie where another one lay: taking some and giving them back
/// moves on. False where memory comes again.
bool find_far_blocks(const std::shared_ptr<const Device>& device, FarBlocks* blocks) {
    constexpr std::size_t kStepBytes = std::size_t{128} << 20;
    EXPECT_TRUE(DeviceMemory::allocate(device, kHalfBytes, &blocks->low).ok());
    for (int n = 0; n < 40; ++n) {
        DeviceMemory step;
        EXPECT_TRUE(DeviceMemory::allocate(device, kStepBytes, &step).ok());
        if (step.address() < blocks->low.address() + kFarBytes) continue;
        EXPECT_TRUE(DeviceMemory::allocate(device, kHalfBytes, &blocks->high).ok());
        return blocks->high.address() >= blocks->low.address() + kFarBytes;
    }
    return false;
}

/// Two entries, heads or tokens lie far apart; of the other axes there is as much as there is.
class FarCase {
  public:
    FarCase(const std::shared_ptr<const Device>& device, int axis, FarBlocks* inputs,
            FarBlocks* outputs)
        : axis_(axis), inputs_(inputs), outputs_(outputs), memory_(device) {
        EXPECT_TRUE(Stream::borrow(device, nullptr, &stream_).ok());
        std::mt19937 random(static_cast<unsigned>(axis));
        std::normal_distribution<float> normal;
        for (std::size_t name = 0; name < kTensorNames; ++name) {
            data_[name].resize(2 * half_elements());
            for (uint16& x : data_[name]) x = to_bf16(normal(random)).bits;
            near_[name] = {near_layout(), memory_.put_numbers(data_[name])};
        }
        lse_ = static_cast<float*>(memory_.reserve(2 * 2 * 6 * sizeof(float)));
        slopes_ = memory_.put_numbers(std::vector<float>{0.1F, 0.5F});
    }

    int64 num_tokens() const { return axis_ == 2 ? 2 : 6; }
    const float* slopes() const { return slopes_; }

    template <class Family>
    void expect_far_equals_near(fattn_device* device, const Family& family) {
        run(device, family, near_, FATTN_PASS_FORWARD);
        run(device, family, near_, FATTN_PASS_BACKWARD);
        std::vector<uint16> expected[kTensorNames];
        for (const TensorName name : {kO, kDQ, kDK, kDV}) {
            expected[name].resize(2 * half_elements());
            memory_.get_numbers(static_cast<const uint16*>(near_[name].data), expected[name]);
        }
        TensorsAt far = near_;
        for (const TensorName name : {kQ, kK, kV, kDO}) put_far(name, data_[name], &far);
        TensorsAt of_forward = far;
        of_forward[kO] = {far_layout(outputs_), address(outputs_->low.address())};
        run(device, family, of_forward, FATTN_PASS_FORWARD);
        EXPECT_EQ(get_far(), expected[kO]) << "o";
        put_far(kO, expected[kO], &far);
        for (const TensorName name : {kDQ, kDK, kDV}) {
            TensorsAt of_backward = far;
            for (const TensorName other : {kDQ, kDK, kDV}) of_backward[other].data = nullptr;
            of_backward[name] = {far_layout(outputs_), address(outputs_->low.address())};
            run(device, family, of_backward, FATTN_PASS_BACKWARD);
            EXPECT_EQ(get_far(), expected[name]) << "gradient " << name;
        }
    }

  private:
    static constexpr int64 kDim = 8;

    static void* address(DevicePointer at) {
        return reinterpret_cast<void*>(static_cast<std::uintptr_t>(at));
    }
    int64 extent(int axis) const { return axis == 2 ? num_tokens() : axis > axis_ ? 2 : 1; }
    /// With so many entries or heads before the far axis as one, and two of it.
    fattn_layout layout_with(int64 of_far_axis) const {
        int64 n[3] = {extent(0), extent(1), extent(2)};
        n[axis_] = of_far_axis;
        return {{n[0], n[1], n[2], kDim},
                {n[1] * n[2] * kDim, n[2] * kDim, kDim, 1},
                FATTN_DTYPE_BF16,
                4};
    }
    fattn_layout near_layout() const { return layout_with(2); }
    fattn_layout far_layout(const FarBlocks* blocks) const {
        fattn_layout far = layout_with(1);
        far.shape[axis_] = 2;
        far.strides[axis_] = blocks->stride();
        return far;
    }
    std::size_t half_elements() const {
        const fattn_layout half = layout_with(1);
        return static_cast<std::size_t>(half.shape[0] * half.strides[0]);
    }

    /// A tensor's halves are contiguous in near memory too, since no axis before the far one has
    /// more than one entry.
    void put_far(TensorName name, const std::vector<uint16>& data, TensorsAt* far) {
        const std::size_t bytes = half_elements() * sizeof(uint16);
        const std::size_t offset = name * ((bytes + 255) / 256 * 256);
        ASSERT_LE(offset + bytes, kHalfBytes);
        EXPECT_TRUE(
            copy_to_device(stream_, inputs_->low.address() + offset, data.data(), bytes).ok());
        EXPECT_TRUE(copy_to_device(stream_, inputs_->high.address() + offset,
                                   data.data() + half_elements(), bytes)
                        .ok());
        EXPECT_TRUE(stream_.synchronize().ok());
        (*far)[name] = {far_layout(inputs_), address(inputs_->low.address() + offset)};
    }
    std::vector<uint16> get_far() {
        std::vector<uint16> data(2 * half_elements());
        const std::size_t bytes = half_elements() * sizeof(uint16);
        EXPECT_TRUE(copy_to_host(stream_, data.data(), outputs_->low.address(), bytes).ok());
        EXPECT_TRUE(
            copy_to_host(stream_, data.data() + half_elements(), outputs_->high.address(), bytes)
                .ok());
        EXPECT_TRUE(stream_.synchronize().ok());
        return data;
    }

    template <class Family>
    void run(fattn_device* device, const Family& family, const TensorsAt& t, fattn_pass pass) {
        test::PlanHandle plan;
        ASSERT_TRUE(test::ok(family.plan(device, t, &plan)));
        const fattn_run run = run_with_workspace(&memory_, plan.get(), pass);
        ASSERT_TRUE(test::ok(pass == static_cast<fattn_pass>(FATTN_PASS_FORWARD)
                                 ? family.run_forward(plan.get(), t, lse_, &run)
                                 : family.run_backward(plan.get(), t, lse_, &run)));
        EXPECT_TRUE(stream_.synchronize().ok());
    }

    const int axis_;
    FarBlocks* const inputs_;
    FarBlocks* const outputs_;
    OnDevice memory_;
    Stream stream_;
    std::vector<uint16> data_[kTensorNames];
    TensorsAt near_{};
    float* lse_;
    const float* slopes_;
};

using FarOffsetsOnCuda = DensePlanOnCuda;

TEST_F(FarOffsetsOnCuda, TensorsThatLieFarApartGiveTheBitsOfThoseThatDoNot) {
    if (!test::runs_everything()) GTEST_SKIP() << "passing over 8 GB of memory takes half a minute";
    FarBlocks inputs, outputs;
    if (!find_far_blocks(device, &inputs) || !find_far_blocks(device, &outputs)) {
        GTEST_SKIP() << "this device gives the same memory again";
    }
    for (const int axis : {0, 1, 2}) {
        SCOPED_TRACE(axis);
        FarCase c(device, axis, &inputs, &outputs);
        for_each_family(c.num_tokens(), c.slopes(), [&](const auto& family) {
            SCOPED_TRACE(family.name);
            c.expect_far_equals_near(handle.get(), family);
        });
    }
}

}  // namespace
}  // namespace fattn::cuda
