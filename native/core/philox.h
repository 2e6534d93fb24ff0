// The counter-based random generator Philox4x32-10 with the dropout rule built on it; called by
// every kernel that drops weights, so that one problem drops the same weights on every device, in
// both passes and for any tiling.
#pragma once

#include "core/types.h"

namespace fattn {

/// Four 32-bit words: a counter, or the random block made from it.
struct PhiloxBlock {
    uint32 word[4];
};

/// Philox4x32-10 of a counter under a 64-bit key, whose low half is the first key word.
/// Source  Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", section 4.3.
FATTN_HD constexpr PhiloxBlock philox4x32(PhiloxBlock counter, uint64 key) {
    constexpr int kRounds = 10;
    constexpr uint64 kMultiplier0 = 0xD2511F53u;
    constexpr uint64 kMultiplier1 = 0xCD9E8D57u;
    constexpr uint32 kWeyl0 = 0x9E3779B9u;
    constexpr uint32 kWeyl1 = 0xBB67AE85u;
    PhiloxBlock c = counter;
    uint32 key0 = static_cast<uint32>(key);
    uint32 key1 = static_cast<uint32>(key >> 32);
    for (int round = 0; round < kRounds; ++round) {
        const uint64 product0 = kMultiplier0 * c.word[0];
        const uint64 product1 = kMultiplier1 * c.word[2];
        c = PhiloxBlock{{static_cast<uint32>(product1 >> 32) ^ c.word[1] ^ key0,
                         static_cast<uint32>(product1),
                         static_cast<uint32>(product0 >> 32) ^ c.word[3] ^ key1,
                         static_cast<uint32>(product0)}};
        key0 += kWeyl0;
        key1 += kWeyl1;
    }
    return c;
}

/// Which weights of a run are dropped.
struct DropoutRule {
    uint64 seed;
    uint32 offset;
    uint32 threshold;    // a weight is kept iff its word is at least this: floor(p * 2^32)
    float inverse_keep;  // what kept weights are multiplied by: 1 / (1 - p)
};

/// p in [0, 1); p = 0 keeps everything. Only the low 32 bits of offset count.
FATTN_HD constexpr DropoutRule dropout_rule(float p, uint64 seed, uint64 offset) {
    // The product is exact: only the exponent changes.
    const auto threshold = static_cast<uint32>(static_cast<uint64>(p * 4294967296.0F));
    return {seed, static_cast<uint32>(offset), threshold, 1.0F / (1.0F - p)};
}

/// The words of keys 4 * key_quad .. 4 * key_quad + 3. Coordinates are positions of tokens, not
/// slots, and enter by their low 32 bits; head counts over the batch: b * Hq + h.
FATTN_HD constexpr PhiloxBlock dropout_words(const DropoutRule& rule, int64 head, int64 query,
                                             int64 key_quad) {
    return philox4x32(PhiloxBlock{{static_cast<uint32>(key_quad), static_cast<uint32>(query),
                                   static_cast<uint32>(head), rule.offset}},
                      rule.seed);
}

/// Whether one weight is kept.
FATTN_HD constexpr bool dropout_keep(const DropoutRule& rule, int64 head, int64 query, int64 key) {
    const PhiloxBlock block = dropout_words(rule, head, query, floor_div(key, 4));
    return block.word[key & 3] >= rule.threshold;
}

}  // namespace fattn
