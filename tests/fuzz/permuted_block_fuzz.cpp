// Fuzz target: the input chooses a small permuted block-sparse problem, its strides, and the
// contents of permutation and mask. A call is refused or stays within memory that is exactly as
// large as the layouts say.
#include <cstddef>
#include <cstdint>
#include <memory>

#include "fuzz_input.h"

namespace {

using fattn::fuzz::Choices;
using fattn::fuzz::require;

/// Exactly as many elements as asked for, so that the sanitizer sees every step beyond.
template <class T>
std::unique_ptr<T[]> memory_of(int64_t count) {
    return std::make_unique<T[]>(static_cast<std::size_t>(count));
}

struct Tensor {
    fattn_layout layout{};
    int64_t num_bytes = 0;
    std::unique_ptr<uint8_t[]> bytes;

    Tensor(Choices& in, const int64_t (&shape)[4], fattn_dtype dtype) {
        layout.dtype = dtype;
        layout.rank = 4;
        int64_t stride = 1;
        int64_t last = 1;
        for (int axis = 3; axis >= 0; --axis) {
            layout.shape[axis] = shape[axis];
            layout.strides[axis] = stride;
            last += shape[axis] > 0 ? (shape[axis] - 1) * stride : 0;
            stride *= shape[axis] > 0 ? shape[axis] : 1;
            if (axis == 3) stride += in.number(0, 2);
        }
        num_bytes = last * (dtype == FATTN_DTYPE_F32 ? 4 : 2);
        bytes = memory_of<uint8_t>(num_bytes);
        for (int64_t i = 0; i < num_bytes; ++i) {
            bytes[static_cast<std::size_t>(i)] = static_cast<uint8_t>(i % 64 == 3 ? in.byte() : i);
        }
    }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
    Choices in(data, size);
    fattn_device* const device = fattn::fuzz::cpu();
    const int64_t batch = in.number(1, 2);
    const int64_t key_heads = in.number(1, 2);
    const int64_t heads = key_heads * in.number(1, 2);
    const int64_t kv_len = in.number(0, 70);
    const int64_t head_dim = in.number(1, 9);
    fattn_permuted_block_problem problem{};
    problem.struct_size = sizeof problem;
    problem.flags = in.byte() & 0x7Fu;
    problem.block_size = in.number(0, 20);
    problem.segment_size = problem.block_size * in.number(0, 3) + (in.byte() > 250 ? 1 : 0);
    problem.query_block = in.byte() > 128 ? in.number(0, 8) : 0;
    problem.max_blocks = in.number(0, 1) - (in.byte() > 250 ? 1 : 0);
    if ((problem.flags & FATTN_PERMUTED_BLOCK_HAS_COVERAGE) != 0) {
        problem.coverage = static_cast<float>(in.number(0, 110)) / 100;
    }
    if ((problem.flags & FATTN_PERMUTED_BLOCK_HAS_SCALE) != 0) {
        problem.scale = static_cast<float>(in.number(-3, 3));
    }
    const int64_t block = problem.block_size > 0 ? problem.block_size : 128;
    const int64_t row = problem.query_block > 0 ? problem.query_block : block;
    const int64_t q_len = kv_len - row * in.number(0, 3);
    const fattn_dtype dtype = static_cast<fattn_dtype>(in.number(1, 3));
    if (q_len < 0) return 0;
    Tensor q(in, {batch, heads, q_len, head_dim}, dtype);
    Tensor k(in, {batch, key_heads, kv_len, head_dim}, dtype);
    Tensor v(in, {batch, key_heads, kv_len, head_dim}, dtype);
    Tensor o(in, {batch, heads, q_len, head_dim}, dtype);
    problem.q = q.layout;
    problem.k = k.layout;
    problem.v = v.layout;
    problem.o = o.layout;

