// Fuzz target: the input chooses a small dense problem, its tensors and the contents of its index
// arrays. A run is refused or stays within memory that is exactly as large as the layouts say.
#include <vector>

#include "fuzz_input.h"

namespace fattn::fuzz {
namespace {

std::vector<int32_t> choose_starts(Choices& in, int64_t num_seqs, int64_t num_tokens) {
    std::vector<int32_t> starts = {in.index(0)};
    int64_t start = 0;
    for (int64_t i = 0; i < num_seqs; ++i) {
        start += in.number(0, num_tokens - start);
        starts.push_back(in.index(start));
    }
    return starts;
}

struct Case {
    fattn_dense_problem problem{};
    int64_t batch = 0;
    int64_t q_rows = 0;

    explicit Case(Choices& in) {
        fattn_dense_problem& p = problem;
        p.struct_size = sizeof(p);
        p.flags = static_cast<uint32_t>(in.byte() | in.byte() << 8) & 0x3FFFu;
        if ((p.flags & FATTN_DENSE_PAGED) != 0) {
            p.flags |= FATTN_DENSE_HAS_KV_LEN;
            p.flags &= ~static_cast<uint32_t>(FATTN_DENSE_BACKWARD);
        }
        const bool varlen = has(FATTN_DENSE_VARLEN);
        const bool paged = has(FATTN_DENSE_PAGED);
        const fattn_dtype dtypes[] = {FATTN_DTYPE_F32, FATTN_DTYPE_F16, FATTN_DTYPE_BF16};
        const fattn_dtype dtype = dtypes[in.number(0, 2)];
        const int64_t tensor_batch = varlen ? 1 : in.number(0, 2);
        const int64_t q_heads = in.number(0, 4);
        const int64_t k_heads = q_heads == 0 ? 0 : in.number(1, q_heads);
        const int64_t v_heads = q_heads == 0 ? 0 : in.number(1, q_heads);
        const int64_t q_len = in.number(0, 20);
        const int64_t k_len = in.number(0, 20);
        const int64_t dim = in.number(1, 18);
        const int64_t dim_v = in.number(1, 18);
        batch = varlen ? in.number(1, 4) : tensor_batch;
        p.q = choose_layout(in, {tensor_batch, q_heads, q_len, dim}, dtype, false);
        int64_t capacity = k_len;
        if (paged) {
            const int64_t page_size = in.number(1, 5);
            p.max_pages_per_seq = in.number(1, 4);
            capacity = page_size * p.max_pages_per_seq;
            const int64_t num_pages = in.number(0, 6);
            p.k = choose_layout(in, {num_pages, page_size, k_heads, dim}, dtype, false);
            p.v = choose_layout(in, {num_pages, page_size, v_heads, dim_v}, dtype, false);
        } else {
            p.k = choose_layout(in, {tensor_batch, k_heads, k_len, dim}, dtype, false);
            p.v = choose_layout(in, {tensor_batch, v_heads, k_len, dim_v}, dtype, false);
        }
        const fattn_dtype o_dtype = in.flag() ? dtype : static_cast<fattn_dtype>(FATTN_DTYPE_F32);
        p.o = choose_layout(in, {tensor_batch, q_heads, q_len, dim_v}, o_dtype, true);
        q_rows = tensor_batch * q_heads * q_len;
        int64_t longest_q = q_len;
        if (varlen) {
            p.num_seqs = batch;
            p.max_q_len = in.number(0, 20);
            if (p.max_q_len > 0 && p.max_q_len < q_len) longest_q = p.max_q_len;
        }
        if (has(FATTN_DENSE_HAS_BIAS)) {
            p.bias = choose_layout(
                in, {in.flag() ? batch : 1, in.flag() ? q_heads : 1, longest_q, capacity},
                in.flag() ? dtype : static_cast<fattn_dtype>(FATTN_DTYPE_F32), false);
        }
        if (has(FATTN_DENSE_HAS_MASK)) {
            p.mask = choose_layout(
                in, {in.flag() ? batch : 1, in.flag() ? q_heads : 1, longest_q, capacity},
                in.flag() ? FATTN_DTYPE_U8 : FATTN_DTYPE_BIT, false);
        }
        if (has(FATTN_DENSE_HAS_SCALE)) p.scale = static_cast<float>(in.number(-8, 8)) / 4;
        if (has(FATTN_DENSE_HAS_SOFTCAP)) p.softcap = static_cast<float>(in.number(0, 8));
        if (has(FATTN_DENSE_HAS_DROPOUT)) p.dropout_p = static_cast<float>(in.number(0, 4)) / 4;
        if (has(FATTN_DENSE_HAS_WINDOW)) {
            p.window_left = in.number(-2, 12);
            p.window_right = in.number(-2, 12);
        }
        p.attention_chunk = in.byte() < 200 ? 0 : in.number(0, 9);
        p.causal_alignment = static_cast<fattn_alignment>(in.number(0, 1));
        p.weights = in.byte() < 200 ? FATTN_WEIGHTS_SOFTMAX : FATTN_WEIGHTS_SIGMOID;
    }

