// Makes, draws and runs S2 problems for tests.
#include "support/s2_case.h"

#include <random>
#include <sstream>

#include "reference/s2.h"
#include "support/random_dense.h"

namespace fattn::test {
namespace {

constexpr double kS2ForwardWork = 2e6;
constexpr double kS2BackwardWork = 6e5;

void fill_mask(const S2Spec& spec, DenseCase& c) {
    const DenseSpec& s = spec.dense;
    const S2Pattern pattern = spec.pattern();
    const reference::S2Positions positions =
        reference::s2_positions(s.q_len, s.kv_len, spec.q_position_offset, spec.k_position_offset);
    for (int64 h = 0; h < s.num_q_heads; ++h)
        for (int64 i = 0; i < s.q_len; ++i)
            for (int64 j = 0; j < s.kv_len; ++j) {
                const bool seen = reference::s2_sees(pattern, positions, h, i, j);
                c.mask.set(0, h, i, j, seen ? 1 : 0);
            }
}

DenseSpec with_mask(DenseSpec spec) {
    spec.mask = DType::kU8;
    spec.mask_per_head = true;
    return spec;
}

/// A dense problem's sizes, types and memory alone.
DenseSpec plain(const DenseSpec& drawn) {
    DenseSpec s;
    s.seed = drawn.seed;
    s.dtype = drawn.dtype;
    s.f32_output = drawn.f32_output;
    s.batch = drawn.batch;
    s.num_q_heads = drawn.num_q_heads;
    s.num_k_heads = drawn.num_k_heads;
    s.num_v_heads = drawn.num_v_heads;
    s.q_len = drawn.q_len;
    s.kv_len = drawn.kv_len;
    s.head_dim = drawn.head_dim;
    s.head_dim_v = drawn.head_dim_v;
    s.scale = drawn.scale;
    s.magnitude = drawn.magnitude;
    s.q_order = drawn.q_order;
    s.k_order = drawn.k_order;
    s.v_order = drawn.v_order;
    s.o_order = drawn.o_order;
    s.backward = drawn.backward;
    s.d_lse = drawn.d_lse;
    return s;
}

testing::AssertionResult after_run(fattn_status status, const S2Case& c, NamedTensors results) {
    if (const testing::AssertionResult result = ok(status); !result)
        return testing::AssertionFailure() << result.message() << "; " << describe(c.spec());
    return gaps_untouched(results, describe(c.spec()));
}

}  // namespace

S2Pattern S2Spec::pattern() const {
    return {.block_size = block_size,
            .local_blocks = local_blocks,
            .vertical_stride = vertical_stride,
            .head_offset = head_offset,
            .dense_heads = dense_heads,
            .num_q_heads = dense.num_q_heads,
            .num_k_heads = dense.num_k_heads,
            .per_query_head = per_query_head,
            .homogeneous = homogeneous,
            .causal = causal};
}

std::string describe(const S2Spec& s) {
    std::ostringstream text;
    text << "s2 blocks of " << s.block_size << " local " << s.local_blocks << " stride "
         << s.vertical_stride << " offset " << s.head_offset << " dense " << s.dense_heads
         << (s.per_query_head ? " per query head" : "") << (s.homogeneous ? " homogeneous" : "")
         << (s.causal ? "" : " two-sided") << " moved " << s.q_position_offset << " "
         << s.k_position_offset << "; " << describe(s.dense);
    return text.str();
}

S2Spec random_s2_spec(uint64 seed, bool backward) {
    S2Spec spec;
    uint64 draw = seed;
    do {
        spec.dense = plain(random_dense_spec(draw, backward));
        draw += 0x100000000;
    } while (spec.dense.work() > (backward ? kS2BackwardWork : kS2ForwardWork));
    // Low bits alone: the seed that a failure prints is the draw's, and must make this problem too.
    std::mt19937_64 random((seed & 0xFFFFFFFF) * 0x9E3779B97F4A7C15 + 2);
    const auto between = [&](int64 low, int64 high) {
        return std::uniform_int_distribution<int64>(low, high)(random);
    };
    constexpr int64 kBlocks[] = {1, 2, 3, 5, 7, 8, 16, 24, 31, 64, 100};
    constexpr int64 kStrides[] = {1, 2, 3, 4, 5, 8, 11, 1000};
    spec.block_size = kBlocks[between(0, 10)];
    spec.local_blocks = between(0, 3) == 0 ? between(1, 40) : between(1, 4);
    spec.vertical_stride = kStrides[between(0, 7)];
    spec.head_offset = between(0, 1) == 0 ? 0 : between(-9, 9);
    spec.per_query_head = between(0, 1) == 0;
    spec.homogeneous = between(0, 5) == 0;
    spec.causal = between(0, 2) != 0;
    spec.dense_heads = between(0, 3) == 0 ? between(0, spec.pattern().num_pattern_heads()) : 0;
    if (between(0, 2) == 0) {
        spec.q_position_offset = between(-2, 6) * spec.block_size;
        spec.k_position_offset = between(-2, 6) * spec.block_size;
    }
    return spec;
}

S2Case::S2Case(const S2Spec& spec) : dense(with_mask(spec.dense)), spec_(spec) {
    fill_mask(spec, dense);
}

fattn_s2_problem S2Case::c_problem() const {
    const fattn_dense_problem of = dense.c_problem();
    fattn_s2_problem p{};
    p.struct_size = sizeof p;
    const auto flag = [&](bool on, uint32 bit) { p.flags |= on ? bit : 0U; };
    flag(spec_.dense.scale.has_value(), FATTN_S2_HAS_SCALE);
    flag(!spec_.causal, FATTN_S2_NON_CAUSAL);
    flag(spec_.per_query_head, FATTN_S2_PATTERN_PER_QUERY_HEAD);
    flag(spec_.homogeneous, FATTN_S2_HOMOGENEOUS);
    flag(spec_.dense.backward, FATTN_S2_BACKWARD);
    p.q = of.q;
    p.k = of.k;
    p.v = of.v;
    p.o = of.o;
    p.d_o = of.d_o;
    p.d_q = of.d_q;
    p.d_k = of.d_k;
    p.d_v = of.d_v;
    p.scale = of.scale;
    p.block_size = spec_.block_size;
    p.local_blocks = spec_.local_blocks;
    p.vertical_stride = spec_.vertical_stride;
    p.head_offset = spec_.head_offset;
    p.dense_heads = spec_.dense_heads;
    return p;
}

fattn_s2_forward_args S2Case::c_forward() {
    fattn_s2_forward_args args{};
    args.struct_size = sizeof args;
    args.q = dense.q.data();
    args.k = dense.k.data();
    args.v = dense.v.data();
    args.o = dense.o.data();
    args.lse = dense.lse.floats();
    args.q_position_offset = spec_.q_position_offset;
    args.k_position_offset = spec_.k_position_offset;
    return args;
}

fattn_s2_backward_args S2Case::c_backward() {
    fattn_s2_backward_args args{};
    args.struct_size = sizeof args;
    args.q = dense.q.data();
    args.k = dense.k.data();
    args.v = dense.v.data();
    args.o = dense.o.data();
    args.lse = dense.lse.floats();
    args.d_o = dense.d_o.data();
    args.d_lse = dense.d_lse.floats();
    args.d_q = dense.d_q.data();
    args.d_k = dense.d_k.data();
    args.d_v = dense.d_v.data();
    args.q_position_offset = spec_.q_position_offset;
    args.k_position_offset = spec_.k_position_offset;
    return args;
}

DenseTruth s2_truth(const S2Case& c, Effort effort) {
    return dense_truth(
        c.dense, [&](DenseCase& other) { fill_mask(c.spec(), other); }, effort);
}

PlanHandle make_plan(const CpuDevice& device, const S2Case& c) {
    const fattn_s2_problem problem = c.c_problem();
    fattn_plan* plan = nullptr;
    EXPECT_TRUE(ok(fattn_s2_plan(device.handle.get(), &problem, &plan)))
        << device.name << "; " << describe(c.spec());
    return PlanHandle(plan);
}

testing::AssertionResult run_forward(fattn_plan* plan, S2Case& c, int threads) {
    c.dense.reset_outputs();
    const fattn_s2_forward_args args = c.c_forward();
    const fattn_run run = with_threads(threads);
    return after_run(fattn_s2_forward(plan, &args, &run), c,
                     {{"o", &c.dense.o}, {"lse", &c.dense.lse}});
}

testing::AssertionResult run_backward(fattn_plan* plan, S2Case& c, int threads) {
    c.dense.reset_gradients();
    const fattn_s2_backward_args args = c.c_backward();
    const fattn_run run = with_threads(threads);
    return after_run(fattn_s2_backward(plan, &args, &run), c,
                     {{"d_q", &c.dense.d_q}, {"d_k", &c.dense.d_k}, {"d_v", &c.dense.d_v}});
}

void expect_near_truth(const S2Spec& spec) {
    S2Case c(spec);
    TruthInTwoSteps<DenseTruth> truth([&](Effort effort) { return s2_truth(c, effort); });
    for (const CpuDevice& device : cpu_devices()) {
        const PlanHandle plan = make_plan(device, c);
        if (plan == nullptr) return;
        testing::AssertionResult ran = run_forward(plan.get(), c);
        if (ran && spec.dense.backward) ran = run_backward(plan.get(), c);
        EXPECT_TRUE(ran) << device.name;
        if (!ran) return;
        EXPECT_TRUE(truth.check([&](const DenseTruth& of_c) { return is_near(of_c, c.dense); }))
            << device.name << "; " << describe(spec);
    }
}

}  // namespace fattn::test
