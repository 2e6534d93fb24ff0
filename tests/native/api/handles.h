// Owning wrappers of the C interface's handles and small contiguous problems, for the tests of
// api/.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "core/tensor_view.h"
#include "fused_attention/fused_attention.h"
#include "support/tensor.h"

namespace fattn::test {

struct Release {
    void operator()(fattn_device* device) const { fattn_device_release(device); }
    void operator()(fattn_plan* plan) const { fattn_plan_release(plan); }
};
using Device = std::unique_ptr<fattn_device, Release>;
using Plan = std::unique_ptr<fattn_plan, Release>;

inline Device cpu_device() {
    fattn_device* device = nullptr;
    EXPECT_EQ(fattn_device_cpu(&device), FATTN_STATUS_OK) << fattn_last_error();
    return Device(device);
}

inline Plan make_plan(fattn_device* device, const fattn_dense_problem& problem) {
    fattn_plan* plan = nullptr;
    EXPECT_EQ(fattn_dense_plan(device, &problem, &plan), FATTN_STATUS_OK) << fattn_last_error();
    return Plan(plan);
}

inline fattn_layout layout(int64 a, int64 b, int64 c, int64 d, DType dtype = DType::kF32) {
    return to_c(contiguous(a, b, c, d, dtype));
}

/// q [2, 4, 6, 8], k [2, 2, 10, 8], v [2, 1, 10, 16], f32.
inline fattn_dense_problem small_problem() {
    fattn_dense_problem p{};
    p.struct_size = sizeof(p);
    p.q = layout(2, 4, 6, 8);
    p.k = layout(2, 2, 10, 8);
    p.v = layout(2, 1, 10, 16);
    return p;
}

/// A failing call: its status and its text.
#define EXPECT_FAILS(call, expected_status, expected_text)             \
    do {                                                               \
        EXPECT_EQ((call), static_cast<fattn_status>(expected_status)); \
        EXPECT_STREQ(fattn_last_error(), expected_text);               \
    } while (false)

}  // namespace fattn::test
