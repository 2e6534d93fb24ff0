// libFuzzer program: makes dense plans from arbitrary problem descriptors and runs those that are
// accepted with arbitrary arguments, on buffers of exactly the size that the descriptor promises.
// Nothing may crash, read or write outside.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include "fused_attention/fused_attention.h"
#include "input.h"

namespace {

using fattn::fuzz::Input;

constexpr int64_t kMostBytes = 1 << 16;  // of one tensor
constexpr int64_t kMostWork = 1 << 20;   // of one run, multiplications
constexpr int64_t kMostIndices = 1 << 12;

/// Bits of one element; 0 for what is no element type.
int64_t element_bits(fattn_dtype dtype) {
    switch (dtype) {
        case FATTN_DTYPE_F32:
        case FATTN_DTYPE_I32:
            return 32;
        case FATTN_DTYPE_F16:
        case FATTN_DTYPE_BF16:
            return 16;
        case FATTN_DTYPE_U8:
            return 8;
        case FATTN_DTYPE_BIT:
            return 1;
        default:
            return 0;
    }
}

/// Bytes from the first to the last element; nothing when that is more than a small buffer.
std::optional<int64_t> bytes_of(const fattn_layout& layout) {
    int64_t last = 0;
    for (uint32_t i = 0; i < std::min(layout.rank, 4u); ++i) {
        if (layout.shape[i] == 0) return 0;
        const auto extent = static_cast<__int128>(layout.shape[i] - 1);
        const __int128 reach = extent * layout.strides[i] + last;
        if (reach < 0 || reach > 8 * kMostBytes) return std::nullopt;
        last = static_cast<int64_t>(reach);
    }
    const int64_t bytes = ((last + 1) * element_bits(layout.dtype) + 7) / 8;
    return bytes > kMostBytes ? std::nullopt : std::optional(bytes);
}

fattn_layout contiguous(int64_t b, int64_t h, int64_t l, int64_t d, fattn_dtype dtype) {
    return {{b, h, l, d}, {h * l * d, l * d, d, 1}, dtype, 4};
}

/// Most layouts fit the wanted shape; some have other strides, extents, types or ranks.
fattn_layout any_layout(Input& input, const int64_t (&shape)[4], fattn_dtype dtype) {
    fattn_layout layout{{shape[0], shape[1], shape[2], shape[3]}, {}, dtype, 4};
    const bool tokens_first = input.rarely(4);  // [B, L, H, D] in memory
    int64_t stride = 1;
    for (int at : {3, tokens_first ? 1 : 2, tokens_first ? 2 : 1, 0}) {
        layout.strides[at] = stride;
        if (__builtin_mul_overflow(stride, layout.shape[at], &stride)) stride = 0;
    }
    if (input.rarely(8)) layout.strides[input.byte() % 4] = input.extent(64);
    if (input.rarely(8)) layout.shape[input.byte() % 4] = input.extent(16);
    if (input.rarely(16)) layout.dtype = input.byte() % 12;
    if (input.rarely(16)) layout.rank = input.byte() % 6;
    return layout;
}

fattn_dense_problem any_problem(Input& input) {
    fattn_dense_problem p{};
    p.struct_size = sizeof p;
    if (input.rarely(32)) p.struct_size = input.integer<uint32_t>() % (2 * sizeof p);
    p.flags = input.integer<uint16_t>() & input.integer<uint16_t>();  // a quarter of the bits
    if (input.rarely(32)) p.flags = input.integer<uint32_t>();
    const int64_t batch = (p.flags & FATTN_DENSE_VARLEN) ? 1 : input.extent(3);
    const int64_t q_heads = input.extent(6), k_heads = input.extent(6), v_heads = input.extent(6);
    const int64_t q_len = input.extent(70), kv_len = input.extent(200);
    const int64_t dim = input.extent(40), v_dim = input.extent(40);
    const int64_t page = input.extent(20), num_pages = input.extent(10);
    const auto dtype = static_cast<fattn_dtype>(1 + input.byte() % 3);
    const bool paged = (p.flags & FATTN_DENSE_PAGED) != 0;
    p.q = any_layout(input, {batch, q_heads, q_len, dim}, dtype);
    p.k = paged ? any_layout(input, {num_pages, page, k_heads, dim}, dtype)
                : any_layout(input, {batch, k_heads, kv_len, dim}, dtype);
    p.v = paged ? any_layout(input, {num_pages, page, v_heads, v_dim}, dtype)
                : any_layout(input, {batch, v_heads, kv_len, v_dim}, dtype);
    if (input.rarely(4)) p.o = any_layout(input, {batch, q_heads, q_len, v_dim}, dtype);
    if (p.flags & FATTN_DENSE_HAS_BIAS) {
        p.bias = any_layout(
            input, {input.rarely(2) ? 1 : batch, input.rarely(2) ? 1 : q_heads, q_len, kv_len},
            FATTN_DTYPE_F32);
    }
    if (p.flags & FATTN_DENSE_HAS_MASK) {
        p.mask = any_layout(
            input, {input.rarely(2) ? 1 : batch, input.rarely(2) ? 1 : q_heads, q_len, kv_len},
            FATTN_DTYPE_U8 + input.byte() % 2);
    }
    if (p.flags & FATTN_DENSE_HAS_SCALE) p.scale = input.number();
    if (p.flags & FATTN_DENSE_HAS_SOFTCAP) p.softcap = input.number();
    if (p.flags & FATTN_DENSE_HAS_DROPOUT) p.dropout_p = static_cast<float>(input.byte()) / 200.0f;
    if (p.flags & FATTN_DENSE_HAS_WINDOW) {
        p.window_left = input.extent(80) - 1;
        p.window_right = input.extent(80) - 1;
    }
    if (input.rarely(8)) p.attention_chunk = input.extent(50);
    if (input.rarely(4)) p.causal_alignment = input.byte() % 3;
    if (input.rarely(8)) p.weights = input.byte() % 3;
    if (input.rarely(16)) p.pointer_alignment = input.byte();
    if (p.flags & FATTN_DENSE_VARLEN) {
        p.num_seqs = input.extent(5);
        p.max_q_len = input.extent(80);
        p.max_kv_len = input.extent(80);
    }
    if (paged) p.max_pages_per_seq = input.extent(10);
    return p;
}

/// Memory of exactly some bytes, so that a sanitizer sees one step beside it.
class Buffers {
  public:
    explicit Buffers(Input& input) : input_(input) {}

