// Runs permuted block-sparse cases and compares them with the reference.
#include "support/permuted_block_truth.h"

#include <random>

#include "support/compare.h"
#include "support/unwatched.h"

namespace fattn::test {
namespace {

using reference::Arithmetic;
using reference::permuted_block_backward;
using reference::permuted_block_forward;

/// The plain evaluation; the wide one adds its errors to those of the same results.
void add_errors(PermutedBlockCase& c, const PermutedBlockTruth& of_case, Arithmetic arithmetic,
                PermutedBlockTruth& truth) {
    const auto add = arithmetic == Arithmetic::kPlain ? &PlainError::add : &PlainError::add_other;
    const reference::DenseOutput plain =
        permuted_block_forward(c.problem(), c.forward_args(), arithmetic);
    (truth.o.*add)(of_case.output.o, plain.o);
    (truth.lse.*add)(of_case.output.lse, plain.lse);
    if (!c.spec().backward) return;
    const reference::DenseGradients g =
        permuted_block_backward(c.problem(), c.backward_args(), arithmetic, &plain);
    (truth.d_q.*add)(of_case.gradients.d_q, g.d_q);
    (truth.d_k.*add)(of_case.gradients.d_k, g.d_k);
    (truth.d_v.*add)(of_case.gradients.d_v, g.d_v);
}

/// Evaluates a case into of_case, and adds its errors to those of a truth.
void add(PermutedBlockCase& c, Effort effort, PermutedBlockTruth& of_case,
         PermutedBlockTruth& truth) {
    const Unwatched unwatched;
    of_case.output = permuted_block_forward(c.problem(), c.forward_args());
    if (c.spec().backward)
        of_case.gradients = permuted_block_backward(c.problem(), c.backward_args(),
                                                    Arithmetic::kExact, &of_case.output);
    add_errors(c, of_case, Arithmetic::kPlain, truth);
    truth.num_rows += static_cast<int64>(of_case.output.lse.size());
    if (wide_counts(effort, c.spec().dtype, c.spec().f32_output))
        add_errors(c, of_case, Arithmetic::kPlainWide, truth);
}

double work(const PermutedBlockSpec& spec) {
    return static_cast<double>(spec.batch * spec.num_q_heads * spec.q_len * spec.kv_len *
                               (spec.head_dim + spec.head_dim_v)) *
           (spec.backward ? 5 : 1);
}

}  // namespace

PermutedBlockTruth permuted_block_truth(PermutedBlockCase& c, Effort effort) {
    PermutedBlockTruth truth;
    add(c, effort, truth, truth);
    PermutedBlockSpec replica = c.spec();
    PlainSearch search(effort, replica.magnitude, work(replica));
    while (search.wants_another(truth.num_rows,
                                {&truth.o, &truth.lse, &truth.d_q, &truth.d_k, &truth.d_v})) {
        replica.seed += 0x100000000;
        PermutedBlockCase other(replica);
        other.permutation = c.permutation;
        other.block_mask = c.block_mask;
        PermutedBlockTruth of_other;
        add(other, effort, of_other, truth);
    }
    return truth;
}

TruthInTwoSteps<PermutedBlockTruth> truth_in_two_steps(PermutedBlockCase& c) {
    return TruthInTwoSteps<PermutedBlockTruth>(
        [&c](Effort effort) { return permuted_block_truth(c, effort); });
}

PlanHandle make_plan(const CpuDevice& device, const PermutedBlockCase& c) {
    const fattn_permuted_block_problem problem = c.c_problem();
    fattn_plan* plan = nullptr;
    EXPECT_TRUE(ok(fattn_permuted_block_plan(device.handle.get(), &problem, &plan)))
        << device.name << "; " << describe(c.spec());
    return PlanHandle(plan);
}

testing::AssertionResult run_select(fattn_plan* plan, PermutedBlockCase& c, int threads) {
    c.reset_selection();
    const fattn_permuted_block_select_args args = c.c_select();
    const fattn_run run = with_threads(threads);
    const testing::AssertionResult result = ok(fattn_permuted_block_select(plan, &args, &run));
    if (result) return result;
    return testing::AssertionFailure() << result.message() << "; " << describe(c.spec());
}

testing::AssertionResult run_forward(fattn_plan* plan, PermutedBlockCase& c, int threads) {
    c.reset_outputs();
    const fattn_permuted_block_forward_args args = c.c_forward();
    const fattn_run run = with_threads(threads);
    const testing::AssertionResult result = ok(fattn_permuted_block_forward(plan, &args, &run));
    if (!result)
        return testing::AssertionFailure() << result.message() << "; " << describe(c.spec());
    return gaps_untouched({{"o", &c.o}, {"lse", &c.lse}}, describe(c.spec()));
}

testing::AssertionResult run_backward(fattn_plan* plan, PermutedBlockCase& c, int threads) {
    c.reset_gradients();
    const fattn_permuted_block_backward_args args = c.c_backward();
    const fattn_run run = with_threads(threads);
    const testing::AssertionResult result = ok(fattn_permuted_block_backward(plan, &args, &run));
    if (!result)
        return testing::AssertionFailure() << result.message() << "; " << describe(c.spec());
    return gaps_untouched({{"d_q", &c.d_q}, {"d_k", &c.d_k}, {"d_v", &c.d_v}}, describe(c.spec()));
}

testing::AssertionResult is_near(const PermutedBlockTruth& truth, const PermutedBlockCase& c) {
    struct Result {
        const char* name;
        const std::vector<double>& expected;
        const Tensor& actual;
        Quantity quantity;
        const PlainError& plain;
    };
    const reference::DenseGradients& g = truth.gradients;
    for (const Result& x : {Result{"o", truth.output.o, c.o, Quantity::kOutput, truth.o},
                            Result{"lse", truth.output.lse, c.lse, Quantity::kLse, truth.lse},
                            Result{"d_q", g.d_q, c.d_q, Quantity::kGradient, truth.d_q},
                            Result{"d_k", g.d_k, c.d_k, Quantity::kGradient, truth.d_k},
                            Result{"d_v", g.d_v, c.d_v, Quantity::kGradient, truth.d_v}}) {
        if (!x.actual.present()) continue;
        const double allowed =
            tolerance(x.quantity, c.spec().dtype, x.actual.layout().dtype, x.plain);
        const testing::AssertionResult result =
            near(x.name, x.expected, x.actual, allowed, describe(c.spec()));
        if (!result) return result;
    }
    return testing::AssertionSuccess();
}

namespace {

/// Whether the runs of a case ended well; a failure is reported.
bool ran_on(const CpuDevice& device, PermutedBlockCase& c) {
    const PlanHandle plan = make_plan(device, c);
    if (plan == nullptr) return false;
    testing::AssertionResult ran = run_forward(plan.get(), c);
    if (ran && c.spec().backward) ran = run_backward(plan.get(), c);
    EXPECT_TRUE(ran) << device.name;
    return static_cast<bool>(ran);
}

}  // namespace

void expect_near_truth(const CpuDevice& device, TruthInTwoSteps<PermutedBlockTruth>& truth,
                       PermutedBlockCase& c) {
    if (!ran_on(device, c)) return;
    EXPECT_TRUE(truth.check([&](const PermutedBlockTruth& of_c) { return is_near(of_c, c); }))
        << device.name;
}

PermutedBlockSpec random_permuted_block_spec(uint64 seed, bool backward) {
    std::mt19937_64 random(seed);
    const auto one_of = [&](auto... values) {
        const int64 list[] = {static_cast<int64>(values)...};
        return list[random() % (sizeof(list) / sizeof(list[0]))];
    };
    const auto order = [&] {
        return static_cast<MemoryOrder>(one_of(MemoryOrder::kHeadsOutside,
                                               MemoryOrder::kTokensOutside, MemoryOrder::kPacked,
                                               MemoryOrder::kPadded));
    };
    PermutedBlockSpec s;
    s.seed = seed;
    s.dtype = static_cast<DType>(one_of(DType::kF32, DType::kF16, DType::kBF16));
    s.f32_output = one_of(0, 0, 1) != 0;
    s.batch = one_of(1, 1, 2);
    s.num_k_heads = one_of(1, 2);
    s.num_q_heads = s.num_k_heads * one_of(1, 2, 3);
    s.num_v_heads = one_of(s.num_k_heads, 1);
    s.block = one_of(1, 8, 16, 24, 64);
    s.segment = s.block * one_of(1, 2, 3);
    s.query_block = s.block % 8 == 0 ? one_of(0, 0, 1, 8) : 0;
    s.kv_len = one_of(1, 7, 31, 64, 65, 130, 200);
    const int64 step = s.query_block > 0 ? s.query_block : s.block;
    s.q_len =
        s.kv_len - step * static_cast<int64>(random() % static_cast<uint64>(s.kv_len / step + 1) *
                                             (random() % 2));
    s.head_dim = one_of(3, 8, 20, 32, 64);
    s.head_dim_v = one_of(s.head_dim, 1, 24);
    s.coverage = static_cast<float>(one_of(50, 90, 100)) / 100;
    s.causal = one_of(0, 1, 1) != 0;
    s.max_pool = one_of(0, 0, 1) != 0;
    s.shared = one_of(0, 1) != 0;
    if (one_of(0, 0, 1) != 0) s.scale = static_cast<float>(one_of(-1, 0, 1)) * 0.6F;
    s.q_order = order();
    s.k_order = order();
    s.v_order = order();
    s.o_order = order();
    s.backward = backward;
    s.d_lse = backward && one_of(0, 1) != 0;
    s.magnitude = static_cast<double>(one_of(1, 1, 4));
    return s;
}

}  // namespace fattn::test
