// A walk over the tiles that a block visits, ascending: lanes ask about 32 of them at a time;
// called by the gathered kernels.
#pragma once

#include "core/schedule.h"
#include "core/types.h"
#include "cuda/device/gathered_params.h"
#include "cuda/device/prim/lanes.h"
#include "cuda/device/prim/memory.h"
#include "cuda/device/prim/votes.h"

namespace fattn::cuda {

/// Every warp walks by itself, in the same way, and keeps its place in shared memory. Behind the
/// places of kWarps warps stand their notes, where a kernel makes notes.
template <int kWarps>
class TileWalk {
  public:
    __device__ explicit TileWalk(uint32 s_memory) : s_memory_(s_memory) {}

    /// From the first tile on; all lanes.
    __device__ void begin() const {
        prim::sync_warp();
        if (lane() == 0) {
            prim::store_shared_16(s_place(), {narrow<uint32>(-kLanes), 0, 0, 0});
        }
        prim::sync_warp();
    }

    /// The next tile that state_of() does not skip, and whether it is full; -1 after the last.
    /// state_of() may note a number about its tile.
    template <class StateOf>
    __device__ int32 next(int32 num_tiles, bool* full, const StateOf& state_of) const {
        prim::Words place = prim::load_shared_16(s_place());
        auto first = narrow<int32>(place.x);
        while (place.y == 0) {
            first += kLanes;
            if (first >= num_tiles) return -1;
            // What was noted about the last ones has been read.
            prim::sync_warp();
            const int32 tile = first + lane();
            const TileState state = tile < num_tiles ? state_of(tile) : TileState::kSkipped;
            place.y = prim::lanes_where(state != TileState::kSkipped);
            place.z = prim::lanes_where(state == TileState::kFull);
        }
        const uint32 bit = prim::lowest_bit(place.y);
        *full = (place.z >> bit & 1) != 0;
        prim::sync_warp();
        if (lane() == 0) {
            prim::store_shared_16(s_place(),
                                  {narrow<uint32>(first), place.y & (place.y - 1), place.z, 0});
        }
        prim::sync_warp();
        return first + narrow<int32>(bit);
    }

    /// A number about the tile that the calling lane is asked for.
    __device__ void note(int32 x) const { prim::store_shared(s_note(lane()), narrow<uint32>(x)); }
    /// What was noted about the tile that next() gave; any lane.
    __device__ int32 noted(int32 tile) const {
        return narrow<int32>(prim::load_shared(s_note(tile % kLanes)));
    }

  private:
    static constexpr int32 kLanes = 32;

    __device__ static int32 lane() { return narrow<int32>(prim::thread_idx() % prim::kWarpSize); }
    __device__ static uint32 warp() { return prim::thread_idx() / prim::kWarpSize; }
    /// First of the tiles asked about, which are left, full ones.
    __device__ uint32 s_place() const { return s_memory_ + warp() * kGatheredWalkBytes; }
    __device__ uint32 s_note(int32 n) const {
        return s_memory_ + kWarps * kGatheredWalkBytes + warp() * kGatheredNoteBytes +
               narrow<uint32>(n) * 4;
    }

    uint32 s_memory_;
};

}  // namespace fattn::cuda
