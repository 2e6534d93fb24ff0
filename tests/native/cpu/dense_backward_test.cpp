// The CPU backward against the reference's gradients, feature by feature, for every target this
// machine runs; and its laws: bits do not depend on threads or on which gradients are wanted.
#include "cpu/dense_backward.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "reference/dense.h"
#include "support/dense_case.h"
#include "support/sampling.h"
#include "tables.h"

namespace fattn::cpu {
namespace {

using test::CasePicker;
using test::DenseCase;
using test::DenseSpec;
using test::MemoryOrder;
using test::Tensor;

void set_all(Tensor& tensor, const std::vector<double>& values) {
    std::size_t at = 0;
    if (tensor.present()) tensor.fill([&] { return values[at++]; });
}

/// A case with o and lse as the reference computes them.
class BackwardCase {
  public:
    explicit BackwardCase(DenseSpec spec) : data_(with_backward(std::move(spec))) { forward(); }

    DenseCase& data() { return data_; }

    /// To be called after inputs were changed.
    void forward() {
        const reference::DenseOutput output =
            reference::dense_forward(data_.problem(), data_.forward_args());
        set_all(data_.o, output.o);
        if (!data_.spec().sigmoid) set_all(data_.lse, output.lse);
    }

    /// Poisons the gradients anew.
    void reset() {
        for (Tensor* x : {&data_.d_q, &data_.d_k, &data_.d_v, &data_.d_bias, &data_.d_sink_logits})
            if (x->present()) *x = Tensor(x->layout());
    }

    DenseBackwardArgs args() {
        DenseBackwardArgs args = data_.backward_args();
        args.o = data_.o.data();
        args.lse = data_.spec().sigmoid ? nullptr : data_.lse.floats();
        args.d_q = data_.d_q.data();
        args.d_k = data_.d_k.data();
        args.d_v = data_.d_v.data();
        args.d_bias = data_.d_bias.floats();
        args.d_sink_logits = data_.d_sink_logits.floats();
        return args;
    }

    Status run(const KernelTable& table, const DenseBackwardArgs& args, int num_threads) {
        const DenseProblem problem = data_.problem();
        const DenseBackward backward(problem, table);
        const uint64 bytes = backward.workspace(num_threads);
        // Stale memory must not matter.
        std::vector<std::byte> memory(static_cast<std::size_t>(bytes) + 2 * kMargin,
                                      std::byte{0xff});
        void* start = memory.data();
        std::size_t space = memory.size();
        start = std::align(kMargin, static_cast<std::size_t>(bytes), start, space);
        auto* workspace = static_cast<std::byte*>(start);
        const Status status = backward.run(args, num_threads, nullptr, workspace);
        const std::byte* end = workspace + bytes;
        EXPECT_TRUE(std::all_of(end, const_cast<const std::byte*>(memory.data() + memory.size()),
                                [](std::byte b) { return b == std::byte{0xff}; }))
            << "written past the workspace";
        return status;
    }

    reference::DenseGradients truth() {
        return reference::dense_backward(data_.problem(), data_.backward_args());
    }

  private:
    static constexpr std::size_t kMargin = 64;

    static DenseSpec with_backward(DenseSpec spec) {
        spec.backward = true;
        spec.d_lse = !spec.sigmoid;
        return spec;
    }

