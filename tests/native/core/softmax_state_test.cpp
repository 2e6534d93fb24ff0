// Laws of the softmax state: any split of a row merges to the whole, in any order; sinks are keys;
// rows without keys.
#include "core/softmax_state.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "core/epilogue.h"
#include "support/lanes.h"

namespace fattn {
namespace {

/// A row of keys: scores in base 2 and one value each.
struct Key {
    float score;
    float value;
};

/// A state with the accumulated value that belongs to it.
struct Part {
    SoftmaxState<float> state = empty_state<float>();
    float accumulated = 0;
};

/// Folds keys into a part as one tile.
void fold(Part* part, const Key* begin, const Key* end) {
    float tile_max = -kInfinity;
    for (const Key* key = begin; key != end; ++key) tile_max = std::max(tile_max, key->score);
    part->accumulated *= raise_max(&part->state, tile_max);
    const float shift = guarded(part->state.max);
    for (const Key* key = begin; key != end; ++key) {
        const float weight = weight_of(key->score, shift);
        part->state.sum += weight;
        part->accumulated += weight * key->value;
    }
}

void merge_parts(Part* part, const Part& other) {
    const MergeFactors<float> factors = merge(&part->state, other.state);
    part->accumulated = part->accumulated * factors.of_state + other.accumulated * factors.of_other;
}

Part whole(const std::vector<Key>& keys) {
    Part part;
    fold(&part, keys.data(), keys.data() + keys.size());
    return part;
}

struct Result {
    double o;
    double lse;
};

Result result_of(const Part& part) {
    const RowEnd<float> end = finish(part.state);
    return {static_cast<double>(part.accumulated * end.o_factor), static_cast<double>(end.lse)};
}

/// Softmax of the row in double, with an optional sink logit.
Result exact(const std::vector<Key>& keys, double sink = -INFINITY) {
    double max = sink;
    for (const Key& key : keys) {
        max = std::max(max, static_cast<double>(key.score) * std::log(2.0));
    }
    if (std::isinf(max)) return {0, -INFINITY};
    double sum = std::exp(sink - max);
    double weighted = 0;
    for (const Key& key : keys) {
        const double weight = std::exp(static_cast<double>(key.score) * std::log(2.0) - max);
        sum += weight;
        weighted += weight * static_cast<double>(key.value);
    }
    return {weighted / sum, max + std::log(sum)};
}

void expect_near(const Result& result, const Result& wanted, const char* what) {
    // Values are at most 1; an LSE keeps the relative precision of its largest score.
    EXPECT_NEAR(result.o, wanted.o, 2e-6) << what;
    if (std::isinf(wanted.lse)) {
        EXPECT_EQ(result.lse, wanted.lse) << what;
    } else {
        EXPECT_NEAR(result.lse, wanted.lse, 1e-6 + 2e-7 * std::abs(wanted.lse)) << what;
    }
}

std::vector<Key> random_row(std::mt19937* random, int num_keys, float spread) {
    std::normal_distribution<float> score(0.0F, spread);
    std::uniform_real_distribution<float> value(-1.0F, 1.0F);
    std::uniform_int_distribution<int> hidden(0, 5);
    std::vector<Key> keys;
    for (int i = 0; i < num_keys; ++i) {
        keys.push_back({hidden(*random) == 0 ? -kInfinity : score(*random), value(*random)});
    }
    return keys;
}

/// Calls visit(keys) for rows of 0 to 12 keys with small and huge scores, some hidden.
template <class Visit>
void for_each_row(const Visit& visit) {
    std::mt19937 random(1);
    for (int num_keys = 0; num_keys <= 12; ++num_keys) {
        for (const float spread : {0.1F, 3.0F, 1e4F}) {
            for (int repeat = 0; repeat < 20; ++repeat) {
                visit(random_row(&random, num_keys, spread));
            }
        }
    }
}

TEST(SoftmaxState, WholeRowIsTheSoftmax) {
    for_each_row([](const std::vector<Key>& keys) {
        expect_near(result_of(whole(keys)), exact(keys), "whole");
    });
}

TEST(SoftmaxState, FoldingTileByTileEqualsWhole) {
    for_each_row([](const std::vector<Key>& keys) {
        for (std::size_t tile = 1; tile <= 4; ++tile) {
            Part part;
            for (std::size_t begin = 0; begin < keys.size(); begin += tile) {
                fold(&part, keys.data() + begin, keys.data() + std::min(begin + tile, keys.size()));
            }
            expect_near(result_of(part), exact(keys), "tiles");
        }
    });
}

TEST(SoftmaxState, MergeOfHalvesEqualsWholeWhereverSplit) {
    for_each_row([](const std::vector<Key>& keys) {
        for (std::size_t split = 0; split <= keys.size(); ++split) {
            Part left, right;
            fold(&left, keys.data(), keys.data() + split);
            fold(&right, keys.data() + split, keys.data() + keys.size());
            Part forward = left;
            merge_parts(&forward, right);
            expect_near(result_of(forward), exact(keys), "left then right");
            Part backward = right;
            merge_parts(&backward, left);
            expect_near(result_of(backward), exact(keys), "right then left");
        }
    });
}

TEST(SoftmaxState, TilesMayComeInAnyOrder) {
    std::mt19937 random(3);
    int rows = 0;
    for_each_row([&](const std::vector<Key>& keys) {
        for (std::size_t size = 1; 2 * size < keys.size(); ++size) {  // three tiles or more
            std::vector<std::size_t> begins;
            for (std::size_t begin = 0; begin < keys.size(); begin += size) begins.push_back(begin);
            std::shuffle(begins.begin(), begins.end(), random);
            Part folded;
            Part merged;
            for (const std::size_t begin : begins) {
                const Key* first = keys.data() + begin;
                const Key* last = keys.data() + std::min(begin + size, keys.size());
                fold(&folded, first, last);
                Part tile;
                fold(&tile, first, last);
                merge_parts(&merged, tile);
            }
            expect_near(result_of(folded), exact(keys), "folded in any order");
            expect_near(result_of(merged), exact(keys), "merged in any order");
            ++rows;
        }
    });
    EXPECT_GT(rows, 1000);
}

TEST(SoftmaxState, MergeWithEmptyChangesNothing) {
    for_each_row([](const std::vector<Key>& keys) {
        const Part part = whole(keys);
        Part merged = part;
        merge_parts(&merged, Part{});
        EXPECT_EQ(merged.state.max, part.state.max);
        EXPECT_EQ(merged.state.sum, part.state.sum);
        EXPECT_EQ(merged.accumulated, part.accumulated);
        Part reversed;
        merge_parts(&reversed, part);
        EXPECT_EQ(reversed.state.max, part.state.max);
        EXPECT_EQ(reversed.state.sum, part.state.sum);
        EXPECT_EQ(reversed.accumulated, part.accumulated);
    });
}

TEST(SoftmaxState, SinkIsAKeyOfValueZero) {
    for_each_row([](const std::vector<Key>& keys) {
        for (const float sink : {-20.0F, 0.0F, 2.5F, 5e3F, -kInfinity}) {
            Part part{state_of_lse(sink), 0.0F};
            fold(&part, keys.data(), keys.data() + keys.size());
            expect_near(result_of(part), exact(keys, static_cast<double>(sink)), "sink first");
            Part last = whole(keys);
            merge_parts(&last, {state_of_lse(sink), 0.0F});
            expect_near(result_of(last), exact(keys, static_cast<double>(sink)), "sink last");
        }
    });
}

TEST(SoftmaxState, FinishedPartsMergeByTheirLse) {
    for_each_row([](const std::vector<Key>& keys) {
        const std::size_t split = keys.size() / 3;
        Part merged;
        for (const auto& [begin, end] : {std::pair{std::size_t{0}, split}, {split, keys.size()}}) {
            Part part;
            fold(&part, keys.data() + begin, keys.data() + end);
            const RowEnd<float> row = finish(part.state);
            merge_parts(&merged, {state_of_lse(row.lse), part.accumulated * row.o_factor});
        }
        const Result wanted = exact(keys);
        const Result result = result_of(merged);
        // A finished LSE is rounded once more: at 1e4 that is 1e-3 in the exponent.
        const double slack = 1e-5 + 2e-7 * (std::isinf(wanted.lse) ? 0 : std::abs(wanted.lse));
        EXPECT_NEAR(result.o, wanted.o, 4 * slack);
        if (std::isinf(wanted.lse)) {
            EXPECT_EQ(result.lse, wanted.lse);
        } else {
            EXPECT_NEAR(result.lse, wanted.lse, 2 * slack);
        }
    });
}

TEST(SoftmaxState, NaNScoreReachesTheResult) {
    const float nan = float_of_bits(0x7FC00000u);
    for (const std::vector<Key>& keys :
         {std::vector<Key>{{nan, 1}}, {{nan, 1}, {2, 1}}, {{2, 1}, {nan, 1}}}) {
        EXPECT_TRUE(std::isnan(result_of(whole(keys)).o));
        EXPECT_TRUE(std::isnan(result_of(whole(keys)).lse));
    }
}

TEST(Epilogue, RowWithoutKeysIsZeroAndMinusInfinity) {
    const RowEnd<float> end = finish(empty_state<float>());
    EXPECT_EQ(end.o_factor, 0.0F);
    EXPECT_EQ(end.lse, -kInfinity);
    Part hidden;
    const Key keys[] = {{-kInfinity, 1.0F}, {-kInfinity, 2.0F}};
    fold(&hidden, keys, keys + 2);
    EXPECT_EQ(hidden.accumulated, 0.0F);
    EXPECT_EQ(finish(hidden.state).lse, -kInfinity);
}

TEST(Epilogue, RowWithSinkAloneHasTheSinkAsLse) {
    for (const float sink : {-12.5F, 0.0F, 3.0F, 40.0F}) {
        const RowEnd<float> end = finish(state_of_lse(sink));
        EXPECT_EQ(end.o_factor, 1.0F);
        EXPECT_NEAR(end.lse, sink, 2e-7F * std::abs(sink));
    }
}

TEST(Epilogue, ShiftOfLseGivesTheFinishedWeightsBack) {
    for_each_row([](const std::vector<Key>& keys) {
        const Result wanted = exact(keys);
        const float shift = shift_of_lse(finish(whole(keys).state).lse);
        double total = 0;
        for (const Key& key : keys) {
            total += static_cast<double>(weight_of(key.score, shift));
        }
        const bool empty = std::isinf(wanted.lse);
        EXPECT_NEAR(total, empty ? 0 : 1, 1e-5 + 3e-7 * (empty ? 0 : std::abs(wanted.lse)));
    });
}

TEST(SoftmaxState, LanesAreWhatNumbersAre) {
    std::mt19937 random(2);
    SoftmaxState<test::Lanes> lanes = empty_state<test::Lanes>();
    SoftmaxState<float> numbers[4];
    for (auto& state : numbers) state = empty_state<float>();
    std::normal_distribution<float> normal(0.0F, 5.0F);
    for (int step = 0; step < 50; ++step) {
        const test::Lanes lse(normal(random), -kInfinity, step % 3 == 0 ? -kInfinity : 1e3F,
                              normal(random));
        const auto factors = merge(&lanes, state_of_lse(lse));
        const auto end = finish(lanes);
        const auto shift = shift_of_lse(end.lse);
        for (int i = 0; i < 4; ++i) {
            const auto expected = merge(&numbers[i], state_of_lse(lse.lane[i]));
            EXPECT_EQ(factors.of_state.lane[i], expected.of_state);
            EXPECT_EQ(factors.of_other.lane[i], expected.of_other);
            EXPECT_EQ(lanes.max.lane[i], numbers[i].max);
            EXPECT_EQ(lanes.sum.lane[i], numbers[i].sum);
            EXPECT_EQ(end.lse.lane[i], finish(numbers[i]).lse);
            EXPECT_EQ(end.o_factor.lane[i], finish(numbers[i]).o_factor);
            EXPECT_EQ(shift.lane[i], shift_of_lse(end.lse.lane[i]));
        }
    }
}

}  // namespace
}  // namespace fattn
