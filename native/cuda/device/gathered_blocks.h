// Rows and columns that stand in their order, or in that of a permutation: S2 and permuted blocks;
// asked by gathered_pattern.h.
//
// Where queries walk over the keys of a causal S2 pattern, the blocks before the band, which all
// rows see, come first, one after the other, and then the band, so that blocks smaller than a tile
// fill tiles.
#pragma once

#include "core/schedule.h"
#include "core/types.h"
#include "cuda/device/gathered_memory.h"

namespace fattn::cuda {

template <Side kSide, int kRows, int kColumns, int kThreads>
class GatheredBlocks : public GatheredMemory<kSide, kRows, kColumns, kThreads> {
  public:
    using Memory = GatheredMemory<kSide, kRows, kColumns, kThreads>;
    using Memory::kKeys;
    using Memory::kNoToken;

    __device__ explicit GatheredBlocks(const Memory& memory) : Memory(memory) {}

    /// As in gathered_pattern.h.
    __device__ void begin(const RowTileAt& at, int32 positions) const {
        const bool s2 = pattern_.kind == PatternKind::kS2;
        const bool causal = s2 ? pattern_.s2.causal : pattern_.blocks.causal;
        const int32 num_rows = kKeys ? kv_len() : q_len();
        const int32 num_columns = kKeys ? q_len() : kv_len();
        const int32 first = at.tile * positions;
        const int32 last = min_of(first + positions, num_rows) - 1;
        const int32 shift = pattern_.first_position;
        if (prim::thread_idx() == 0) {
            set_info(Memory::kColumnsInAll, num_columns);
            set_info(Memory::kFirstRow, kKeys ? first : first + shift);
            set_info(Memory::kLastRow, kKeys ? last : last + shift);
            set_info(Memory::kHead, at.first_head);
            set_info(Memory::kEntry, at.entry);
            set_info(Memory::kStep + 2, 1);
            set_info(Memory::kFarColumns, 0);
            set_info(Memory::kNearToken, 0);
            set_info(Memory::kFirstBlock, block_of_row(first, at));
            if (s2) {
                const int64 head = pattern_.s2.pattern_head(at.first_head);
                const bool open = pattern_.s2.is_dense(head);
                set_info(Memory::kOpen, open ? 1 : 0);
                set_info(Memory::kShard, open ? 0 : narrow<int32>(pattern_.s2.shard(head)));
                if (causal && !open && !kKeys) {
                    set_far_columns(clamp_to(last + shift + 1, 0, num_columns));
                }
            }
            set_info(Memory::kLastBlock, block_of_row(last, at));
        }
        for (uint32 row = prim::thread_idx(); row < kRows; row += kThreads) {
            const int32 of_head = narrow<int32>(row) / positions;
            const int32 slot = first + narrow<int32>(row) % positions;
            const bool exists = of_head < at.num_heads && slot <= last;
            TileRange sees{0, num_columns};
            int32 token = slot;
            if (kKeys && exists) token = token_of_row(slot, at);
            if (causal && kKeys) sees.begin = clamp_to(token - shift, 0, num_columns);
            if (causal && !kKeys) sees.end = clamp_to(slot + shift + 1, 0, num_columns);
            const int32 block = exists ? block_of_row(slot, at) : 0;
            set_token(row, exists ? token : kNoToken, at.first_head + of_head);
            set_interval(row, 0, exists ? sees : TileRange{0, 0});
            set_interval(row, 1, {block, 0});
        }
    }

    /// What a row sees of 32 columns from the first one on, which are a half of a tile.
    __device__ uint32 seen(int32 row, int32 first, uint32 half, uint32 buffer) const {
        const prim::Words info = prim::load_shared_16(at_row(row));
        const auto block = narrow<int32>(prim::load_shared(at_row(row) + 16));
        const TileRange sees{narrow<int32>(info.z), narrow<int32>(info.w)};
        if (pattern_.kind == PatternKind::kS2) {
            if (narrow<int32>(info.x) == kNoToken) return 0;
            const int32 far = max_of(this->info(Memory::kFarColumns) - first, 0);
            if (far >= 32) return ~0u;
            const int32 token = first + far + near_shift();
            const uint32 near =
                bits_of_interval(sees.begin - token, sees.end - token) & blocks_of_s2(block, token);
            return bits_of_interval(0, far) | near << far;
        }
        return permuted_bits(bits_of_interval(sees.begin - first, sees.end - first), info, block,
                             first, half, buffer);
    }

