// Makes the tensors and structs of a neighborhood test problem.
#include "support/neighborhood_case.h"

#include <cmath>
#include <random>
#include <sstream>

#include "support/bell.h"

namespace fattn::test {

NeighborhoodGrid NeighborhoodSpec::grid() const {
    NeighborhoodGrid result{{single_token_axis(), single_token_axis(), single_token_axis()}};
    const std::size_t first = PatchGrid::kAxes - axes.size();
    for (std::size_t n = 0; n < axes.size(); ++n) result.axis[first + n] = axes[n];
    return result;
}

double NeighborhoodSpec::work() const {
    const auto tokens = static_cast<double>(grid().num_tokens());
    return static_cast<double>(batch * num_q_heads * (head_dim + head_dim_v)) * tokens *
           (tokens + static_cast<double>(num_additional));
}

std::string describe(const NeighborhoodSpec& s) {
    std::ostringstream text;
    text << "neighborhood " << name_of(s.dtype) << (s.f32_output ? " to f32" : "") << " B "
         << s.batch << " H " << s.num_q_heads << "/" << s.num_kv_heads << " D " << s.head_dim << "/"
         << s.head_dim_v;
    for (const NeighborhoodAxis& axis : s.axes)
        text << " [" << axis.extent << " window " << axis.window << " stride " << axis.stride
             << " dilation " << axis.dilation << (axis.causal ? " causal" : "") << "]";
    if (s.num_additional > 0) text << " additional " << s.num_additional;
    if (s.scale) text << " scale " << *s.scale;
    text << " memory " << name_of(s.q_order) << "," << name_of(s.k_order) << ","
         << name_of(s.v_order) << "," << name_of(s.o_order);
    if (s.backward) text << " backward";
    if (s.d_lse) text << " d_lse";
    if (s.magnitude != 1) text << " magnitude " << s.magnitude;
    text << " seed " << s.seed;
    return text.str();
}

NeighborhoodCase::NeighborhoodCase(const NeighborhoodSpec& spec) : spec_(spec) {
    const NeighborhoodSpec& s = spec_;
    const int64 tokens = s.grid().num_tokens();
    const DType o_dtype = s.f32_output ? DType::kF32 : s.dtype;
    const auto output_order = [](MemoryOrder order) {
        return order == MemoryOrder::kSharedBatch ? MemoryOrder::kHeadsOutside : order;
    };
    const auto keys = [&](int64 count, int64 dim, DType dtype, MemoryOrder order) {
        return Tensor(make_layout({s.batch, s.num_kv_heads, count, dim}, dtype, order));
    };
    const auto queries = [&](int64 dim, DType dtype, MemoryOrder order) {
        return Tensor(make_layout({s.batch, s.num_q_heads, tokens, dim}, dtype, order));
    };
    q = queries(s.head_dim, s.dtype, s.q_order);
    k = keys(tokens, s.head_dim, s.dtype, s.k_order);
    v = keys(tokens, s.head_dim_v, s.dtype, s.v_order);
    o = queries(s.head_dim_v, o_dtype, s.o_order);
    lse = Tensor(contiguous(s.batch, s.num_q_heads, tokens, 1, DType::kF32));
    if (s.num_additional > 0) {
        additional_k = keys(s.num_additional, s.head_dim, s.dtype, s.v_order);
        additional_v = keys(s.num_additional, s.head_dim_v, s.dtype, s.k_order);
    }
    if (s.backward) {
        d_o = queries(s.head_dim_v, o_dtype, s.o_order);
        if (s.d_lse) d_lse = Tensor(lse.layout());
        d_q = queries(s.head_dim, o_dtype, output_order(s.q_order));
        d_k = keys(tokens, s.head_dim, o_dtype, output_order(s.k_order));
        d_v = keys(tokens, s.head_dim_v, o_dtype, output_order(s.v_order));
        if (s.num_additional > 0) {
            d_additional_k = keys(s.num_additional, s.head_dim, o_dtype, output_order(s.v_order));
            d_additional_v = keys(s.num_additional, s.head_dim_v, o_dtype, output_order(s.k_order));
        }
    }
    std::mt19937_64 random(s.seed);
    q.fill([&] { return s.magnitude * bell(random); });
    for (Tensor* x : {&k, &v, &additional_k, &additional_v, &d_o, &d_lse})
        x->fill([&] { return bell(random); });
    reset_outputs();
}

void NeighborhoodCase::reset_outputs() {
    o = Tensor(o.layout());
    lse = Tensor(lse.layout());
    reset_gradients();
}

void NeighborhoodCase::reset_gradients() {
    for (Tensor* x : {&d_q, &d_k, &d_v, &d_additional_k, &d_additional_v})
        if (x->present()) *x = Tensor(x->layout());
}

fattn_neighborhood_problem NeighborhoodCase::c_problem() const {
    const NeighborhoodSpec& s = spec_;
    fattn_neighborhood_problem p{};
    p.struct_size = sizeof p;
    const auto flag = [&](bool on, uint32 bit) { p.flags |= on ? bit : 0U; };
    flag(s.scale.has_value(), FATTN_NEIGHBORHOOD_HAS_SCALE);
    flag(s.num_additional > 0, FATTN_NEIGHBORHOOD_HAS_ADDITIONAL_KV);
    flag(s.backward, FATTN_NEIGHBORHOOD_BACKWARD);
    p.q = to_c(q.layout());
    p.k = to_c(k.layout());
    p.v = to_c(v.layout());
    p.o = to_c(o.layout());
    p.additional_k = to_c(additional_k.layout());
    p.additional_v = to_c(additional_v.layout());
    p.d_o = to_c(d_o.layout());
    p.d_q = to_c(d_q.layout());
    p.d_k = to_c(d_k.layout());
    p.d_v = to_c(d_v.layout());
    p.d_additional_k = to_c(d_additional_k.layout());
    p.d_additional_v = to_c(d_additional_v.layout());
    p.num_axes = static_cast<uint32>(s.axes.size());
    for (std::size_t n = 0; n < s.axes.size(); ++n) {
        p.grid[n] = s.axes[n].extent;
        p.kernel_size[n] = s.axes[n].window;
        p.stride[n] = s.axes[n].stride == 1 ? 0 : s.axes[n].stride;
        p.dilation[n] = s.axes[n].dilation == 1 ? 0 : s.axes[n].dilation;
        p.causal[n] = s.axes[n].causal ? 1 : 0;
    }
    p.scale = s.scale.value_or(0.0F);
    return p;
}

fattn_neighborhood_forward_args NeighborhoodCase::c_forward() {
    fattn_neighborhood_forward_args args{};
    args.struct_size = sizeof args;
    args.q = q.data();
    args.k = k.data();
    args.v = v.data();
    args.o = o.data();
    args.lse = lse.floats();
    args.additional_k = additional_k.data();
    args.additional_v = additional_v.data();
    return args;
}

fattn_neighborhood_backward_args NeighborhoodCase::c_backward() {
    fattn_neighborhood_backward_args args{};
    args.struct_size = sizeof args;
    args.q = q.data();
    args.k = k.data();
    args.v = v.data();
    args.o = o.data();
    args.lse = lse.floats();
    args.d_o = d_o.data();
    args.d_lse = d_lse.floats();
    args.additional_k = additional_k.data();
    args.additional_v = additional_v.data();
    args.d_q = d_q.data();
    args.d_k = d_k.data();
    args.d_v = d_v.data();
    args.d_additional_k = d_additional_k.data();
    args.d_additional_v = d_additional_v.data();
    return args;
}

NeighborhoodProblem NeighborhoodCase::problem() const {
    const NeighborhoodSpec& s = spec_;
    NeighborhoodProblem p{};
    p.grid = s.grid();
    p.num_additional = s.num_additional;
    p.additional_k = additional_k.layout();
    p.additional_v = additional_v.layout();
    p.d_additional_k = d_additional_k.layout();
    p.d_additional_v = d_additional_v.layout();
    DenseProblem& d = p.dense;
    d.q = q.layout();
    d.k = k.layout();
    d.v = v.layout();
    d.o = o.layout();
    d.d_o = d_o.layout();
    d.d_q = d_q.layout();
    d.d_k = d_k.layout();
    d.d_v = d_v.layout();
    d.batch = s.batch;
    d.num_q_heads = s.num_q_heads;
    d.num_k_heads = d.num_v_heads = s.num_kv_heads;
    d.q_len = d.kv_len = p.num_tokens();
    d.head_dim = s.head_dim;
    d.head_dim_v = s.head_dim_v;
    d.window_left = d.window_right = -1;
    d.scale = s.scale.value_or(static_cast<float>(1 / std::sqrt(static_cast<double>(s.head_dim))));
    d.backward = s.backward;
    return p;
}

NeighborhoodForwardArgs NeighborhoodCase::forward_args() const {
    NeighborhoodForwardArgs args{};
    args.dense.q = q.data();
    args.dense.k = k.data();
    args.dense.v = v.data();
    args.additional_k = additional_k.data();
    args.additional_v = additional_v.data();
    return args;
}

NeighborhoodBackwardArgs NeighborhoodCase::backward_args() const {
    NeighborhoodBackwardArgs args{};
    args.dense.q = q.data();
    args.dense.k = k.data();
    args.dense.v = v.data();
    args.dense.d_o = d_o.data();
    args.dense.d_lse = static_cast<const float*>(d_lse.data());
    args.additional_k = additional_k.data();
    args.additional_v = additional_v.data();
    return args;
}

}  // namespace fattn::test
