// The block pattern of sharded (S2) attention, in closed form from blocks and from tokens: which
// key blocks a head sees from a query block, and which query blocks see a key block; used by the
// planner and by kernels.
#pragma once

#include "core/problem.h"
#include "core/types.h"

namespace fattn {

/// Blocks of one row of a pattern, of one column alike: all of [local_begin, local_end), every
/// stride-th before it from left_first on, every stride-th after it from right_first on. Ascending.
struct S2Row {
    int64 left_first;   // at least local_begin when there is none
    int64 local_begin;  // [local_begin, local_end) lies inside [0, end)
    int64 local_end;
    int64 right_first;  // at least end when there is none
    int64 end;
    int64 stride;

    FATTN_HD constexpr int64 num_left() const {
        return left_first < local_begin ? ceil_div(local_begin - left_first, stride) : 0;
    }
    FATTN_HD constexpr int64 num_local() const { return local_end - local_begin; }
    FATTN_HD constexpr int64 num_right() const {
        return right_first < end ? ceil_div(end - right_first, stride) : 0;
    }
    FATTN_HD constexpr int64 size() const { return num_left() + num_local() + num_right(); }
    /// n-th block, ascending.
    FATTN_HD constexpr int64 block(int64 n) const {
        const int64 left = num_left();
        if (n < left) return left_first + n * stride;
        if (n < left + num_local()) return local_begin + (n - left);
        return right_first + (n - left - num_local()) * stride;
    }
};

/// Remainder in [0, b); b positive.
FATTN_HD constexpr int64 floor_mod(int64 a, int64 b) { return a - floor_div(a, b) * b; }

/// Which blocks see which. Pattern heads are KV heads, or query heads with per_query_head.
struct S2Pattern {
    int64 block_size;       // tokens, positive
    int64 local_blocks;     // of the local band on one side, the query's own included; positive
    int64 vertical_stride;  // positive
    int64 head_offset;
    int64 dense_heads;  // the last pattern heads see everything; does not count when homogeneous
    int64 num_q_heads;
    int64 num_k_heads;
    bool per_query_head;
    bool homogeneous;  // every head has the pattern of head 0
    bool causal;       // absolute shards before the query; otherwise relative ones on both sides

    FATTN_HD constexpr int64 num_pattern_heads() const {
        return per_query_head ? num_q_heads : num_k_heads;
    }
    FATTN_HD constexpr int64 pattern_head(int64 q_head) const {
        return per_query_head ? q_head : q_head * num_k_heads / num_q_heads;
    }
    /// Residues between the shards of neighbouring heads.
    FATTN_HD constexpr int64 step() const {
        return max_of<int64>(1, vertical_stride / (homogeneous ? 1 : num_q_heads));
    }
    FATTN_HD constexpr bool is_dense(int64 head) const {
        return !homogeneous && head >= num_pattern_heads() - dense_heads;
    }
    /// The distant blocks that a head sees, causal: those with this remainder by vertical_stride.
    FATTN_HD constexpr int64 shard(int64 head) const {
        const int64 steps = homogeneous ? 0 : floor_mod(head * step(), vertical_stride);
        const int64 offset = floor_mod(head_offset, vertical_stride);
        return floor_mod(-(steps + offset), vertical_stride);
    }
    /// Whether two heads have the same pattern.
    FATTN_HD constexpr bool same(int64 a, int64 b) const {
        if (is_dense(a) || is_dense(b)) return is_dense(a) == is_dense(b);
        return !causal || shard(a) == shard(b);
    }

    /// Block of the position of query i; before the first key it is negative.
    FATTN_HD constexpr int64 query_block(int64 i, int64 q_len, int64 kv_len) const {
        return floor_div(i + kv_len - q_len, block_size);
    }

    /// Whether queries of block qb see any key of block kb.
    FATTN_HD constexpr bool shows(int64 head, int64 qb, int64 kb) const {
        if (causal && kb > qb) return false;
        if (is_dense(head)) return true;
        if (causal) return qb - kb < local_blocks || kb % vertical_stride == shard(head);
        const int64 far = max_of<int64>(0, qb - kb - local_blocks + 1) +
                          max_of<int64>(0, kb - qb - local_blocks + 1);
        return far % vertical_stride == 0;
    }

    /// Key blocks, of num_blocks, that queries of block qb see.
    FATTN_HD constexpr S2Row row(int64 head, int64 qb, int64 num_blocks) const {
        if (is_dense(head)) {
            const int64 end = causal ? clamp_to<int64>(qb + 1, 0, num_blocks) : num_blocks;
            return {0, 0, end, num_blocks, num_blocks, 1};
        }
        if (!causal) return around(qb, 0, num_blocks);
        const int64 end = clamp_to<int64>(qb + 1, 0, num_blocks);
        const int64 begin = clamp_to<int64>(qb - local_blocks + 1, 0, end);
        return {shard(head), begin, end, num_blocks, num_blocks, vertical_stride};
    }

    /// Query blocks in [first, end) that see key block kb.
    FATTN_HD constexpr S2Row column(int64 head, int64 kb, int64 first, int64 end) const {
        if (!causal && !is_dense(head)) return around(kb, first, end);
        const bool always = is_dense(head) || kb % vertical_stride == shard(head);
        const int64 from = clamp_to<int64>(causal ? kb : first, first, max_of(first, end));
        const int64 to = always ? max_of(first, end)
                                : clamp_to<int64>(kb + local_blocks, from, max_of(first, end));
        return {from, from, to, end, end, 1};
    }

  private:
    /// Blocks in [first, end) at a relative distance that the two-sided pattern shows. The relation
    /// is symmetric, so it serves rows and columns.
    FATTN_HD constexpr S2Row around(int64 block, int64 first, int64 end) const {
        const int64 limit = max_of(first, end);
        const int64 begin = clamp_to<int64>(block - local_blocks + 1, first, limit);
        const int64 stop = clamp_to<int64>(block + local_blocks, begin, limit);
        // Distant blocks stand a multiple of the stride beyond the ends of the band.
        const int64 left_edge = block - local_blocks + 1;
        const int64 right_edge = block + local_blocks - 1;
        const int64 left = first + floor_mod(left_edge - first, vertical_stride);
        const int64 after = max_of(stop, right_edge + 1);
        const int64 right = after + floor_mod(right_edge - after, vertical_stride);
        return {left_edge > first ? left : begin, begin, stop, right, end, vertical_stride};
    }
};

/// Everything about S2 attention that is known before the data; every default is resolved.
struct S2Problem {
    DenseProblem dense;  // tensors, heads and scale, with every feature off
    S2Pattern pattern;
};

}  // namespace fattn
