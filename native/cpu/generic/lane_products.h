// The products of a group of lanes with runs of keys, on either side of its row pass; called by
// lane_runs.h.
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
/// Vectors of a panel of V: of one that its first register tile makes or that comes from afar, so
/// that there is time for it, and of others. Lanes of a register tile of so many.
constexpr int kNarrowPanel = 2;
template <class Dot>
constexpr int kWidePanel = kLaneAccumulators >= 16 && Dot::kDepth == 1 ? 4 : kNarrowPanel;
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

/// Scores of runs of keys with a group's lanes. kHides: else what is seen and maxima are not used.
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

/// The values of a step of depth, vector c of a panel, from the rows of a run of kType: key j, or
/// keys 2 j and 2 j + 1 in pairs.
template <class Dot, int kVecs, DType kType>
FATTN_HD inline void load_values(const char* rows, int64 stride, Vec (&x)[kVecs]) {
    if constexpr (Dot::kDepth == 1) {
#pragma GCC unroll 4
        for (int c = 0; c < kVecs; ++c) {
            x[c] = held(load_as<kType>(rows + c * kWidth * bytes_of(kType), kWidth));
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

/// O[kLanes lanes from some lane on, a panel of kVecs vectors] = alpha O + P V. kAsks: the first
/// tile that reads these values; kRunsAhead runs more than there are can be read from part.rows.
/// kType: of the rows, where they are read.
template <class Dot, int kLanes, int kVecs, bool kAsks, Panel kPanel, DType kType>
[[gnu::noinline]] void lane_values(const Weighted& part, int64 lane, int64 offset,
                                   float* __restrict panel, float* __restrict o, int64 o_stride) {
    const float* p = part.p + lane;
    const float* alpha = part.alpha == nullptr ? nullptr : part.alpha + lane;
    const int64 stride = part.stride;
    constexpr int64 kPanelBytes = kVecs * kWidth * bytes_of(kType);
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
                for (int64 byte = 0; byte < kPanelBytes; byte += kLineBytes) {
                    __builtin_prefetch(ahead + byte, 0, 3);
                }
            }
        }
        if constexpr (kPanel == Panel::kKept && Dot::kDepth == 2) {
            // The second cache is asked for the panel that follows.
            const char* next = rows + kPanelBytes;
#pragma GCC unroll 4
            for (int j = 0; j < kRunKeys; ++j, next += stride) __builtin_prefetch(next, 0, 2);
        }
#pragma GCC unroll 4
        for (int j = 0; j < kRunKeys; j += Dot::kDepth) {
            Vec x[kVecs];
            if constexpr (kPanel == Panel::kKept) {
#pragma GCC unroll 4
                for (int c = 0; c < kVecs; ++c) x[c] = held(load(panel + c * kWidth));
            } else {
                load_values<Dot, kVecs, kType>(rows, stride, x);
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
