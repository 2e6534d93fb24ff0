// Fuzz target: the input chooses a small S2 problem, its tensors and positions. A run is refused or
// stays within memory that is exactly as large as the layouts say.
#include <cstddef>
#include <cstdint>

#include "fuzz_input.h"

namespace {

using fattn::fuzz::check;
using fattn::fuzz::Choices;
using fattn::fuzz::choose_layout;
using fattn::fuzz::cpu;
using fattn::fuzz::Memory;
using fattn::fuzz::vector_layout;

fattn_s2_problem choose_problem(Choices& in) {
    fattn_s2_problem p{};
    p.struct_size = sizeof(p);
    p.flags = (in.byte() & 31U) | FATTN_S2_BACKWARD;
    const fattn_dtype dtypes[] = {FATTN_DTYPE_F32, FATTN_DTYPE_F16, FATTN_DTYPE_BF16};
    const fattn_dtype dtype = dtypes[in.number(0, 2)];
    const int64_t batch = in.number(0, 2);
    const int64_t k_heads = in.number(1, 3);
    const int64_t q_heads = k_heads * in.number(1, 3);
    const int64_t v_heads = in.flag() ? k_heads : 1;
    const int64_t kv_len = in.flag() ? in.number(0, 20) : in.number(0, 250);
    const int64_t q_len = in.flag() ? kv_len : in.number(0, 40);
    const int64_t dim = in.number(1, 18);
    const int64_t dim_v = in.number(1, 18);
    p.q = choose_layout(in, {batch, q_heads, q_len, dim}, dtype, false);
    p.k = choose_layout(in, {batch, k_heads, kv_len, dim}, dtype, false);
    p.v = choose_layout(in, {batch, v_heads, kv_len, dim_v}, dtype, false);
    const fattn_dtype o_dtype = in.flag() ? dtype : static_cast<fattn_dtype>(FATTN_DTYPE_F32);
    p.o = choose_layout(in, {batch, q_heads, q_len, dim_v}, o_dtype, true);
    p.d_q = choose_layout(in, {batch, q_heads, q_len, dim}, o_dtype, true);
    p.d_k = choose_layout(in, {batch, k_heads, kv_len, dim}, o_dtype, true);
    p.d_v = choose_layout(in, {batch, v_heads, kv_len, dim_v}, o_dtype, true);
    p.block_size = in.number(1, 40);
    p.local_blocks = in.number(1, 6);
    p.vertical_stride = in.number(1, 9);
    p.head_offset = in.number(-9, 9);
    p.dense_heads = in.byte() < 200 ? 0 : in.number(0, 4);
    if ((p.flags & FATTN_S2_HAS_SCALE) != 0) p.scale = static_cast<float>(in.number(-8, 8)) / 4;
    return p;
}

/// Mostly whole blocks, now and then anything.
int64_t choose_offset(Choices& in, int64_t block_size) {
    const int64_t blocks = in.number(-3, 9);
    return in.byte() < 240 ? blocks * block_size : in.index(1) * (int64_t{1} << in.number(0, 31));
}

/// Tensors and positions that forward and backward runs share.
struct Inputs {
    Memory q, k, v;
    int64_t q_offset, k_offset;

    Inputs(Choices& in, const fattn_s2_problem& p)
        : q(in, p.q),
          k(in, p.k),
          v(in, p.v),
          q_offset(choose_offset(in, p.block_size)),
          k_offset(choose_offset(in, p.block_size)) {}

    template <class Args>
    void give(Args* args) const {
        args->struct_size = sizeof(*args);
        args->q = q.data();
        args->k = k.data();
        args->v = v.data();
        args->q_position_offset = q_offset;
        args->k_position_offset = k_offset;
    }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
    Choices in(data, size);
    const fattn_s2_problem p = choose_problem(in);
    fattn_plan* plan = nullptr;
    const fattn_status status = fattn_s2_plan(cpu(), &p, &plan);
    check(status);
    if (status != FATTN_STATUS_OK) return 0;

    fattn_run run{};
    run.struct_size = sizeof(run);
    run.max_threads = static_cast<int32_t>(in.number(0, 3));
    const Inputs inputs(in, p);
    const fattn_layout rows = vector_layout(p.q.shape[0] * p.q.shape[1] * p.q.shape[2]);
    const Memory o(in, p.o), lse(in, rows);
    fattn_s2_forward_args forward{};
    inputs.give(&forward);
    forward.o = o.data();
    forward.lse = lse.floats();
    check(fattn_s2_forward(plan, &forward, &run));

    const Memory d_o(in, p.o), d_lse(in, rows), d_q(in, p.d_q), d_k(in, p.d_k), d_v(in, p.d_v);
    fattn_s2_backward_args backward{};
    inputs.give(&backward);
    backward.o = o.data();
    backward.lse = lse.floats();
    backward.d_o = d_o.data();
    backward.d_lse = in.flag() ? d_lse.floats() : nullptr;
    backward.d_q = in.byte() < 200 ? d_q.data() : nullptr;
    backward.d_k = in.byte() < 200 ? d_k.data() : nullptr;
    backward.d_v = in.byte() < 200 ? d_v.data() : nullptr;
    check(fattn_s2_backward(plan, &backward, &run));
    fattn_plan_release(plan);
    return 0;
}
