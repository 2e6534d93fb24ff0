// Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", section 3.3)
// and the dropout rule.
#include "reference/philox.h"

#include <cmath>

namespace fattn::reference {

std::array<uint32, 4> philox4x32_10(std::array<uint32, 4> counter, std::array<uint32, 2> key) {
    for (int round = 0; round < 10; ++round) {
        const uint64 a = uint64{0xD2511F53} * counter[0];
        const uint64 b = uint64{0xCD9E8D57} * counter[2];
        counter = {static_cast<uint32>(b >> 32) ^ counter[1] ^ key[0], static_cast<uint32>(b),
                   static_cast<uint32>(a >> 32) ^ counter[3] ^ key[1], static_cast<uint32>(a)};
        key[0] += 0x9E3779B9;
        key[1] += 0xBB67AE85;
    }
    return counter;
}

bool dropout_keeps(const DropoutPlace& place, double p, uint64 seed, uint64 offset) {
    const int64 group = floor_div(place.kv_idx, 4);
    const std::array<uint32, 4> words =
        philox4x32_10({static_cast<uint32>(group), static_cast<uint32>(place.q_idx),
                       static_cast<uint32>(place.entry * place.num_q_heads + place.q_head),
                       static_cast<uint32>(offset)},
                      {static_cast<uint32>(seed), static_cast<uint32>(seed >> 32)});
    const uint32 word = words[static_cast<std::size_t>(place.kv_idx - group * 4)];
    return static_cast<double>(word) >= std::floor(p * 0x1p32);
}

}  // namespace fattn::reference
