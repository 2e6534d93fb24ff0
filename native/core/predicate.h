// Which keys a query of dense attention may see, in token coordinates: causal, window and chunk as
// one interval; used by planners and kernels.
#pragma once

#include "core/problem.h"
#include "core/tensor_view.h"
#include "core/types.h"

namespace fattn {

/// Half-open interval of key indices; empty when end <= begin.
struct KeyInterval {
    int64 begin;
    int64 end;

    FATTN_HD constexpr bool empty() const { return end <= begin; }
    FATTN_HD constexpr int64 size() const { return empty() ? 0 : end - begin; }
};

/// Interval predicate of one sequence. Both bounds of visible() are non-decreasing in the query
/// index.
struct RangePredicate {
    int64 kv_len;
    int64 shift;         // position of query i relative to key 0 is i + shift
    int64 k_offset;      // position of key j is j + k_offset, used by attention_chunk only
    int64 window_left;   // -1: open
    int64 window_right;  // -1: open
    int64 chunk;         // 0: off

    /// Keys that query i sees.
    FATTN_HD constexpr KeyInterval visible(int64 i) const {
        const int64 p = i + shift;
        int64 begin = 0;
        int64 end = kv_len;
        if (window_left >= 0) begin = max_of<int64>(begin, p - window_left);
        if (window_right >= 0) end = min_of<int64>(end, p + window_right + 1);
        if (chunk > 0) {
            const int64 first = floor_div(p + k_offset, chunk) * chunk - k_offset;
            begin = max_of<int64>(begin, first);
            end = min_of<int64>(end, first + chunk);
        }
        // An interval wholly outside [0, kv_len) is reported as an empty one inside it.
        begin = clamp_to<int64>(begin, 0, kv_len);
        end = clamp_to<int64>(end, begin, kv_len);
        return {begin, end};
    }
};

/// The predicate seen from the keys: visible(j) of the result are the queries, of q_len, that see
/// key j. Twice is the identity.
FATTN_HD constexpr RangePredicate transpose(const RangePredicate& predicate, int64 q_len) {
    return {q_len,
            -predicate.shift,
            predicate.k_offset + predicate.shift,
            predicate.window_right,
            predicate.window_left,
            predicate.chunk};
}

/// Offset of the query's position against the key's for a sequence: 0 for top-left, Lk - Lq for
/// bottom-right.
FATTN_HD constexpr int64 alignment_shift(Alignment alignment, int64 q_len, int64 kv_len) {
    return alignment == Alignment::kBottomRight ? kv_len - q_len : 0;
}

FATTN_HD constexpr RangePredicate range_predicate(const DenseProblem& problem,
                                                  const Sequence& sequence, int64 q_position_offset,
                                                  int64 k_position_offset) {
    const int64 shift = alignment_shift(problem.alignment, sequence.q_len, sequence.kv_len) +
                        q_position_offset - k_position_offset;
    return {sequence.kv_len,      shift,
            k_position_offset,    problem.window_left,
            problem.window_right, problem.attention_chunk};
}

/// Whether a caller's visibility mask shows the pair at an element offset: any nonzero byte (kU8),
/// or a set bit (kBit, the least significant bit of a byte first).
FATTN_HD inline bool mask_shows(const void* mask, DType dtype, int64 at) {
    const auto* bytes = static_cast<const uint8*>(mask);
    if (dtype == DType::kBit) return (bytes[at >> 3] >> (at & 7) & 1) != 0;
    return bytes[at] != 0;
}

}  // namespace fattn
