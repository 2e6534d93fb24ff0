// The gathered backward against the reference's gradients of dense attention under the same pattern
// as a mask, for every target this machine runs; and its laws.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "gathered_case.h"
#include "gathered_problems.h"
#include "support/sampling.h"
#include "tables.h"

namespace fattn::cpu {
namespace {

using test::CasePicker;
using test::DenseSpec;
using test::DenseTruth;
using test::Tensor;

void gathered_backward_set_all(Tensor& tensor, const std::vector<double>& values) {
    std::size_t at = 0;
    tensor.fill([&] { return values[at++]; });
}

DenseSpec with_backward(DenseSpec spec) {
    spec.backward = spec.d_lse = true;
    return spec;
}

/// Expects all gradients near the truth, given o and lse of the reference.
void expect_truth(GatheredCase& c, const GatherStyle& style) {
    const DenseTruth truth = c.truth();
    for (const KernelTable* table : tables()) {
        SCOPED_TRACE(std::string(table->name) + ": " + describe(c.data.spec()) + "; " +
                     describe(style));
        gathered_backward_set_all(c.data.o, truth.output.o);
        gathered_backward_set_all(c.data.lse, truth.output.lse);
        const Status status = c.backward(*table, 2, {});
        ASSERT_TRUE(status.ok()) << status.message();
        EXPECT_TRUE(backward_is_near(truth, c.data));
        for (const Tensor* x : {&c.data.d_q, &c.data.d_k, &c.data.d_v}) {
            EXPECT_TRUE(x->gaps_untouched());
        }
    }
}

void expect_truth(const DenseSpec& spec, const GatherStyle& style, int64 num_additional = 0) {
    GatheredCase c(with_backward(spec), style, num_additional);
    expect_truth(c, style);
}

void expect_truth(const GatheredSpec& spec) {
    expect_truth(spec.dense, spec.style, spec.num_additional);
}

TEST(GatheredBackward, MatchesTheReferenceAroundTileEdges) {
    CasePicker picker(3);
    for (const DType dtype : kGatheredDTypes)
        for (const int64 q_len : {1, 13, 200})
            for (const int64 kv_len : {1, 97, 250})
                for (GatherStyle style : gather_styles()) {
                    if (!picker.next()) continue;
                    style.seed = static_cast<uint64>(q_len + kv_len);
                    style.slots_of_tile = q_len == 13 ? 40 : 220;
                    expect_truth(sized(q_len, kv_len, 16 + q_len % 3, dtype), style);
                }
}

/// More slots than one packing of keys holds.
TEST(GatheredBackward, MatchesTheReferenceInTilesOfManySlots) {
    CasePicker picker;
    for (const DType dtype : kGatheredDTypes)
        for (GatherStyle style : gather_styles()) {
            if (!picker.next()) continue;
            style.slots_of_tile = 2000;
            DenseSpec spec = sized(40, 900, 64, dtype);
            spec.head_dim_v = 300;
            expect_truth(spec, style);
        }
}

TEST(GatheredBackward, MatchesTheReferenceForEveryKindOfHeadDim) {
    for (const GatheredSpec& spec : test::picked(specs_of_head_dims())) expect_truth(spec);
}

TEST(GatheredBackward, MatchesTheReferenceWithSharedHeadsAndAdditionalKeys) {
    for (const GatheredSpec& spec : test::picked(specs_of_shared_heads_and_additional_keys()))
        expect_truth(spec);
}

TEST(GatheredBackward, MatchesTheReferenceInEveryMemoryOrder) {
    for (const GatheredSpec& spec : test::picked(specs_of_memory_orders())) expect_truth(spec);
}

TEST(GatheredBackward, MatchesTheReferenceWithAnyScale) {
    for (const GatheredSpec& spec : test::picked(specs_of_scales())) expect_truth(spec);
}

TEST(GatheredBackward, MatchesTheReferenceWhereKeysAreCutIntoChunks) {
    CasePicker picker;
    for (const DType dtype : kGatheredDTypes)
        for (GatherStyle style : gather_styles()) {
            if (!picker.next()) continue;
            style.slots_of_tile = 500;
            DenseSpec spec = sized(30, 4500, 8, dtype);
            spec.num_q_heads = 2;
            expect_truth(spec, style, 5);
        }
}

std::vector<std::vector<double>> gradients(const GatheredCase& c) {
    return {c.data.d_q.values(), c.data.d_k.values(), c.data.d_v.values()};
}

/// Few keys, and so many that they are cut into chunks.
DenseSpec gathered_backward_spec_of_laws(DType dtype, bool chunks) {
    DenseSpec spec = with_backward(sized(chunks ? 40 : 210, chunks ? 4100 : 300, 16, dtype));
    spec.f32_output = true;
    spec.batch = 2;
    spec.num_q_heads = 4;
    spec.num_k_heads = spec.num_v_heads = 2;
    return spec;
}

TEST(GatheredBackward, BitsDependNeitherOnThreadsNorOnWhatElseIsWanted) {
    CasePicker picker;
    for (const DType dtype : kGatheredDTypes)
        for (const bool chunks : {false, true})
            for (const KernelTable* table : tables()) {
                if (!picker.next()) continue;
                GatherStyle style = gather_styles()[1];
                style.slots_of_tile = 300;
                GatheredCase c(gathered_backward_spec_of_laws(dtype, chunks), style, 7);
                ASSERT_TRUE(c.forward(*table, 1).ok());
                ASSERT_TRUE(c.backward(*table, 1, {}).ok());
                const auto all = gradients(c);
                for (const int num_threads : {2, 3, 7}) {
                    ASSERT_TRUE(c.backward(*table, num_threads, {}).ok());
                    EXPECT_EQ(gradients(c), all) << table->name << " " << num_threads;
                }
                for (unsigned wanted = 0; wanted < 7; ++wanted) {
                    ASSERT_TRUE(
                        c.backward(*table, 2,
                                   {(wanted & 1) != 0, (wanted & 2) != 0, (wanted & 4) != 0})
                            .ok());
                    const auto some = gradients(c);
                    for (unsigned n = 0; n < 3; ++n) {
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

/// Spoils one row of Q, K, V or dO; the mask of the reference says who may notice.
TEST(GatheredBackward, NonFiniteRowsReachOnlyWhatSeesThem) {
    CasePicker picker;
    const double bad[] = {std::numeric_limits<double>::quiet_NaN(),
                          std::numeric_limits<double>::infinity()};
    for (const DType dtype : kGatheredDTypes)
        for (const int tensor : {0, 1, 2, 3})
            for (const int64 token : {20, 99})
                for (const double value : bad)
                    for (const GatherStyle& style : gather_styles()) {
                        if (!picker.next()) continue;
                        GatheredCase c(with_backward(sized(100, 120, 20, dtype)), style, 1);
                        Tensor* const inputs[] = {&c.data.q, &c.data.k, &c.data.v, &c.data.d_o};
                        inputs[tensor]->set(0, 0, token, 3, value);
                        SCOPED_TRACE("tensor " + std::to_string(tensor) + " token " +
                                     std::to_string(token));
                        expect_truth(c, style);
                    }
}

TEST(GatheredBackward, StopsWhenCancelled) {
    for (const KernelTable* table : tables()) {
        GatheredCase c(with_backward(sized(100, 100, 16, DType::kF32)), {}, 0);
        const int32 cancel = 1;
        EXPECT_EQ(c.backward(*table, 1, {}, &cancel).code(), StatusCode::kCancelled);
    }
}

}  // namespace
}  // namespace fattn::cpu
