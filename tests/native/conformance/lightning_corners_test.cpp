// Linear attention at its corners: single tokens and features, empty extents, extreme slopes, all
// head dims around tiles, long sequences.
#include <gtest/gtest.h>

#include <string>

#include "support/lightning_truth.h"
#include "support/sampling.h"

namespace fattn::test {
namespace {

LightningSpec spec_of(int64 len, int64 head_dim, int64 head_dim_v) {
    LightningSpec spec;
    spec.batch = 8;
    spec.num_q_heads = 4;
    spec.num_kv_heads = 2;
    spec.len = len;
    spec.head_dim = head_dim;
    spec.head_dim_v = head_dim_v;
    spec.initial_state = true;
    spec.d_final_state = true;
    spec.backward = true;
    return spec;
}

TEST(LightningCorners, SingleTokensAndSingleFeatures) {
    CasePicker picker;
    for (const int64 len : {1, 2, 96, 97})
        for (const int64 head_dim : {1, 16})
            for (const int64 head_dim_v : {1, 16})
                for (const bool causal : {true, false}) {
                    LightningSpec spec = spec_of(len, head_dim, head_dim_v);
                    spec.batch = 64;
                    spec.causal = causal;
                    if (picker.next()) expect_near_truth(spec);
                }
}

TEST(LightningCorners, EveryHeadDimAroundATile) {
    CasePicker picker(1, 5);
    for (int64 dim = 1; dim <= 66; dim += dim < 36 ? 1 : 6) {
        if (!picker.next()) continue;
        LightningSpec spec = spec_of(100, dim, 67 - dim);
        spec.batch = 2;
        spec.num_q_heads = 2;
        spec.num_kv_heads = 1;
        expect_near_truth(spec);
    }
}

TEST(LightningCorners, LargestHeadDims) {
    LightningSpec spec = spec_of(98, 576, 576);
    spec.batch = 1;
    spec.num_q_heads = 1;
    spec.num_kv_heads = 1;
    if (!runs_little()) expect_near_truth(spec);
    spec.dtype = DType::kBF16;
    expect_near_truth(spec);
    spec = spec_of(20, kMaxTaylorHeadDim, 5);
    spec.batch = 1;
    spec.map = FeatureMap::kTaylor2;
    spec.normalize = true;
    expect_near_truth(spec);
}

TEST(LightningCorners, SlopesFromNoneToOnlyTheDiagonal) {
    for (const float slope : {0.0F, 1e-7F, 0.9F, 40.0F, 1e4F}) {
        for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
            LightningSpec spec = spec_of(200, 24, 16);
            spec.batch = 1;
            spec.dtype = dtype;
            spec.slopes = {slope, slope, 0.0F, slope};
            expect_near_truth(spec);
        }
    }
}

TEST(LightningCorners, EmptyExtentsPassTheStateOn) {
    LightningSpec spec = spec_of(0, 5, 7);
    for (const CpuDevice& device : cpu_devices()) {
        LightningCase c(spec);
        const PlanHandle plan = make_plan(device, c);
        ASSERT_TRUE(run_forward(plan.get(), c));
        EXPECT_EQ(c.final_state.values(), c.initial_state.values());
        ASSERT_TRUE(run_backward(plan.get(), c));
        EXPECT_EQ(c.d_initial_state.values(), c.d_final_state.values());
    }
    spec.batch = 0;
    spec.len = 3;
    expect_near_truth(spec);
    spec.num_q_heads = 0;
    spec.num_kv_heads = 0;
    spec.batch = 2;
    expect_near_truth(spec);
}

TEST(LightningCorners, LongSequencesStayNearTheReference) {
    // One head without decay adds up everything, one forgets slowly.
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
        LightningSpec spec = spec_of(runs_little() ? 10000 : 100000, 8, 8);
        spec.batch = 1;
        spec.num_q_heads = 2;
        spec.num_kv_heads = 1;
        spec.slopes = {0.0F, 1e-4F};
        spec.dtype = dtype;
        expect_near_truth(spec);
    }
}

TEST(LightningCorners, NormalisedRowsWithoutWeightAreZero) {
    LightningSpec spec = spec_of(150, 8, 16);
    spec.initial_state = false;
    spec.d_final_state = false;
    spec.map = FeatureMap::kRelu;
    spec.normalize = true;
    for (const CpuDevice& device : cpu_devices()) {
        LightningCase c(spec);
        // Orthogonal features until token 100, from where on every row has weight.
        for (int64 b = 0; b < spec.batch; ++b)
            for (int64 t = 0; t < spec.len; ++t) {
                for (int64 h = 0; h < spec.num_q_heads; ++h)
                    for (int64 d = 0; d < 8; ++d) c.q.set(b, h, t, d, d < 4 ? 1 : -1);
                for (int64 h = 0; h < spec.num_kv_heads; ++h)
                    for (int64 d = 0; d < 8; ++d) c.k.set(b, h, t, d, d < 4 && t < 100 ? -1 : 1);
            }
        const PlanHandle plan = make_plan(device, c);
        ASSERT_TRUE(run_forward(plan.get(), c));
        EXPECT_EQ(c.o.at(0, 0, 99, 3), 0.0) << device.name;
        EXPECT_NEAR(c.o.at(0, 0, 100, 3), c.v.at(0, 0, 100, 3), 1e-6) << device.name;
        ASSERT_TRUE(run_backward(plan.get(), c));
        EXPECT_EQ(c.d_q.at(0, 0, 99, 3), 0.0) << device.name;
        // All weight of a row is on tokens alike: the two terms of a quotient's gradient cancel.
        expect_near_truth(device, lightning_truth(c, Effort::kThorough), c);
    }
}

TEST(LightningCorners, BroadcastBatchEntriesAreReadInPlace) {
    LightningSpec spec = spec_of(50, 12, 20);
    spec.backward = false;
    spec.d_final_state = false;
    spec.k_order = MemoryOrder::kSharedBatch;
    spec.v_order = MemoryOrder::kSharedBatch;
    expect_near_truth(spec);
}

}  // namespace
}  // namespace fattn::test
