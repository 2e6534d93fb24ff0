// Numbers the rows of gathered runs and fills their parameters.
#include "cuda/host/gathered_runs.h"

#include "backend/text.h"
#include "cuda/device/block_select_params.h"
#include "cuda/host/dense_keys.h"

namespace fattn::cuda {
namespace {

constexpr int64 kRowsOfSmallBlock = 4;  // a warp has one

/// Query heads of a key head, where each has as many; 1 where they share no tiles.
int64 equal_heads(const DenseProblem& p) {
    const bool equal =
        p.num_k_heads == p.num_v_heads && p.num_k_heads > 0 && p.num_q_heads % p.num_k_heads == 0;
    return equal ? p.num_q_heads / p.num_k_heads : 1;
}

/// The most of some equal heads, a divisor of their number, whose rows fit a tile.
int32 heads_of_tile(int64 heads, int64 rows_of_head, int64 rows_of_tile) {
    int64 most = 1;
    for (int64 n = 2; n <= heads; ++n) {
        if (heads % n == 0 && n * rows_of_head <= rows_of_tile) most = n;
    }
    return narrow<int32>(most);
}

int32 groups_of(const DenseProblem& p, int32 heads) {
    return narrow<int32>(ceil_div<int64>(p.num_q_heads, heads));
}

int64 gathered_query_rows(const DenseProblem& p) {
    return p.q.shape[0] * p.num_q_heads * p.q.shape[2];
}

int32 tokens_of_patch(const GridBoxes& boxes) {
    return boxes.patch[0] * boxes.patch[1] * boxes.patch[2];
}

bool is_causal(const GatheredPattern& pattern) {
    if (pattern.kind == PatternKind::kS2) return pattern.s2.causal;
    return pattern.kind == PatternKind::kPermutedBlock && pattern.blocks.causal;
}

bool has_additional(const GatheredPattern& pattern) {
    return pattern.kind == PatternKind::kBox && pattern.boxes.num_additional > 0;
}

uint32 num_blocks(const RowNumbers& rows, int64 batch) {
    return narrow<uint32>(int64{rows.num_tiles} * rows.num_groups * batch);
}

}  // namespace

ForwardTile GatheredKeys::forward_tile() const {
    return gathered_forward_tile(narrow<int32>(bytes_of(dtype)), head_dim, warp_rows);
}
BackwardTile GatheredKeys::backward_tile(Side side) const {
    return cuda::backward_tile(narrow<int32>(bytes_of(dtype)), head_dim, side);
}
std::string GatheredKeys::forward_unit() const { return text("gathered_forward_", dtype); }
std::string GatheredKeys::forward_name() const {
    return text(forward_unit(), "_d", head_dim, warp_rows == 32 ? "_rows32" : "");
}
std::string GatheredKeys::backward_unit() const { return text("gathered_backward_", dtype); }
std::string GatheredKeys::backward_name(Side side) const {
    return text(backward_unit(), "_d", head_dim, side == Side::kKeys ? "_keys" : "_queries");
}

GatheredKeys gathered_keys(const DenseProblem& problem) {
    GatheredKeys keys{problem.q.dtype, 0, 16};
    for (const int32 bucket : kGatheredHeadDims) {
        keys.head_dim = bucket;
        if (max_of(problem.head_dim, problem.head_dim_v) <= bucket) break;
    }
    return keys;
}

GatheredKeys gathered_keys(const GatheredProblem& problem, int32 num_multiprocessors) {
    constexpr int64 kBlocksOfMultiprocessor = 4;
    GatheredKeys keys = gathered_keys(problem.dense);
    const RowNumbers& rows = problem.queries;
    const int64 blocks = int64{rows.num_tiles} * rows.num_groups * problem.dense.batch;
    if (bytes_of(keys.dtype) == 2 && keys.head_dim == 128 &&
        problem.pattern.kind != PatternKind::kBox &&
        blocks >= kBlocksOfMultiprocessor * num_multiprocessors) {
        keys.warp_rows = 32;
    }
    return keys;
}

int64 num_patches(const GridBoxes& boxes) {
    int64 patches = boxes.grid.num_groups();
    for (const int32 n : boxes.num_patches) patches *= n;
    return patches;
}

void set_patches(const int32 (&patch)[PatchGrid::kAxes], GridBoxes* boxes) {
    for (int a = 0; a < PatchGrid::kAxes; ++a) {
        boxes->patch[a] = patch[a];
        boxes->num_patches[a] = ceil_div(boxes->grid.axis[a].group_length(0), patch[a]);
    }
}

GatheredProblem gathered_by_position(const DenseProblem& dense, const GatheredPattern& pattern,
                                     bool heads_alike) {
    const GatheredKeys keys = gathered_keys(dense);
    const int32 rows = keys.forward_tile().tile_q;
    const int32 heads =
        heads_of_tile(heads_alike ? equal_heads(dense) : 1, max_of<int64>(dense.q_len, 1), rows);
    const int32 positions = rows / heads;
    const int32 key_rows = keys.backward_tile(Side::kKeys).rows;
    return {.dense = dense,
            .pattern = pattern,
            .queries = {narrow<int32>(ceil_div<int64>(dense.q_len, positions)), positions, heads,
                        groups_of(dense, heads)},
            .keys = {narrow<int32>(ceil_div<int64>(dense.kv_len, key_rows)), key_rows, 1, 0}};
}

GatheredProblem gathered_by_patch(const DenseProblem& dense, const GatheredPattern& pattern,
                                  const GatheredPattern& of_keys) {
    const GatheredKeys keys = gathered_keys(dense);
    const GridBoxes& boxes = pattern.boxes;
    const int32 tokens = tokens_of_patch(boxes);
    const int32 heads = heads_of_tile(equal_heads(dense), tokens, keys.forward_tile().tile_q);
    const int32 key_rows = keys.backward_tile(Side::kKeys).rows;
    return {.dense = dense,
            .pattern = pattern,
            .queries = {narrow<int32>(num_patches(boxes)), tokens, heads, groups_of(dense, heads)},
            .keys = {narrow<int32>(num_patches(of_keys.boxes)) +
                         ceil_div(boxes.num_additional, key_rows),
                     tokens_of_patch(of_keys.boxes), 1, 0}};
}

Status supports_gathered(const GatheredProblem& problem) {
    const DenseProblem& p = problem.dense;
    const Status common = supports_dense(p);
    if (!common.ok()) return common;
    const Status queries =
        supports_tiles(p, int64{problem.queries.num_tiles} * problem.queries.num_groups, "queries");
    if (!queries.ok() || !p.backward) return queries;
    const Status rows = supports_rows(p);
    if (!rows.ok()) return rows;
    return supports_tiles(p, problem.keys.num_tiles * (p.num_k_heads + p.num_v_heads), "keys");
}

GatheredForwardLaunch gathered_forward_launch(const GatheredProblem& problem,
                                              const GatheredPattern& pattern,
                                              const DenseForwardArgs& args) {
    const DenseProblem& p = problem.dense;
    const int64 bytes = bytes_of(p.q.dtype);
    GatheredForwardLaunch launch{};
    GatheredForwardParams& params = launch.params;
    params.problem = p;
    params.args = args;
    params.pattern = pattern;
    params.rows = problem.queries;
    params.token_bytes = {p.q.strides[2] * bytes, p.k.strides[2] * bytes, p.v.strides[2] * bytes};
    const GridBoxes& boxes = pattern.boxes;
    const bool more = has_additional(pattern);
    params.wide = {is_wide(p.q, args.q),
                   is_wide(p.k, args.k) && (!more || is_wide(boxes.additional_k, boxes.k)),
                   is_wide(p.v, args.v) && (!more || is_wide(boxes.additional_v, boxes.v)),
                   is_wide(p.o, args.o)};
    params.last_tile_first = is_causal(pattern);
    launch.num_blocks = num_blocks(params.rows, p.batch);
    return launch;
}

InvertLaunch invert_launch(const int32* permutation, int32* inverse, int64 rows, int64 length) {
    return {{permutation, inverse, rows, length},
            narrow<uint32>(ceil_div<int64>(rows * length, kSelectThreads))};
}

uint64 terms_bytes(const DenseProblem& problem) {
    return static_cast<uint64>(gathered_query_rows(problem)) * sizeof(RowTerms);
}

GatheredBackwardRun gathered_backward_run(const GatheredProblem& problem,
                                          const GatheredPattern& pattern,
                                          const GatheredPattern& of_keys,
                                          const DenseBackwardArgs& args, RowTerms* terms) {
    const DenseProblem& p = problem.dense;
    const GridBoxes& boxes = pattern.boxes;
    const bool more = has_additional(pattern);
    const auto wide_with = [&](const TensorLayout& layout, const void* data,
                               const TensorLayout& additional, const void* additional_data) {
        return is_wide(layout, data) && (!more || is_wide(additional, additional_data));
    };
    GatheredBackwardRun run{};
    run.rows = {p, args, terms};
    run.num_term_blocks = narrow<uint32>(ceil_div(gathered_query_rows(p), kRowsOfSmallBlock));

    GatheredBackwardParams& d_q = run.d_q.params;
    d_q.problem = p;
    d_q.args = args;
    d_q.pattern = pattern;
    d_q.rows = problem.queries;
    d_q.terms = terms;
    d_q.wide = {is_wide(p.q, args.q),
                wide_with(p.k, args.k, boxes.additional_k, boxes.k),
                wide_with(p.v, args.v, boxes.additional_v, boxes.v),
                is_wide(p.d_o, args.d_o),
                is_wide(p.d_q, args.d_q),
                wide_with(p.d_k, args.d_k, boxes.d_additional_k, boxes.d_k),
                wide_with(p.d_v, args.d_v, boxes.d_additional_v, boxes.d_v)};
    d_q.last_tile_first = is_causal(pattern);
    if (args.d_q != nullptr) run.d_q.num_blocks = num_blocks(d_q.rows, p.batch);

    GatheredBackwardParams& keys = run.d_k_d_v.params;
    keys = d_q;
    keys.pattern = of_keys;
    keys.rows = problem.keys;
    keys.last_tile_first = false;
    const bool wants_k = args.d_k != nullptr || (more && boxes.d_k != nullptr);
    const bool wants_v = args.d_v != nullptr || (more && boxes.d_v != nullptr);
    keys.groups.both_sums = p.num_k_heads == p.num_v_heads && wants_k && wants_v &&
                            gathered_keys(p).backward_tile(Side::kKeys).num_sums == 2;
    keys.groups.num_k_blocks = wants_k ? narrow<int32>(p.num_k_heads) : 0;
    keys.rows.num_groups = keys.groups.num_k_blocks;
    if (!keys.groups.both_sums && wants_v) keys.rows.num_groups += narrow<int32>(p.num_v_heads);
    run.d_k_d_v.num_blocks = num_blocks(keys.rows, p.batch);
    return run;
}

}  // namespace fattn::cuda
