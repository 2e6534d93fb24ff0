// Rows that are a patch of a grid, and columns that are the box of tokens one of them meets, with
// additional keys behind it; asked by gathered_pattern.h.
#pragma once

#include "core/neighborhood.h"
#include "core/schedule.h"
#include "core/types.h"
#include "cuda/device/gathered_memory.h"

namespace fattn::cuda {

template <Side kSide, int kRows, int kColumns, int kThreads>
class GatheredBoxes : public GatheredMemory<kSide, kRows, kColumns, kThreads> {
  public:
    using Memory = GatheredMemory<kSide, kRows, kColumns, kThreads>;
    using Memory::kKeys;
    using Memory::kNoToken;

    __device__ explicit GatheredBoxes(const Memory& memory) : Memory(memory) {}

    /// As in gathered_pattern.h.
    __device__ void begin(const RowTileAt& at, int32 positions) const {
        constexpr int kAxes = PatchGrid::kAxes;
        const GridBoxes& boxes = pattern_.boxes;
        const bool first_thread = prim::thread_idx() == 0;
        int32 patches = 1, groups = 1;
        for (int a = 0; a < kAxes; ++a) {
            patches *= boxes.num_patches[a];
            groups *= boxes.grid.axis[a].dilation;
        }
        if (first_thread) {
            set_info(Memory::kHead, at.first_head);
            set_info(Memory::kEntry, at.entry);
        }
        if (at.tile >= patches * groups) {
            begin_additional(at.tile - patches * groups, at);
            return;
        }
        // Every row finds the patch again, axis by axis: arrays of three would be compiled thrice.
        for (uint32 row = prim::thread_idx(); row < kRows; row += kThreads) {
            const int32 of_head = narrow<int32>(row) / positions;
            int32 group = at.tile / patches, patch = at.tile % patches;
            int32 rest = narrow<int32>(row) % positions;
            int32 token = 0, origin = 0, step = 1, tokens = 1;
            bool exists = of_head < at.num_heads;
#pragma unroll 1
            for (int a = kAxes - 1; a >= 0; --a) {
                const NeighborhoodAxis& axis = boxes.grid.axis[a];
                const int32 g = group % axis.dilation;
                group /= axis.dilation;
                const int32 length = axis.group_length(g);
                const int32 first = patch % boxes.num_patches[a] * boxes.patch[a];
                patch /= boxes.num_patches[a];
                // Shorter dilation groups have fewer patches.
                const int32 extent = clamp_to(length - first, 0, boxes.patch[a]);
                const int32 x = rest % boxes.patch[a];
                rest /= boxes.patch[a];
                const KeyInterval top = of_axis(axis, first, length);
                const KeyInterval bottom = of_axis(axis, first + extent - 1, length);
                const KeyInterval seen = of_axis(axis, first + x, length);
                const int32 begin = extent == 0 ? 0 : narrow<int32>(top.begin);
                exists = exists && x < extent;
                set_interval(row, static_cast<uint32>(kAxes - 1 - a),
                             {narrow<int32>(seen.begin) - begin, narrow<int32>(seen.end) - begin});
                if (first_thread) {
                    // Bounds never decrease: all rows see from the last one's to the first one's.
                    const auto n = static_cast<uint32>(a);
                    const auto shared = narrow<int32>(top.end - bottom.begin);
                    set_info(Memory::kExtent + n,
                             extent == 0 ? 0 : narrow<int32>(bottom.end - top.begin));
                    set_info(Memory::kCommonBegin + n, narrow<int32>(bottom.begin) - begin);
                    set_info(Memory::kCommonSize + n, extent == 0 ? 0 : max_of(shared, 0));
                    set_info(Memory::kStep + n, axis.dilation * step);
                }
                token += (g + (first + x) * axis.dilation) * step;
                origin += (g + begin * axis.dilation) * step;
                step *= axis.extent;
                tokens *= extent;
            }
            set_token(row, exists ? token : kNoToken, at.first_head + of_head);
            if (!exists) {
                set_interval(row, 0, {0, 0});
                set_interval(row, 2, {0, 0});
            }
            if (first_thread) {
                set_info(Memory::kOrigin, origin);
                set_parts(kKeys || tokens == 0 ? 0 : boxes.num_additional);
            }
        }
    }

