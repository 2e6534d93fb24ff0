// Draws neighborhood problems: one to three axes of every kind of window, every feature on its own
// coin.
#include "support/random_neighborhood.h"

#include <algorithm>

#include "support/coins.h"

namespace fattn::test {
namespace {

constexpr int64 kNeighborhoodHeadDims[] = {1,  2,  3,  5,  8,  15, 16, 17, 24,
                                           32, 33, 47, 48, 64, 65, 96, 128};
constexpr MemoryOrder kNeighborhoodOrders[] = {MemoryOrder::kHeadsOutside,
                                               MemoryOrder::kTokensOutside, MemoryOrder::kPacked,
                                               MemoryOrder::kPadded};
constexpr DType kNeighborhoodDTypes[] = {DType::kF32, DType::kF16, DType::kBF16};

constexpr double kRandomNeighborhoodForwardWork = 3e6;
constexpr double kRandomNeighborhoodBackwardWork = 1e6;

NeighborhoodAxis draw_axis(Coins& coins, int64 longest) {
    const int64 extent = coins.between(1, longest);
    const int64 dilation = coins.chance(0.3) ? coins.between(1, std::min<int64>(extent, 4)) : 1;
    const int64 most = extent / dilation;
    const int64 window = coins.chance(0.15) ? most : coins.between(1, most);
    const int64 stride = coins.chance(0.5)   ? 1
                         : coins.chance(0.3) ? window
                                             : coins.between(1, window);
    return {narrow<int32>(extent), narrow<int32>(dilation), narrow<int32>(window),
            narrow<int32>(stride), coins.chance(0.3)};
}

}  // namespace

NeighborhoodSpec random_neighborhood_spec(uint64 seed, bool backward) {
    Coins coins(seed + 1000000);
    NeighborhoodSpec s;
    do {
        s = NeighborhoodSpec{};
        s.seed = seed;
        s.dtype = coins.pick(kNeighborhoodDTypes);
        s.f32_output = coins.chance(0.2);
        s.batch = coins.pick({1, 1, 2, 3});
        s.num_q_heads = coins.pick({1, 2, 3, 4, 6, 8});
        s.num_kv_heads = coins.chance(0.4) ? s.num_q_heads : coins.between(1, s.num_q_heads);
        const int64 num_axes = coins.between(1, 3);
        const int64 longest[] = {600, 40, 14};
        for (int64 n = 0; n < num_axes; ++n)
            s.axes.push_back(draw_axis(coins, longest[num_axes - 1]));
        if (coins.chance(0.3)) s.num_additional = coins.between(1, 70);
        s.head_dim = coins.pick(kNeighborhoodHeadDims);
        s.head_dim_v = coins.chance(0.5) ? s.head_dim : coins.pick(kNeighborhoodHeadDims);
        if (coins.chance(0.3)) s.scale = coins.pick({0.0F, -0.2F, 0.05F, 1.0F, 0.125F});
        if (coins.chance(0.1)) s.magnitude = coins.pick({0.01, 8.0, 100.0});
        s.q_order = coins.pick(kNeighborhoodOrders);
        s.k_order = coins.chance(0.5) ? s.q_order : coins.pick(kNeighborhoodOrders);
        s.v_order = coins.chance(0.5) ? s.k_order : coins.pick(kNeighborhoodOrders);
        s.o_order = coins.chance(0.5) ? s.q_order : coins.pick(kNeighborhoodOrders);
        if (coins.chance(0.05)) s.k_order = MemoryOrder::kSharedBatch;
        if (coins.chance(0.05)) s.q_order = MemoryOrder::kSharedBatch;
        s.backward = backward;
        s.d_lse = backward && coins.chance(0.3);
    } while (s.work() >
             (backward ? kRandomNeighborhoodBackwardWork : kRandomNeighborhoodForwardWork));
    return s;
}

}  // namespace fattn::test
