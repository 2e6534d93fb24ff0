// Lists of tiles: all small maps exhaustively through retile and transpose.
#include <gtest/gtest.h>

#include <vector>

#include "plan/retile.h"
#include "plan/schedule_data.h"
#include "plan/transpose.h"
#include "support/schedule_checks.h"

namespace fattn {
namespace {

using Map = std::vector<TileState>;

struct Shape {
    int64 q_len;
    int64 kv_len;
    int32 tile_q;
    int32 tile_kv;
};

/// One pattern per map; head h has pattern num_patterns - 1 - h % num_patterns.
ListScheduleData list_of(const Shape& shape, const std::vector<Map>& maps) {
    ListScheduleData data;
    data.q_len = shape.q_len;
    data.kv_len = shape.kv_len;
    data.tile_q = shape.tile_q;
    data.tile_kv = shape.tile_kv;
    data.num_patterns = narrow<int32>(maps.size());
    const int32 num_q = narrow<int32>(ceil_div<int64>(shape.q_len, shape.tile_q));
    const int32 num_kv = narrow<int32>(ceil_div<int64>(shape.kv_len, shape.tile_kv));
    for (const Map& map : maps) {
        for (int32 q = 0; q < num_q; ++q) data.append_row(map.data() + q * num_kv, num_kv);
    }
    for (int32 h = 0; h < 2 * data.num_patterns; ++h) {
        data.pattern_of_head.push_back(data.num_patterns - 1 - h % data.num_patterns);
    }
    return data;
}

/// Calls visit(shape, map) for every map of at most three by three tiles, also with ragged ends,
/// until one fails.
template <class Visit>
void for_each_map(const Visit& visit) {
    for (const Shape& shape : {Shape{4, 6, 2, 2}, Shape{5, 8, 2, 3}, Shape{3, 3, 1, 1},
                               Shape{7, 5, 3, 2}, Shape{1, 9, 4, 4}}) {
        const int64 num_q = ceil_div<int64>(shape.q_len, shape.tile_q);
        const int64 num_kv = ceil_div<int64>(shape.kv_len, shape.tile_kv);
        Map map(static_cast<std::size_t>(num_q * num_kv), TileState::kSkipped);
        for (bool more = true; more;) {
            bool allowed = true;
            for (int64 n = 0; n < num_q * num_kv; ++n) {
                const bool ragged = (n / num_kv + 1) * shape.tile_q > shape.q_len ||
                                    (n % num_kv + 1) * shape.tile_kv > shape.kv_len;
                allowed =
                    allowed && !(ragged && map[static_cast<std::size_t>(n)] == TileState::kFull);
            }
            if (allowed) visit(shape, map);
            if (testing::Test::HasFatalFailure()) return;
            more = false;
            for (TileState& state : map) {
                state = static_cast<TileState>((static_cast<int>(state) + 1) % 3);
                if (state != TileState::kSkipped) {
                    more = true;
                    break;
                }
            }
        }
    }
}

TEST(ListSchedule, RowsHoldTheMap) {
    for_each_map([](const Shape& shape, const Map& map) {
        const ListScheduleData data = list_of(shape, {map});
        const ListSchedule s = data.view();
        if (to_dense(s, 0) != map || !test::check_rows(s, 0).empty()) {
            FAIL() << test::check_rows(s, 0) << "\n" << draw(s, 0);
        }
    });
}

TEST(ListSchedule, HeadsPointToPatterns) {
    const Map a{TileState::kFull, TileState::kSkipped, TileState::kPartial, TileState::kFull};
    const Map b{TileState::kSkipped, TileState::kPartial, TileState::kSkipped, TileState::kSkipped};
    const ListScheduleData data = list_of({2, 2, 1, 1}, {a, b});
    EXPECT_EQ(to_dense(data.view(), 0), b);
    EXPECT_EQ(to_dense(data.view(), 1), a);
    EXPECT_EQ(to_dense(data.view(), 2), b);
    EXPECT_EQ(to_dense(data.view(), 3), a);
}

TEST(TransposeList, MapOfTransposeIsTransposeOfMap) {
    for_each_map([](const Shape& shape, const Map& map) {
        Map reversed(map.rbegin(), map.rend());
        for (TileState& state : reversed) {
            if (state == TileState::kFull) state = TileState::kPartial;
        }
        const ListScheduleData data = list_of(shape, {map, reversed});
        const ListSchedule s = data.view();
        const ListScheduleData transposed_data = transpose(s);
        const ListSchedule t = transposed_data.view();
        const ListScheduleData twice = transpose(t);
        for (int64 head = 0; head < 2; ++head) {
            const Map expected =
                test::transposed(to_dense(s, head), s.num_q_tiles(), s.num_kv_tiles());
            if (to_dense(t, head) != expected || !test::check_rows(t, head).empty()) {
                FAIL() << draw(s, head) << "transposed\n" << draw(t, head);
            }
        }
        if (twice.tiles != data.tiles || twice.num_full != data.num_full ||
            twice.row_begin != data.row_begin || twice.pattern_of_head != data.pattern_of_head) {
            FAIL() << "transpose twice differs\n" << draw(s, 0);
        }
    });
}

TEST(RetileList, NewTilesFollowFromTheOldTilesOfTheirPairs) {
    for_each_map([](const Shape& shape, const Map& map) {
        const ListScheduleData data = list_of(shape, {map});
        const ListSchedule s = data.view();
        for (const int32 tile_q : {1, 2, 3, 5}) {
            for (const int32 tile_kv : {1, 2, 4, 6}) {
                const ListScheduleData retiled = retile(s, tile_q, tile_kv);
                const ListSchedule r = retiled.view();
                const Map expected =
                    test::map_by_pairs(tile_q, s.q_len, tile_kv, s.kv_len, [&](int64 i, int64 j) {
                        const int64 at = i / s.tile_q * s.num_kv_tiles() + j / s.tile_kv;
                        return map[static_cast<std::size_t>(at)];
                    });
                if (to_dense(r, 0) != expected || !test::check_rows(r, 0).empty()) {
                    FAIL() << shape.q_len << "x" << shape.kv_len << " tile " << shape.tile_q << "x"
                           << shape.tile_kv << "\n"
                           << draw(s, 0) << "in tiles " << tile_q << "x" << tile_kv << "\n"
                           << draw(r, 0) << "expected\n"
                           << draw_tiles(expected, r.num_q_tiles(), r.num_kv_tiles());
                }
            }
        }
    });
}

TEST(RetileList, KeepsPatternsApart) {
    const Map a{TileState::kFull, TileState::kSkipped, TileState::kPartial, TileState::kFull};
    const Map b{TileState::kSkipped, TileState::kPartial, TileState::kSkipped, TileState::kSkipped};
    const ListScheduleData data = list_of({4, 4, 2, 2}, {a, b});
    const ListScheduleData together = retile(data.view(), 4, 1);
    EXPECT_EQ(to_dense(together.view(), 0),
              to_dense(retile(list_of({4, 4, 2, 2}, {b}).view(), 4, 1).view(), 0));
    EXPECT_EQ(to_dense(together.view(), 1),
              to_dense(retile(list_of({4, 4, 2, 2}, {a}).view(), 4, 1).view(), 0));
}

}  // namespace
}  // namespace fattn