    fattn_plan* plan = nullptr;
    const fattn_status made = fattn_permuted_block_plan(device, &problem, &plan);
    require(fattn_supports_permuted_block(device, &problem) == made);
    if (made != FATTN_STATUS_OK) {
        require(plan == nullptr && *fattn_last_error() != '\0');
        return 0;
    }
    const int64_t rows = (q_len + row - 1) / row;
    const int64_t columns = (kv_len + block - 1) / block;
    const int64_t mask_size = batch * heads * rows * columns;
    const auto permutation = memory_of<int32_t>(batch * heads * kv_len);
    const auto mask = memory_of<uint8_t>(mask_size);
    const auto coverage = memory_of<float>(batch * heads * rows);
    const auto lse = memory_of<float>(batch * heads * q_len);
    fattn_permuted_block_select_args select{};
    select.struct_size = sizeof select;
    select.q = q.bytes.get();
    select.k = k.bytes.get();
    select.permutation = permutation.get();
    select.block_mask = mask.get();
    select.coverage = coverage.get();
    require(fattn_permuted_block_select(plan, &select, nullptr) == FATTN_STATUS_OK);
    if (in.byte() > 128) {
        fattn_permuted_block_gate_args gate{};
        gate.struct_size = sizeof gate;
        gate.q = q.bytes.get();
        gate.k = k.bytes.get();
        gate.block_mask = mask.get();
        gate.gate = static_cast<fattn_block_gate>(in.number(0, 3));
        gate.top_k = in.number(0, 4);
        gate.threshold = static_cast<float>(in.number(0, 3)) / 2;
        (void)fattn_permuted_block_gate(plan, &gate, nullptr);
    }
    // Contents that a caller may get wrong.
    for (int64_t n = in.number(0, 3); n > 0 && kv_len > 0 && heads > 0; --n) {
        permutation[static_cast<std::size_t>(in.byte()) % static_cast<std::size_t>(kv_len)] =
            static_cast<int32_t>(in.number(-2, 72));
    }
    for (int64_t n = 0; n < mask_size && n < 64; ++n) {
        if (in.byte() > 250) mask[static_cast<std::size_t>(n)] ^= 1;
    }
    const bool without_order = in.byte() > 200;
    const bool without_mask = in.byte() > 200;
    fattn_permuted_block_forward_args forward{};
    forward.struct_size = sizeof forward;
    forward.q = q.bytes.get();
    forward.k = k.bytes.get();
    forward.v = v.bytes.get();
    forward.o = o.bytes.get();
    forward.lse = lse.get();
    forward.permutation = without_order ? nullptr : permutation.get();
    forward.block_mask = without_mask ? nullptr : mask.get();
    const fattn_status ran = fattn_permuted_block_forward(plan, &forward, nullptr);
    require(ran == FATTN_STATUS_OK || ran == FATTN_STATUS_INVALID_ARGUMENT);
    fattn_schedule_stats stats{};
    stats.struct_size = sizeof stats;
    fattn_permuted_block_selection selection{};
    selection.struct_size = sizeof selection;
    selection.permutation = forward.permutation;
    selection.block_mask = forward.block_mask;
    require(fattn_permuted_block_stats(plan, &selection, &stats) == ran);
    if (ran == FATTN_STATUS_OK && (problem.flags & FATTN_PERMUTED_BLOCK_BACKWARD) != 0) {
        // Gradients take the strides of their tensors.
        const auto d_q = memory_of<uint8_t>(q.num_bytes);
        const auto d_k = memory_of<uint8_t>(k.num_bytes);
        const auto d_v = memory_of<uint8_t>(v.num_bytes);
        fattn_permuted_block_backward_args backward{};
        backward.struct_size = sizeof backward;
        backward.q = forward.q;
        backward.k = forward.k;
        backward.v = forward.v;
        backward.o = forward.o;
        backward.lse = forward.lse;
        backward.d_o = forward.o;
        backward.permutation = forward.permutation;
        backward.block_mask = forward.block_mask;
        backward.d_q = d_q.get();
        backward.d_k = in.byte() > 200 ? nullptr : d_k.get();
        backward.d_v = in.byte() > 200 ? nullptr : d_v.get();
        require(fattn_permuted_block_backward(plan, &backward, nullptr) == FATTN_STATUS_OK);
    }
    fattn_plan_release(plan);
    return 0;
}
