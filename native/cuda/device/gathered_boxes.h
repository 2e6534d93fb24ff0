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
            int32 token = 0, origin = 0, step = 1, columns = 1, tokens = 1;
            bool exists = of_head < at.num_heads, alike = true;
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
                const int32 box = extent == 0 ? 0 : narrow<int32>(bottom.end - top.begin);
                exists = exists && x < extent;
                alike = alike && top.begin == bottom.begin && top.end == bottom.end;
                set_interval(row, static_cast<uint32>(kAxes - 1 - a),
                             {narrow<int32>(seen.begin) - begin, narrow<int32>(seen.end) - begin});
                if (first_thread) {
                    set_info(Memory::kExtent + static_cast<uint32>(a), box);
                    set_info(Memory::kStep + static_cast<uint32>(a), axis.dilation * step);
                }
                token += (g + (first + x) * axis.dilation) * step;
                origin += (g + begin * axis.dilation) * step;
                step *= axis.extent;
                columns *= box;
                tokens *= extent;
            }
            set_token(row, exists ? token : kNoToken, at.first_head + of_head);
            if (!exists) {
                set_interval(row, 0, {0, 0});
                set_interval(row, 2, {0, 0});
            }
            if (first_thread) {
                const int32 additional = kKeys || tokens == 0 ? 0 : boxes.num_additional;
                set_info(Memory::kOrigin, origin);
                set_info(Memory::kColumnsInAll, columns + additional);
                set_info(Memory::kAlike, alike ? 1 : 0);
            }
        }
    }

    /// What a row sees of 32 columns from the first one on.
    __device__ uint32 seen(int32 row, int32 first) const {
        const prim::Words info = prim::load_shared_16(at_row(row));
        const prim::Words more = prim::load_shared_16(at_row(row) + 16);
        return box_bits({narrow<int32>(info.z), narrow<int32>(info.w)}, more, first);
    }

    __device__ int32 token_of(int32 column) const {
        const int32 box = box_size();
        if (column >= box) return pattern_.boxes.num_tokens + column - box;
        const int32 width = info(Memory::kExtent + 2);
        const int32 lines = info(Memory::kExtent + 1);
        const int32 line = column / width;
        return info(Memory::kOrigin) + column % width * info(Memory::kStep + 2) +
               line % lines * info(Memory::kStep + 1) + line / lines * info(Memory::kStep);
    }

    __device__ TileState state(int32 tile) const {
        const bool whole = (tile + 1) * kColumns <= info(Memory::kColumnsInAll);
        return whole && info(Memory::kAlike) != 0 ? TileState::kFull : TileState::kPartial;
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
                set_info(Memory::kStep + a, a == 2 ? 1 : 0);
            }
            set_info(Memory::kOrigin, 0);
            set_info(Memory::kColumnsInAll, boxes.num_tokens);
            set_info(Memory::kAlike, 1);
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

    __device__ int32 box_size() const {
        return info(Memory::kExtent) * info(Memory::kExtent + 1) * info(Memory::kExtent + 2);
    }

    __device__ uint32 box_bits(TileRange inner, const prim::Words& more, int32 first) const {
        const int32 width = info(Memory::kExtent + 2);
        const int32 lines = info(Memory::kExtent + 1);
        const int32 box = box_size();
        const int32 end = min_of(first + 32, box);
        const TileRange middle{narrow<int32>(more.x), narrow<int32>(more.y)};
        const TileRange outer{narrow<int32>(more.z), narrow<int32>(more.w)};
        // Rows that do not exist see nothing.
        uint32 bits = outer.end > outer.begin
                          ? bits_of_interval(box - first, info(Memory::kColumnsInAll) - first)
                          : 0;
        if (first >= end) return bits;
        int32 line = first / width;
        int32 x0 = line / lines;
        int32 x1 = line % lines;
        for (int32 at = line * width - first; at < end - first; at += width) {
            if (x0 >= outer.begin && x0 < outer.end && x1 >= middle.begin && x1 < middle.end) {
                bits |= bits_of_interval(at + inner.begin, at + inner.end);
            }
            if (++x1 == lines) {
                x1 = 0;
                ++x0;
            }
        }
        return bits;
    }
};

}  // namespace fattn::cuda