    /// Token of a column that exists and stands in no list.
    __device__ int32 token_of(int32 column) const {
        if (column >= info(Memory::kFarColumns)) return column + near_shift();
        const auto size = narrow<int32>(pattern_.s2.block_size);
        const auto stride = narrow<int32>(pattern_.s2.vertical_stride);
        return (info(Memory::kShard) + column / size * stride) * size + column % size;
    }

    /// Where the tokens of columns stand in device memory, unchecked; null: columns are tokens.
    __device__ const int32* tokens_of_columns() const {
        const int32* permutation = pattern_.blocks.permutation;
        if (kKeys || pattern_.kind != PatternKind::kPermutedBlock || permutation == nullptr) {
            return nullptr;
        }
        return permutation + selection_row(info(Memory::kEntry), info(Memory::kHead)) * kv_len();
    }

    /// As in gathered_pattern.h.
    __device__ int32 run_of(int32 tile) const {
        const int32 first = tile * kColumns;
        const int32 far = info(Memory::kFarColumns);
        if (first + kColumns > info(Memory::kColumnsInAll) || tokens_of_columns() != nullptr) {
            return kNoToken;
        }
        if (first < far) {
            const auto size = narrow<int32>(pattern_.s2.block_size);
            const bool of_one_block = first + kColumns <= far && first % size + kColumns <= size;
            if (!of_one_block) return kNoToken;
        }
        return token_of(first);
    }

    __device__ TileState state(int32 tile) const {
        const bool s2 = pattern_.kind == PatternKind::kS2;
        const int32 end = (tile + 1) * kColumns;
        const int32 far = info(Memory::kFarColumns);
        if (tile * kColumns < far) return end <= far ? TileState::kFull : TileState::kPartial;
        const int32 num_columns = info(Memory::kColumnsInAll);
        const int32 first = tile * kColumns + near_shift();
        const int32 last = min_of(end, num_columns) - 1 + near_shift();
        const int32 shift = column_shift();
        const Order order = order_of(first + shift, last + shift);
        if (order.later) return TileState::kSkipped;
        // Where rows are tokens, their slots' blocks are any of their segments.
        if (kKeys && !s2 && pattern_.blocks.slot_of_token != nullptr) {
            return token_rows_state(first, last);
        }
        const int64 head_row = selection_row(info(Memory::kEntry), info(Memory::kHead));
        const int32 size = column_block_size();
        return state_of_blocks(
            s2 ? s2_block(first + shift) : first / size, s2 ? s2_block(last + shift) : last / size,
            end <= num_columns && order.earlier, [&](int32 row, int32 column) {
                if (s2) return shows(row, column);
                return kKeys ? keeps(head_row, column, row) : keeps(head_row, row, column);
            });
    }

  private:
    using Memory::at_row;
    using Memory::info;
    using Memory::listed_token;
    using Memory::pattern_;
    using Memory::problem_;
    using Memory::set_info;
    using Memory::set_interval;
    using Memory::set_token;

    __device__ int32 q_len() const { return narrow<int32>(problem_.q_len); }
    __device__ int32 kv_len() const { return narrow<int32>(problem_.kv_len); }
    __device__ int64 selection_row(int32 entry, int32 head) const {
        return entry * problem_.num_q_heads + head;
    }

    /// From a column behind the far ones to its token.
    __device__ int32 near_shift() const {
        return info(Memory::kNearToken) - info(Memory::kFarColumns);
    }
    /// Numbers the columns of queries up to the position before end; one thread.
    __device__ void set_far_columns(int32 end) const {
        const auto size = narrow<int32>(pattern_.s2.block_size);
        const auto stride = narrow<int32>(pattern_.s2.vertical_stride);
        const auto local = narrow<int32>(pattern_.s2.local_blocks);
        const int32 shard = info(Memory::kShard);
        // A last block that the keys do not fill counts as near.
        const int32 near = clamp_to(info(Memory::kFirstBlock) - local + 1, 0, kv_len() / size);
        const int32 far = near > shard ? ceil_div(near - shard, stride) * size : 0;
        set_info(Memory::kFarColumns, far);
        set_info(Memory::kNearToken, near * size);
        set_info(Memory::kColumnsInAll, far + max_of(end - near * size, 0));
    }

