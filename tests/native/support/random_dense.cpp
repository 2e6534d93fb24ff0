// Draws dense problems: sizes around tile edges, every feature on its own coin.
#include "support/random_dense.h"

#include <algorithm>

#include "support/coins.h"

namespace fattn::test {
namespace {

/// One below, at and one above what tiles, register blocks and splits of keys are made of.
constexpr int64 kDenseLengths[] = {
    1,  2,  3,  4,  5,  7,  8,  9,   11,  12,  13,  15,  16,  17,  23,  25,  31,  32,  33,  47, 48,
    49, 63, 64, 65, 95, 96, 97, 127, 128, 129, 160, 191, 192, 193, 255, 256, 257, 300, 383, 385};
constexpr int64 kDenseLongLengths[] = {511,  512,  513,  700,  1023, 1024,
                                       1025, 1536, 2047, 2049, 3000, 4097};
constexpr int64 kDenseHeadDims[] = {1,  2,  3,  5,  7,   8,   9,   15,  16,  17,
                                    24, 31, 32, 33, 40,  47,  48,  63,  64,  65,
                                    72, 80, 96, 97, 112, 128, 129, 160, 192, 256};
constexpr int64 kDenseLargeHeadDims[] = {257, 320, 511, 512, 575, 576};
constexpr MemoryOrder kDenseOrders[] = {MemoryOrder::kHeadsOutside, MemoryOrder::kTokensOutside,
                                        MemoryOrder::kPacked, MemoryOrder::kPadded};
constexpr DType kDenseDTypes[] = {DType::kF32, DType::kF16, DType::kBF16};

constexpr double kRandomDenseForwardWork = 2e6;
constexpr double kRandomDenseBackwardWork = 6e5;

void draw_sizes(Coins& coins, DenseSpec& s) {
    s.batch = coins.pick({1, 1, 2, 3});
    s.num_q_heads = coins.pick({1, 2, 3, 4, 6, 8});
    auto share = [&] {
        return coins.chance(0.4) ? s.num_q_heads : coins.between(1, s.num_q_heads);
    };
    s.num_k_heads = share();
    s.num_v_heads = coins.chance(0.7) ? s.num_k_heads : share();
    s.q_len = coins.pick(kDenseLengths);
    s.kv_len = coins.chance(0.3) ? s.q_len : coins.pick(kDenseLengths);
    s.head_dim = coins.chance(0.05) ? coins.pick(kDenseLargeHeadDims) : coins.pick(kDenseHeadDims);
    s.head_dim_v = coins.chance(0.5) ? s.head_dim : coins.pick(kDenseHeadDims);
    if (coins.chance(0.2)) {  // few rows over many keys, as in decoding
        s.q_len = coins.between(1, 4);
        s.kv_len = coins.pick(kDenseLongLengths);
    }
    if (coins.chance(0.02)) (coins.chance(0.5) ? s.q_len : s.kv_len) = 0;
}

void draw_predicate(Coins& coins, DenseSpec& s) {
    s.causal = coins.chance(0.4);
    s.top_left = coins.chance(0.25);
    if (coins.chance(0.3)) {
        s.window_left = coins.chance(0.8) ? coins.between(0, s.kv_len + 2) : -1;
        s.window_right = coins.chance(0.6) ? coins.between(0, s.kv_len / 2 + 2) : -1;
    }
    if (coins.chance(0.12)) s.attention_chunk = coins.between(1, s.kv_len + 2);
    if (coins.chance(0.15)) {
        s.q_position_offset = coins.between(-20, 40);
        s.k_position_offset = coins.between(-20, 40);
    }
    if (coins.chance(0.15)) {
        s.mask = coins.pick({DType::kU8, DType::kBit});
        s.mask_per_batch = coins.chance(0.5);
        s.mask_per_head = coins.chance(0.5);
    }
}

void draw_modifiers(Coins& coins, DenseSpec& s) {
    if (coins.chance(0.4)) s.scale = coins.pick({0.0F, -0.2F, 0.05F, 1.0F, 0.125F});
    if (coins.chance(0.2)) s.softcap = coins.pick({0.5F, 5.0F, 30.0F});
    if (coins.chance(0.2)) {
        s.bias = coins.chance(0.5) ? DType::kF32 : s.dtype;
        s.bias_per_batch = coins.chance(0.5);
        s.bias_per_head = coins.chance(0.5);
        s.bias_hidden = coins.pick({0.0, 0.1, 0.5});
    }
    s.alibi = coins.chance(0.15);
    s.sigmoid = coins.chance(0.12);
    if (s.sigmoid) s.sigmoid_bias = coins.pick({0.0F, -3.0F, 1.0F});
    s.sink = !s.sigmoid && coins.chance(0.2);
    if (coins.chance(0.12)) s.dropout_p = coins.pick({0.1F, 0.5F, 0.9F});
    if (coins.chance(0.1)) s.magnitude = coins.pick({0.01, 8.0, 100.0});
}

void draw_sequences(Coins& coins, DenseSpec& s, bool backward) {
    const bool varlen = coins.chance(0.2);
    const bool paged = !backward && coins.chance(0.15);
    if (varlen) s.batch = coins.between(1, 5);
    for (int64 b = 0; b < s.batch && varlen; ++b) {
        s.q_lens.push_back(
            static_cast<int32>(coins.chance(0.15) ? 0 : coins.between(1, s.q_len + 1)));
        if (!paged)
            s.kv_lens.push_back(
                static_cast<int32>(coins.chance(0.15) ? 0 : coins.between(1, s.kv_len + 1)));
    }
    if (paged) s.page_size = coins.pick({1, 3, 16, 64, 100});
    if (!paged && !coins.chance(0.12)) return;
    for (int64 b = 0; b < s.batch; ++b) {
        const int64 capacity = varlen && !paged ? s.kv_lens[static_cast<std::size_t>(b)] : s.kv_len;
        s.kv_len_of_run.push_back(static_cast<int32>(coins.chance(0.1) ? 0
                                                     : coins.chance(0.2)
                                                         ? capacity
                                                         : coins.between(0, capacity)));
    }
}

void draw_memory(Coins& coins, DenseSpec& s) {
    s.q_order = coins.pick(kDenseOrders);
    s.k_order = coins.chance(0.5) ? s.q_order : coins.pick(kDenseOrders);
    s.v_order = coins.chance(0.5) ? s.k_order : coins.pick(kDenseOrders);
    s.o_order = coins.chance(0.5) ? s.q_order : coins.pick(kDenseOrders);
    const bool may_share = !s.varlen() && s.kv_len_of_run.empty() && s.page_size == 0;
    if (may_share && coins.chance(0.05)) s.k_order = MemoryOrder::kSharedBatch;
    if (may_share && coins.chance(0.05)) s.v_order = MemoryOrder::kSharedBatch;
    if (may_share && coins.chance(0.05)) s.q_order = MemoryOrder::kSharedBatch;
}

}  // namespace

DenseSpec random_dense_spec(uint64 seed, bool backward) {
    Coins coins(seed);
    DenseSpec s;
    do {
        s = DenseSpec{};
        s.seed = seed;
        s.dtype = coins.pick(kDenseDTypes);
        s.f32_output = coins.chance(0.2);
        draw_sizes(coins, s);
        draw_sequences(coins, s, backward);
        draw_predicate(coins, s);
        draw_modifiers(coins, s);
        draw_memory(coins, s);
        s.backward = backward;
        s.d_lse = backward && !s.sigmoid && coins.chance(0.3);
    } while (s.work() > (backward ? kRandomDenseBackwardWork : kRandomDenseForwardWork));
    return s;
}

}  // namespace fattn::test
