// Runs permuted block-sparse cases and compares them with the reference.
#include "support/permuted_block_truth.h"

#include <random>

#include "support/compare.h"

namespace fattn::test {
namespace {

using reference::Arithmetic;
using reference::permuted_block_backward;
using reference::permuted_block_forward;

constexpr int kMostReplicas = 60;
constexpr int64 kEnoughRows = 64;
/// Multiply-adds that the replicas of one case may cost.
constexpr double kReplicaWork = 2e7;

void add(PermutedBlockCase& c, PermutedBlockTruth& truth, PermutedBlockTruth& of_case) {
    of_case.output = permuted_block_forward(c.problem(), c.forward_args());
    const reference::DenseOutput plain =
        permuted_block_forward(c.problem(), c.forward_args(), Arithmetic::kPlain);
    truth.o.add(of_case.output.o, plain.o);
    truth.lse.add(of_case.output.lse, plain.lse);
    if (!c.spec().backward) return;
    of_case.gradients = permuted_block_backward(c.problem(), c.backward_args(), Arithmetic::kExact,
                                                &of_case.output);
    const reference::DenseGradients of_plain =
        permuted_block_backward(c.problem(), c.backward_args(), Arithmetic::kPlain, &plain);
    truth.d_q.add(of_case.gradients.d_q, of_plain.d_q);
    truth.d_k.add(of_case.gradients.d_k, of_plain.d_k);
    truth.d_v.add(of_case.gradients.d_v, of_plain.d_v);
}

}  // namespace

PermutedBlockTruth permuted_block_truth(PermutedBlockCase& c) {
    PermutedBlockTruth truth;
    add(c, truth, truth);
    PermutedBlockSpec spec = c.spec();
    const double work = static_cast<double>(spec.batch * spec.num_q_heads * spec.q_len *
                                            spec.kv_len * (spec.head_dim + spec.head_dim_v)) *
                            (spec.backward ? 5 : 1) +
                        1;
    double spent = 0;
    for (int n = 0; n < kMostReplicas; ++n, spent += work) {
        const bool enough =
            truth.lse.count() >= kEnoughRows && truth.o.count() >= PlainError::kEnough;
        if (enough || spent + work > kReplicaWork) break;
        spec.seed += 0x100000000;
        PermutedBlockCase other(spec);
        other.permutation = c.permutation;
        other.block_mask = c.block_mask;
        PermutedBlockTruth of_other;
        add(other, truth, of_other);
    }
    return truth;
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

void expect_near_truth(const CpuDevice& device, const PermutedBlockTruth& truth,
                       PermutedBlockCase& c) {
    const PlanHandle plan = make_plan(device, c);
    if (plan == nullptr) return;
    const std::string context = std::string(device.name) + " " + describe(c.spec());
    const DType dtype = c.spec().dtype;
    const auto expect = [&](const char* name, const std::vector<double>& expected,
                            const Tensor& actual, Quantity quantity, const PlainError& plain) {
        EXPECT_TRUE(near(name, expected, actual,
                         tolerance(quantity, dtype, actual.layout().dtype, plain), context));
    };
    const testing::AssertionResult ran = run_forward(plan.get(), c);
    EXPECT_TRUE(ran) << device.name;
    if (!ran) return;
    expect("o", truth.output.o, c.o, Quantity::kOutput, truth.o);
    expect("lse", truth.output.lse, c.lse, Quantity::kLse, truth.lse);
    if (!c.spec().backward) return;
    const testing::AssertionResult ran_back = run_backward(plan.get(), c);
    EXPECT_TRUE(ran_back) << device.name;
    if (!ran_back) return;
    expect("d_q", truth.gradients.d_q, c.d_q, Quantity::kGradient, truth.d_q);
    expect("d_k", truth.gradients.d_k, c.d_k, Quantity::kGradient, truth.d_k);
    expect("d_v", truth.gradients.d_v, c.d_v, Quantity::kGradient, truth.d_v);
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
    const bool f32_output = one_of(0, 0, 1) != 0;
    s.batch = one_of(1, 1, 2);
    s.num_k_heads = one_of(1, 2);
    s.num_q_heads = s.num_k_heads * one_of(1, 2, 3);
    s.num_v_heads = one_of(s.num_k_heads, 1);
    s.block = one_of(1, 8, 16, 24, 64);
    s.segment = s.block * one_of(1, 2, 3);
    s.query_block = s.block % 8 == 0 ? one_of(0, 0, 1, 8) : 0;
    s.kv_len = one_of(1, 7, 31, 64, 65, 130, 200);
    // The weight of an only key is 1, which 16 bits hold without an error that f32 could be held
    // to.
    s.f32_output = f32_output && s.kv_len > 1;
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