    /// A tensor of the layout, or null once in a while; sets too_large() instead when it is large.
    std::byte* tensor(const fattn_layout& layout) {
        const std::optional<int64_t> bytes = bytes_of(layout);
        if (!bytes) {
            too_large_ = true;
            return nullptr;
        }
        return allocate(*bytes);
    }
    float* floats(int64_t count) { return reinterpret_cast<float*>(numbers(count)); }
    int32_t* indices(int64_t count, bool ascending) {
        auto* values = reinterpret_cast<int32_t*>(numbers(count));
        if (values == nullptr) return nullptr;
        int32_t last = 0;
        for (int64_t i = 0; i < count; ++i) {
            const auto value = static_cast<int32_t>(input_.extent(30));
            if (ascending && i > 0 && !__builtin_add_overflow(last, value, &last)) values[i] = last;
            if (!ascending) values[i] = value;
        }
        return values;
    }
    bool too_large() const { return too_large_; }

  private:
    std::byte* numbers(int64_t count) {
        if (count < 0 || count > kMostIndices) {
            too_large_ = true;
            return nullptr;
        }
        return allocate(count * 4);
    }
    std::byte* allocate(int64_t bytes) {
        if (input_.rarely(64)) return nullptr;
        buffers_.emplace_back(new std::byte[static_cast<size_t>(bytes)]());
        std::byte* memory = buffers_.back().get();
        const uint8_t fill = input_.byte();
        for (int64_t i = 0; i < bytes; ++i) memory[i] = static_cast<std::byte>(fill * (i + 1) >> 3);
        return memory;
    }

