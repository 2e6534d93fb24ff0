// Checks an S2 problem and resolves every default, and checks its runs; see s2_check.h.
#include "api/s2_check.h"

#include "api/softmax_base.h"
#include "api/tensor_check.h"
#include "backend/text.h"

namespace fattn::api {
namespace {

constexpr FamilyFlags kS2Flags{.known = 2 * static_cast<uint32>(FATTN_S2_DETERMINISTIC) - 1,
                               .has_scale = FATTN_S2_HAS_SCALE,
                               .has_scale_name = "FATTN_S2_HAS_SCALE",
                               .backward = FATTN_S2_BACKWARD,
                               .backward_name = "FATTN_S2_BACKWARD"};

/// A plan keeps a few numbers for each query head.
constexpr int64 kMaxHeads = 65536;

Status check_range(const char* name, int64 value, int64 least, int64 most, const char* meaning) {
    if (value >= least && value <= most) return {};
    return invalid(text(name, " is ", value, "; allowed are ", least, " to ", most, ", ", meaning));
}

Status check_offset(const char* name, int64 value, int64 block) {
    if (value % block == 0 && value >= -kMaxExtent && value <= kMaxExtent) return {};
    return invalid(text(name, " is ", value, "; allowed are multiples of ", block,
                        ", the block_size, from ", -kMaxExtent, " to ", kMaxExtent));
}

/// Copies the offsets of a run, which move whole blocks of the pattern.
template <class Given, class Checked>
Status read_offsets(const S2Pattern& pattern, const Given& given, Checked* out) {
    out->q_position_offset = given.q_position_offset;
    out->k_position_offset = given.k_position_offset;
    FATTN_RETURN_IF_ERROR(
        check_offset("args->q_position_offset", given.q_position_offset, pattern.block_size));
    return check_offset("args->k_position_offset", given.k_position_offset, pattern.block_size);
}

}  // namespace

Status check_s2_problem(const fattn_s2_problem& given, CheckedS2* out) {
    *out = CheckedS2{};
    FATTN_RETURN_IF_ERROR(check_softmax_base(given, kS2Flags, &out->dense));
    const DenseProblem& dense = out->dense.problem;
    FATTN_RETURN_IF_ERROR(
        check_range("q.shape[1]", dense.num_q_heads, 0, kMaxHeads, "the query heads"));
    FATTN_RETURN_IF_ERROR(
        check_range("block_size", given.block_size, 1, kMaxExtent, "the tokens of a block"));
    FATTN_RETURN_IF_ERROR(check_range("local_blocks", given.local_blocks, 1, kMaxExtent,
                                      "the blocks of the local band, the query's own included"));
    FATTN_RETURN_IF_ERROR(check_range("vertical_stride", given.vertical_stride, 1, kMaxExtent,
                                      "the distance of the distant blocks a head sees"));
    FATTN_RETURN_IF_ERROR(check_range("head_offset", given.head_offset, -kMaxExtent, kMaxExtent,
                                      "added to block numbers"));
    out->pattern = {.block_size = given.block_size,
                    .local_blocks = given.local_blocks,
                    .vertical_stride = given.vertical_stride,
                    .head_offset = given.head_offset,
                    .dense_heads = given.dense_heads,
                    .num_q_heads = dense.num_q_heads,
                    .num_k_heads = dense.num_k_heads,
                    .per_query_head = (given.flags & FATTN_S2_PATTERN_PER_QUERY_HEAD) != 0,
                    .homogeneous = (given.flags & FATTN_S2_HOMOGENEOUS) != 0,
                    .causal = (given.flags & FATTN_S2_NON_CAUSAL) == 0};
    return check_range("dense_heads", given.dense_heads, 0, out->pattern.num_pattern_heads(),
                       out->pattern.per_query_head ? "the query heads" : "the heads of k");
}

Status check_s2_forward(const CheckedS2& plan, const fattn_s2_forward_args& given,
                        RunMemoryChecker* memory, DenseForwardArgs* out) {
    FATTN_RETURN_IF_ERROR(check_softmax_forward(plan.dense, given, memory, out));
    return read_offsets(plan.pattern, given, out);
}

Status check_s2_backward(const CheckedS2& plan, const fattn_s2_backward_args& given,
                         RunMemoryChecker* memory, DenseBackwardArgs* out) {
    FATTN_RETURN_IF_ERROR(
        check_softmax_backward(plan.dense, given, kS2Flags.backward_name, memory, out));
    return read_offsets(plan.pattern, given, out);
}

}  // namespace fattn::api