    /// What a row sees of 32 columns from the first one on.
    __device__ uint32 seen(int32 row, int32 first) const {
        const prim::Words info = prim::load_shared_16(at_row(row));
        const prim::Words more = prim::load_shared_16(at_row(row) + 16);
        const TileRange outer{narrow<int32>(more.z), narrow<int32>(more.w)};
        // Rows that do not exist see nothing.
        if (outer.end <= outer.begin) return 0;
        const TileRange middle{narrow<int32>(more.x), narrow<int32>(more.y)};
        const TileRange inner{narrow<int32>(info.z), narrow<int32>(info.w)};
        uint32 bits =
            bits_of_interval(end_of(0) - first, this->info(Memory::kColumnsInAll) - first);
#pragma unroll 1
        for (int32 part = kParts - 1; part >= 0; --part) {
            const int32 begin = begin_of(part);
            if (begin >= first + 32) break;
            const int32 end = min_of(first + 32, end_of(part)) - first;
            if (begin - first >= end || end <= 0) continue;
            const TileRange x2 = seen_of_axis(2, part, inner);
            const TileRange x1 = seen_of_axis(1, part, middle);
            const TileRange x0 = seen_of_axis(0, part, outer);
            const int32 width = size_of_axis(2, part);
            const int32 lines = size_of_axis(1, part);
            const int32 line = max_of(first - begin, 0) / width;
            int32 at0 = line / lines;
            int32 at1 = line % lines;
            for (int32 at = begin + line * width - first; at < end; at += width) {
                if (at0 >= x0.begin && at0 < x0.end && at1 >= x1.begin && at1 < x1.end) {
                    bits |= bits_of_interval(at + x2.begin, at + x2.end);
                }
                if (++at1 == lines) {
                    at1 = 0;
                    ++at0;
                }
            }
        }
        return bits;
    }

    __device__ int32 token_of(int32 column) const {
        if (column >= end_of(0)) return pattern_.boxes.num_tokens + column - end_of(0);
        const int32 part = part_of(column);
        const int32 width = size_of_axis(2, part);
        const int32 lines = size_of_axis(1, part);
        column -= begin_of(part);
        const int32 line = column / width;
        return info(Memory::kOrigin) +
               coordinate(2, part, column % width) * info(Memory::kStep + 2) +
               coordinate(1, part, line % lines) * info(Memory::kStep + 1) +
               coordinate(0, part, line / lines) * info(Memory::kStep);
    }

    __device__ TileState state(int32 tile) const {
        return (tile + 1) * kColumns <= end_of(kParts - 1) ? TileState::kFull : TileState::kPartial;
    }

    /// As in gathered_pattern.h.
    __device__ int32 run_of(int32 tile) const {
        const int32 first = tile * kColumns;
        const int32 part = part_of(min_of(first, end_of(0) - 1));
        const int32 width = size_of_axis(2, part);
        // Parts that leave out inner coordinates have two pieces of a line.
        if (first + kColumns > end_of(part) || width < kColumns || part == 2) return kNoToken;
        if ((first - begin_of(part)) % width + kColumns > width) return kNoToken;
        return token_of(first);
    }

  private:
    using Memory::at_row;
    using Memory::info;
    using Memory::pattern_;
    using Memory::set_info;
    using Memory::set_interval;
    using Memory::set_token;

    __device__ static KeyInterval of_axis(const NeighborhoodAxis& axis, int32 x, int32 length) {
        return kKeys ? axis.queries_of(x, length) : axis.keys_of(x, length);
    }

