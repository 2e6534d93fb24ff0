// Fuzz target: the input chooses a small linear attention problem and its tensors. A run is refused
// or stays within memory that is exactly as large as the layouts say.
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

fattn_lightning_problem choose_problem(Choices& in) {
    fattn_lightning_problem p{};
    p.struct_size = sizeof(p);
    p.flags = in.byte() & 31U;
    p.feature_map = static_cast<fattn_feature_map>(in.number(0, 5));
    const fattn_dtype dtypes[] = {FATTN_DTYPE_F32, FATTN_DTYPE_F16, FATTN_DTYPE_BF16};
    const fattn_dtype dtype = dtypes[in.number(0, 2)];
    const int64_t batch = in.number(0, 2);
    const int64_t q_heads = in.number(0, 4);
    const int64_t kv_heads = q_heads == 0 ? 0 : in.number(1, q_heads);
    const int64_t len = in.flag() ? in.number(0, 20) : in.number(0, 250);
    const int64_t dim = in.number(1, 18);
    const int64_t dim_v = in.number(1, 18);
    p.q = choose_layout(in, {batch, q_heads, len, dim}, dtype, false);
    p.k = choose_layout(in, {batch, kv_heads, len, dim}, dtype, false);
    p.v = choose_layout(in, {batch, kv_heads, len, dim_v}, dtype, false);
    const fattn_dtype o_dtype = in.flag() ? dtype : static_cast<fattn_dtype>(FATTN_DTYPE_F32);
    p.o = choose_layout(in, {batch, q_heads, len, dim_v}, o_dtype, true);
    if ((p.flags & FATTN_LIGHTNING_HAS_SCALE) != 0) {
        p.scale = static_cast<float>(in.number(-8, 8)) / 4;
    }
    return p;
}

/// [B, Hq, features, columns] as the header says.
fattn_layout state_layout(const fattn_lightning_problem& p) {
    const int64_t dim = p.q.shape[3];
    const int64_t rows =
        p.feature_map == FATTN_FEATURE_MAP_TAYLOR2 ? 1 + dim + dim * (dim + 1) / 2 : dim;
    const int64_t columns = p.v.shape[3] + ((p.flags & FATTN_LIGHTNING_NORMALIZE) != 0 ? 1 : 0);
    return vector_layout(p.q.shape[0] * p.q.shape[1] * rows * columns);
}

/// Tensors that forward and backward runs share.
struct Inputs {
    Memory q, k, v, slopes, initial_state;

    Inputs(Choices& in, const fattn_lightning_problem& p)
        : q(in, p.q),
          k(in, p.k),
          v(in, p.v),
          slopes(in, vector_layout(p.q.shape[1])),
          initial_state(in, state_layout(p)) {
        // Mostly slopes that are allowed.
        for (int64_t h = 0; h < p.q.shape[1] && in.byte() < 250; ++h) {
            slopes.floats()[h] = static_cast<float>(in.byte()) / 64;
        }
    }

    template <class Args>
    void give(const fattn_lightning_problem& p, Args* args) const {
        args->struct_size = sizeof(*args);
        args->q = q.data();
        args->k = k.data();
        args->v = v.data();
        args->slopes = slopes.floats();
        if ((p.flags & FATTN_LIGHTNING_HAS_INITIAL_STATE) != 0) {
            args->initial_state = initial_state.floats();
        }
    }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
    Choices in(data, size);
    const fattn_lightning_problem p = choose_problem(in);
    fattn_plan* plan = nullptr;
    const fattn_status status = fattn_lightning_plan(cpu(), &p, &plan);
    check(status);
    if (status != FATTN_STATUS_OK) return 0;

    fattn_run run{};
    run.struct_size = sizeof(run);
    run.max_threads = static_cast<int32_t>(in.number(0, 3));
    const Inputs inputs(in, p);
    const fattn_layout state = state_layout(p);
    const Memory o(in, p.o), final_state(in, state);
    fattn_lightning_forward_args forward{};
    inputs.give(p, &forward);
    forward.o = o.data();
    forward.final_state = in.flag() ? final_state.floats() : nullptr;
    check(fattn_lightning_forward(plan, &forward, &run));
    forward.initial_state = nullptr;
    forward.final_state = final_state.floats();
    check(fattn_lightning_step(plan, &forward, &run));

    const Memory d_o(in, p.o), d_final_state(in, state), d_initial_state(in, state);
    const Memory d_q(in, p.q), d_k(in, p.k), d_v(in, p.v);
    fattn_lightning_backward_args backward{};
    inputs.give(p, &backward);
    backward.d_o = d_o.data();
    backward.d_final_state = in.flag() ? d_final_state.floats() : nullptr;
    backward.d_q = in.byte() < 200 ? d_q.data() : nullptr;
    backward.d_k = in.byte() < 200 ? d_k.data() : nullptr;
    backward.d_v = in.byte() < 200 ? d_v.data() : nullptr;
    if ((p.flags & FATTN_LIGHTNING_HAS_INITIAL_STATE) != 0) {
        backward.d_initial_state = d_initial_state.floats();
    }
    check(fattn_lightning_backward(plan, &backward, &run));
    fattn_plan_release(plan);
    return 0;
}
