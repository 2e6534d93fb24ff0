// Makes the tensors and structs of a permuted block-sparse test problem.
#include "support/permuted_block_case.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <sstream>

#include "support/bell.h"

namespace fattn::test {

std::string describe(const PermutedBlockSpec& s) {
    std::ostringstream text;
    text << name_of(s.dtype) << (s.f32_output ? " to f32" : "") << " B" << s.batch << " H"
         << s.num_q_heads << "/" << s.num_k_heads << "/" << s.num_v_heads << " L" << s.q_len << "/"
         << s.kv_len << " D" << s.head_dim << "/" << s.head_dim_v << " block " << s.block
         << " segment " << s.segment << " query_block " << s.query_block << " coverage "
         << s.coverage << (s.causal ? " causal" : "") << (s.max_pool ? " max_pool" : "")
         << (s.shared ? " shared" : "") << " memory " << name_of(s.q_order) << ","
         << name_of(s.k_order) << "," << name_of(s.v_order) << "," << name_of(s.o_order);
    if (s.scale) text << " scale " << *s.scale;
    if (s.d_lse) text << " d_lse";
    if (s.magnitude != 1) text << " magnitude " << s.magnitude;
    text << " seed " << s.seed;
    return text.str();
}

PermutedBlockCase::PermutedBlockCase(const PermutedBlockSpec& spec) : spec_(spec) {
    const PermutedBlockSpec& s = spec_;
    q = Tensor(make_layout({s.batch, s.num_q_heads, s.q_len, s.head_dim}, s.dtype, s.q_order));
    k = Tensor(make_layout({s.batch, s.num_k_heads, s.kv_len, s.head_dim}, s.dtype, s.k_order));
    v = Tensor(make_layout({s.batch, s.num_v_heads, s.kv_len, s.head_dim_v}, s.dtype, s.v_order));
    const int64 o_shape[4] = {s.batch, s.num_q_heads, s.q_len, s.head_dim_v};
    const DType o_dtype = s.f32_output ? DType::kF32 : s.dtype;
    o = Tensor(make_layout(o_shape, o_dtype, s.o_order));
    lse = Tensor(contiguous(s.batch, s.num_q_heads, s.q_len, 1, DType::kF32));
    std::mt19937_64 random(s.seed);
    const auto draw = [&] { return bell(random); };
    q.fill([&] { return s.magnitude * bell(random); });
    k.fill(draw);
    v.fill(draw);
    if (!s.backward) return;
    d_o = Tensor(make_layout(o_shape, o_dtype, s.o_order));
    d_o.fill(draw);
    if (s.d_lse) {
        d_lse = Tensor(lse.layout());
        d_lse.fill(draw);
    }
    const auto gradient_of = [&](const Tensor& x, MemoryOrder order) {
        const int64* n = x.layout().shape;
        return Tensor(
            make_layout({n[0], n[1], n[2], n[3]}, o_dtype,
                        order == MemoryOrder::kSharedBatch ? MemoryOrder::kHeadsOutside : order));
    };
    d_q = gradient_of(q, s.q_order);
    d_k = gradient_of(k, s.k_order);
    d_v = gradient_of(v, s.v_order);
}

fattn_permuted_block_problem PermutedBlockCase::c_problem() const {
    const PermutedBlockSpec& s = spec_;
    fattn_permuted_block_problem p{};
    p.struct_size = sizeof p;
    const auto flag = [&](bool on, uint32 bit) { p.flags |= on ? bit : 0U; };
    flag(s.scale.has_value(), FATTN_PERMUTED_BLOCK_HAS_SCALE);
    flag(true, FATTN_PERMUTED_BLOCK_HAS_COVERAGE);
    flag(!s.causal, FATTN_PERMUTED_BLOCK_NON_CAUSAL);
    flag(s.backward, FATTN_PERMUTED_BLOCK_BACKWARD);
    flag(s.shared, FATTN_PERMUTED_BLOCK_SHARE_PERMUTATION);
    flag(s.max_pool, FATTN_PERMUTED_BLOCK_MAX_POOL);
    p.q = to_c(q.layout());
    p.k = to_c(k.layout());
    p.v = to_c(v.layout());
    p.o = to_c(o.layout());
    p.d_o = to_c(d_o.layout());
    p.d_q = to_c(d_q.layout());
    p.d_k = to_c(d_k.layout());
    p.d_v = to_c(d_v.layout());
    p.block_size = s.block;
    p.segment_size = s.segment;
    p.query_block = s.query_block;
    p.coverage = s.coverage;
    p.scale = s.scale.value_or(0.0F);
    return p;
}

fattn_permuted_block_select_args PermutedBlockCase::c_select() {
    fattn_permuted_block_select_args args{};
    args.struct_size = sizeof args;
    args.q = q.data();
    args.k = k.data();
    args.permutation = permutation.data();
    args.block_mask = block_mask.data();
    args.coverage = coverage.data();
    return args;
}

fattn_permuted_block_forward_args PermutedBlockCase::c_forward() {
    const PermutedBlockForwardArgs given = forward_args();
    fattn_permuted_block_forward_args args{};
    args.struct_size = sizeof args;
    args.q = given.q;
    args.k = given.k;
    args.v = given.v;
    args.o = given.o;
    args.lse = given.lse;
    args.permutation = given.permutation;
    args.block_mask = given.block_mask;
    return args;
}

fattn_permuted_block_backward_args PermutedBlockCase::c_backward() {
    const PermutedBlockBackwardArgs given = backward_args();
    fattn_permuted_block_backward_args args{};
    args.struct_size = sizeof args;
    args.q = given.q;
    args.k = given.k;
    args.v = given.v;
    args.o = given.o;
    args.lse = given.lse;
    args.d_o = given.d_o;
    args.d_lse = given.d_lse;
    args.permutation = given.permutation;
    args.block_mask = given.block_mask;
    args.d_q = given.d_q;
    args.d_k = given.d_k;
    args.d_v = given.d_v;
    return args;
}

PermutedBlockProblem PermutedBlockCase::problem() const {
    const PermutedBlockSpec& s = spec_;
    PermutedBlockProblem p{};
    p.q = q.layout();
    p.k = k.layout();
    p.v = v.layout();
    p.o = o.layout();
    p.d_o = d_o.layout();
    p.d_q = d_q.layout();
    p.d_k = d_k.layout();
    p.d_v = d_v.layout();
    p.batch = s.batch;
    p.num_q_heads = s.num_q_heads;
    p.num_k_heads = s.num_k_heads;
    p.num_v_heads = s.num_v_heads;
    p.q_len = s.q_len;
    p.kv_len = s.kv_len;
    p.head_dim = s.head_dim;
    p.head_dim_v = s.head_dim_v;
    p.window_left = -1;
    p.window_right = -1;
    p.block = s.block;
    p.segment = s.segment;
    p.query_block = s.query_block > 0 ? s.query_block : s.block;
    p.coverage = s.coverage;
    p.scale = s.scale.value_or(1.0F / std::sqrt(static_cast<float>(s.head_dim)));
    p.causal = s.causal;
    p.max_pool = s.max_pool;
    p.shared = s.shared;
    p.backward = s.backward;
    return p;
}

PermutedBlockForwardArgs PermutedBlockCase::forward_args() {
    return {.q = q.data(),
            .k = k.data(),
            .v = v.data(),
            .o = o.data(),
            .lse = lse.floats(),
            .permutation = permutation.empty() ? nullptr : permutation.data(),
            .block_mask = block_mask.empty() ? nullptr : block_mask.data()};
}

PermutedBlockBackwardArgs PermutedBlockCase::backward_args() {
    return {.q = q.data(),
            .k = k.data(),
            .v = v.data(),
            .o = o.data(),
            .lse = lse.floats(),
            .d_o = d_o.data(),
            .d_lse = d_lse.floats(),
            .permutation = permutation.empty() ? nullptr : permutation.data(),
            .block_mask = block_mask.empty() ? nullptr : block_mask.data(),
            .d_q = d_q.data(),
            .d_k = d_k.data(),
            .d_v = d_v.data()};
}

void PermutedBlockCase::reset_outputs() {
    o = Tensor(o.layout());
    lse = Tensor(lse.layout());
    reset_gradients();
}

void PermutedBlockCase::reset_gradients() {
    for (Tensor* x : {&d_q, &d_k, &d_v})
        if (x->present()) *x = Tensor(x->layout());
}

void PermutedBlockCase::reset_selection() {
    const PermutedBlockProblem p = problem();
    const int64 heads = p.batch * p.num_q_heads;
    permutation.assign(static_cast<std::size_t>(heads * p.kv_len), -7);
    block_mask.assign(static_cast<std::size_t>(heads * p.num_query_blocks() * p.num_key_blocks()),
                      9);
    coverage.assign(static_cast<std::size_t>(heads * p.num_query_blocks()), -1.0F);
}

void PermutedBlockCase::draw_selection(double chance_of_block) {
    const PermutedBlockProblem p = problem();
    std::mt19937_64 random(spec_.seed + 77);
    std::bernoulli_distribution keeps(chance_of_block);
    const int64 mask_of_head = p.num_query_blocks() * p.num_key_blocks();
    permutation.clear();
    block_mask.clear();
    for (int64 head = 0; head < p.batch * p.num_q_heads; ++head) {
        const int64 h = head % p.num_q_heads;
        if (p.shared && h > 0 && p.k_head(h) == p.k_head(h - 1)) {
            for (int64 j = 0; j < p.kv_len; ++j)
                permutation.push_back(*(permutation.end() - p.kv_len));
            for (int64 n = 0; n < mask_of_head; ++n)
                block_mask.push_back(*(block_mask.end() - mask_of_head));
            continue;
        }
        const auto begin = static_cast<std::ptrdiff_t>(permutation.size());
        for (int64 j = 0; j < p.kv_len; ++j) permutation.push_back(static_cast<int32>(j));
        for (int64 s = 0; s + p.segment <= p.num_sorted(); s += p.segment)
            std::shuffle(permutation.begin() + begin + s,
                         permutation.begin() + begin + s + p.segment, random);
        for (int64 n = 0; n < mask_of_head; ++n) block_mask.push_back(keeps(random) ? 1 : 0);
    }
}

}  // namespace fattn::test