    /// A token or slot read from device memory: a wrong one gives wrong results, and no access
    /// outside.
    __device__ int32 inside(int32 token) const { return clamp_to(token, 0, kv_len() - 1); }

    /// Key token of a row.
    __device__ int32 token_of_row(int32 row, const RowTileAt& at) const {
        const PermutedBlocks& blocks = pattern_.blocks;
        if (pattern_.kind != PatternKind::kPermutedBlock || blocks.permutation == nullptr ||
            blocks.slot_of_token != nullptr) {
            return row;
        }
        return inside(blocks.permutation[selection_row(at.entry, at.first_head) * kv_len() + row]);
    }
    /// The pattern's block of a row that exists.
    __device__ int32 block_of_row(int32 row, const RowTileAt& at) const {
        const PermutedBlocks& blocks = pattern_.blocks;
        if (pattern_.kind == PatternKind::kS2) {
            const int32 position = kKeys ? row : row + pattern_.first_position;
            return s2_block(position);
        }
        if (!kKeys) return row / blocks.query_block;
        if (blocks.slot_of_token != nullptr) {
            row = inside(
                blocks.slot_of_token[selection_row(at.entry, at.first_head) * kv_len() + row]);
        }
        return row / blocks.block;
    }

    /// Block of a position, which may stand before the first key.
    __device__ int32 s2_block(int32 position) const {
        const auto size = narrow<int32>(pattern_.s2.block_size);
        return position / size - (position % size < 0 ? 1 : 0);
    }

    __device__ bool shows(int32 row_block, int32 column_block) const {
        const S2Pattern& s2 = pattern_.s2;
        const int32 qb = kKeys ? column_block : row_block;
        const int32 kb = kKeys ? row_block : column_block;
        if (s2.causal && kb > qb) return false;
        if (info(Memory::kOpen) != 0) return true;
        const auto local = narrow<int32>(s2.local_blocks);
        const auto stride = narrow<int32>(s2.vertical_stride);
        if (s2.causal) return qb - kb < local || kb % stride == info(Memory::kShard);
        const int32 far = max_of(0, qb - kb - local + 1) + max_of(0, kb - qb - local + 1);
        return far % stride == 0;
    }

    /// Position of column 0.
    __device__ int32 column_shift() const { return kKeys ? pattern_.first_position : 0; }

    __device__ bool keeps(int64 head_row, int32 query_block, int32 key_block) const {
        const PermutedBlocks& blocks = pattern_.blocks;
        if (blocks.block_mask == nullptr) return true;
        return blocks.block_mask[(head_row * blocks.num_query_blocks + query_block) *
                                     blocks.num_key_blocks +
                                 key_block] != 0;
    }
    __device__ int32 column_block_size() const {
        return kKeys ? pattern_.blocks.query_block : pattern_.blocks.block;
    }

    __device__ uint32 blocks_of_s2(int32 row_block, int32 first) const {
        const auto size = narrow<int32>(pattern_.s2.block_size);
        const int32 position = first + column_shift();
        uint32 bits = 0;
        int32 block = s2_block(position);
        for (int32 begin = block * size - position; begin < 32; begin += size, ++block) {
            if (shows(row_block, block)) bits |= bits_of_interval(begin, begin + size);
        }
        return bits;
    }