    Input& input_;
    std::vector<std::unique_ptr<std::byte[]>> buffers_;
    bool too_large_ = false;
};

bool is_small(const fattn_dense_problem& p) {
    int64_t work = 1;
    const bool paged = (p.flags & FATTN_DENSE_PAGED) != 0;
    const int64_t keys =
        paged ? p.k.shape[1] * std::max<int64_t>(p.max_pages_per_seq, 1) : p.k.shape[2];
    for (int64_t factor :
         {p.q.shape[0], p.q.shape[1], p.q.shape[2], keys, p.q.shape[3] + p.v.shape[3]}) {
        if (factor < 0 || __builtin_mul_overflow(work, std::max<int64_t>(factor, 1), &work))
            return false;
    }
    return work <= kMostWork;
}

template <class Args>
void fill_common(Args& args, const fattn_dense_problem& p, Buffers& buffers, Input& input) {
    const int64_t heads = p.q.shape[1];
    const int64_t sequences = (p.flags & FATTN_DENSE_VARLEN) ? p.num_seqs : p.q.shape[0];
    args.struct_size = sizeof args;
    args.q = buffers.tensor(p.q);
    args.k = buffers.tensor(p.k);
    args.v = buffers.tensor(p.v);
    if (p.flags & FATTN_DENSE_HAS_BIAS) args.bias = buffers.tensor(p.bias);
    if (p.flags & FATTN_DENSE_HAS_MASK) args.mask = buffers.tensor(p.mask);
    if (p.flags & FATTN_DENSE_HAS_ALIBI) args.alibi_slopes = buffers.floats(heads);
    if (p.flags & FATTN_DENSE_HAS_SINK) args.sink_logits = buffers.floats(heads);
    if (p.flags & FATTN_DENSE_VARLEN) {
        args.cu_seqlens_q = buffers.indices(p.num_seqs + 1, true);
        args.cu_seqlens_k = buffers.indices(p.num_seqs + 1, true);
    }
    if (p.flags & (FATTN_DENSE_HAS_KV_LEN | FATTN_DENSE_PAGED)) {
        args.kv_len = buffers.indices(sequences, false);
    }
    args.dropout_seed = input.integer<uint64_t>();
    args.q_position_offset = input.extent(100);
    args.k_position_offset = input.extent(100);
}

void run_plan(fattn_plan* plan, const fattn_dense_problem& p, Input& input) {
    Buffers buffers(input);
    const fattn_layout o = p.o.rank != 0 ? p.o
                                         : contiguous(p.q.shape[0], p.q.shape[1], p.q.shape[2],
                                                      p.v.shape[3], p.q.dtype);
    const int64_t rows = p.q.shape[0] * p.q.shape[1] * p.q.shape[2];

    fattn_dense_forward_args forward{};
    fill_common(forward, p, buffers, input);
    forward.o = buffers.tensor(o);
    forward.lse = buffers.floats(rows);
    if (p.flags & FATTN_DENSE_PAGED) {
        const int64_t sequences = (p.flags & FATTN_DENSE_VARLEN) ? p.num_seqs : p.q.shape[0];
        forward.block_table = buffers.indices(sequences * p.max_pages_per_seq, false);
    }
    if (buffers.too_large()) return;
    const fattn_status status = fattn_dense_forward(plan, &forward, nullptr);
    if (status != FATTN_STATUS_OK && fattn_last_error()[0] == '\0') {
        std::fprintf(stderr, "status %u without a text\n", status);
        std::abort();
    }
    if (status != FATTN_STATUS_OK || (p.flags & FATTN_DENSE_BACKWARD) == 0) return;

    fattn_dense_backward_args backward{};
    fill_common(backward, p, buffers, input);
    backward.o = forward.o;
    backward.lse = forward.lse;
    backward.d_o = buffers.tensor(o);
    backward.d_lse = buffers.floats(rows);
    backward.d_q = buffers.tensor(p.q);
    backward.d_k = buffers.tensor(p.k);
    backward.d_v = buffers.tensor(p.v);
    if (p.flags & FATTN_DENSE_HAS_BIAS) {
        const int64_t* shape = p.bias.shape;
        const fattn_layout d_bias =
            contiguous(shape[0], shape[1], shape[2], shape[3], FATTN_DTYPE_F32);
        backward.d_bias = reinterpret_cast<float*>(buffers.tensor(d_bias));
    }
    if (p.flags & FATTN_DENSE_HAS_SINK) backward.d_sink_logits = buffers.floats(p.q.shape[1]);
    if (!buffers.too_large()) (void)fattn_dense_backward(plan, &backward, nullptr);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    Input input(data, size);
    fattn_device* device = nullptr;
    if (fattn_device_cpu(&device) != FATTN_STATUS_OK) std::abort();
    fattn_dense_problem problem = any_problem(input);

    // The library may read struct_size bytes, no more; what lies past them counts as zero.
    const size_t promised = problem.struct_size;
    std::vector<std::byte> memory(std::max(promised, sizeof problem.struct_size));
    std::memcpy(memory.data(), &problem, std::min(memory.size(), sizeof problem));
    if (promised > sizeof problem) memory.back() = static_cast<std::byte>(input.byte() & 1);
    if (promised < sizeof problem) {
        std::memset(reinterpret_cast<std::byte*>(&problem) + promised, 0,
                    sizeof problem - promised);
    }

    fattn_plan* plan = nullptr;
    const auto* descriptor = reinterpret_cast<const fattn_dense_problem*>(memory.data());
    if (fattn_dense_plan(device, descriptor, &plan) == FATTN_STATUS_OK) {
        if (is_small(problem)) run_plan(plan, problem, input);
        fattn_plan_release(plan);
    } else if (fattn_last_error()[0] == '\0') {
        std::abort();
    }
    fattn_device_release(device);
    return 0;
}
