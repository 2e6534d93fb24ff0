// Makes the tensors and structs of a dense test problem.
#include "support/dense_case.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <sstream>

#include "support/bell.h"

namespace fattn::test {
namespace {

constexpr double kHidden = -std::numeric_limits<double>::infinity();

int64 longest(const std::vector<int32>& lengths) {
    return lengths.empty() ? 0 : *std::max_element(lengths.begin(), lengths.end());
}

std::vector<int32> running_sum(const std::vector<int32>& lengths) {
    std::vector<int32> sums{0};
    for (const int32 length : lengths) sums.push_back(sums.back() + length);
    return sums;
}

std::string list(const std::vector<int32>& numbers) {
    std::ostringstream text;
    text << "[";
    for (const int32 n : numbers) text << (text.tellp() > 1 ? "," : "") << n;
    text << "]";
    return text.str();
}

const int32* pointer_or_null(const std::vector<int32>& numbers) {
    return numbers.empty() ? nullptr : numbers.data();
}

/// Layout as the library's plans resolve it: the full shape, stride 0 where the tensor broadcasts.
TensorLayout broadcast_to(TensorLayout layout, int64 batch, int64 heads) {
    const int64 full[2] = {batch, heads};
    for (int n = 0; n < 2; ++n) {
        if (layout.shape[n] == 1) layout.strides[n] = 0;
        layout.shape[n] = full[n];
    }
    return layout;
}

}  // namespace

double DenseSpec::work() const {
    double pairs =
        static_cast<double>(batch) * static_cast<double>(q_len) * static_cast<double>(kv_len);
    if (varlen()) {
        pairs = 0;
        for (std::size_t n = 0; n < q_lens.size(); ++n)
            pairs +=
                static_cast<double>(q_lens[n]) * (kv_lens.empty() ? kv_len_of_run[n] : kv_lens[n]);
    }
    return pairs * static_cast<double>(num_q_heads * (head_dim + head_dim_v));
}

std::string describe(const DenseSpec& s) {
    std::ostringstream text;
    text << "dense " << name_of(s.dtype) << (s.f32_output ? " to f32" : "") << " B " << s.batch
         << " H " << s.num_q_heads << "/" << s.num_k_heads << "/" << s.num_v_heads << " L "
         << s.q_len << "x" << s.kv_len << " D " << s.head_dim << "/" << s.head_dim_v;
    if (s.causal) text << " causal";
    if (s.top_left) text << " top_left";
    if (s.window_left >= 0 || s.window_right >= 0)
        text << " window " << s.window_left << "," << s.window_right;
    if (s.attention_chunk > 0) text << " chunk " << s.attention_chunk;
    if (s.q_position_offset != 0 || s.k_position_offset != 0)
        text << " offsets " << s.q_position_offset << "," << s.k_position_offset;
    if (s.scale) text << " scale " << *s.scale;
    if (s.softcap > 0) text << " softcap " << s.softcap;
    if (s.sigmoid) text << " sigmoid " << s.sigmoid_bias;
    if (s.alibi) text << " alibi";
    if (s.sink) text << " sink";
    if (s.dropout_p > 0) text << " dropout " << s.dropout_p;
    if (s.bias != DType::kDefault)
        text << " bias " << name_of(s.bias) << (s.bias_per_batch ? " per batch" : "")
             << (s.bias_per_head ? " per head" : "") << " hidden " << s.bias_hidden;
    if (s.mask != DType::kDefault)
        text << " mask " << name_of(s.mask) << (s.mask_per_batch ? " per batch" : "")
             << (s.mask_per_head ? " per head" : "");
    if (s.varlen()) text << " q_lens " << list(s.q_lens) << " kv_lens " << list(s.kv_lens);
    if (!s.kv_len_of_run.empty()) text << " kv_len " << list(s.kv_len_of_run);
    if (s.page_size > 0) text << " pages of " << s.page_size;
    text << " memory " << name_of(s.q_order) << "," << name_of(s.k_order) << ","
         << name_of(s.v_order) << "," << name_of(s.o_order);
    if (s.d_lse) text << " d_lse";
    if (s.magnitude != 1) text << " magnitude " << s.magnitude;
    text << " seed " << s.seed;
    return text.str();
}

DenseCase::DenseCase(const DenseSpec& spec) : spec_(spec) {
    make_shapes();
    make_data();
    hide_unused_keys();
    reset_outputs();
}

void DenseCase::make_shapes() {
    const DenseSpec& s = spec_;
    const int64 tensor_batch = s.varlen() ? 1 : s.batch;
    max_q_len_ = s.varlen() ? longest(s.q_lens) : s.q_len;
    max_kv_len_ = s.varlen() ? longest(s.kv_lens) : s.kv_len;
    int64 q_tokens = s.q_len;
    int64 k_tokens = s.kv_len;
    if (s.varlen()) {
        cu_seqlens_q = running_sum(s.q_lens);
        q_tokens = cu_seqlens_q.back();
        if (s.page_size == 0) {
            cu_seqlens_k = running_sum(s.kv_lens);
            k_tokens = cu_seqlens_k.back();
        }
    }
    q = Tensor(
        make_layout({tensor_batch, s.num_q_heads, q_tokens, s.head_dim}, s.dtype, s.q_order));
    if (s.page_size > 0) {
        max_pages_per_seq_ = ceil_div<int64>(longest(s.kv_len_of_run), s.page_size) + 1;
        max_kv_len_ = max_pages_per_seq_ * s.page_size;
        const int64 num_pages = s.batch * max_pages_per_seq_ + 1;
        k = Tensor(swap_middle(
            make_layout({num_pages, s.num_k_heads, s.page_size, s.head_dim}, s.dtype, s.k_order)));
        v = Tensor(swap_middle(make_layout({num_pages, s.num_v_heads, s.page_size, s.head_dim_v},
                                           s.dtype, s.v_order)));
        block_table.resize(static_cast<std::size_t>(num_pages - 1));
        std::iota(block_table.begin(), block_table.end(), 1);
        std::shuffle(block_table.begin(), block_table.end(), std::mt19937_64(s.seed));
    } else {
        k = Tensor(
            make_layout({tensor_batch, s.num_k_heads, k_tokens, s.head_dim}, s.dtype, s.k_order));
        v = Tensor(
            make_layout({tensor_batch, s.num_v_heads, k_tokens, s.head_dim_v}, s.dtype, s.v_order));
    }
    if (s.bias != DType::kDefault)
        bias = Tensor(make_layout({s.bias_per_batch ? s.batch : 1,
                                   s.bias_per_head ? s.num_q_heads : 1, max_q_len_, max_kv_len_},
                                  s.bias, MemoryOrder::kPadded));
    if (s.mask != DType::kDefault)
        mask = Tensor(make_layout({s.mask_per_batch ? s.batch : 1,
                                   s.mask_per_head ? s.num_q_heads : 1, max_q_len_, max_kv_len_},
                                  s.mask, MemoryOrder::kPadded));
    const int64 o_shape[4] = {tensor_batch, s.num_q_heads, q_tokens, s.head_dim_v};
    const DType o_dtype = s.f32_output ? DType::kF32 : s.dtype;
    o = Tensor(make_layout(o_shape, o_dtype, s.o_order));
    lse = Tensor(contiguous(tensor_batch, s.num_q_heads, q_tokens, 1, DType::kF32));
    if (s.alibi) alibi_slopes = Tensor(contiguous(1, 1, 1, s.num_q_heads, DType::kF32));
    if (s.sink) sink_logits = Tensor(contiguous(1, 1, 1, s.num_q_heads, DType::kF32));
    if (!s.backward) return;
    d_o = Tensor(make_layout(o_shape, o_dtype, s.o_order));
    if (s.d_lse) d_lse = Tensor(lse.layout());
    auto gradient_of = [&](const Tensor& x, MemoryOrder order) {
        const int64* n = x.layout().shape;
        return Tensor(
            make_layout({n[0], n[1], n[2], n[3]}, o_dtype,
                        order == MemoryOrder::kSharedBatch ? MemoryOrder::kHeadsOutside : order));
    };
    d_q = gradient_of(q, s.q_order);
    d_k = gradient_of(k, s.k_order);
    d_v = gradient_of(v, s.v_order);
    if (bias.present()) {
        const int64* n = bias.layout().shape;
        d_bias = Tensor(contiguous(n[0], n[1], n[2], n[3], DType::kF32));
    }
    if (s.sink) d_sink_logits = Tensor(sink_logits.layout());
}

void DenseCase::make_data() {
    std::mt19937_64 random(spec_.seed);
    auto chance = [&](double p) { return std::uniform_real_distribution<double>()(random) < p; };
    auto draw = [&] { return bell(random); };
    q.fill([&] { return spec_.magnitude * bell(random); });
    k.fill(draw);
    v.fill(draw);
    d_o.fill(draw);
    d_lse.fill(draw);
    sink_logits.fill(draw);
    alibi_slopes.fill([&] { return std::exp2(-4 * std::abs(bell(random))); });
    mask.fill([&] { return chance(0.7) ? 1.0 : 0.0; });
    bias.fill([&] { return chance(spec_.bias_hidden) ? kHidden : bell(random); });
    if (bias.present() && spec_.bias_hidden > 0) {
        const int64* n = bias.layout().shape;
        for (int64 b = 0; b < n[0]; ++b)
            for (int64 h = 0; h < n[1]; ++h)
                for (int64 i = 0; i < n[2]; ++i)
                    for (int64 j = 0, hide = chance(spec_.bias_hidden); j < n[3] && hide != 0; ++j)
                        bias.set(b, h, i, j, kHidden);
    }
    dropout_seed = random();
    dropout_offset = random();
}

/// Keys past the end of a sequence hold NaN: nobody may read them.
void DenseCase::hide_unused_keys() {
    if (spec_.kv_len_of_run.empty()) return;
    const double nan = std::numeric_limits<double>::quiet_NaN();
    auto hide = [&](Tensor& x, int64 heads, int64 dim) {
        for (int64 b = 0; b < spec_.batch; ++b) {
            const int64 first = spec_.varlen() && spec_.page_size == 0
                                    ? cu_seqlens_k[static_cast<std::size_t>(b)]
                                    : 0;
            const int64 capacity = spec_.page_size > 0 ? max_kv_len_
                                   : spec_.varlen()    ? spec_.kv_lens[static_cast<std::size_t>(b)]
                                                       : spec_.kv_len;
            for (int64 j = spec_.kv_len_of_run[static_cast<std::size_t>(b)]; j < capacity; ++j)
                for (int64 h = 0; h < heads; ++h)
                    for (int64 d = 0; d < dim; ++d) {
                        if (spec_.page_size > 0)
                            x.set(block_table[static_cast<std::size_t>(b * max_pages_per_seq_ +
                                                                       j / spec_.page_size)],
                                  j % spec_.page_size, h, d, nan);
                        else
                            x.set(spec_.varlen() ? 0 : b, h, first + j, d, nan);
                    }
        }
    };
    hide(k, spec_.num_k_heads, spec_.head_dim);
    hide(v, spec_.num_v_heads, spec_.head_dim_v);
    // Page 0 is in no table; entries of a table past its sequence's last page name no page at all.
    if (spec_.page_size == 0) return;
    for (int64 b = 0; b < spec_.batch; ++b)
        for (int64 page =
                 ceil_div<int64>(spec_.kv_len_of_run[static_cast<std::size_t>(b)], spec_.page_size);
             page < max_pages_per_seq_; ++page)
            block_table[static_cast<std::size_t>(b * max_pages_per_seq_ + page)] = -1;
}

void DenseCase::reset_outputs() {
    o = Tensor(o.layout());
    lse = Tensor(lse.layout());
    reset_gradients();
}

void DenseCase::reset_gradients() {
    for (Tensor* x : {&d_q, &d_k, &d_v, &d_bias, &d_sink_logits})
        if (x->present()) *x = Tensor(x->layout());
}

fattn_dense_problem DenseCase::c_problem() const {
    const DenseSpec& s = spec_;
    fattn_dense_problem p{};
    p.struct_size = sizeof p;
    const auto flag = [&](bool on, uint32 bit) { p.flags |= on ? bit : 0U; };
    flag(s.causal, FATTN_DENSE_CAUSAL);
    flag(s.scale.has_value(), FATTN_DENSE_HAS_SCALE);
    flag(s.window_left >= 0 || s.window_right >= 0, FATTN_DENSE_HAS_WINDOW);
    flag(s.softcap > 0, FATTN_DENSE_HAS_SOFTCAP);
    flag(bias.present(), FATTN_DENSE_HAS_BIAS);
    flag(s.alibi, FATTN_DENSE_HAS_ALIBI);
    flag(s.sink, FATTN_DENSE_HAS_SINK);
    flag(mask.present(), FATTN_DENSE_HAS_MASK);
    flag(s.varlen(), FATTN_DENSE_VARLEN);
    flag(!s.kv_len_of_run.empty(), FATTN_DENSE_HAS_KV_LEN);
    flag(s.page_size > 0, FATTN_DENSE_PAGED);
    flag(s.dropout_p > 0, FATTN_DENSE_HAS_DROPOUT);
    flag(s.backward, FATTN_DENSE_BACKWARD);
    p.q = to_c(q.layout());
    p.k = to_c(k.layout());
    p.v = to_c(v.layout());
    p.o = to_c(o.layout());
    p.bias = to_c(bias.layout());
    p.mask = to_c(mask.layout());
    p.d_o = to_c(d_o.layout());
    p.d_q = to_c(d_q.layout());
    p.d_k = to_c(d_k.layout());
    p.d_v = to_c(d_v.layout());
    p.d_bias = to_c(d_bias.layout());
    p.scale = s.scale.value_or(0.0F);
    p.softcap = s.softcap;
    p.sigmoid_bias = s.sigmoid_bias;
    p.dropout_p = s.dropout_p;
    p.window_left = s.window_left;
    p.window_right = s.window_right;
    p.attention_chunk = s.attention_chunk;
    p.causal_alignment = s.top_left ? FATTN_ALIGNMENT_TOP_LEFT : FATTN_ALIGNMENT_BOTTOM_RIGHT;
    p.weights = s.sigmoid ? FATTN_WEIGHTS_SIGMOID : FATTN_WEIGHTS_SOFTMAX;
    if ((p.flags & FATTN_DENSE_HAS_WINDOW) == 0) p.window_left = p.window_right = 0;
    if (s.varlen()) {
        p.num_seqs = s.batch;
        p.max_q_len = max_q_len_;
        p.max_kv_len = s.page_size > 0 ? 0 : max_kv_len_;
    }
    p.max_pages_per_seq = max_pages_per_seq_;
    return p;
}

fattn_dense_forward_args DenseCase::c_forward() {
    fattn_dense_forward_args args{};
    args.struct_size = sizeof args;
    args.q = q.data();
    args.k = k.data();
    args.v = v.data();
    args.o = o.data();
    args.lse = spec_.sigmoid ? nullptr : lse.floats();
    args.bias = bias.data();
    args.mask = mask.data();
    args.alibi_slopes = alibi_slopes.floats();
    args.sink_logits = sink_logits.floats();
    args.cu_seqlens_q = pointer_or_null(cu_seqlens_q);
    args.cu_seqlens_k = pointer_or_null(cu_seqlens_k);
    args.kv_len = pointer_or_null(spec_.kv_len_of_run);
    args.block_table = pointer_or_null(block_table);
    args.dropout_seed = dropout_seed;
    args.dropout_offset = dropout_offset;
    args.q_position_offset = spec_.q_position_offset;
    args.k_position_offset = spec_.k_position_offset;
    return args;
}

fattn_dense_backward_args DenseCase::c_backward() {
    const fattn_dense_forward_args forward = c_forward();
    fattn_dense_backward_args args{};
    args.struct_size = sizeof args;
    args.q = forward.q;
    args.k = forward.k;
    args.v = forward.v;
    args.o = forward.o;
    args.lse = forward.lse;
    args.d_o = d_o.data();
    args.d_lse = d_lse.floats();
    args.bias = forward.bias;
    args.mask = forward.mask;
    args.alibi_slopes = forward.alibi_slopes;
    args.sink_logits = forward.sink_logits;
    args.cu_seqlens_q = forward.cu_seqlens_q;
    args.cu_seqlens_k = forward.cu_seqlens_k;
    args.kv_len = forward.kv_len;
    args.d_q = d_q.data();
    args.d_k = d_k.data();
    args.d_v = d_v.data();
    args.d_bias = d_bias.floats();
    args.d_sink_logits = d_sink_logits.floats();
    args.dropout_seed = forward.dropout_seed;
    args.dropout_offset = forward.dropout_offset;
    args.q_position_offset = forward.q_position_offset;
    args.k_position_offset = forward.k_position_offset;
    return args;
}

DenseProblem DenseCase::problem() const {
    const DenseSpec& s = spec_;
    DenseProblem p{};
    p.q = q.layout();
    p.k = k.layout();
    p.v = v.layout();
    p.o = o.layout();
    if (bias.present()) p.bias = broadcast_to(bias.layout(), s.batch, s.num_q_heads);
    if (mask.present()) p.mask = broadcast_to(mask.layout(), s.batch, s.num_q_heads);
    p.d_o = d_o.layout();
    p.d_q = d_q.layout();
    p.d_k = d_k.layout();
    p.d_v = d_v.layout();
    p.d_bias = d_bias.layout();
    p.batch = s.batch;
    p.num_q_heads = s.num_q_heads;
    p.num_k_heads = s.num_k_heads;
    p.num_v_heads = s.num_v_heads;
    p.q_len = max_q_len_;
    p.kv_len = max_kv_len_;
    p.head_dim = s.head_dim;
    p.head_dim_v = s.head_dim_v;
    p.window_left = s.window_left;
    p.window_right = s.causal ? 0 : s.window_right;
    p.attention_chunk = s.attention_chunk;
    p.page_size = s.page_size;
    p.num_pages = s.page_size > 0 ? k.layout().shape[0] : 0;
    p.max_pages_per_seq = max_pages_per_seq_;
    p.scale = s.scale.value_or(static_cast<float>(1 / std::sqrt(static_cast<double>(s.head_dim))));
    p.softcap = s.softcap;
    p.sigmoid_bias = s.sigmoid_bias;
    p.dropout_p = s.dropout_p;
    p.alignment = s.top_left ? Alignment::kTopLeft : Alignment::kBottomRight;
    p.weights = s.sigmoid ? Weights::kSigmoid : Weights::kSoftmax;
    p.has_bias = bias.present();
    p.has_alibi = s.alibi;
    p.has_sink = s.sink;
    p.has_mask = mask.present();
    p.varlen = s.varlen();
    p.has_kv_len = !s.kv_len_of_run.empty();
    p.paged = s.page_size > 0;
    p.backward = s.backward;
    return p;
}

DenseForwardArgs DenseCase::forward_args() const {
    DenseForwardArgs args{};
    args.q = q.data();
    args.k = k.data();
    args.v = v.data();
    args.bias = bias.data();
    args.mask = mask.data();
    args.alibi_slopes = static_cast<const float*>(alibi_slopes.data());
    args.sink_logits = static_cast<const float*>(sink_logits.data());
    args.cu_seqlens_q = pointer_or_null(cu_seqlens_q);
    args.cu_seqlens_k = pointer_or_null(cu_seqlens_k);
    args.kv_len = pointer_or_null(spec_.kv_len_of_run);
    args.block_table = pointer_or_null(block_table);
    args.dropout_seed = dropout_seed;
    args.dropout_offset = dropout_offset;
    args.q_position_offset = spec_.q_position_offset;
    args.k_position_offset = spec_.k_position_offset;
    return args;
}

DenseBackwardArgs DenseCase::backward_args() const {
    const DenseForwardArgs forward = forward_args();
    DenseBackwardArgs args{};
    args.q = forward.q;
    args.k = forward.k;
    args.v = forward.v;
    args.d_o = d_o.data();
    args.d_lse = static_cast<const float*>(d_lse.data());
    args.bias = forward.bias;
    args.mask = forward.mask;
    args.alibi_slopes = forward.alibi_slopes;
    args.sink_logits = forward.sink_logits;
    args.cu_seqlens_q = forward.cu_seqlens_q;
    args.cu_seqlens_k = forward.cu_seqlens_k;
    args.kv_len = forward.kv_len;
    args.dropout_seed = forward.dropout_seed;
    args.dropout_offset = forward.dropout_offset;
    args.q_position_offset = forward.q_position_offset;
    args.k_position_offset = forward.k_position_offset;
    return args;
}

}  // namespace fattn::test
