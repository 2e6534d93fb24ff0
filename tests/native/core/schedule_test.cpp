// The range carrier against its predicate on all small shapes, and the arithmetic of rows.
#include "core/schedule.h"

#include <gtest/gtest.h>

#include <sstream>
#include <vector>

#include "core/predicate.h"
#include "support/schedule_checks.h"

namespace fattn {
namespace {

std::string describe(const RangeSchedule& s) {
    std::ostringstream text;
    text << "Lq " << s.q_len << " Lk " << s.kv_len() << " shift " << s.predicate.shift << " window "
         << s.predicate.window_left << "," << s.predicate.window_right << " chunk "
         << s.predicate.chunk << " k_offset " << s.predicate.k_offset << " tile " << s.tile_q << "x"
         << s.tile_kv << (s.all_partial ? " all partial\n" : "\n") << draw(s, 0);
    return text.str();
}

/// Visibility of one pair, straight from the definitions of window and chunk.
bool pair_visible(const RangePredicate& p, int64 i, int64 j) {
    const int64 position = i + p.shift;
    if (p.window_left >= 0 && j < position - p.window_left) return false;
    if (p.window_right >= 0 && j > position + p.window_right) return false;
    return p.chunk == 0 ||
           floor_div(position + p.k_offset, p.chunk) == floor_div(j + p.k_offset, p.chunk);
}

/// Calls visit(predicate, q_len) for every combination of small lengths, shifts, windows and
/// chunks.
template <class Visit>
void for_each_predicate(const Visit& visit) {
    for (const int64 q_len : {0, 1, 2, 3, 5, 8}) {
        for (const int64 kv_len : {0, 1, 2, 3, 5, 8}) {
            for (int64 shift = -9; shift <= 9; ++shift) {
                for (const int64 left : {-1, 0, 1, 3}) {
                    for (const int64 right : {-1, 0, 1, 3}) {
                        for (const int64 chunk : {0, 1, 2, 3}) {
                            for (const int64 k_offset : {-1, 0, 2}) {
                                if (chunk == 0 && k_offset != 0) continue;
                                if (testing::Test::HasFatalFailure()) return;
                                visit(RangePredicate{kv_len, shift, k_offset, left, right, chunk},
                                      q_len);
                            }
                        }
                    }
                }
            }
        }
    }
}

template <class Visit>
void for_each_schedule(const Visit& visit) {
    for_each_predicate([&](const RangePredicate& predicate, int64 q_len) {
        for (const int32 tile_q : {1, 2, 3, 4}) {
            for (const int32 tile_kv : {1, 2, 3, 4}) {
                visit(RangeSchedule{predicate, q_len, tile_q, tile_kv, false});
            }
        }
    });
}

TEST(RangePredicate, IntervalIsTheSetOfVisiblePairs) {
    int64 wrong = 0;
    for_each_predicate([&](const RangePredicate& p, int64 q_len) {
        for (int64 i = 0; i < q_len; ++i) {
            const KeyInterval keys = p.visible(i);
            for (int64 j = 0; j < p.kv_len; ++j) {
                wrong += (j >= keys.begin && j < keys.end) != pair_visible(p, i, j);
            }
        }
    });
    EXPECT_EQ(wrong, 0);
}

TEST(RangePredicate, TransposeExchangesQueriesAndKeys) {
    int64 wrong = 0;
    for_each_predicate([&](const RangePredicate& p, int64 q_len) {
        const RangePredicate from_keys = transpose(p, q_len);
        for (int64 j = 0; j < p.kv_len; ++j) {
            const KeyInterval queries = from_keys.visible(j);
            for (int64 i = 0; i < q_len; ++i) {
                wrong += (i >= queries.begin && i < queries.end) != pair_visible(p, i, j);
            }
        }
    });
    EXPECT_EQ(wrong, 0);
}

TEST(RangeSchedule, RowsAreWellFormed) {
    for_each_schedule([](const RangeSchedule& s) {
        const std::string problem = test::check_rows(s, 0);
        if (!problem.empty()) FAIL() << problem << "\n" << describe(s);
    });
}

TEST(RangeSchedule, MapIsExactlyWhatThePairsSay) {
    for_each_schedule([](const RangeSchedule& s) {
        const auto counted =
            test::map_by_pairs(s.tile_q, s.q_len, s.tile_kv, s.kv_len(), [&](int64 i, int64 j) {
                return pair_visible(s.predicate, i, j) ? TileState::kFull : TileState::kSkipped;
            });
        if (to_dense(s, 0) != counted) {
            FAIL() << describe(s) << "by pairs\n"
                   << draw_tiles(counted, s.num_q_tiles(), s.num_kv_tiles());
        }
    });
}

TEST(RangeSchedule, MaskTurnsFullTilesPartialAndNothingElse) {
    for_each_schedule([](const RangeSchedule& s) {
        RangeSchedule masked = s;
        masked.all_partial = true;
        auto expected = to_dense(s, 0);
        for (TileState& state : expected) {
            if (state == TileState::kFull) state = TileState::kPartial;
        }
        if (to_dense(masked, 0) != expected || !test::check_rows(masked, 0).empty()) {
            FAIL() << describe(masked);
        }
    });
}

TEST(RangeSchedule, MapOfTransposeIsTransposeOfMap) {
    for_each_schedule([](const RangeSchedule& s) {
        const RangeSchedule t = transpose(s);
        const auto expected = test::transposed(to_dense(s, 0), s.num_q_tiles(), s.num_kv_tiles());
        if (to_dense(t, 0) != expected || !test::check_rows(t, 0).empty()) {
            FAIL() << describe(s) << "transposed\n" << describe(t);
        }
    });
}

TEST(RangeSchedule, TransposeTwiceIsTheIdentity) {
    for_each_schedule([](const RangeSchedule& s) {
        const RangeSchedule twice = transpose(transpose(s));
        const RangePredicate& a = s.predicate;
        const RangePredicate& b = twice.predicate;
        const bool same = a.kv_len == b.kv_len && a.shift == b.shift && a.k_offset == b.k_offset &&
                          a.window_left == b.window_left && a.window_right == b.window_right &&
                          a.chunk == b.chunk && s.q_len == twice.q_len &&
                          s.tile_q == twice.tile_q && s.tile_kv == twice.tile_kv;
        if (!same) FAIL() << describe(s) << "twice\n" << describe(twice);
    });
}

TEST(RangeSchedule, RetileIsTheScheduleOfTheNewTiles) {
    const RangePredicate causal{13, 4, 0, -1, 0, 0};
    for (int32 tile_q = 1; tile_q <= 10; ++tile_q) {
        for (int32 tile_kv = 1; tile_kv <= 14; ++tile_kv) {
            const RangeSchedule s = retile(RangeSchedule{causal, 9, 2, 3, false}, tile_q, tile_kv);
            EXPECT_EQ(to_dense(s, 0),
                      to_dense(RangeSchedule{causal, 9, tile_q, tile_kv, false}, 0));
        }
    }
}

TEST(RangeSchedule, IsAConstantExpression) {
    constexpr RangeSchedule kCausal{{8, 0, 0, -1, 0, 0}, 8, 2, 2, false};
    static_assert(kCausal.num_q_tiles() == 4);
    static_assert(kCausal.row(0, 3).num_full() == 3 && kCausal.row(0, 3).num_tiles() == 4);
    static_assert(kCausal.row(0, 3).tile(0) == 0 && kCausal.row(0, 3).tile(3) == 3);
}

TEST(TileSpan, PartialTilesOnBothSidesFollowTheFullOnes) {
    const TileSpan span{2, 4, 6, 9};
    std::vector<int32> tiles;
    std::vector<bool> full;
    for_each_tile(span, [&](int32 t, bool is_full) {
        tiles.push_back(t);
        full.push_back(is_full);
    });
    EXPECT_EQ(tiles, (std::vector<int32>{4, 5, 2, 3, 6, 7, 8}));
    EXPECT_EQ(full, (std::vector<bool>{true, true, false, false, false, false, false}));
}

/// Every span over `tiles` tiles.
std::vector<TileSpan> all_spans(int32 tiles) {
    std::vector<TileSpan> spans;
    for (int32 begin = 0; begin <= tiles; ++begin) {
        for (int32 full_begin = begin; full_begin <= tiles; ++full_begin) {
            for (int32 full_end = full_begin; full_end <= tiles; ++full_end) {
                for (int32 end = full_end; end <= tiles; ++end) {
                    spans.push_back({begin, full_begin, full_end, end});
                }
            }
        }
    }
    return spans;
}

TEST(TileSpan, PartsAreTheSpanInOrder) {
    for (const TileSpan& span : all_spans(6)) {
        for (int32 count = 1; count <= 8; ++count) {
            int32 at = span.begin;
            for (int32 idx = 0; idx < count; ++idx) {
                const TileSpan part = span.part(idx, count);
                ASSERT_EQ(part.begin, at);
                ASSERT_LE(part.begin, part.full_begin);
                ASSERT_LE(part.full_begin, part.full_end);
                ASSERT_LE(part.full_end, part.end);
                ASSERT_LE(part.num_tiles(), span.num_tiles() / count + 1);
                for (int32 t = part.begin; t < part.end; ++t) {
                    ASSERT_EQ(part.state(t), span.state(t));
                }
                at = part.end;
            }
            ASSERT_EQ(at, span.end);
        }
    }
}

TEST(BoxRow, EveryProductOfSpansIsWalkedInOrder) {
    // One grid of 2 x 3 x 3 tiles in the second of two groups.
    for (const TileSpan& a : all_spans(2)) {
        for (const TileSpan& b : all_spans(3)) {
            for (const TileSpan& c : all_spans(3)) {
                const BoxRow row{{a, b, c}, {2, 3, 3}, 18};
                std::vector<int32> expected;
                for (const bool want_full : {true, false}) {
                    for (int32 t = 0; t < 18; ++t) {
                        const TileState states[] = {a.state(t / 9), b.state(t / 3 % 3),
                                                    c.state(t % 3)};
                        const TileState worst = min_of(min_of(states[0], states[1]), states[2]);
                        EXPECT_EQ(row.state(18 + t), worst);
                        if (worst == (want_full ? TileState::kFull : TileState::kPartial)) {
                            expected.push_back(18 + t);
                        }
                    }
                }
                std::vector<int32> walked;
                for_each_tile(row, [&](int32 t, bool) { walked.push_back(t); });
                ASSERT_EQ(walked, expected);
                EXPECT_EQ(row.state(17), TileState::kSkipped);
                EXPECT_EQ(row.state(36), TileState::kSkipped);
            }
        }
    }
}

}  // namespace
}  // namespace fattn
