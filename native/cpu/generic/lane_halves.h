// The products of 16 lanes with runs of keys, two words of depth at a time, where a vector is 16
// lanes wide, and what is done beside them for the keys that follow; called by lane_runs.h.
#pragma once

#include "core/types.h"
#include "cpu/generic/lane_products.h"
#include "cpu/generic/pack.h"
#include "cpu/lane_group.h"

namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE {
namespace {

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

/// Nothing is done for runs ahead of the products.
struct NothingAhead {
    FATTN_HD NothingAhead tile(const char* const*, int64, int64) const { return {}; }
    FATTN_HD void step(int64) {}
};

/// Asks the first cache for runs that nothing foresees; kHalfRunsAhead runs more than there are can
/// be read.
struct AsksAhead {
    struct Tile {
        const char* const* runs;
        int64 stride;

        /// Of every key a line by turns, so that they come evenly.
        FATTN_HD void step(int64 step) {
            constexpr int64 kKeys = kHalfRuns * kRunKeys;
            const int64 key = step % kKeys;
            __builtin_prefetch(runs[kHalfRunsAhead + key / kRunKeys] + key % kRunKeys * stride +
                                   step / kKeys * kLineBytes,
                               0, 3);
        }
    };
    FATTN_HD Tile tile(const char* const* runs, int64 stride, int64) const {
        return {runs, stride};
    }
};

/// Runs that are f32 before products come to them, and those whose f32 is kept: these and the two
/// that become f32 beside the products of two others.
constexpr int64 kRunsConverted = 2 * kHalfRuns;
constexpr int64 kRunsKept = kRunsConverted + kHalfRuns;

/// Makes f32 of runs of kType beside the products of those before them: there are as many steps of
/// depth as vectors to make. kRunsBeyond runs more than there are can be read.
template <DType kType>
struct ConvertsAhead {
    static constexpr int64 kVecBytes = kWidth * bytes_of(kType);

    /// Makes one vector after the other.
    struct Tile {
        const char* const* run;
        int64 stride;
        int64 vecs;  // of a key
        float* made;
        const char* next = nullptr;
        const char* soon = nullptr;  // what the first cache is asked for
        int64 vecs_left = 0;         // of the key
        int64 keys_left = 0;         // of the run

        FATTN_HD void step(int64) {
            __builtin_prefetch(soon, 0, 3);
            store(made, load_as<kType>(next, kWidth));
            made += kWidth;
            next += kVecBytes;
            soon += kVecBytes;
            if (--vecs_left == 0) start_key();
        }
        FATTN_HD void start_key() {
            vecs_left = vecs;
            if (--keys_left > 0) {
                next += stride - vecs * kVecBytes;
                soon += stride - vecs * kVecBytes;
            } else {
                ++run;
                start_run();
            }
        }
        FATTN_HD void start_run() {
            next = run[0];
            soon = run[kHalfRunsAhead];
            vecs_left = vecs;
            keys_left = kRunKeys;
        }
    };

    const char* const* from;
    int64 stride;
    int64 vecs;   // of a key
    float* made;  // [kRunsKept][kRunKeys][vecs]: run r lies where run r - kRunsKept lay

    /// Of the products of runs from r on.
    FATTN_HD Tile tile(const char* const*, int64, int64 r) const {
        return from_run(r + kRunsConverted);
    }
    /// Makes the runs that are to be there first.
    void begin() const {
        Tile first = from_run(0);
        for (int64 n = 0; n < kRunsConverted * kRunKeys * vecs; ++n) first.step(n);
    }

  private:
    FATTN_HD Tile from_run(int64 r) const {
        Tile tile{.run = from + r,
                  .stride = stride,
                  .vecs = vecs,
                  .made = made + r % kRunsKept * kRunKeys * vecs * kWidth};
        tile.start_run();
        return tile;
    }
};

/// Scores of kRuns runs of keys with a group's lanes in halves. kHides: else seen and best are not
/// used. Calls ahead.step in every step of depth.
template <class Dot, int kRuns, bool kHides, class Ahead>
FATTN_HD inline void half_tile(const float* __restrict q, const char* const* runs, int64 stride,
                               int64 words, const uint64* __restrict seen, float factor,
                               float* __restrict scores, Vec (&best)[2], Ahead ahead) {
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
        ahead.step(w / kHalfWords);
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

/// Scores of runs of keys with a group's lanes in halves; kHides as in half_tile. What ahead gives
/// for tiles of kHalfRuns runs goes along with these.
template <class Dot, bool kHides, class Ahead>
[[gnu::noinline]] void half_scores(const float* __restrict q, const char* const* runs,
                                   int64 num_runs, int64 stride, int64 words, const Ahead& ahead,
                                   const LaneScores& out) {
    const float factor = out.factor;
    Vec best[2] = {kHides ? load(out.max) : Vec(0.0F), Vec(-kInfinity)};
    int64 r = 0;
    const auto add = [&]<int kRuns>(auto beside) {
        half_tile<Dot, kRuns, kHides>(q, runs + r, stride, words, kHides ? out.seen + r : nullptr,
                                      factor, out.scores + r * kRunKeys * kGroupLanes, best,
                                      beside);
        r += kRuns;
    };
    while (num_runs - r >= 2 * kHalfRuns || num_runs - r == kHalfRuns) {
        add.template operator()<kHalfRuns>(ahead.tile(runs + r, stride, r));
    }
    if (num_runs - r == kLastHalfRuns) add.template operator()<kLastHalfRuns>(NothingAhead{});
    if (num_runs - r == 1) add.template operator()<1>(NothingAhead{});
    if constexpr (kHides) store(out.max, max(best[1], best[0]));
}

}  // namespace
}  // namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE
