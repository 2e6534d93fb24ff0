// Checks a permuted block-sparse problem and resolves every default; checks the data of its runs.
#include "api/permuted_block_check.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "api/softmax_base.h"
#include "backend/text.h"

namespace fattn::api {
namespace {

static_assert(FATTN_BLOCK_GATE_MOBA == static_cast<fattn_block_gate>(BlockGate::kMoba));
static_assert(FATTN_BLOCK_GATE_TOP_K == static_cast<fattn_block_gate>(BlockGate::kTopK));
static_assert(FATTN_BLOCK_GATE_THRESHOLD == static_cast<fattn_block_gate>(BlockGate::kThreshold));

constexpr FamilyFlags kPermutedBlockFlags{
    .known = 2 * static_cast<uint32>(FATTN_PERMUTED_BLOCK_DETERMINISTIC) - 1,
    .has_scale = FATTN_PERMUTED_BLOCK_HAS_SCALE,
    .has_scale_name = "FATTN_PERMUTED_BLOCK_HAS_SCALE",
    .backward = FATTN_PERMUTED_BLOCK_BACKWARD,
    .backward_name = "FATTN_PERMUTED_BLOCK_BACKWARD"};

constexpr int64 kDefaultBlock = 128;
constexpr int64 kDefaultSegment = 256;
constexpr float kDefaultCoverage = 0.9F;

/// A length in tokens, 0 for its default.
Status read_length(int64 given, const char* name, int64 default_length, int64* out) {
    *out = given == 0 ? default_length : given;
    if (*out >= 1 && *out <= kMaxExtent) return {};
    return invalid(text(name, " is ", given, "; allowed are 1 to ", kMaxExtent, ", and 0 for ",
                        default_length));
}

Status read_blocks(const fattn_permuted_block_problem& given, PermutedBlockProblem* p) {
    FATTN_RETURN_IF_ERROR(read_length(given.block_size, "block_size", kDefaultBlock, &p->block));
    FATTN_RETURN_IF_ERROR(
        read_length(given.segment_size, "segment_size", kDefaultSegment, &p->segment));
    FATTN_RETURN_IF_ERROR(read_length(given.query_block, "query_block", p->block, &p->query_block));
    if (p->segment % p->block != 0) {
        return invalid(text("segment_size is ", p->segment, "; it must be a multiple of ", p->block,
                            ", the block_size"));
    }
    if (p->block % p->query_block != 0) {
        return invalid(text("query_block is ", p->query_block, "; it must divide ", p->block,
                            ", the block_size"));
    }
    if (given.max_blocks < 0) {
        return invalid(text("max_blocks is ", given.max_blocks,
                            "; allowed are positive numbers, and 0 for the worst case"));
    }
    return {};
}

Status check_lengths(const PermutedBlockProblem& p) {
    if (p.q_len > p.kv_len) {
        return invalid(text("q.shape[2] is ", p.q_len, "; allowed are 0 to ", p.kv_len,
                            ", the tokens of k, whose last ones the queries are"));
    }
    if (const int64 before = p.kv_len - p.q_len; before % p.query_block != 0) {
        return invalid(text("q.shape[2] is ", p.q_len, " and k.shape[2] is ", p.kv_len,
                            "; their difference ", before, " must be a multiple of ", p.query_block,
                            ", the query_block"));
    }
    return {};
}

/// Selections and what choosing one needs: sizes in bytes are formed in 63 bits.
Status check_sizes(const PermutedBlockProblem& p) {
    constexpr int64 kMostElements = std::numeric_limits<int64>::max() / 64;
    constexpr int64 kColumnStep = 16;  // of pooled keys
    const int64 heads = max_of<int64>(p.batch, 1) * max_of<int64>(p.num_q_heads, 1);
    const auto check = [&](const char* name, int64 rows, int64 columns) {
        int64 elements = 0;
        if (!__builtin_mul_overflow(heads, rows, &elements) &&
            !__builtin_mul_overflow(elements, columns, &elements) && elements <= kMostElements) {
            return Status();
        }
        return invalid(text(name, " of this problem has ", heads, " times ", rows, " times ",
                            columns, " elements; allowed are at most ", kMostElements));
    };
    FATTN_RETURN_IF_ERROR(check("permutation", p.kv_len, 1));
    FATTN_RETURN_IF_ERROR(check("block_mask", p.num_query_blocks(), p.num_key_blocks()));
    return check("workspace", p.num_key_blocks(), round_up(p.head_dim, kColumnStep));
}

/// Tokens of a segment's slots: each of [begin, end) once. A window of them at a time is marked in
/// bits on the stack, so that nothing is allocated.
Status check_segment(const int32* tokens, int64 begin, int64 end, int64 head) {
    constexpr int64 kWindow = 65536;
    for (int64 slot = begin; slot < end; ++slot) {
        if (tokens[slot] >= begin && tokens[slot] < end) continue;
        return invalid(text("permutation of head ", head, " (of all entries) puts token ",
                            tokens[slot], " into slot ", slot, "; allowed are tokens ", begin,
                            " up to ", end, ", excluded, the segment of the slot"));
    }
    for (int64 first = begin; first < end; first += kWindow) {
        uint64 seen[kWindow / 64];
        std::memset(seen, 0,
                    static_cast<std::size_t>(ceil_div(min_of(kWindow, end - first), int64{64})) *
                        sizeof(uint64));
        for (int64 slot = begin; slot < end; ++slot) {
            const int64 at = tokens[slot] - first;
            if (at < 0 || at >= kWindow) continue;
            const uint64 bit = uint64{1} << (at % 64);
            if ((seen[at / 64] & bit) != 0) {
                return invalid(text("permutation of head ", head, " (of all entries) holds token ",
                                    tokens[slot], " twice, the second time in slot ", slot,
                                    "; every token of a segment must come once"));
            }
            seen[at / 64] |= bit;
        }
    }
    return {};
}

TensorLayout mask_layout(const PermutedBlockProblem& p) {
    return contiguous(p.batch, p.num_q_heads, p.num_query_blocks(), p.num_key_blocks(), DType::kU8);
}

TensorLayout scores_layout(const PermutedBlockProblem& p) {
    TensorLayout layout = mask_layout(p);
    layout.dtype = DType::kF32;
    return layout;
}

int64 permutation_size(const PermutedBlockProblem& p) { return p.batch * p.num_q_heads * p.kv_len; }

/// The part that forward and backward runs share.
Status check_run_selection(const PermutedBlockProblem& p, const int32* permutation,
                           const uint8* block_mask, RunMemoryChecker* memory) {
    FATTN_RETURN_IF_ERROR(
        memory->may_array("permutation", permutation, permutation_size(p), Role::kInput));
    FATTN_RETURN_IF_ERROR(memory->may("block_mask", block_mask, mask_layout(p), Role::kInput));
    return memory->on_host() ? check_selection(p, permutation, block_mask) : Status();
}

Status check_no_flags(uint32 flags) {
    if (flags == 0) return {};
    return unsupported(text("args->flags is ", flags, "; this library knows none"));
}

}  // namespace

Status check_permuted_block_problem(const fattn_permuted_block_problem& given,
                                    CheckedPermutedBlock* out) {
    *out = CheckedPermutedBlock{};
    FATTN_RETURN_IF_ERROR(check_softmax_base(given, kPermutedBlockFlags, &out->dense));
    PermutedBlockProblem& p = out->problem;
    static_cast<DenseProblem&>(p) = out->dense.problem;
    const auto has = [&](uint32 flag) { return (given.flags & flag) != 0; };
    if (given.reserved != 0) {
        return unsupported(text("reserved is ", given.reserved, "; allowed is 0"));
    }
    FATTN_RETURN_IF_ERROR(read_blocks(given, &p));
    FATTN_RETURN_IF_ERROR(check_lengths(p));
    FATTN_RETURN_IF_ERROR(check_sizes(p));
    if (given.coverage != 0 && !has(FATTN_PERMUTED_BLOCK_HAS_COVERAGE)) {
        return invalid("coverage is given, but flags lack FATTN_PERMUTED_BLOCK_HAS_COVERAGE");
    }
    p.coverage = has(FATTN_PERMUTED_BLOCK_HAS_COVERAGE) ? given.coverage : kDefaultCoverage;
    if (!(p.coverage > 0 && p.coverage <= 1)) {
        return invalid(text("coverage is ", p.coverage, "; allowed are 0 to 1, 0 excluded"));
    }
    p.causal = !has(FATTN_PERMUTED_BLOCK_NON_CAUSAL);
    p.max_pool = has(FATTN_PERMUTED_BLOCK_MAX_POOL);
    p.shared = has(FATTN_PERMUTED_BLOCK_SHARE_PERMUTATION);
    return {};
}

Status check_selection(const PermutedBlockProblem& p, const int32* permutation,
                       const uint8* block_mask) {
    const int64 mask_of_head = p.num_query_blocks() * p.num_key_blocks();
    for (int64 n = 0; n < p.batch * p.num_q_heads; ++n) {
        const int64 head = n % p.num_q_heads;
        const bool follows = p.shared && head > 0 && p.k_head(head) == p.k_head(head - 1);
        if (permutation != nullptr) {
            const int32* tokens = permutation + n * p.kv_len;
            for (int64 begin = 0; begin < p.kv_len; begin += p.segment) {
                FATTN_RETURN_IF_ERROR(
                    check_segment(tokens, begin, min_of(begin + p.segment, p.kv_len), n));
            }
            if (follows && std::memcmp(tokens, tokens - p.kv_len,
                                       static_cast<std::size_t>(p.kv_len) * sizeof(int32)) != 0) {
                return invalid(text("permutation of head ", n, " (of all entries) differs from ",
                                    "that of head ", n - 1,
                                    "; with FATTN_PERMUTED_BLOCK_SHARE_PERMUTATION query heads "
                                    "of a KV head must have equal ones"));
            }
        }
        if (block_mask == nullptr || !follows) continue;
        const uint8* kept = block_mask + n * mask_of_head;
        for (int64 i = 0; i < mask_of_head; ++i) {
            if ((kept[i] != 0) == (kept[i - mask_of_head] != 0)) continue;
            return invalid(text("block_mask of head ", n, " (of all entries) differs from that of ",
                                "head ", n - 1,
                                "; with FATTN_PERMUTED_BLOCK_SHARE_PERMUTATION query heads of a "
                                "KV head must have equal ones"));
        }
    }
    return {};
}

Status check_permuted_block_select(const CheckedPermutedBlock& plan,
                                   const fattn_permuted_block_select_args& given,
                                   RunMemoryChecker* memory, PermutedBlockSelectArgs* out) {
    const PermutedBlockProblem& p = plan.problem;
    FATTN_RETURN_IF_ERROR(check_no_flags(given.flags));
    FATTN_RETURN_IF_ERROR(memory->need("q", given.q, p.q, Role::kInput));
    FATTN_RETURN_IF_ERROR(memory->need("k", given.k, p.k, Role::kInput));
    FATTN_RETURN_IF_ERROR(
        memory->need_array("permutation", given.permutation, permutation_size(p), Role::kOutput));
    FATTN_RETURN_IF_ERROR(
        memory->need("block_mask", given.block_mask, mask_layout(p), Role::kOutput));
    FATTN_RETURN_IF_ERROR(memory->may_array(
        "coverage", given.coverage, p.batch * p.num_q_heads * p.num_query_blocks(), Role::kOutput));
    *out = {.q = address_of(given.q),
            .k = address_of(given.k),
            .permutation = given.permutation,
            .block_mask = given.block_mask,
            .coverage = given.coverage};
    return {};
}

Status check_permuted_block_gate(const CheckedPermutedBlock& plan,
                                 const fattn_permuted_block_gate_args& given,
                                 RunMemoryChecker* memory, BlockGateArgs* out) {
    const PermutedBlockProblem& p = plan.problem;
    FATTN_RETURN_IF_ERROR(check_no_flags(given.flags));
    if (given.gate > FATTN_BLOCK_GATE_THRESHOLD) {
        return invalid(
            text("gate is ", given.gate, "; allowed are 0 (MoBA), 1 (top k) and 2 (threshold)"));
    }
    if (given.gate != FATTN_BLOCK_GATE_THRESHOLD && given.top_k < 1) {
        return invalid(
            text("top_k is ", given.top_k, "; a gate of the highest scores needs at ", "least 1"));
    }
    if (given.gate == FATTN_BLOCK_GATE_THRESHOLD &&
        !(given.threshold >= 0 && given.threshold <= 1)) {
        return invalid(text("threshold is ", given.threshold, "; allowed are 0 to 1"));
    }
    if (given.scores != nullptr) {
        FATTN_RETURN_IF_ERROR(reject("q", given.q, "with scores it is not read"));
        FATTN_RETURN_IF_ERROR(reject("k", given.k, "with scores it is not read"));
        FATTN_RETURN_IF_ERROR(memory->need("scores", given.scores, scores_layout(p), Role::kInput));
    } else {
        FATTN_RETURN_IF_ERROR(memory->need("q", given.q, p.q, Role::kInput));
        FATTN_RETURN_IF_ERROR(memory->need("k", given.k, p.k, Role::kInput));
    }
    FATTN_RETURN_IF_ERROR(
        memory->need("block_mask", given.block_mask, mask_layout(p), Role::kOutput));
    *out = {.gate = static_cast<BlockGate>(given.gate),
            .q = address_of(given.q),
            .k = address_of(given.k),
            .scores = given.scores,
            .block_mask = given.block_mask,
            .top_k = given.top_k,
            .threshold = given.threshold};
    return {};
}

Status check_permuted_block_forward(const CheckedPermutedBlock& plan,
                                    const fattn_permuted_block_forward_args& given,
                                    RunMemoryChecker* memory, PermutedBlockForwardArgs* out) {
    DenseForwardArgs dense;
    FATTN_RETURN_IF_ERROR(check_softmax_forward(plan.dense, given, memory, &dense));
    FATTN_RETURN_IF_ERROR(
        check_run_selection(plan.problem, given.permutation, given.block_mask, memory));
    *out = {.q = dense.q,
            .k = dense.k,
            .v = dense.v,
            .o = dense.o,
            .lse = dense.lse,
            .permutation = given.permutation,
            .block_mask = given.block_mask};
    return {};
}

Status check_permuted_block_backward(const CheckedPermutedBlock& plan,
                                     const fattn_permuted_block_backward_args& given,
                                     RunMemoryChecker* memory, PermutedBlockBackwardArgs* out) {
    DenseBackwardArgs dense;
    FATTN_RETURN_IF_ERROR(check_softmax_backward(
        plan.dense, given, kPermutedBlockFlags.backward_name, memory, &dense));
    FATTN_RETURN_IF_ERROR(
        check_run_selection(plan.problem, given.permutation, given.block_mask, memory));
    *out = {.q = dense.q,
            .k = dense.k,
            .v = dense.v,
            .o = dense.o,
            .lse = dense.lse,
            .d_o = dense.d_o,
            .d_lse = dense.d_lse,
            .permutation = given.permutation,
            .block_mask = given.block_mask,
            .d_q = dense.d_q,
            .d_k = dense.d_k,
            .d_v = dense.d_v};
    return {};
}

}  // namespace fattn::api
