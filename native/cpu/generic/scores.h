// The row passes between the two products: scores to base-2 logits, logits to weights; the only
// place where the features of dense attention differ. Called by the forward, backward and decode
// loops.
#pragma once

#include "core/modifier.h"
#include "core/philox.h"
#include "core/problem.h"
#include "core/types.h"
#include "cpu/generic/math.h"
#include "cpu/generic/rows.h"

namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE {
namespace {

/// How raw products become base-2 logits. With no feature, the logit is raw * fast_scale and no
/// pass is needed.
struct ScoreRule {
    bool plain;        // no soft-cap, bias, ALiBi or mask, and a positive scale
    float fast_scale;  // scale * log2(e) when plain, 1 after logits() otherwise
    float scale;
    float softcap;
};

FATTN_HD inline ScoreRule score_rule(const DenseProblem& problem) {
    const bool plain = problem.softcap == 0.0F && !problem.has_bias && !problem.has_alibi &&
                       !problem.has_mask && problem.weights == Weights::kSoftmax &&
                       problem.scale > 0.0F;
    return {plain, plain ? problem.scale * kLog2E : 1.0F, problem.scale, problem.softcap};
}

/// 32 bits of a bit mask starting at bit `first`; bits past first + n are not read beyond their
/// byte.
FATTN_HD inline uint32 mask_bits(const uint8* mask, int64 first, int64 n) {
    uint32 bits = 0;
    for (int64 i = 0; i < n; ++i) {
        const int64 at = first + i;
        bits |= static_cast<uint32>((mask[at >> 3] >> (at & 7)) & 1) << i;
    }
    return bits;
}

/// Lanes of yes where elements [at, at + n) of a mask are set, of no elsewhere.
FATTN_HD inline Vec select_shown(DType mask_dtype, const uint8* mask, int64 at, int64 n, Vec yes,
                                 Vec no) {
    if (mask_dtype == DType::kU8) return select_bytes(mask + at, n, yes, no);
    return select_bits(mask_bits(mask, at, n), yes, no);
}

/// Turns raw products of keys [key, key + count) of one row into base-2 logits in place; hidden by
/// the mask: -inf. factor, when not null, receives the soft-cap's derivative.
[[gnu::noinline]] void logits(const RowSpace& space, const ScoreRule& rule, const Row& row,
                              int64 key, int64 count, float* scores, float* factor) {
    const DenseProblem& problem = *space.problem;
    const Sequence& seq = space.sequence;
    const Scale scale = scale_of(rule.scale);
    const SoftCap softcap = softcap_of(rule.scale, rule.softcap != 0.0F ? rule.softcap : 1.0F);
    const AddBias add_bias;
    const Alibi alibi = alibi_of(problem.has_alibi ? space.slopes[row.head] : 0.0F);
    const char* bias = nullptr;
    const DType bias_dtype = problem.bias.dtype;
    if (problem.has_bias) {
        const int64 at = problem.bias.row(seq.entry, row.head, row.query);
        bias = byte_offset(space.bias, (at + key) * bytes_of(bias_dtype));
    }
    const uint8* mask = static_cast<const uint8*>(space.mask);
    const int64 mask_at =
        problem.has_mask ? problem.mask.row(seq.entry, row.head, row.query) + key : 0;
    for (int64 i = 0; i < count; i += kWidth) {
        const int64 n = min_of<int64>(kWidth, count - i);
        const Vec dot = load(scores + i);
        Vec x;
        if (rule.softcap == 0.0F) {
            x = scale(dot);
        } else {
            const auto capped = softcap.with_slope(dot);
            x = capped.score;
            if (factor != nullptr) store(factor + i, capped.slope);
        }
        if (bias != nullptr) {
            const char* at = bias + i * bytes_of(bias_dtype);
            x = add_bias(
                x, with_dtype(bias_dtype, [&]<DType kType>() { return load_as<kType>(at, n); }));
        }
        if (problem.has_alibi) {
            const int64 distance = row.query + space.predicate.shift - (key + i);
            x = alibi(x, Vec(static_cast<float>(distance)) - iota());
        }
        if (problem.has_mask) {
            x = select_shown(problem.mask.dtype, mask, mask_at + i, n, x, Vec(-kInfinity));
        }
        store(scores + i, x);
    }
}

/// Writes value to keys [begin, end) of a row of a score tile.
FATTN_HD inline void fill(float* scores, int64 begin, int64 end, float value) {
    for (int64 i = begin; i < end; i += kWidth) {
        store_first(scores + i, Vec(value), min_of<int64>(kWidth, end - i));
    }
}

/// Writes -inf to those of keys [key + begin, key + end) of a row of a score tile that the row's
/// bits do not show; key is a multiple of kBitsOfWord. What else the same words are about may be
/// written too.
inline void hide_unset(const Row& row, int64 key, int64 begin, int64 end, float* scores) {
    for (int64 i = begin / kBitsOfWord * kBitsOfWord; i < end; i += kBitsOfWord) {
        uint64 word = row.bits[(key + i) / kBitsOfWord];
#pragma GCC unroll 16
        for (int64 lane = 0; lane < kBitsOfWord; lane += kWidth, word >>= kWidth) {
            float* x = scores + i + lane;
            store(x, select_bits(static_cast<uint32>(word), load(x), Vec(-kInfinity)));
        }
    }
}

/// Lanes' maxima of scores [begin, end), a multiple of kWidth keys; -inf when there are none.
FATTN_HD inline Vec row_max(const float* scores, int64 begin, int64 end) {
    Vec m0(-kInfinity), m1(-kInfinity), m2(-kInfinity), m3(-kInfinity);
    int64 i = begin;
    for (; i + 4 * kWidth <= end; i += 4 * kWidth) {
        m0 = max(load(scores + i), m0);
        m1 = max(load(scores + i + kWidth), m1);
        m2 = max(load(scores + i + 2 * kWidth), m2);
        m3 = max(load(scores + i + 3 * kWidth), m3);
    }
    for (; i < end; i += kWidth) m0 = max(load(scores + i), m0);
    return max(max(m0, m1), max(m2, m3));
}

/// weights = 2^(scores * scale - shift) over [begin, end), a multiple of 2 * kWidth keys; returns
/// the lanes' sums. Weights of a pair target are rounded to bf16 and packed to the front of the
/// same memory, where key k is half k & 1 of word k / 2.
template <class Dot>
FATTN_HD inline Vec row_weights(float* scores, int64 begin, int64 end, float scale, float shift) {
    const Vec c(scale);
    const Vec m(-shift);
    Vec sum0(0.0F), sum1(0.0F);
    for (int64 i = begin; i < end; i += 2 * kWidth) {
        const Vec x0 = fma(load(scores + i), c, m);
        const Vec x1 = fma(load(scores + i + kWidth), c, m);
        const Vec p0 = exp2(x0);
        const Vec p1 = exp2(x1);
        sum0 = sum0 + p0;
        sum1 = sum1 + p1;
        if constexpr (Dot::kDepth == 2) {
            store(scores + i / 2, concat_bf16(p0, p1));
        } else {
            store(scores + i, p0);
            store(scores + i + kWidth, p1);
        }
    }
    return sum0 + sum1;
}

/// Rounds weights of a row to bf16 pairs in place, as row_weights does; nothing to do without
/// pairs.
template <class Dot>
FATTN_HD inline void pack_weights(float* weights, int64 begin, int64 end) {
    if constexpr (Dot::kDepth == 2) {
        for (int64 i = begin; i < end; i += 2 * kWidth) {
            store(weights + i / 2, concat_bf16(load(weights + i), load(weights + i + kWidth)));
        }
    }
}

/// weights = sigmoid(logit + bias) of base-2 logits over [begin, end).
FATTN_HD inline void row_sigmoid(float* scores, int64 begin, int64 end, float bias) {
    for (int64 i = begin; i < end; i += kWidth) {
        store(scores + i, sigmoid(fma(load(scores + i), Vec(kLn2), Vec(bias))));
    }
}

/// Multiplies weights of keys [key + begin, key + end) by the dropout mask over (1 - p).
[[gnu::noinline]] void row_dropout(const RowSpace& space, const Row& row, int64 key, int64 begin,
                                   int64 end, float* weights) {
    const DenseProblem& problem = *space.problem;
    const DropoutRule rule =
        dropout_rule(problem.dropout_p, space.dropout_seed, space.dropout_offset);
    const int64 head = space.sequence.entry * problem.num_q_heads + row.head;
    const int64 query = row.query + space.q_offset;
    const int64 position = key + space.k_offset;
    for (int64 i = begin; i < end;) {
        const int64 quad = floor_div(position + i, 4);
        const PhiloxBlock block = dropout_words(rule, head, query, quad);
        for (const int64 stop = min_of(end, 4 * (quad + 1) - position); i < stop; ++i) {
            const bool keep = block.word[(position + i) & 3] >= rule.threshold;
            weights[i] = keep ? weights[i] * rule.inverse_keep : 0.0F;
        }
    }
}

}  // namespace
}  // namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE
