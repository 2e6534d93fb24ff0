// Dense problems at the corners of what is allowed: extents of 0 and 1, tile edges, extreme values,
// huge strides.
#include <gtest/gtest.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "support/compare.h"
#include "support/dense_truth.h"
#include "support/sampling.h"

namespace fattn::test {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr DType kDTypes[] = {DType::kF32, DType::kF16, DType::kBF16};

DenseSpec sized(int64 q_len, int64 kv_len, int64 head_dim = 16) {
    DenseSpec spec;
    spec.q_len = q_len;
    spec.kv_len = kv_len;
    spec.head_dim = spec.head_dim_v = head_dim;
    return spec;
}

/// Forward of every corner; its backward is the same list with both passes.
void expect_corner(DenseSpec spec, bool backward) {
    spec.backward = backward;
    spec.d_lse = backward && !spec.sigmoid;
    expect_near_truth(spec);
}

class DenseCorners : public testing::TestWithParam<bool> {
  protected:
    static bool backward() { return GetParam(); }
};

TEST_P(DenseCorners, EverythingOne) {
    for (const DType dtype : kDTypes)
        for (const bool causal : {false, true}) {
            DenseSpec spec = sized(1, 1, 1);
            spec.dtype = dtype;
            spec.causal = causal;
            expect_corner(spec, backward());
        }
}

TEST_P(DenseCorners, ExtentsOfZero) {
    expect_corner(sized(0, 5), backward());
    expect_corner(sized(5, 0), backward());
    expect_corner(sized(0, 0), backward());
    DenseSpec no_batch = sized(3, 4);
    no_batch.batch = 0;
    expect_corner(no_batch, backward());
    DenseSpec sink_alone = sized(5, 0);
    sink_alone.sink = true;
    expect_corner(sink_alone, backward());
    DenseSpec nobody = sized(3, 4);
    nobody.batch = 3;
    nobody.q_lens = {0, 0, 0};
    nobody.kv_lens = {0, 2, 0};
    expect_corner(nobody, backward());
}

/// One below, at and one above what register blocks and panels are made of on any target.
TEST_P(DenseCorners, LengthsAroundRegisterBlocks) {
    std::vector<int64> edges{16, 32, 96, 128};
    if (runs_everything()) edges = {8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512};
    for (const int64 edge : edges)
        for (const int64 q_len : {edge - 1, edge, edge + 1})
            for (const int64 kv_len : {edge - 1, edge, edge + 1}) {
                DenseSpec spec = sized(q_len, kv_len, 4);
                spec.dtype = (q_len + kv_len) % 2 == 0 ? DType::kF32 : DType::kBF16;
                spec.causal = q_len != kv_len;
                expect_corner(spec, backward());
            }
}

/// One below, at and one above the tile of each target's plan, in both directions.
TEST_P(DenseCorners, LengthsAroundTileEdges) {
    for (const CpuDevice& device : cpu_devices()) {
        DenseSpec spec = sized(64, 64, 4);
        spec.backward = backward();
        const DenseCase any(spec);
        const PlanHandle plan = make_plan(device, any);
        ASSERT_NE(plan, nullptr);
        fattn_schedule_stats stats{};
        stats.struct_size = sizeof stats;
        ASSERT_TRUE(ok(fattn_plan_schedule_stats(plan.get(), &stats)));
        for (const int64 q_len : {stats.tile_q - 1, stats.tile_q, stats.tile_q + 1})
            for (const int64 kv_len : {stats.tile_kv - 1, stats.tile_kv, stats.tile_kv + 1}) {
                spec.q_len = q_len;
                spec.kv_len = kv_len;
                spec.dtype = (q_len + kv_len) % 2 == 0 ? DType::kF32 : DType::kBF16;
                spec.causal = (q_len + kv_len) % 3 == 0;
                DenseCase c(spec);
                expect_near_truth(device, dense_truth(c), c);
            }
    }
}

TEST_P(DenseCorners, EveryHeadDim) {
    const int64 step = runs_everything() ? 1 : 37;
    CasePicker picker;
    for (int64 head_dim = 1; head_dim <= 576; head_dim += step)
        for (const DType dtype : kDTypes) {
            DenseSpec spec = sized(5, 9, head_dim);
            spec.dtype = dtype;
            if (picker.next()) expect_corner(spec, backward());
        }
    for (const auto& [head_dim, head_dim_v] :
         {std::pair<int64, int64>{576, 512}, {192, 128}, {1, 576}, {576, 1}, {33, 65}, {64, 31}})
        for (const DType dtype : kDTypes) {
            DenseSpec spec = sized(5, 9, head_dim);
            spec.head_dim_v = head_dim_v;
            spec.dtype = dtype;
            if (picker.next()) expect_corner(spec, backward());
        }
}

TEST_P(DenseCorners, EveryPairOfHeadMaps) {
    for (int64 k_heads = 1; k_heads <= 6; ++k_heads)
        for (int64 v_heads = 1; v_heads <= 6; ++v_heads) {
            DenseSpec spec = sized(3, 7, 5);
            spec.num_q_heads = 6;
            spec.num_k_heads = k_heads;
            spec.num_v_heads = v_heads;
            expect_corner(spec, backward());
        }
}

TEST_P(DenseCorners, HugeLogits) {
    for (const DType dtype : kDTypes)
        for (const double magnitude : {1e3, 1e4}) {
            DenseSpec spec = sized(40, 90);
            spec.dtype = dtype;
            spec.magnitude = magnitude;
            spec.causal = true;
            expect_corner(spec, backward());
        }
}

/// Every score lies near -4000: a maximum that starts at 0 would lose them all.
TEST_P(DenseCorners, VeryNegativeLogits) {
    const auto oppose = [](DenseCase& c) {
        std::mt19937_64 random(c.spec().seed);
        std::normal_distribution<double> normal;
        c.k.fill([&] { return -16 + normal(random) / 16; });
        c.q.fill([&] { return 16 + normal(random) / 16; });
    };
    for (const DType dtype : kDTypes) {
        DenseSpec spec = sized(20, 70);
        spec.dtype = dtype;
        spec.scale = 1.0F;
        spec.backward = backward();
        DenseCase c(spec);
        oppose(c);
        const DenseTruth truth = dense_truth(c, oppose);
        EXPECT_LT(truth.output.lse[0], -4000);
        for (const CpuDevice& device : cpu_devices()) expect_near_truth(device, truth, c);
    }
}

TEST_P(DenseCorners, RowsOfHiddenBias) {
    for (const bool sink : {false, true}) {
        DenseSpec spec = sized(37, 300);
        spec.bias = DType::kF32;
        spec.sink = sink;
        spec.backward = backward();
        spec.d_lse = backward();
        DenseCase c(spec);
        for (const int64 i : {0, 5, 6, 36})
            for (int64 j = 0; j < spec.kv_len; ++j) c.bias.set(0, 0, i, j, -kInfinity);
        for (int64 j = 0; j < 290; ++j)
            c.bias.set(0, 0, 9, j, -kInfinity);  // whole tiles before the first key
        const DenseTruth truth = dense_truth(c);
        EXPECT_EQ(truth.output.o[0], 0);
        EXPECT_TRUE(sink || truth.output.lse[0] == -kInfinity);
        for (const CpuDevice& device : cpu_devices()) expect_near_truth(device, truth, c);
    }
}

/// Rows that the reference computes alike from both cases are alike to the bit. Returns how many
/// there are.
int64 expect_equal_rows(const char* name, const std::vector<double>& of_clean,
                        const std::vector<double>& of_spoiled, const Tensor& clean,
                        const Tensor& spoiled) {
    const auto width = static_cast<std::size_t>(clean.layout().shape[3]);
    const std::vector<double> before = clean.values();
    const std::vector<double> after = spoiled.values();
    int64 rows = 0;
    for (std::size_t at = 0; at < before.size(); at += width) {
        if (!std::equal(&of_clean[at], &of_clean[at] + width, &of_spoiled[at])) continue;
        ++rows;
        EXPECT_EQ(std::memcmp(&before[at], &after[at], width * sizeof(double)), 0)
            << name << " row " << at / width;
    }
    return rows;
}

/// A non-finite key or value reaches the rows that see it and no other; those others keep their
/// bits.
TEST_P(DenseCorners, NonFiniteKeysAndValuesReachOnlyRowsThatSeeThem) {
    struct Case {
        bool in_k;
        double value;
    };
    CasePicker picker(1, 7);
    for (const DType dtype : kDTypes)
        for (const Case& bad :
             {Case{true, kNaN}, {false, kNaN}, {false, kInfinity}, {true, kInfinity}})
            for (const int64 q_len : {2, 90})
                for (const int kind : {0, 1, 2}) {
                    if (!picker.next()) continue;
                    DenseSpec spec = sized(q_len, 300, 5);
                    spec.dtype = dtype;
                    spec.num_q_heads = 2;
                    spec.backward = backward();
                    if (kind == 0) spec.causal = true;
                    if (kind == 1) spec.window_left = spec.window_right = 20;
                    if (kind == 2) spec.mask = DType::kU8;
                    DenseCase clean(spec);
                    DenseCase spoiled(spec);
                    // The last key before the end, and one in the middle of the rows' windows.
                    for (const int64 j : {299, 260})
                        (bad.in_k ? spoiled.k : spoiled.v).set(0, 0, j, 3, bad.value);
                    const DenseTruth clean_truth = dense_truth(clean);
                    DenseTruth truth = clean_truth;
                    truth.output =
                        reference::dense_forward(spoiled.problem(), spoiled.forward_args());
                    if (spec.backward)
                        truth.gradients =
                            reference::dense_backward(spoiled.problem(), spoiled.backward_args());
                    for (const CpuDevice& device : cpu_devices()) {
                        const std::string context = std::string(device.name) +
                                                    (bad.in_k ? " k " : " v ") +
                                                    std::to_string(bad.value);
                        SCOPED_TRACE(context);
                        const PlanHandle plan = make_plan(device, spoiled);
                        ASSERT_NE(plan, nullptr);
                        ASSERT_TRUE(run_forward(plan.get(), clean));
                        ASSERT_TRUE(run_forward(plan.get(), spoiled));
                        EXPECT_TRUE(forward_is_near(truth, spoiled));
                        const int64 kept =
                            expect_equal_rows("o", clean_truth.output.o, truth.output.o, clean.o,
                                              spoiled.o) +
                            expect_equal_rows("lse", clean_truth.output.lse, truth.output.lse,
                                              clean.lse, spoiled.lse);
                        EXPECT_TRUE(kept > 0 || q_len == 2);
                        if (!spec.backward) continue;
                        ASSERT_TRUE(run_backward(plan.get(), clean));
                        ASSERT_TRUE(run_backward(plan.get(), spoiled));
                        EXPECT_TRUE(backward_is_near(truth, spoiled));
                        expect_equal_rows("d_q", clean_truth.gradients.d_q, truth.gradients.d_q,
                                          clean.d_q, spoiled.d_q);
                        expect_equal_rows("d_k", clean_truth.gradients.d_k, truth.gradients.d_k,
                                          clean.d_k, spoiled.d_k);
                        expect_equal_rows("d_v", clean_truth.gradients.d_v, truth.gradients.d_v,
                                          clean.d_v, spoiled.d_v);
                    }
                }
}

INSTANTIATE_TEST_SUITE_P(Forward, DenseCorners, testing::Values(false));
INSTANTIATE_TEST_SUITE_P(Backward, DenseCorners, testing::Values(true));

#if defined(__linux__)
/// Address space without memory behind it, for tensors whose elements lie further apart than 2^31.
class Reserved {
  public:
    explicit Reserved(std::size_t bytes)
        : bytes_(bytes),
          data_(mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) {}
    ~Reserved() { munmap(data_, bytes_); }
    Reserved(const Reserved&) = delete;
    Reserved& operator=(const Reserved&) = delete;

