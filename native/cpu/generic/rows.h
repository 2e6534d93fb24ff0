// The rows of a task: which query and head each folded row is, which keys it sees, and where its
// tensors lie; called by the tile loops.
#pragma once

#include "core/predicate.h"
#include "core/problem.h"
#include "core/types.h"
#include "cpu/gathered_tile.h"
#include "cpu/generic/pack.h"

namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE {
namespace {

/// One folded row. Keys [begin, end) are visible as far as causal, window, chunk and lengths say,
/// or a gathered tile, whose slots are then the keys.
struct Row {
    int64 query;
    int64 head;
    int64 begin;
    int64 end;
    const uint64* bits;  // of a gathered row: which of them; null: all
};

/// Whether the bits of a row, which it has, show a key.
FATTN_HD inline bool bit_shows(const Row& row, int64 key) {
    return (row.bits[key / kBitsOfWord] >> (key % kBitsOfWord) & 1) != 0;
}

/// Bit i says whether the interval and the bits of a row show key + i; key is a multiple of kWidth.
FATTN_HD inline uint32 shown_lanes(const Row& row, int64 key) {
    const auto below = [&](int64 end) {
        return (uint32{1} << static_cast<uint32>(clamp_to<int64>(end - key, 0, kWidth))) - 1;
    };
    uint32 lanes = below(row.end) & ~below(row.begin);
    if (row.bits != nullptr && lanes != 0) {
        lanes &= static_cast<uint32>(row.bits[key / kBitsOfWord] >> (key % kBitsOfWord));
    }
    return lanes;
}
static_assert(kWidth < 32 && kBitsOfWord % kWidth == 0, "lanes lie in one word");

/// What a row sees of count keys from some key on, counted from there: nothing outside [begin,
/// end), all inside when `all`.
struct RowPart {
    int64 begin;
    int64 end;
    bool all;
};

/// Cuts a part that holds keys to the first and the last one whose bit is set.
inline void trim_to_bits(const uint64* bits, int64 key, RowPart* part) {
    int64 first = key + part->begin;
    int64 last = key + part->end;
    while (first < last) {
        const uint64 word = bits[first / kBitsOfWord] >> (first % kBitsOfWord);
        if (word != 0) {
            first = min_of<int64>(last, first + __builtin_ctzll(word));
            break;
        }
        first = (first / kBitsOfWord + 1) * kBitsOfWord;
    }
    if (first >= last) {
        *part = {0, 0, true};
        return;
    }
    for (;;) {
        const uint64 word = bits[(last - 1) / kBitsOfWord]
                            << (kBitsOfWord - 1 - (last - 1) % kBitsOfWord);
        if (word != 0) {
            last -= __builtin_clzll(word);
            break;
        }
        last = (last - 1) / kBitsOfWord * kBitsOfWord;
    }
    bool all = true;
    for (int64 at = first; all && at < last;) {
        const int64 count = min_of<int64>(kBitsOfWord - at % kBitsOfWord, last - at);
        const uint64 unset = ~bits[at / kBitsOfWord] >> (at % kBitsOfWord);
        all = unset << (kBitsOfWord - count) == 0;
        at += count;
    }
    *part = {first - key, last - key, all};
}

FATTN_HD inline RowPart part_of(const Row& row, int64 key, int64 count) {
    RowPart part{clamp_to<int64>(row.begin - key, 0, count),
                 clamp_to<int64>(row.end - key, 0, count), true};
    if (row.bits != nullptr && part.begin < part.end) trim_to_bits(row.bits, key, &part);
    return part;
}

/// Everything the rows of a task share.
struct RowSpace {
    const DenseProblem* problem;
    const GatheredTile* tile;  // null: dense
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
        const int64 rows_of_head = tile == nullptr ? sequence.q_len : tile->num_rows;
        const int64 local = r / rows_of_head;
        const int64 in_head = r - local * rows_of_head;
        Row row = row_of_head(first_head + local, in_head);
        row.begin = max_of<int64>(row.begin, key_begin);
        row.end = max_of<int64>(row.begin, min_of<int64>(row.end, key_end));
        return row;
    }
    /// Row i of a head with all its keys: query i, or row i of the gathered tile.
    FATTN_HD Row row_of_head(int64 head, int64 i) const {
        if (tile != nullptr) {
            const GatheredRow& listed = tile->rows[i];
            return {listed.query, head, listed.begin, listed.end, listed.bits};
        }
        const KeyInterval keys = predicate.visible(i);
        return {i, head, keys.begin, keys.end, nullptr};
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
                                   const Gathered* gathered, const Sequence& sequence,
                                   int64 first_head) {
    return {&problem,
            gathered == nullptr ? nullptr : gathered->tile,
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

FATTN_HD inline const int32* pages_of(const DenseForwardArgs& args) { return args.block_table; }
/// The backward does not read pages.
FATTN_HD inline const int32* pages_of(const DenseBackwardArgs&) { return nullptr; }

/// Where the keys of a task lie, by token or by slot; of a key head.
template <class Task>
FATTN_HD inline TokenRows k_rows(const Task& task, int64 head) {
    const DenseProblem& problem = *task.problem;
    const TokenRows rows =
        token_rows(problem, problem.k, task.args->k, pages_of(*task.args), task.sequence, head);
    const Gathered* gathered = task.gathered;
    if (gathered == nullptr) return rows;
    return gathered_rows(rows, problem, *gathered->tile, gathered->additional->k,
                         gathered->additional_args->k, task.sequence, head);
}
/// The same of the values; of a value head.
template <class Task>
FATTN_HD inline TokenRows v_rows(const Task& task, int64 head) {
    const DenseProblem& problem = *task.problem;
    const TokenRows rows =
        token_rows(problem, problem.v, task.args->v, pages_of(*task.args), task.sequence, head);
    const Gathered* gathered = task.gathered;
    if (gathered == nullptr) return rows;
    return gathered_rows(rows, problem, *gathered->tile, gathered->additional->v,
                         gathered->additional_args->v, task.sequence, head);
}

}  // namespace
}  // namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE
