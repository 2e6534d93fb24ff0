// Numbers of the shapes of patches; see patch_shapes.h.
#include "cpu/patch_shapes.h"

#include <map>

namespace fattn::cpu {
namespace {

/// All that tells the shape of a patch along an axis from others.
void describe(const NeighborhoodAxis& axis, const BoxAxis& schedule, LaneSide side, int32 group,
              int64 place, std::vector<int32>& shape) {
    const int64 length = schedule.extents[group];
    const TileSpan& box = schedule.spans[int64{group} * schedule.num_q_tiles + place];
    const int64 begin = place * schedule.tile_q;
    const int64 end = min_of<int64>(begin + schedule.tile_q, length);
    shape = {box.end - box.begin, narrow<int32>(min_of<int64>(length - box.end, kRunKeys)),
             static_cast<int32>(length >= kRunKeys)};
    for (int64 x = begin; x < end; ++x) {
        const KeyInterval seen = window_of(axis, side, x, length);
        shape.push_back(narrow<int32>(seen.begin - box.begin));
        shape.push_back(narrow<int32>(seen.end - box.begin));
    }
}

}  // namespace

PatchShapes::PatchShapes(const NeighborhoodGrid& grid, const BoxSchedule& schedule, LaneSide side) {
    int64 tokens = 1;
    for (const BoxAxis& axis : schedule.axis) tokens *= axis.tile_q;
    if (tokens > kGroupLanes) return;
    for (int a = 0; a < PatchGrid::kAxes; ++a) {
        const BoxAxis& axis = schedule.axis[a];
        places_[a] = axis.num_q_tiles;
        numbers_[a].reserve(static_cast<size_t>(axis.num_groups * places_[a]));
        std::map<std::vector<int32>, int32> known;
        std::vector<int32> last;
        std::vector<int32> shape;
        int32 number = 0;
        for (int32 group = 0; group < axis.num_groups; ++group) {
            for (int64 place = 0; place < places_[a]; ++place) {
                describe(grid.axis[a], axis, side, group, place, shape);
                // Most patches are like their neighbours.
                if (shape != last) {
                    const auto count = static_cast<int32>(known.size());
                    number = known.try_emplace(shape, count).first->second;
                    last = shape;
                }
                numbers_[a].push_back(number);
            }
        }
    }
}

}  // namespace fattn::cpu