    bool ok() const { return data_ != MAP_FAILED; }
    float* floats() { return static_cast<float*>(data_); }

  private:
    std::size_t bytes_;
    void* data_;
};

/// Spreads [1, H, L, D] so that the last token of the last head lies beyond 2^32 elements.
void spread(const Tensor& tensor, Reserved& memory, fattn_layout& layout) {
    layout.strides[2] = int64{1} << 30;
    layout.strides[1] = (int64{1} << 30) * layout.shape[2] + 5;
    for (int64 h = 0; h < layout.shape[1]; ++h)
        for (int64 l = 0; l < layout.shape[2]; ++l)
            for (int64 d = 0; d < layout.shape[3]; ++d)
                memory.floats()[h * layout.strides[1] + l * layout.strides[2] + d] =
                    static_cast<float>(tensor.at(0, h, l, d));
}

TEST(DenseCornersOfMemory, OffsetsBeyondTwoToThe31Elements) {
    DenseSpec spec = sized(3, 4, 20);
    spec.num_q_heads = spec.num_k_heads = spec.num_v_heads = 2;
    spec.causal = true;
    DenseCase c(spec);
    const DenseTruth truth = dense_truth(c);
    const std::size_t bytes = (std::size_t{8} << 30) * sizeof(float) + 4096;
    Reserved q(bytes), k(bytes), v(bytes), o(bytes);
    ASSERT_TRUE(q.ok() && k.ok() && v.ok() && o.ok())
        << "the system reserves no " << bytes << " bytes";
    fattn_dense_problem problem = c.c_problem();
    spread(c.q, q, problem.q);
    spread(c.k, k, problem.k);
    spread(c.v, v, problem.v);
    spread(c.o, o, problem.o);
    fattn_dense_forward_args args = c.c_forward();
    args.q = q.floats();
    args.k = k.floats();
    args.v = v.floats();
    args.o = o.floats();
    for (const CpuDevice& device : cpu_devices()) {
        fattn_plan* plan = nullptr;
        ASSERT_TRUE(ok(fattn_dense_plan(device.handle.get(), &problem, &plan))) << device.name;
        const PlanHandle owner(plan);
        ASSERT_TRUE(ok(fattn_dense_forward(plan, &args, nullptr))) << device.name;
        for (int64 h = 0; h < 2; ++h)
            for (int64 l = 0; l < 3; ++l)
                for (int64 d = 0; d < 20; ++d)
                    c.o.set(0, h, l, d,
                            o.floats()[h * problem.o.strides[1] + l * problem.o.strides[2] + d]);
        EXPECT_TRUE(forward_is_near(truth, c)) << device.name;
    }
}
#endif

}  // namespace
}  // namespace fattn::test