    /// Rows are additional keys, which every query sees.
    __device__ void begin_additional(int32 tile, const RowTileAt& at) const {
        const GridBoxes& boxes = pattern_.boxes;
        if (prim::thread_idx() == 0) {
            for (uint32 a = 0; a < 3; ++a) {
                set_info(Memory::kExtent + a, a == 2 ? boxes.num_tokens : 1);
                set_info(Memory::kCommonBegin + a, 0);
                set_info(Memory::kCommonSize + a, a == 2 ? boxes.num_tokens : 1);
                set_info(Memory::kStep + a, a == 2 ? 1 : 0);
            }
            set_info(Memory::kOrigin, 0);
            set_parts(0);
        }
        for (uint32 row = prim::thread_idx(); row < kRows; row += kThreads) {
            const int32 extra = tile * kRows + narrow<int32>(row);
            const bool exists = extra < boxes.num_additional;
            set_token(row, exists ? boxes.num_tokens + extra : kNoToken, at.first_head);
            set_interval(row, 0, {0, exists ? boxes.num_tokens : 0});
            set_interval(row, 1, {0, 1});
            set_interval(row, 2, {0, 1});
        }
    }

    // The box in parts: what all rows see, which fills tiles that need no mask, and then, for the
    // inner, the middle and the outer axis, where that one's coordinates are not common. Part n
    // leaves the common coordinates of axis n out, has only those of the axes before it and all of
    // those behind it; the last part leaves none out.
    static constexpr int32 kParts = PatchGrid::kAxes + 1;

    __device__ int32 begin_of(int32 part) const {
        return part == kParts - 1 ? 0 : end_of(part + 1);
    }
    __device__ int32 end_of(int32 part) const {
        return info(Memory::kPartEnd + static_cast<uint32>(part));
    }
    __device__ int32 part_of(int32 column) const {
        int32 part = kParts - 1;
        while (part > 0 && column >= end_of(part)) --part;
        return part;
    }
    __device__ int32 extent(int32 axis) const {
        return info(Memory::kExtent + static_cast<uint32>(axis));
    }
    __device__ int32 common(int32 axis) const {
        return info(Memory::kCommonSize + static_cast<uint32>(axis));
    }
    __device__ int32 size_of_axis(int32 axis, int32 part) const {
        if (axis < part) return common(axis);
        return extent(axis) - (axis == part ? common(axis) : 0);
    }
    /// Coordinate in the box of the x-th of an axis that a part has.
    __device__ int32 coordinate(int32 axis, int32 part, int32 x) const {
        if (axis > part) return x;
        const int32 begin = info(Memory::kCommonBegin + static_cast<uint32>(axis));
        if (axis < part) return x + begin;
        return x < begin ? x : x + common(axis);
    }
    /// Which of them a row sees that sees [seen.begin, seen.end) of the axis.
    __device__ TileRange seen_of_axis(int32 axis, int32 part, TileRange seen) const {
        if (axis < part) return {0, common(axis)};
        if (axis == part) seen.end -= common(axis);
        return seen;
    }
    /// Where parts end, one thread.
    __device__ void set_parts(int32 num_additional) const {
        // Where one axis has no common coordinates nothing is common.
        if (common(0) == 0 || common(1) == 0 || common(2) == 0) {
            for (uint32 a = 0; a < 3; ++a) set_info(Memory::kCommonSize + a, 0);
        }
        int32 columns = 1;
        for (int32 a = 0; a < 3; ++a) columns *= common(a);
        set_info(Memory::kPartEnd + 3, columns);
        columns = common(0) * common(1) * extent(2);
        set_info(Memory::kPartEnd + 2, columns);
        columns = common(0) * extent(1) * extent(2);
        set_info(Memory::kPartEnd + 1, columns);
        columns = extent(0) * extent(1) * extent(2);
        set_info(Memory::kPartEnd, columns);
        set_info(Memory::kColumnsInAll, columns + num_additional);
    }
};

}  // namespace fattn::cuda