    DenseCase data_;
};

/// Largest error over the largest value; mismatches of non-finite places count as infinite.
double relative_error(const std::vector<double>& got, const std::vector<double>& want) {
    double worst = 0;
    double largest = 1e-3;
    for (std::size_t i = 0; i < want.size(); ++i) {
        if (!std::isfinite(want[i])) {
            if (std::isfinite(got[i])) return std::numeric_limits<double>::infinity();
            continue;
        }
        if (!std::isfinite(got[i])) return std::numeric_limits<double>::infinity();
        worst = std::max(worst, std::abs(got[i] - want[i]));
        largest = std::max(largest, std::abs(want[i]));
    }
    return worst / largest;
}

void expect_close(const char* name, const Tensor& got, const std::vector<double>& want,
                  double tolerance) {
    if (!got.present()) return;
    ASSERT_EQ(got.values().size(), want.size()) << name;
    EXPECT_LE(relative_error(got.values(), want), tolerance) << name;
    EXPECT_TRUE(got.gaps_untouched()) << name;
}

void expect_truth(BackwardCase& c, double factor = 1) {
    const DenseSpec& spec = c.data().spec();
    const reference::DenseGradients truth = c.truth();
    // f32: thousands of roundings of 2^-24. Else a few roundings of operands and of results to
    // 2^-11 and 2^-9.
    const double tolerance = factor * (spec.dtype == DType::kF32   ? 2e-5
                                       : spec.dtype == DType::kF16 ? 4e-3
                                                                   : 2.5e-2);
    for (const KernelTable* table : tables()) {
        SCOPED_TRACE(std::string(table->name) + ": " + describe(spec));
        c.reset();
        const Status status = c.run(*table, c.args(), 2);
        ASSERT_TRUE(status.ok()) << status.message();
        expect_close("d_q", c.data().d_q, truth.d_q, tolerance);
        expect_close("d_k", c.data().d_k, truth.d_k, tolerance);
        expect_close("d_v", c.data().d_v, truth.d_v, tolerance);
        expect_close("d_bias", c.data().d_bias, truth.d_bias, tolerance);
        expect_close("d_sink_logits", c.data().d_sink_logits, truth.d_sink_logits, tolerance);
    }
}

DenseSpec dense_sized(int64 q_len, int64 kv_len, int64 head_dim) {
    DenseSpec spec;
    spec.q_len = q_len;
    spec.kv_len = kv_len;
    spec.head_dim = spec.head_dim_v = head_dim;
    return spec;
}

constexpr DType kDTypes[] = {DType::kF32, DType::kF16, DType::kBF16};

TEST(DenseBackward, MatchesTheReferenceAroundTileEdges) {
    CasePicker picker;
    for (const DType dtype : kDTypes)
        for (const int64 q_len : {1, 11, 13, 191, 192, 193, 400})
            for (const int64 kv_len : {1, 2, 31, 33, 95, 97, 191, 193, 500})
                for (const bool causal : {false, true}) {
                    if (!picker.next()) continue;
                    DenseSpec spec = dense_sized(q_len, kv_len, 16 + q_len % 3);
                    spec.dtype = dtype;
                    spec.causal = causal;
                    BackwardCase c(spec);
                    expect_truth(c);
                }
}

TEST(DenseBackward, MatchesTheReferenceForEveryKindOfHeadDim) {
    CasePicker picker;
    for (const DType dtype : kDTypes)
        for (const int64 head_dim : {1, 7, 16, 17, 31, 48, 64, 100, 129})
            for (const int64 head_dim_v : {1, 24, 80}) {
                if (!picker.next()) continue;
                DenseSpec spec = dense_sized(30, 70, head_dim);
                spec.head_dim_v = head_dim_v;
                spec.dtype = dtype;
                spec.f32_output = head_dim == 7;
                BackwardCase c(spec);
                expect_truth(c);
            }
}

TEST(DenseBackward, MatchesTheReferenceForEveryPairOfHeadMaps) {
    CasePicker picker;
    for (int64 k_heads = 1; k_heads <= 6; ++k_heads)
        for (int64 v_heads = 1; v_heads <= 6; ++v_heads) {
            if (!picker.next()) continue;
            DenseSpec spec = dense_sized(20, 40, 8);
            spec.batch = 2;
            spec.num_q_heads = 6;
            spec.num_k_heads = k_heads;
            spec.num_v_heads = v_heads;
            spec.dtype = k_heads % 2 == 0 ? DType::kF32 : DType::kBF16;
            BackwardCase c(spec);
            expect_truth(c);
        }
}

/// Features, each with every dtype, alone and under a causal mask.
std::vector<DenseSpec> feature_specs() {
    std::vector<DenseSpec> specs;
    const auto add = [&](const auto& change) {
        for (const DType dtype : kDTypes)
            for (const bool causal : {false, true}) {
                DenseSpec spec = dense_sized(205, 300, 24);
                spec.dtype = dtype;
                spec.causal = causal;
                spec.batch = 2;
                spec.num_q_heads = 2;
                spec.num_k_heads = 2;
                change(spec);
                specs.push_back(spec);
            }
    };
    add([](DenseSpec& s) { s.softcap = 2; });
    add([](DenseSpec& s) { s.alibi = true; });
    add([](DenseSpec& s) { s.sink = true; });
    add([](DenseSpec& s) { s.scale = -0.3F; });
    add([](DenseSpec& s) { s.scale = 0.0F; });
    add([](DenseSpec& s) { s.dropout_p = 0.3F; });
    add([](DenseSpec& s) {
        s.sigmoid = true;
        s.sigmoid_bias = -3;
    });
    add([](DenseSpec& s) {
        s.window_left = 17;
        s.window_right = s.causal ? -1 : 40;
    });
    add([](DenseSpec& s) { s.attention_chunk = 50; });
    add([](DenseSpec& s) {
        s.q_position_offset = 60;
        s.k_position_offset = 100;
        s.alibi = true;
    });
    for (const bool per_batch : {false, true})
        for (const bool per_head : {false, true})
            add([&](DenseSpec& s) {
                s.bias = s.dtype == DType::kF16 ? DType::kF16 : DType::kF32;
                s.bias_per_batch = per_batch;
                s.bias_per_head = per_head;
                s.bias_hidden = 0.1;
                s.softcap = per_head ? 3.0F : 0.0F;
                s.dropout_p = per_batch ? 0.2F : 0.0F;
            });
    add([](DenseSpec& s) { s.mask = DType::kU8; });
    add([](DenseSpec& s) {
        s.mask = DType::kBit;
        s.mask_per_head = true;
        s.sigmoid = true;
        s.dropout_p = 0.1F;
    });
    add([](DenseSpec& s) { s.kv_len_of_run = {37, 300}; });
    add([](DenseSpec& s) {
        s.q_order = MemoryOrder::kTokensOutside;
        s.k_order = MemoryOrder::kPacked;
        s.v_order = MemoryOrder::kPadded;
        s.o_order = MemoryOrder::kTokensOutside;
    });
    add([](DenseSpec& s) { s.k_order = s.v_order = MemoryOrder::kSharedBatch; });
    return specs;
}

TEST(DenseBackward, MatchesTheReferenceWithEachFeature) {
    CasePicker picker(5, 3);
    for (const DenseSpec& spec : feature_specs()) {
        if (!picker.next()) continue;
        BackwardCase c(spec);
        expect_truth(c);
    }
}

TEST(DenseBackward, MatchesTheReferenceOnPackedSequences) {
    CasePicker picker;
    for (const DType dtype : kDTypes)
        for (const bool causal : {false, true})
            for (const bool bias : {false, true}) {
                if (!picker.next()) continue;
                DenseSpec spec = dense_sized(1, 1, 20);
                spec.dtype = dtype;
                spec.causal = causal;
                spec.q_lens = {5, 0, 130, 7};
                spec.kv_lens = {3, 40, 210, 0};
                spec.batch = 4;
                spec.num_q_heads = 3;
                spec.num_k_heads = 3;
                spec.bias = bias ? DType::kF32 : DType::kDefault;
                spec.bias_per_batch = causal;
                BackwardCase c(spec);
                expect_truth(c);
                spec.kv_len_of_run = {3, 17, 100, 0};
                BackwardCase shorter(spec);
                expect_truth(shorter);
            }
}

TEST(DenseBackward, MatchesTheReferenceWhereKeysAreCutIntoChunks) {
    CasePicker picker;
    for (const DType dtype : kDTypes)
        for (const bool causal : {false, true}) {
            if (!picker.next()) continue;
            DenseSpec spec = dense_sized(150, 4500, 8);
            spec.dtype = dtype;
            spec.causal = causal;
            spec.num_q_heads = 2;
            BackwardCase c(spec);
            expect_truth(c, 2);
            spec.q_lens = {100, 30, 0};
            spec.kv_lens = {4200, 10, 2100};
            spec.batch = 3;
            BackwardCase packed(spec);
            expect_truth(packed, 2);
        }
}

std::vector<std::vector<double>> gradients(const DenseCase& c) {
    return {c.d_q.values(), c.d_k.values(), c.d_v.values(), c.d_bias.values(),
            c.d_sink_logits.values()};
}

DenseSpec spec_of_laws(DType dtype, bool chunks) {
    DenseSpec spec = test::runs_little() ? dense_sized(chunks ? 12 : 205, chunks ? 2200 : 270, 8)
                                         : dense_sized(chunks ? 40 : 210, chunks ? 4100 : 300, 16);
    spec.dtype = dtype;
    spec.f32_output = true;
    spec.causal = true;
    spec.batch = 2;
    spec.num_q_heads = 4;
    spec.num_k_heads = 2;
    spec.num_v_heads = 2;
    spec.sink = true;
    spec.bias = DType::kF32;
    spec.bias_per_batch = chunks;
    spec.bias_per_head = chunks;
    return spec;
}

TEST(DenseBackward, BitsDoNotDependOnThreads) {
    CasePicker picker(1, 5);
    for (const DType dtype : kDTypes)
        for (const bool chunks : {false, true})
            for (const KernelTable* table : tables()) {
                if (!picker.next()) continue;
                BackwardCase c(spec_of_laws(dtype, chunks));
                ASSERT_TRUE(c.run(*table, c.args(), 1).ok());
                const auto once = gradients(c.data());
                for (const int num_threads : {2, 3, 7}) {
                    ASSERT_TRUE(c.run(*table, c.args(), num_threads).ok());
                    EXPECT_EQ(gradients(c.data()), once) << table->name << " " << num_threads;
                }
            }
}

TEST(DenseBackward, AGradientKeepsItsBitsWhenOthersAreNotWanted) {
    CasePicker picker(13);
    for (const DType dtype : kDTypes)
        for (const bool chunks : {false, true})
            for (const KernelTable* table : tables()) {
                BackwardCase c(spec_of_laws(dtype, chunks));
                ASSERT_TRUE(c.run(*table, c.args(), 2).ok());
                const auto all = gradients(c.data());
                for (unsigned wanted = 0; wanted < 32; ++wanted) {
                    if (!picker.next()) continue;
                    c.reset();
                    DenseBackwardArgs args = c.args();
                    if ((wanted & 1) == 0) args.d_q = nullptr;
                    if ((wanted & 2) == 0) args.d_k = nullptr;
                    if ((wanted & 4) == 0) args.d_v = nullptr;
                    if ((wanted & 8) == 0) args.d_bias = nullptr;
                    if ((wanted & 16) == 0) args.d_sink_logits = nullptr;
                    ASSERT_TRUE(c.run(*table, args, 2).ok());
                    const auto some = gradients(c.data());
                    for (unsigned n = 0; n < 5; ++n) {
                        if (((wanted >> n) & 1) != 0) {
                            EXPECT_EQ(some[n], all[n]) << table->name << " " << wanted;
                        } else {
                            EXPECT_TRUE(std::all_of(some[n].begin(), some[n].end(), [](double x) {
                                return std::isnan(x);
                            })) << "written though not wanted";
                        }
                    }
                }
            }
}

/// Spoils one row of Q, K, V or dO and expects finite gradients exactly where the reference has
/// them.
TEST(DenseBackward, NonFiniteRowsReachOnlyWhatSeesThem) {
    CasePicker picker;
    const double bad[] = {std::numeric_limits<double>::quiet_NaN(),
                          std::numeric_limits<double>::infinity()};
    for (const DType dtype : kDTypes)
        for (const int kind : {0, 1, 2})
            for (const int tensor : {0, 1, 2, 3})
                for (const int64 token : {20, 70, 250})
                    for (const double value : bad) {
                        if (!picker.next()) continue;
                        DenseSpec spec = dense_sized(260, 260, 20);
                        spec.dtype = dtype;
                        spec.f32_output = dtype == DType::kF16;
                        if (kind == 0) spec.causal = true;
                        if (kind == 1) spec.window_left = spec.window_right = 20;
                        if (kind == 2) spec.mask = DType::kU8;
                        BackwardCase c(spec);
                        DenseCase& d = c.data();
                        Tensor* const inputs[] = {&d.q, &d.k, &d.v, &d.d_o};
                        inputs[tensor]->set(0, 0, token, 3, value);
                        c.forward();
                        SCOPED_TRACE("tensor " + std::to_string(tensor) + " token " +
                                     std::to_string(token));
                        expect_truth(c);
                    }
}

TEST(DenseBackward, StopsWhenCancelled) {
    for (const KernelTable* table : tables()) {
        BackwardCase c(dense_sized(100, 100, 16));
        const DenseProblem problem = c.data().problem();
        const DenseBackward backward(problem, *table);
        std::vector<std::byte> memory(static_cast<std::size_t>(backward.workspace(1)) + 64);
        void* start = memory.data();
        std::size_t space = memory.size();
        start = std::align(64, static_cast<std::size_t>(backward.workspace(1)), start, space);
        const int32 cancel = 1;
        EXPECT_EQ(backward.run(c.args(), 1, &cancel, static_cast<std::byte*>(start)).code(),
                  StatusCode::kCancelled);
    }
}

}  // namespace
}  // namespace fattn::cpu