    __device__ uint32 permuted_bits(uint32 in_interval, const prim::Words& row, int32 row_block,
                                    int32 first, uint32 half, uint32 buffer) const {
        const PermutedBlocks& blocks = pattern_.blocks;
        const int64 head_row =
            selection_row(info(Memory::kEntry), kKeys ? info(Memory::kHead) : narrow<int32>(row.y));
        const int32 size = column_block_size();
        const int32 end = min_of(first + 32, info(Memory::kColumnsInAll));
        uint32 kept = 0;
        if (narrow<int32>(row.x) == kNoToken) return 0;
        for (int32 block = first / size; block * size < end; ++block) {
            const bool keep =
                kKeys ? keeps(head_row, block, row_block) : keeps(head_row, row_block, block);
            if (keep) kept |= bits_of_interval(block * size - first, (block + 1) * size - first);
        }
        if (kKeys || !blocks.causal || blocks.permutation == nullptr) return kept & in_interval;
        kept &= bits_of_interval(0, end - first);
        const int32 end_of_tokens = narrow<int32>(row.w);
        uint32 past = 0;
        for (int32 n = 0; n < min_of(32, kColumns); ++n) {
            const int32 token = listed_token(buffer, narrow<int32>(half * 32) + n);
            past |= (token < end_of_tokens ? 1u : 0u) << n;
        }
        return kept & past;
    }

    /// What the blocks of rows and some columns say, one by one where they are few.
    template <class Keeps>
    __device__ TileState state_of_blocks(int32 first_block, int32 last_block, bool full,
                                         const Keeps& keeps_pair) const {
        constexpr int32 kMostPairs = 16;
        const int32 row_begin = info(Memory::kFirstBlock);
        const int32 row_end = info(Memory::kLastBlock) + 1;
        if ((row_end - row_begin) * int64{last_block + 1 - first_block} > kMostPairs) {
            return TileState::kPartial;
        }
        bool any = false;
        for (int32 row = row_begin; row < row_end; ++row) {
            for (int32 column = first_block; column <= last_block; ++column) {
                const bool keep = keeps_pair(row, column);
                any = any || keep;
                full = full && keep;
            }
        }
        if (!any) return TileState::kSkipped;
        return full ? TileState::kFull : TileState::kPartial;
    }

    /// As state_of_blocks() for key rows in the order of their tokens.
    __device__ TileState token_rows_state(int32 first, int32 last) const {
        constexpr int32 kMostPairs = 64;
        const PermutedBlocks& blocks = pattern_.blocks;
        const int32 begin = first_of_segment(info(Memory::kFirstRow)) / blocks.block;
        const int32 end_slot = min_of(last_of_segment(info(Memory::kLastRow)) + 1, kv_len());
        const int32 end = ceil_div(end_slot, blocks.block);
        const int32 q_begin = first / blocks.query_block;
        const int32 q_end = last / blocks.query_block + 1;
        if ((end - begin) * int64{q_end - q_begin} > kMostPairs) return TileState::kPartial;
        const int64 head_row = selection_row(info(Memory::kEntry), info(Memory::kHead));
        for (int32 qb = q_begin; qb < q_end; ++qb) {
            for (int32 kb = begin; kb < end; ++kb) {
                if (keeps(head_row, qb, kb)) return TileState::kPartial;
            }
        }
        return TileState::kSkipped;
    }

    /// Tokens stay in their segments: the first and the last that a slot's may be.
    __device__ int32 first_of_segment(int32 slot) const {
        return slot / pattern_.blocks.segment * pattern_.blocks.segment;
    }
    __device__ int32 last_of_segment(int32 slot) const {
        return first_of_segment(slot) + pattern_.blocks.segment - 1;
    }

    /// Whether causality hides all pairs of the rows and some columns, or none.
    struct Order {
        bool later;
        bool earlier;
    };

    __device__ Order order_of(int32 low, int32 high) const {
        const PermutedBlocks& blocks = pattern_.blocks;
        const bool s2 = pattern_.kind == PatternKind::kS2;
        if (!(s2 ? pattern_.s2.causal : blocks.causal)) return {false, true};
        int32 row_low = info(Memory::kFirstRow);
        int32 row_high = info(Memory::kLastRow);
        if (!s2 && blocks.permutation != nullptr) {
            if (!kKeys) {
                low = first_of_segment(low);
                high = last_of_segment(high);
            } else if (blocks.slot_of_token == nullptr) {
                row_low = first_of_segment(row_low);
                row_high = last_of_segment(row_high);
            }
        }
        return {kKeys ? high < row_low : low > row_high, kKeys ? low >= row_high : high <= row_low};
    }
};

}  // namespace fattn::cuda
