// Laws that tie dense problems together: parts merge into wholes, and different ways to say the
// same problem agree.
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <random>

#include "reference/merge.h"
#include "support/compare.h"
#include "support/dense_truth.h"
#include "support/sampling.h"

namespace fattn::test {
namespace {

DenseSpec middle_sized() {
    DenseSpec spec;
    spec.batch = 2;
    spec.num_q_heads = 4;
    spec.num_k_heads = 2;
    spec.num_v_heads = 2;
    spec.q_len = 70;
    spec.kv_len = 150;
    spec.head_dim = 32;
    spec.head_dim_v = 24;
    return spec;
}

/// Keys [begin, end) of a case as a case of its own, standing where they stood: positions come from
/// offsets.
DenseSpec part_of(const DenseSpec& whole, int64 begin, int64 end) {
    DenseSpec part = whole;
    part.kv_len = end - begin;
    part.top_left = true;
    part.q_position_offset =
        whole.q_position_offset + (whole.top_left ? 0 : whole.kv_len - whole.q_len);
    part.k_position_offset = whole.k_position_offset + begin;
    return part;
}

void copy_inputs(const DenseCase& whole, int64 begin, DenseCase& part) {
    for (int64 b = 0; b < whole.spec().batch; ++b) {
        copy_entry(whole.q, b, part.q, b);
        copy_tokens(whole.k, b, begin, part.k, b);
        copy_tokens(whole.v, b, begin, part.v, b);
        if (whole.d_o.present()) copy_entry(whole.d_o, b, part.d_o, b);
        if (whole.d_lse.present()) copy_entry(whole.d_lse, b, part.d_lse, b);
    }
    if (whole.alibi_slopes.present()) copy_entry(whole.alibi_slopes, 0, part.alibi_slopes, 0);
}

/// Cuts the keys at the given places, runs the parts, merges them with fattn_merge into the case's
/// o and lse.
void run_split(const CpuDevice& device, DenseCase& whole, const std::vector<int64>& cuts) {
    std::vector<std::unique_ptr<DenseCase>> parts;
    std::vector<const void*> o_parts;
    std::vector<const float*> lse_parts;
    for (std::size_t n = 0; n + 1 < cuts.size(); ++n) {
        parts.push_back(std::make_unique<DenseCase>(part_of(whole.spec(), cuts[n], cuts[n + 1])));
        DenseCase& part = *parts.back();
        copy_inputs(whole, cuts[n], part);
        const PlanHandle plan = make_plan(device, part);
        ASSERT_NE(plan, nullptr);
        ASSERT_TRUE(run_forward(plan.get(), part)) << device.name;
        o_parts.push_back(part.o.data());
        lse_parts.push_back(part.lse.floats());
    }
    whole.reset_outputs();
    fattn_merge_args args{};
    args.struct_size = sizeof args;
    args.part = to_c(parts[0]->o.layout());
    args.o_layout = to_c(whole.o.layout());
    args.num_parts = static_cast<int64>(o_parts.size());
    args.o_parts = o_parts.data();
    args.lse_parts = lse_parts.data();
    args.o = whole.o.data();
    args.lse = whole.lse.floats();
    ASSERT_TRUE(ok(fattn_merge(device.handle.get(), &args, nullptr))) << device.name;
}

std::vector<DenseSpec> splittable() {
    DenseSpec causal = middle_sized();
    causal.causal = true;
    DenseSpec windowed = middle_sized();
    windowed.window_left = 40;
    windowed.window_right = 3;
    windowed.alibi = true;
    DenseSpec chunked = middle_sized();
    chunked.attention_chunk = 37;
    chunked.softcap = 4.0F;
    DenseSpec empty_rows = middle_sized();
    empty_rows.q_len = 170;
    empty_rows.causal = true;
    DenseSpec low = middle_sized();
    low.dtype = DType::kBF16;
    low.f32_output = true;
    return {middle_sized(), causal, windowed, chunked, empty_rows, low};
}

TEST(DenseLaws, MergedKeySplitsEqualTheWholeWhereverTheyAreCut) {
    std::mt19937_64 random(sampling(1, 1).first_seed);
    for (const DenseSpec& spec : splittable()) {
        DenseCase whole(spec);
        const DenseTruth truth = dense_truth(whole);
        for (int round = 0; round < 4; ++round) {
            std::vector<int64> cuts{0, spec.kv_len};
            for (int n = 0; n <= round; ++n)
                cuts.push_back(static_cast<int64>(random() % static_cast<uint64>(spec.kv_len + 1)));
            std::sort(cuts.begin(), cuts.end());
            for (const CpuDevice& device : cpu_devices()) {
                run_split(device, whole, cuts);
                EXPECT_TRUE(near(
                    "merged o", truth.output.o, whole.o,
                    tolerance(Quantity::kMergedOutput, spec.dtype, whole.o.layout().dtype, truth.o),
                    describe(spec)))
                    << device.name;
                EXPECT_TRUE(
                    near("merged lse", truth.output.lse, whole.lse,
                         tolerance(Quantity::kMergedLse, spec.dtype, DType::kF32, truth.lse),
                         describe(spec)))
                    << device.name;
            }
        }
    }
}

/// Each part's backward with the merged o and lse, and the same d_o and d_lse, gives its share of
/// the whole gradient.
TEST(DenseLaws, BackwardsOfMergedPartsAddUpToTheWhole) {
    for (DenseSpec spec : splittable()) {
        spec.backward = true;
        spec.d_lse = true;
        DenseCase whole(spec);
        const DenseTruth truth = dense_truth(whole);
        const std::vector<int64> cuts{0, spec.kv_len / 3, spec.kv_len};
        for (const CpuDevice& device : cpu_devices()) {
            run_split(device, whole, cuts);
            std::vector<double> d_q(truth.gradients.d_q.size());
            for (std::size_t n = 0; n + 1 < cuts.size(); ++n) {
                DenseCase part(part_of(spec, cuts[n], cuts[n + 1]));
                copy_inputs(whole, cuts[n], part);
                part.o = whole.o;
                part.lse = whole.lse;
                const PlanHandle plan = make_plan(device, part);
                ASSERT_NE(plan, nullptr);
                ASSERT_TRUE(run_backward(plan.get(), part)) << device.name;
                const std::vector<double> share = part.d_q.values();
                for (std::size_t i = 0; i < d_q.size(); ++i) d_q[i] += share[i];
                for (int64 b = 0; b < spec.batch; ++b)
                    for (int64 h = 0; h < spec.num_k_heads; ++h)
                        for (int64 j = cuts[n]; j < cuts[n + 1]; ++j) {
                            for (int64 d = 0; d < spec.head_dim; ++d)
                                whole.d_k.set(b, h, j, d, part.d_k.at(b, h, j - cuts[n], d));
                            for (int64 d = 0; d < spec.head_dim_v; ++d)
                                whole.d_v.set(b, h, j, d, part.d_v.at(b, h, j - cuts[n], d));
                        }
            }
            std::size_t i = 0;
            whole.d_q.fill([&] { return d_q[i++]; });
            EXPECT_TRUE(backward_is_near(truth, whole)) << device.name;
        }
    }
}

/// fattn_merge alone, on unrelated parts of every type, against its definition.
TEST(DenseLaws, MergeIsItsDefinition) {
    std::mt19937_64 random(7);
    std::normal_distribution<double> normal;
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
        for (const int64 num_parts : {1, 2, 3, 9}) {
            const TensorLayout layout =
                make_layout({2, 3, 17, 40}, dtype, MemoryOrder::kTokensOutside);
            const TensorLayout lse_layout = contiguous(2, 3, 17, 1, DType::kF32);
            std::vector<Tensor> o_parts, lse_parts;
            std::vector<const void*> o_pointers;
            std::vector<const float*> lse_pointers;
            for (int64 n = 0; n < num_parts; ++n) {
                o_parts.emplace_back(layout).fill([&] { return normal(random); });
                lse_parts.emplace_back(lse_layout).fill([&] {
                    return random() % 5 == 0 ? -HUGE_VAL : 30 * normal(random);
                });
            }
            for (int64 n = 0; n < num_parts; ++n) {
                const std::size_t at = static_cast<std::size_t>(n);
                lse_parts[at].set(1, 2, 3, 0, -HUGE_VAL);  // a row absent everywhere
                o_pointers.push_back(o_parts[at].data());
                lse_pointers.push_back(lse_parts[at].floats());
            }
            Tensor o(layout), lse(lse_layout);
            fattn_merge_args args{};
            args.struct_size = sizeof args;
            args.part = to_c(layout);
            args.o_layout = to_c(layout);
            args.num_parts = num_parts;
            args.o_parts = o_pointers.data();
            args.lse_parts = lse_pointers.data();
            args.o = o.data();
            args.lse = lse.floats();
            const MergeProblem problem{.part = layout,
                                       .o = layout,
                                       .num_parts = num_parts,
                                       .o_parts = o_pointers.data(),
                                       .lse_parts = lse_pointers.data(),
                                       .out = nullptr,
                                       .lse = nullptr};
            const reference::DenseOutput exact = reference::merge(problem);
            const reference::DenseOutput plain =
                reference::merge(problem, reference::Arithmetic::kPlain);
            PlainError o_error, lse_error;
            o_error.add(exact.o, plain.o);
            lse_error.add(exact.lse, plain.lse);
            const std::string context = std::to_string(num_parts) + " parts of " + name_of(dtype);
            for (const CpuDevice& device : cpu_devices()) {
                ASSERT_TRUE(ok(fattn_merge(device.handle.get(), &args, nullptr))) << device.name;
                EXPECT_TRUE(near("o", exact.o, o,
                                 tolerance(Quantity::kMergedOutput, dtype, dtype, o_error),
                                 context))
                    << device.name;
                EXPECT_TRUE(near("lse", exact.lse, lse,
                                 tolerance(Quantity::kMergedLse, dtype, DType::kF32, lse_error),
                                 context))
                    << device.name;
                EXPECT_TRUE(o.gaps_untouched() && lse.gaps_untouched())
                    << device.name << " " << context;
            }
        }
    }
}

/// Runs a case; its results stay in it.
void run(const CpuDevice& device, DenseCase& c) {
    const PlanHandle plan = make_plan(device, c);
    ASSERT_NE(plan, nullptr);
    ASSERT_TRUE(run_forward(plan.get(), c)) << device.name;
    if (!c.spec().backward) return;
    ASSERT_TRUE(run_backward(plan.get(), c)) << device.name;
}

TEST(DenseLaws, AWindowThatHidesNothingIsNoWindow) {
    const DenseSpec open = middle_sized();
    for (const CpuDevice& device : cpu_devices()) {
        DenseCase without(open);
        run(device, without);
        for (const int64 beyond : {0, 1, 1000}) {
            DenseSpec spec = open;
            spec.window_left = spec.kv_len - 1 + beyond;
            spec.window_right = spec.q_len - 1 + beyond;
            DenseCase with(spec);
            run(device, with);
            EXPECT_TRUE(same_bits("o", without.o, with.o, describe(spec))) << device.name;
            EXPECT_TRUE(same_bits("lse", without.lse, with.lse, describe(spec))) << device.name;
        }
    }
}

TEST(DenseLaws, CausalIsARightWindowOfZero) {
    for (const CpuDevice& device : cpu_devices()) {
        DenseSpec spec = middle_sized();
        spec.causal = true;
        DenseCase causal(spec);
        run(device, causal);
        spec.causal = false;
        spec.window_right = 0;
        DenseCase window(spec);
        run(device, window);
        EXPECT_TRUE(same_bits("o", causal.o, window.o, describe(spec))) << device.name;
        EXPECT_TRUE(same_bits("lse", causal.lse, window.lse, describe(spec))) << device.name;
    }
}

/// Heads that share keys give what they would with copies of them; shared gradients are the sums of
/// the copies'.
TEST(DenseLaws, GroupedHeadsAreRepeatedHeads) {
    DenseSpec spec = middle_sized();
    spec.num_q_heads = 5;
    spec.num_k_heads = 2;
    spec.num_v_heads = 3;
    spec.causal = true;
    spec.backward = true;
    DenseCase grouped(spec);
    const DenseTruth truth = dense_truth(grouped);
    DenseSpec repeated_spec = spec;
    repeated_spec.num_k_heads = repeated_spec.num_v_heads = spec.num_q_heads;
    for (const CpuDevice& device : cpu_devices()) {
        DenseCase repeated(repeated_spec);
        for (int64 b = 0; b < spec.batch; ++b) {
            copy_entry(grouped.q, b, repeated.q, b);
            copy_entry(grouped.d_o, b, repeated.d_o, b);
            for (int64 h = 0; h < spec.num_q_heads; ++h)
                for (int64 j = 0; j < spec.kv_len; ++j) {
                    for (int64 d = 0; d < spec.head_dim; ++d)
                        repeated.k.set(b, h, j, d, grouped.k.at(b, h * 2 / 5, j, d));
                    for (int64 d = 0; d < spec.head_dim_v; ++d)
                        repeated.v.set(b, h, j, d, grouped.v.at(b, h * 3 / 5, j, d));
                }
        }
        run(device, repeated);
        EXPECT_TRUE(near("o", truth.output.o, repeated.o,
                         tolerance(Quantity::kOutput, spec.dtype, spec.dtype, truth.o),
                         describe(spec)))
            << device.name;
        Tensor d_k(grouped.d_k.layout());
        d_k.fill([] { return 0.0; });
        for (int64 b = 0; b < spec.batch; ++b)
            for (int64 h = 0; h < spec.num_q_heads; ++h)
                for (int64 j = 0; j < spec.kv_len; ++j)
                    for (int64 d = 0; d < spec.head_dim; ++d)
                        d_k.set(b, h * 2 / 5, j, d,
                                d_k.at(b, h * 2 / 5, j, d) + repeated.d_k.at(b, h, j, d));
        EXPECT_TRUE(near("sum of d_k", truth.gradients.d_k, d_k,
                         tolerance(Quantity::kGradient, spec.dtype, spec.dtype, truth.d_k),
                         describe(spec)))
            << device.name;
    }
}

/// A packed batch gives each sequence what it gets alone, forward and backward.
TEST(DenseLaws, PackedSequencesAreSeparateSequences) {
    DenseSpec spec = middle_sized();
    spec.batch = 5;
    spec.q_lens = {20, 0, 33, 1, 65};
    spec.kv_lens = {50, 7, 0, 40, 64};
    spec.causal = true;
    spec.backward = true;
    for (const CpuDevice& device : cpu_devices()) {
        DenseCase packed(spec);
        run(device, packed);
        for (std::size_t n = 0; n < spec.q_lens.size(); ++n) {
            DenseSpec one = spec;
            one.batch = 1;
            one.q_len = spec.q_lens[n];
            one.kv_len = spec.kv_lens[n];
            one.q_lens.clear();
            one.kv_lens.clear();
            DenseCase alone(one);
            copy_tokens(packed.q, 0, packed.cu_seqlens_q[n], alone.q, 0);
            copy_tokens(packed.k, 0, packed.cu_seqlens_k[n], alone.k, 0);
            copy_tokens(packed.v, 0, packed.cu_seqlens_k[n], alone.v, 0);
            copy_tokens(packed.d_o, 0, packed.cu_seqlens_q[n], alone.d_o, 0);
            const DenseTruth truth = dense_truth(alone);
            DenseCase cut(one);
            copy_tokens(packed.o, 0, packed.cu_seqlens_q[n], cut.o, 0);
            copy_tokens(packed.lse, 0, packed.cu_seqlens_q[n], cut.lse, 0);
            copy_tokens(packed.d_q, 0, packed.cu_seqlens_q[n], cut.d_q, 0);
            copy_tokens(packed.d_k, 0, packed.cu_seqlens_k[n], cut.d_k, 0);
            copy_tokens(packed.d_v, 0, packed.cu_seqlens_k[n], cut.d_v, 0);
            EXPECT_TRUE(forward_is_near(truth, cut)) << device.name << " sequence " << n;
            EXPECT_TRUE(backward_is_near(truth, cut)) << device.name << " sequence " << n;
        }
    }
}

TEST(DenseLaws, PagedKeysAreContiguousKeys) {
    for (const int64 page_size : {1, 16, 48}) {
        for (const int64 q_len : {1, 5, 70}) {
            DenseSpec spec = middle_sized();
            spec.q_len = q_len;
            spec.causal = true;
            spec.page_size = page_size;
            spec.kv_len_of_run = {150, 77};
            for (const CpuDevice& device : cpu_devices()) {
                DenseCase paged(spec);
                run(device, paged);
                DenseSpec contiguous_spec = spec;
                contiguous_spec.page_size = 0;
                DenseCase whole(contiguous_spec);
                for (int64 b = 0; b < spec.batch; ++b) {
                    copy_entry(paged.q, b, whole.q, b);
                    for (int64 j = 0; j < spec.kv_len_of_run[static_cast<std::size_t>(b)]; ++j) {
                        const std::size_t pages =
                            paged.block_table.size() / static_cast<std::size_t>(spec.batch);
                        const int64 page =
                            paged.block_table[static_cast<std::size_t>(b) * pages +
                                              static_cast<std::size_t>(j / page_size)];
                        for (int64 h = 0; h < spec.num_k_heads; ++h) {
                            for (int64 d = 0; d < spec.head_dim; ++d)
                                whole.k.set(b, h, j, d, paged.k.at(page, j % page_size, h, d));
                            for (int64 d = 0; d < spec.head_dim_v; ++d)
                                whole.v.set(b, h, j, d, paged.v.at(page, j % page_size, h, d));
                        }
                    }
                }
                run(device, whole);
                EXPECT_TRUE(same_bits("o", whole.o, paged.o, describe(spec))) << device.name;
                EXPECT_TRUE(same_bits("lse", whole.lse, paged.lse, describe(spec))) << device.name;
            }
        }
    }
}

}  // namespace
}  // namespace fattn::test
