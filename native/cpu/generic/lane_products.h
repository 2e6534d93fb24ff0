// The products of a group of lanes with runs of keys, on either side of its row pass; called by the
// lane loop.
#pragma once

#include "core/types.h"
#include "cpu/generic/micro.h"
#include "cpu/generic/pack.h"
#include "cpu/lane_group.h"

namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE {
namespace {

/// Vectors of a group's lanes.
constexpr int kLaneVecs = kGroupLanes / kWidth;
/// Accumulators of a register tile.
constexpr int kLaneAccumulators = kMicroRows * kMicroVecs;
/// Runs of a tile of scores: 24 keys by 16 lanes with 16 lanes a vector.
constexpr int kTileRuns = max_of(kLaneAccumulators / (kLaneVecs * kRunKeys), 1);
/// Widest panel of V, in vectors, and lanes of a register tile of so many. Pairs are put together
/// anew in every tile, so that these are long rather than wide.
template <class Dot>
constexpr int kWidePanel = kLaneAccumulators >= 16 && Dot::kDepth == 1 ? 4 : 2;
template <int kVecs>
constexpr int kPanelLanes = min_of(kLaneAccumulators / kVecs, 8);

/// Bytes that a prefetch brings.
constexpr int64 kLineBytes = 64;

/// One 32-bit word at any address in every lane.
FATTN_HD inline Vec broadcast_word(const char* p) {
    float word;
    __builtin_memcpy(&word, p, sizeof(word));
    return Vec(word);
}

/// What the products of runs become.
struct LaneScores {
    const uint64* seen;  // of the runs; what is not seen is -inf
    float factor;        // of all products
    float* scores;       // [keys][kGroupLanes]
    float* max;          // [kGroupLanes], raised to the largest score of each lane

    void advance(int64 num_runs) {
        if (seen != nullptr) seen += num_runs;
        scores += num_runs * kRunKeys * kGroupLanes;
    }
};

/// Writes the scores of one key, vector v of its lanes. kHides: -inf where they are not seen, and
/// best is raised.
template <bool kHides>
FATTN_HD inline void put_scores(Vec x, uint64 seen, int64 at, float* __restrict scores, Vec* best) {
    if constexpr (kHides) {
        x = select_bits(static_cast<uint32>(seen), x, Vec(-kInfinity));
        *best = max(x, *best);
    }
    store(scores + at, x);
}

/// Whether products of two words of depth may lie side by side in a vector, which then holds half
/// a group: so a key is loaded once for two products, and one sum ends them.
template <class Dot>
constexpr bool kHasHalves = requires(Vec x) {
    Dot::sum_halves(x, x);
};
/// Words of depth of such products.
constexpr int64 kHalfWords = 2;

/// Copies eight rows (null: zeros) of words for one half. kWhole: no row is null, all have whole
/// vectors.
template <DType kType, class Dot, bool kWhole>
inline void pack_half(const char* const (&rows)[8], int64 extent, float* __restrict to) {
    const int64 words = words_of<Dot>(extent);
    for (int64 w = 0; w < words; w += kWidth) {
        Vec block[8];
#pragma GCC unroll 8
        for (int a = 0; a < 8; ++a) {
            if constexpr (kWhole) {
                block[a] = load_full_words<kType, Dot>(rows[a], w);
            } else {
                block[a] =
                    rows[a] != nullptr ? load_row_words<kType, Dot>(rows[a], w, extent) : Vec(0.0F);
            }
        }
        Dot::transpose_pairs(block);
#pragma GCC unroll 8
        for (int n = 0; n < 8; ++n, to += kHalfWords * kGroupLanes) {
            if (!kWhole && n * kHalfWords >= words - w) break;
            store(to, block[n]);
        }
    }
}

/// Copies a group's rows of words for halves: [words / kHalfWords][2 halves][8 lanes][kHalfWords],
/// zeros where there is nothing. Half i has lanes 4 m + 2 i and 4 m + 2 i + 1.
template <DType kType, class Dot, class RowOf>
inline void pack_halves(const RowOf& row, int64 num_lanes, int64 extent, float* __restrict out) {
    const bool whole = num_lanes == kGroupLanes && extent % (kWidth * Dot::kDepth) == 0;
    for (int i = 0; i < 2; ++i, out += kWidth) {
        const char* rows[8];
#pragma GCC unroll 8
        for (int a = 0; a < 8; ++a) {
            const int lane = a / 2 * 4 + i * 2 + a % 2;
            rows[a] = lane < num_lanes ? row(lane) : nullptr;
        }
        if (whole) {
            pack_half<kType, Dot, true>(rows, extent, out);
        } else {
            pack_half<kType, Dot, false>(rows, extent, out);
        }
    }
}

/// Runs of a register tile of halves, and of the last tile where one is left over: as many products
/// at a time as these take to be ready.
constexpr int64 kHalfRuns = 2;
constexpr int64 kLastHalfRuns = kHalfRuns + 1;
/// Runs that halves ask the first cache for before they come to them.
constexpr int64 kHalfRunsAhead = 4;

/// Scores of kRuns runs of keys with a group's lanes in halves. kHides: else seen and best are not
/// used. kAsks: for runs that nothing foresees; kHalfRunsAhead runs more can be read from runs.
template <class Dot, int kRuns, bool kHides, bool kAsks>
FATTN_HD inline void half_tile(const float* __restrict q, const char* const* runs, int64 stride,
                               int64 words, const uint64* __restrict seen, float factor,
                               float* __restrict scores, Vec (&best)[2]) {
    constexpr int kKeys = kRuns * kRunKeys;
    Vec acc[kKeys][2];
    const char* k[kRuns];
#pragma GCC unroll 4
    for (int r = 0; r < kRuns; ++r) k[r] = runs[r];
#pragma GCC unroll 16
    for (auto& key : acc) key[0] = key[1] = Vec(0.0F);
    const int64 thrice = 3 * stride;
#pragma GCC unroll 1
    for (int64 w = 0; w < words; w += kHalfWords, q += kHalfWords * kGroupLanes) {
        if constexpr (kAsks) {
            // Of every key a line by turns, so that they come evenly.
            const int64 step = w / kHalfWords;
            const int64 key = step % kKeys;
            __builtin_prefetch(runs[kHalfRunsAhead + key / kRunKeys] + key % kRunKeys * stride +
                                   step / kKeys * kLineBytes,
                               0, 3);
        }
        const Vec low = held(load(q));
        const Vec high = held(load(q + kWidth));
#pragma GCC unroll 4
        for (int r = 0; r < kRuns; ++r) {
            const char* rows[kRunKeys] = {k[r], k[r] + stride, k[r] + 2 * stride, k[r] + thrice};
#pragma GCC unroll 4
            for (int j = 0; j < kRunKeys; ++j) {
                const Vec key = held(Dot::broadcast_pair(rows[j]));
                Vec(&x)[2] = acc[r * kRunKeys + j];
                x[0] = Dot::step(x[0], low, key);
                x[1] = Dot::step(x[1], high, key);
            }
            k[r] += kHalfWords * sizeof(float);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < kKeys; ++i) {
        const uint64 lanes = kHides ? seen[i / kRunKeys] >> (i % kRunKeys * kGroupLanes) : 0;
        Vec x = Dot::sum_halves(acc[i][0], acc[i][1]);
        if (factor != 1.0F) x = x * Vec(factor);
        put_scores<kHides>(x, lanes, i * kGroupLanes, scores, &best[i % 2]);
    }
}

/// Scores of runs of keys with a group's lanes in halves; kHides and kAsks as in half_tile.
template <class Dot, bool kHides, bool kAsks>
[[gnu::noinline]] void half_scores(const float* __restrict q, const char* const* runs,
                                   int64 num_runs, int64 stride, int64 words,
                                   const LaneScores& out) {
    const float factor = out.factor;
    Vec best[2] = {kHides ? load(out.max) : Vec(0.0F), Vec(-kInfinity)};
    int64 r = 0;
    const auto add = [&]<int kRuns>() {
        half_tile<Dot, kRuns, kHides, kAsks && kRuns == kHalfRuns>(
            q, runs + r, stride, words, kHides ? out.seen + r : nullptr, factor,
            out.scores + r * kRunKeys * kGroupLanes, best);
        r += kRuns;
    };
    while (num_runs - r >= 2 * kHalfRuns || num_runs - r == kHalfRuns) {
        add.template operator()<kHalfRuns>();
    }
    if (num_runs - r == kLastHalfRuns) add.template operator()<kLastHalfRuns>();
    if (num_runs - r == 1) add.template operator()<1>();
    if constexpr (kHides) store(out.max, max(best[1], best[0]));
}

/// Scores of runs of keys with a group's lanes; kHides as in half_tile.
template <class Dot, int kRuns, bool kHides>
[[gnu::noinline]] void lane_scores(const float* __restrict q, const char* const* runs, int64 stride,
                                   int64 words, const LaneScores& out) {
    Vec acc[kRuns * kRunKeys][kLaneVecs];
    const char* k[kRuns];
#pragma GCC unroll 8
    for (int r = 0; r < kRuns; ++r) k[r] = runs[r];
#pragma GCC unroll 24
    for (auto& key : acc) {
#pragma GCC unroll 16
        for (Vec& x : key) x = Vec(0.0F);
    }
    const int64 thrice = 3 * stride;
    for (int64 w = 0; w < words; ++w) {
        Vec lanes[kLaneVecs];
#pragma GCC unroll 16
        for (int v = 0; v < kLaneVecs; ++v) lanes[v] = load(q + v * kWidth);
#pragma GCC unroll 8
        for (int r = 0; r < kRuns; ++r) {
            const char* rows[kRunKeys] = {k[r], k[r] + stride, k[r] + 2 * stride, k[r] + thrice};
#pragma GCC unroll 4
            for (int j = 0; j < kRunKeys; ++j) {
                const Vec key = broadcast_word(rows[j]);
#pragma GCC unroll 16
                for (int v = 0; v < kLaneVecs; ++v) {
                    Vec& x = acc[r * kRunKeys + j][v];
                    x = Dot::step(x, lanes[v], key);
                }
            }
            k[r] += sizeof(float);
        }
        q += kGroupLanes;
        // As in micro_product.
        __asm__ volatile("");
    }
    const float factor = out.factor;
    const uint64* __restrict seen = out.seen;
    float* __restrict scores = out.scores;
    if (factor != 1.0F) {
#pragma GCC unroll 24
        for (auto& key : acc) {
#pragma GCC unroll 16
            for (Vec& x : key) x = x * Vec(factor);
        }
    }
    // Two, so that no key waits for the one before it.
    Vec best[2][kLaneVecs];
#pragma GCC unroll 16
    for (int v = 0; v < kLaneVecs; ++v) {
        best[0][v] = kHides ? load(out.max + v * kWidth) : Vec(0.0F);
        best[1][v] = Vec(-kInfinity);
    }
#pragma GCC unroll 24
    for (int i = 0; i < kRuns * kRunKeys; ++i) {
        const uint64 lanes = kHides ? seen[i / kRunKeys] >> (i % kRunKeys * kGroupLanes) : 0;
#pragma GCC unroll 16
        for (int v = 0; v < kLaneVecs; ++v) {
            put_scores<kHides>(acc[i][v], lanes >> (v * kWidth), i * kGroupLanes + v * kWidth,
                               scores, &best[i % 2][v]);
        }
    }
    if constexpr (kHides) {
#pragma GCC unroll 16
        for (int v = 0; v < kLaneVecs; ++v) {
            store(out.max + v * kWidth, max(best[1][v], best[0][v]));
        }
    }
}

/// The values of a step of depth, vector c of a panel, from the rows of a run: key j, or keys 2 j
/// and 2 j + 1 in pairs.
template <class Dot, int kVecs>
FATTN_HD inline void load_values(const char* rows, int64 stride, Vec (&x)[kVecs]) {
    if constexpr (Dot::kDepth == 1) {
#pragma GCC unroll 4
        for (int c = 0; c < kVecs; ++c) {
            x[c] = held(load(reinterpret_cast<const float*>(rows) + c * kWidth));
        }
    } else {
#pragma GCC unroll 2
        for (int c = 0; c < kVecs; c += 2) {
            Dot::interleave(rows + c * kWidth * 2, rows + stride + c * kWidth * 2, &x[c],
                            &x[c + 1]);
        }
    }
}

/// What the sums of lanes are multiplied by before something is added.
struct LaneFactors {
    const float* alpha;  // [kGroupLanes] before the first part; null: sums begin at 0
    const float* ones;   // [kGroupLanes] before the others
};

/// Runs whose values are added together, and what sums are multiplied by before.
struct Weighted {
    const float* p;  // [steps of depth][kGroupLanes]
    const char* const* rows;
    int64 num_runs;
    int64 stride;        // bytes from one value of a run to the next
    const float* alpha;  // [kGroupLanes]; null: sums begin at 0
};

/// Runs that the first of several tiles asks the first cache for before it comes to them: some 150
/// cycles of products.
template <class Dot>
constexpr int64 kRunsAhead = Dot::kDepth == 2 ? 10 : 3;

/// What a register tile does with the values of its panel, which lie [step of depth][vector]: reads
/// rows, keeps what it made of rows for the tiles that follow, or takes what was kept.
enum class Panel { kRows, kKeeps, kKept };

/// Runs beyond those there are that loops ask for.
template <class Dot>
constexpr int64 kRunsBeyond = max_of(kRunsAhead<Dot>, kHalfRunsAhead);

/// O[kLanes lanes from some lane on, a panel of kVecs vectors] = alpha O + P V. kAsks: the first
/// tile that reads these values; kRunsAhead runs more than there are can be read from part.rows.
template <class Dot, int kLanes, int kVecs, bool kAsks, Panel kPanel = Panel::kRows>
[[gnu::noinline]] void lane_values(const Weighted& part, int64 lane, int64 offset,
                                   float* __restrict panel, float* __restrict o, int64 o_stride) {
    const float* p = part.p + lane;
    const float* alpha = part.alpha == nullptr ? nullptr : part.alpha + lane;
    const int64 stride = part.stride;
    Vec acc[kLanes][kVecs];
#pragma GCC unroll 8
    for (int l = 0; l < kLanes; ++l) {
#pragma GCC unroll 4
        for (int c = 0; c < kVecs; ++c) {
            acc[l][c] = alpha == nullptr
                            ? Vec(0.0F)
                            : load(o + l * o_stride + c * kWidth) * broadcast(alpha + l);
        }
    }
    for (int64 r = 0; r < part.num_runs; ++r) {
        const char* rows = part.rows[r] + offset;
        if constexpr (kAsks) {
            const char* ahead = part.rows[r + kRunsAhead<Dot>] + offset;
#pragma GCC unroll 4
            for (int j = 0; j < kRunKeys; ++j, ahead += stride) {
#pragma GCC unroll 4
                for (int64 byte = 0; byte < kVecs * kWidth * 4 / Dot::kDepth; byte += kLineBytes) {
                    __builtin_prefetch(ahead + byte, 0, 3);
                }
            }
        }
#pragma GCC unroll 4
        for (int j = 0; j < kRunKeys; j += Dot::kDepth) {
            Vec x[kVecs];
            if constexpr (kPanel == Panel::kKept) {
#pragma GCC unroll 4
                for (int c = 0; c < kVecs; ++c) x[c] = held(load(panel + c * kWidth));
            } else {
                load_values<Dot, kVecs>(rows, stride, x);
            }
            if constexpr (kPanel == Panel::kKeeps) {
#pragma GCC unroll 4
                for (int c = 0; c < kVecs; ++c) store(panel + c * kWidth, x[c]);
            }
            if constexpr (kPanel != Panel::kRows) panel += kVecs * kWidth;
#pragma GCC unroll 8
            for (int l = 0; l < kLanes; ++l) {
                const Vec weight = broadcast(p + l);
#pragma GCC unroll 4
                for (int c = 0; c < kVecs; ++c) acc[l][c] = Dot::step(acc[l][c], weight, x[c]);
            }
            p += kGroupLanes;
            rows += Dot::kDepth * stride;
            __asm__ volatile("");
        }
    }
#pragma GCC unroll 8
    for (int l = 0; l < kLanes; ++l) {
#pragma GCC unroll 4
        for (int c = 0; c < kVecs; ++c) store(o + l * o_stride + c * kWidth, acc[l][c]);
    }
}

}  // namespace
}  // namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE
