// The rows of a task: which query and head each folded row is, which keys it sees, and where its
// tensors lie; called by the tile loops.
#pragma once

#include "core/predicate.h"
#include "core/problem.h"
#include "core/types.h"
#include "cpu/generic/pack.h"

namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE {
namespace {

/// One folded row. Keys [begin, end) are visible as far as causal, window, chunk and lengths say.
struct Row {
    int64 query;
    int64 head;
    int64 begin;
    int64 end;
};

/// Everything the rows of a task share.
struct RowSpace {
    const DenseProblem* problem;
    Sequence sequence;
    RangePredicate predicate;
    int64 first_head;
    int64 q_offset;  // position of query 0
    int64 k_offset;  // position of key 0
    const float* slopes;
    const void* bias;
    const void* mask;
    uint64 dropout_seed;
    uint32 dropout_offset;

    /// Folded row r, its keys cut to [key_begin, key_end).
    FATTN_HD Row row(int64 r, int64 key_begin, int64 key_end) const {
        const int64 q_len = sequence.q_len;
        const int64 local = r / q_len;
        const int64 query = r - local * q_len;
        const KeyInterval keys = predicate.visible(query);
        const int64 begin = max_of<int64>(keys.begin, key_begin);
        return {query, first_head + local, begin,
                max_of<int64>(begin, min_of<int64>(keys.end, key_end))};
    }

    /// Address of a query's row in a tensor that has query heads.
    FATTN_HD const char* q_row(const TensorLayout& layout, const void* data, const Row& row) const {
        const int64 offset = layout.row(sequence.batch_idx, row.head, sequence.q_begin + row.query);
        return byte_offset(data, offset * bytes_of(layout.dtype));
    }
    FATTN_HD char* q_row(const TensorLayout& layout, void* data, const Row& row) const {
        return const_cast<char*>(q_row(layout, static_cast<const void*>(data), row));
    }
    /// Index of a query in [B, Hq, Lq] statistics.
    FATTN_HD int64 stat_index(const Row& row) const {
        return (sequence.batch_idx * problem->num_q_heads + row.head) * problem->q.shape[2] +
               sequence.q_begin + row.query;
    }
};

template <class Args>
FATTN_HD inline RowSpace row_space(const DenseProblem& problem, const Args& args,
                                   const Sequence& sequence, int64 first_head) {
    return {&problem,
            sequence,
            range_predicate(problem, sequence, args.q_position_offset, args.k_position_offset),
            first_head,
            args.q_position_offset,
            args.k_position_offset,
            args.alibi_slopes,
            args.bias,
            args.mask,
            args.dropout_seed,
            static_cast<uint32>(args.dropout_offset)};
}

}  // namespace
}  // namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE
