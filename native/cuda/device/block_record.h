// What the threads of a block look up for every tile, in shared memory instead of registers, which
// accumulators fill; written once by one thread, called by the softmax kernels.
#pragma once

#include "core/schedule.h"
#include "core/types.h"
#include "cuda/device/forward_tile.h"
#include "cuda/device/prim/memory.h"

namespace fattn::cuda {

/// Rows of keys and values of a head in a sequence.
struct KeyValueRows {
    const uint8* k;  // token 0; null: keys lie in pages
    const uint8* v;
};

/// Where scores stand among those of a problem.
struct ScorePlace {
    int32 q_len;
    int32 kv_len;
    int32 first_row;  // of the block's tile: a query, or a key in the backward of keys
    int32 head;
    int64 shift;  // position of query i relative to key 0 is i + shift
    int32 entry;  // batch entry or sequence
};

class BlockRecord {
  public:
    __device__ explicit BlockRecord(uint32 s_record) : s_record_(s_record) {}

    __device__ void write(const TileSpan& span, const KeyValueRows& rows,
                          const ScorePlace& place) const {
        prim::store_shared_16(s_record_, {word(span.begin), word(span.full_begin),
                                          word(span.full_end), word(span.end)});
        const auto k = reinterpret_cast<uint64>(rows.k);
        const auto v = reinterpret_cast<uint64>(rows.v);
        prim::store_shared_16(s_record_ + 16, {low(k), high(k), low(v), high(v)});
        prim::store_shared_16(s_record_ + 32, {word(place.q_len), word(place.kv_len),
                                               word(place.first_row), word(place.head)});
        const auto shift = static_cast<uint64>(place.shift);
        prim::store_shared_16(s_record_ + 48, {low(shift), high(shift), word(place.entry), 0});
    }

    /// Tiles that the block visits.
    __device__ TileSpan span() const {
        const prim::Words x = prim::load_shared_16(s_record_);
        return {narrow<int32>(x.x), narrow<int32>(x.y), narrow<int32>(x.z), narrow<int32>(x.w)};
    }
    __device__ const uint8* k_rows() const { return pointer(s_record_ + 16); }
    __device__ const uint8* v_rows() const { return pointer(s_record_ + 24); }
    __device__ int32 kv_len() const { return narrow<int32>(prim::load_shared(s_record_ + 36)); }

    __device__ ScorePlace score_place() const {
        const prim::Words a = prim::load_shared_16(s_record_ + 32);
        const prim::Words b = prim::load_shared_16(s_record_ + 48);
        return {narrow<int32>(a.x),
                narrow<int32>(a.y),
                narrow<int32>(a.z),
                narrow<int32>(a.w),
                static_cast<int64>(join(b.x, b.y)),
                narrow<int32>(b.z)};
    }

  private:
    __device__ static uint32 word(int32 x) { return narrow<uint32>(x); }
    __device__ static uint32 low(uint64 x) { return narrow<uint32>(x); }
    __device__ static uint32 high(uint64 x) { return narrow<uint32>(x >> 32); }
    __device__ static uint64 join(uint32 x, uint32 y) { return x | uint64{y} << 32; }
    __device__ static const uint8* pointer(uint32 s_from) {
        const prim::WordPair x = prim::load_shared_8(s_from);
        return reinterpret_cast<const uint8*>(join(x.x, x.y));
    }

    uint32 s_record_;
};

}  // namespace fattn::cuda
