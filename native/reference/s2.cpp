// The S2 pattern per pair of tokens, and dense attention under it.
#include "reference/s2.h"

#include <algorithm>

namespace fattn::reference {
namespace {

/// What a run with these arguments sees.
template <class Args>
std::vector<uint8> mask_of(const DenseProblem& problem, const S2Pattern& pattern,
                           const Args& args) {
    return s2_visibility(
        pattern,
        s2_positions(problem.q_len, problem.kv_len, args.q_position_offset, args.k_position_offset),
        problem.q_len, problem.kv_len);
}

/// The problem with the pattern as a mask that batch entries share.
DenseProblem under_mask(DenseProblem problem) {
    problem.has_mask = true;
    problem.mask =
        contiguous(problem.batch, problem.num_q_heads, problem.q_len, problem.kv_len, DType::kU8);
    problem.mask.strides[0] = 0;
    return problem;
}

}  // namespace

S2Positions s2_positions(int64 q_len, int64 kv_len, int64 q_offset, int64 k_offset) {
    return {kv_len - q_len + q_offset, k_offset};
}

bool s2_sees(const S2Pattern& pattern, const S2Positions& positions, int64 q_head, int64 i,
             int64 j) {
    const int64 query = positions.first_query + i;
    const int64 key = positions.first_key + j;
    if (pattern.causal && key > query) return false;
    const int64 qb = floor_div(query, pattern.block_size);
    const int64 kb = floor_div(key, pattern.block_size);
    const int64 stride = pattern.vertical_stride;
    const int64 num_heads = pattern.per_query_head ? pattern.num_q_heads : pattern.num_k_heads;
    const int64 head =
        pattern.per_query_head ? q_head : q_head * pattern.num_k_heads / pattern.num_q_heads;
    if (!pattern.homogeneous && head >= num_heads - pattern.dense_heads) return true;
    if (pattern.causal) {
        if (qb - kb < pattern.local_blocks) return true;
        const int64 step = std::max<int64>(1, stride / pattern.num_q_heads);
        const int64 shift = pattern.homogeneous ? 0 : head * step;
        return floor_mod(kb + shift + pattern.head_offset, stride) == 0;
    }
    const int64 before = std::max<int64>(0, qb - kb - pattern.local_blocks + 1);
    const int64 after = std::max<int64>(0, kb - qb - pattern.local_blocks + 1);
    return (before + after) % stride == 0;
}

std::vector<uint8> s2_visibility(const S2Pattern& pattern, const S2Positions& positions,
                                 int64 q_len, int64 kv_len) {
    std::vector<uint8> visible;
    for (int64 h = 0; h < pattern.num_q_heads; ++h)
        for (int64 i = 0; i < q_len; ++i)
            for (int64 j = 0; j < kv_len; ++j)
                visible.push_back(s2_sees(pattern, positions, h, i, j) ? 1 : 0);
    return visible;
}

DenseOutput s2_forward(const DenseProblem& problem, const S2Pattern& pattern,
                       const DenseForwardArgs& args, Arithmetic arithmetic) {
    const std::vector<uint8> mask = mask_of(problem, pattern, args);
    DenseForwardArgs masked = args;
    masked.mask = mask.data();
    return dense_forward(under_mask(problem), masked, arithmetic);
}

DenseGradients s2_backward(const DenseProblem& problem, const S2Pattern& pattern,
                           const DenseBackwardArgs& args, Arithmetic arithmetic) {
    const std::vector<uint8> mask = mask_of(problem, pattern, args);
    DenseBackwardArgs masked = args;
    masked.mask = mask.data();
    return dense_backward(under_mask(problem), masked, arithmetic);
}

}  // namespace fattn::reference