    bool has(uint32_t flag) const { return (problem.flags & flag) != 0; }
};

/// What forward and backward runs share.
template <class Args>
struct Inputs {
    Memory q, k, v, bias, mask, slopes, sinks;
    std::vector<int32_t> cu_seqlens_q, cu_seqlens_k, kv_len;

    Inputs(Choices& in, const Case& c, Args* args)
        : q(in, c.problem.q),
          k(in, c.problem.k),
          v(in, c.problem.v),
          bias(in, c.problem.bias),
          mask(in, c.problem.mask),
          slopes(in, vector_layout(c.problem.q.shape[1])),
          sinks(in, vector_layout(c.problem.q.shape[1])) {
        const fattn_dense_problem& p = c.problem;
        args->struct_size = sizeof(*args);
        args->q = q.data();
        args->k = k.data();
        args->v = v.data();
        args->bias = bias.data();
        args->mask = mask.data();
        if (c.has(FATTN_DENSE_HAS_ALIBI)) args->alibi_slopes = slopes.floats();
        if (c.has(FATTN_DENSE_HAS_SINK)) args->sink_logits = sinks.floats();
        const bool paged = c.has(FATTN_DENSE_PAGED);
        if (c.has(FATTN_DENSE_VARLEN)) {
            cu_seqlens_q = choose_starts(in, c.batch, p.q.shape[2]);
            args->cu_seqlens_q = cu_seqlens_q.data();
            if (!paged) {
                cu_seqlens_k = choose_starts(in, c.batch, p.k.shape[2]);
                args->cu_seqlens_k = cu_seqlens_k.data();
            }
        }
        if (c.has(FATTN_DENSE_HAS_KV_LEN)) {
            const int64_t capacity = paged ? p.k.shape[1] * p.max_pages_per_seq : p.k.shape[2];
            for (int64_t b = 0; b < c.batch; ++b) {
                kv_len.push_back(in.index(in.number(0, cu_seqlens_k.empty() ? capacity : 2)));
            }
            args->kv_len = kv_len.data();
        }
        args->dropout_seed = in.byte();
        args->dropout_offset = in.byte();
        args->q_position_offset = in.index(0);
        args->k_position_offset = in.index(0);
    }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
    Choices in(data, size);
    const Case c(in);
    fattn_plan* plan = nullptr;
    const fattn_status status = fattn_dense_plan(cpu(), &c.problem, &plan);
    check(status);
    if (status != FATTN_STATUS_OK) return 0;

    fattn_run run{};
    run.struct_size = sizeof(run);
    run.max_threads = static_cast<int32_t>(in.number(0, 3));
    const fattn_layout rows = vector_layout(c.q_rows);
    const Memory o(in, c.problem.o);
    const Memory lse(in, rows);
    const bool softmax = c.problem.weights == FATTN_WEIGHTS_SOFTMAX;
    {
        fattn_dense_forward_args args{};
        const Inputs inputs(in, c, &args);
        std::vector<int32_t> block_table;
        if (c.has(FATTN_DENSE_PAGED)) {
            for (int64_t i = 0; i < c.batch * c.problem.max_pages_per_seq; ++i) {
                block_table.push_back(in.index(in.number(0, 6)));
            }
            args.block_table = block_table.data();
        }
        args.o = o.data();
        args.lse = softmax && in.flag() ? lse.floats() : nullptr;
        check(fattn_dense_forward(plan, &args, &run));
    }
    if (c.has(FATTN_DENSE_BACKWARD)) {
        fattn_dense_backward_args args{};
        const Inputs inputs(in, c, &args);
        const Memory d_o(in, c.problem.o);
        const Memory d_q(in, c.problem.q), d_k(in, c.problem.k), d_v(in, c.problem.v);
        fattn_layout bias = c.problem.bias;  // contiguous f32 unless the plan says otherwise
        bias.dtype = FATTN_DTYPE_F32;
        bias.strides[3] = 1;
        for (int axis = 2; axis >= 0; --axis) {
            bias.strides[axis] =
                bias.strides[axis + 1] * (bias.shape[axis + 1] > 0 ? bias.shape[axis + 1] : 1);
        }
        const Memory d_bias(in, bias);
        const Memory d_sink(in, vector_layout(c.problem.q.shape[1]));
        args.o = o.data();
        args.lse = lse.floats();
        args.d_o = d_o.data();
        args.d_q = in.byte() < 200 ? d_q.data() : nullptr;
        args.d_k = in.byte() < 200 ? d_k.data() : nullptr;
        args.d_v = in.byte() < 200 ? d_v.data() : nullptr;
        if (c.has(FATTN_DENSE_HAS_BIAS)) args.d_bias = d_bias.floats();
        if (c.has(FATTN_DENSE_HAS_SINK)) args.d_sink_logits = d_sink.floats();
        check(fattn_dense_backward(plan, &args, &run));
    }
    fattn_plan_release(plan);
    return 0;
}

}  // namespace fattn::fuzz
