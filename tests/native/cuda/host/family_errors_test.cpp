// What every family says on a CUDA device to memory, streams, workspaces and types that it cannot
// take, and to problems without elements.
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "cuda/host/families_on_device.h"

namespace fattn::cuda {
namespace {

constexpr int64 kFamilyTokens = 6;

fattn_layout bf16_layout(int64 batch) {
    const int64 h = 2, l = kFamilyTokens, d = 8;
    return {{batch, h, l, d}, {h * l * d, l * d, d, 1}, FATTN_DTYPE_BF16, 4};
}

TensorsAt tensors_of_nothing() {
    TensorsAt t{};
    t.fill({bf16_layout(0), nullptr});
    return t;
}

class FamilyErrorsOnCuda : public DensePlanOnCuda {
  protected:
    /// Tensors, LSE and slopes in the memory of a device.
    struct Run {
        explicit Run(const std::shared_ptr<const Device>& device) : memory(device) {
            for (TensorAt& at : t) at = {bf16_layout(1), memory.reserve(kTensorBytes)};
            lse = static_cast<float*>(memory.reserve(2 * kFamilyTokens * sizeof(float)));
            slopes = memory.put_numbers(std::vector<float>{0.1F, 0.5F});
        }
        OnDevice memory;
        TensorsAt t{};
        float* lse;
        float* slopes;
    };

    static void expect_error(fattn_status status, fattn_status expected, const std::string& words) {
        EXPECT_EQ(status, expected);
        EXPECT_NE(std::strstr(fattn_last_error(), words.c_str()), nullptr) << fattn_last_error();
    }

    static constexpr std::size_t kTensorBytes = 2 * kFamilyTokens * 8 * 2;
};

TEST_F(FamilyErrorsOnCuda, HostMemoryIsRefusedByName) {
    Run run(device);
    std::vector<char> host(kTensorBytes + 64);
    void* at = host.data() + 64 - reinterpret_cast<std::uintptr_t>(host.data()) % 64;
    for_each_family(kFamilyTokens, run.slopes, [&](const auto& family) {
        SCOPED_TRACE(family.name);
        test::PlanHandle plan;
        ASSERT_TRUE(test::ok(family.plan(handle.get(), run.t, &plan)));
        TensorsAt t = run.t;
        t[kK].data = at;
        expect_error(family.run_forward(plan.get(), t, run.lse, nullptr),
                     FATTN_STATUS_INVALID_ARGUMENT, "args->k is not device memory");
        t[kK].data = run.t[kK].data;
        t[kDO].data = at;
        expect_error(family.run_backward(plan.get(), t, run.lse, nullptr),
                     FATTN_STATUS_INVALID_ARGUMENT, "args->d_o is not device memory");
    });
}

TEST_F(FamilyErrorsOnCuda, MemoryAndStreamsOfAnotherContextAreRefused) {
    const std::shared_ptr<const Device> other = open(kVirtualSm89);
    Run run(device);
    OnDevice there(other);
    Stream stream;
    ASSERT_STATUS_OK(Stream::create(other, 0, &stream));
    fattn_run elsewhere{};
    elsewhere.struct_size = sizeof(elsewhere);
    elsewhere.stream = stream.handle();
    for_each_family(kFamilyTokens, run.slopes, [&](const auto& family) {
        SCOPED_TRACE(family.name);
        test::PlanHandle plan;
        ASSERT_TRUE(test::ok(family.plan(handle.get(), run.t, &plan)));
        const char* const words = "the stream belongs to another context";
        expect_error(family.run_forward(plan.get(), run.t, run.lse, &elsewhere),
                     FATTN_STATUS_INVALID_ARGUMENT, words);
        expect_error(family.run_backward(plan.get(), run.t, run.lse, &elsewhere),
                     FATTN_STATUS_INVALID_ARGUMENT, words);
        TensorsAt t = run.t;
        t[kV].data = there.reserve(kTensorBytes);
        const char* const of_v = "args->v was allocated in another context";
        expect_error(family.run_forward(plan.get(), t, run.lse, nullptr),
                     FATTN_STATUS_INVALID_ARGUMENT, of_v);
        expect_error(family.run_backward(plan.get(), t, run.lse, nullptr),
                     FATTN_STATUS_INVALID_ARGUMENT, of_v);
    });
}

TEST_F(FamilyErrorsOnCuda, WorkspacesThatDoNotFitAreRefused) {
    Run run(device);
    int num_checked = 0;
    for_each_family(kFamilyTokens, run.slopes, [&](const auto& family) {
        SCOPED_TRACE(family.name);
        test::PlanHandle plan;
        ASSERT_TRUE(test::ok(family.plan(handle.get(), run.t, &plan)));
        const fattn_run fits = run_with_workspace(&run.memory, plan.get(), FATTN_PASS_BACKWARD);
        if (fits.workspace_bytes == 0) return;
        ++num_checked;
        const auto backward = [&](const fattn_run& of_run) {
            return family.run_backward(plan.get(), run.t, run.lse, &of_run);
        };
        fattn_run wrong = fits;
        wrong.workspace_bytes = fits.workspace_bytes - 1;
        expect_error(backward(wrong), FATTN_STATUS_WORKSPACE_TOO_SMALL,
                     "this run needs " + std::to_string(fits.workspace_bytes));
        wrong = fits;
        wrong.workspace = static_cast<char*>(fits.workspace) + 4;
        expect_error(backward(wrong), FATTN_STATUS_WORKSPACE_TOO_SMALL, "is not aligned");
        std::vector<char> host(fits.workspace_bytes + 64);
        wrong.workspace = host.data() + 64 - reinterpret_cast<std::uintptr_t>(host.data()) % 64;
        expect_error(backward(wrong), FATTN_STATUS_INVALID_ARGUMENT,
                     "run->workspace is not device memory");
        wrong = {};
        wrong.struct_size = sizeof(wrong);
        expect_error(backward(wrong), FATTN_STATUS_WORKSPACE_TOO_SMALL, "fattn_plan_prepare");
        EXPECT_TRUE(test::ok(backward(fits)));
    });
    EXPECT_EQ(num_checked, 4) << "plain linear attention takes none";
}

TEST_F(FamilyErrorsOnCuda, MixedTypesAreRefusedByThePlan) {
    for_each_family(kFamilyTokens, nullptr, [&](const auto& family) {
        SCOPED_TRACE(family.name);
        TensorsAt t{};
        t.fill({bf16_layout(1), nullptr});
        t[kK].layout.dtype = FATTN_DTYPE_F16;
        test::PlanHandle plan;
        expect_error(family.plan(handle.get(), t, &plan), FATTN_STATUS_INVALID_ARGUMENT,
                     "k.dtype is f16");
        EXPECT_EQ(plan, nullptr);
    });
}

TEST_F(FamilyErrorsOnCuda, ABatchOfNothingNeedsNoMemory) {
    const TensorsAt t = tensors_of_nothing();
    Run run(device);
    for_each_family(kFamilyTokens, run.slopes, [&](const auto& family) {
        SCOPED_TRACE(family.name);
        test::PlanHandle plan;
        ASSERT_TRUE(test::ok(family.plan(handle.get(), t, &plan)));
        EXPECT_TRUE(test::ok(family.run_forward(plan.get(), t, nullptr, nullptr)));
        EXPECT_TRUE(test::ok(family.run_backward(plan.get(), t, nullptr, nullptr)));
    });
}

}  // namespace
}  // namespace fattn::cuda
