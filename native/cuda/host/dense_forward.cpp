// Chooses the key of a dense forward run and fills its parameters.
#include "cuda/host/dense_forward.h"

#include "backend/text.h"
#include "cuda/host/dense_keys.h"

namespace fattn::cuda {
namespace {

int32 bucket_of(int64 head_dim) {
    for (const int32 bucket : kHeadDims) {
        if (head_dim <= bucket) return bucket;
    }
    return 0;
}

int64 num_q_tiles(const DenseProblem& problem, const ForwardTile& tile) {
    return ceil_div<int64>(problem.q_len, tile.tile_q);
}

bool is_plain(const DenseProblem& problem) {
    return problem.softcap == 0.0F && !problem.has_bias && !problem.has_alibi &&
           !problem.has_mask && !problem.paged && problem.dropout_p == 0.0F &&
           problem.weights == Weights::kSoftmax && problem.scale > 0.0F &&
           problem.o.dtype == problem.q.dtype;
}

/// A single query a head, of a problem in which nothing but the query itself tells the heads of a
/// key head apart, as one head whose queries those are: they share the tiles that are loaded for
/// one. Results lie where they did.
DenseProblem packed_heads(const DenseProblem& problem, const DenseForwardArgs& args) {
    const int64 group = problem.num_k_heads == 0 ? 1 : problem.num_q_heads / problem.num_k_heads;
    const bool sees_all =
        problem.window_left < 0 && problem.attention_chunk == 0 &&
        (problem.window_right < 0 || (problem.alignment == Alignment::kBottomRight &&
                                      args.q_position_offset == args.k_position_offset));
    if (problem.q_len != 1 || problem.varlen || group < 2 || !sees_all || problem.has_sink ||
        problem.has_bias || problem.has_alibi || problem.has_mask || problem.dropout_p > 0.0F ||
        problem.num_q_heads != group * problem.num_k_heads ||
        problem.num_v_heads != problem.num_k_heads) {
        return problem;
    }
    DenseProblem packed = problem;
    packed.num_q_heads = problem.num_k_heads;
    packed.q_len = group;
    packed.window_right = -1;
    for (TensorLayout* layout : {&packed.q, &packed.o}) {
        layout->shape[1] = problem.num_k_heads;
        layout->shape[2] = group;
        layout->strides[2] = layout->strides[1];
        layout->strides[1] *= group;
    }
    return packed;
}

constexpr int64 kRowsOfWarp = 16;  // of a general key

ForwardLaunch launch_of(const DenseProblem& problem, const DenseForwardArgs& args) {
    ForwardLaunch launch{general_key(problem), {}, 0};
    SoftmaxForwardParams& params = launch.params;
    params.problem = problem;
    params.args = args;
    const int64 bytes = bytes_of(problem.q.dtype);
    const int tokens = problem.paged ? 1 : 2;
    params.token_bytes = {problem.q.strides[2] * bytes, problem.k.strides[tokens] * bytes,
                          problem.v.strides[tokens] * bytes};
    params.wide = {is_wide(problem.q, args.q), is_wide(problem.k, args.k),
                   is_wide(problem.v, args.v), is_wide(problem.o, args.o)};
    params.last_tile_first = problem.window_right >= 0;

    const bool all_wide = params.wide.q && params.wide.k && params.wide.v && params.wide.o;
    const bool has_lean_key = problem.q.dtype != DType::kF32;
    // With fewer queries a general key's other warps compute nothing.
    const bool fills_tiles = problem.q_len > kRowsOfWarp;
    if (has_lean_key && all_wide && fills_tiles && is_plain(problem)) {
        launch.key.features = Features::kLean;
    }

    const int64 tiles = num_q_tiles(problem, launch.key.tile());
    params.num_tiles = narrow<int32>(tiles);
    launch.num_blocks = narrow<uint32>(tiles * problem.num_q_heads * problem.batch);
    params.num_splits = 1;
    params.blocks_of_split = launch.num_blocks;
    return launch;
}

int64 num_rows(const DenseProblem& p) { return p.q.shape[0] * p.num_q_heads * p.q.shape[2]; }

/// What the states of a part's rows take. Sigmoid weights have none: their parts are sums.
int64 bytes_of_states(const DenseProblem& p) {
    return p.weights == Weights::kSoftmax ? num_rows(p) * int64{sizeof(SoftmaxState<float>)} : 0;
}

}  // namespace

ForwardTile ForwardKey::tile() const {
    return forward_tile(narrow<int32>(bytes_of(dtype)), head_dim, features);
}

std::string ForwardKey::unit() const {
    return text("dense_forward_", dtype, features == Features::kLean ? "_lean" : "_general");
}

std::string ForwardKey::name() const {
    return text("dense_forward_", dtype, "_d", head_dim,
                features == Features::kLean ? "_lean" : "_general");
}

Status supports_dense_forward(const DenseProblem& problem) {
    const Status common = supports_dense(problem);
    if (!common.ok()) return common;
    return supports_tiles(problem,
                          num_q_tiles(problem, general_key(problem).tile()) * problem.num_q_heads,
                          "queries");
}

ForwardKey general_key(const DenseProblem& problem) {
    return {problem.q.dtype, bucket_of(max_of(problem.head_dim, problem.head_dim_v)),
            Features::kGeneral};
}

ForwardLaunch dense_forward_launch(const DenseProblem& problem, const DenseForwardArgs& args) {
    return launch_of(packed_heads(problem, args), args);
}

int32 forward_splits(const DenseProblem& problem, int64 blocks_at_once) {
    // In tiles of keys: what a block costs beyond its own, and joining the parts.
    constexpr int64 kBlockTiles = 2;
    constexpr int64 kJoinTiles = 2;
    constexpr int64 kFewestTiles = 4;
    constexpr int64 kMostSplits = 128;
    const DenseProblem packed = packed_heads(problem, DenseForwardArgs{});
    const ForwardTile tile = general_key(packed).tile();
    const int64 blocks = packed.num_q_heads * packed.batch;
    if (packed.q_len > tile.tile_q || blocks == 0) return 1;
    const int64 tiles = ceil_div<int64>(packed.kv_len, tile.tile_kv);
    const int64 most = min_of(tiles / kFewestTiles, kMostSplits);
    int64 best = 1;
    int64 best_time = 0;
    for (int64 splits = 1; splits <= max_of<int64>(most, 1); ++splits) {
        const int64 rounds = ceil_div(blocks * splits, blocks_at_once);
        const int64 time =
            rounds * (ceil_div(tiles, splits) + kBlockTiles) + (splits > 1 ? kJoinTiles : 0);
        if (splits == 1 || time < best_time) {
            best = splits;
            best_time = time;
        }
    }
    return narrow<int32>(best);
}

uint64 dense_forward_workspace(const DenseProblem& problem, int32 num_splits) {
    if (num_splits == 1) return 0;
    const int64 bytes_of_outputs = num_rows(problem) * problem.head_dim_v * int64{sizeof(float)};
    return static_cast<uint64>(num_splits * (bytes_of_states(problem) + bytes_of_outputs));
}

SplitLaunch dense_split_launch(const DenseProblem& problem, const DenseForwardArgs& args,
                               int32 num_splits, void* workspace) {
    const int64 rows = num_rows(problem);
    SoftmaxState<float>* states = nullptr;
    if (problem.weights == Weights::kSoftmax) states = static_cast<SoftmaxState<float>*>(workspace);
    auto* o_parts = reinterpret_cast<float*>(static_cast<char*>(workspace) +
                                             num_splits * bytes_of_states(problem));
    SplitLaunch launch{};
    launch.merge = {problem, args, o_parts, states, num_splits};
    launch.num_merge_blocks = narrow<uint32>(merge_blocks(rows, problem.head_dim_v));

    DenseProblem in_parts = problem;
    in_parts.o = {};
    in_parts.o.rank = 4;
    in_parts.o.dtype = DType::kF32;
    int64 stride = 1;
    for (int n = 3; n >= 0; --n) {
        in_parts.o.shape[n] = problem.o.shape[n];
        in_parts.o.strides[n] = stride;
        stride *= problem.o.shape[n];
    }
    DenseForwardArgs args_of_parts = args;
    args_of_parts.o = o_parts;
    args_of_parts.lse = nullptr;
    launch.parts = launch_of(packed_heads(in_parts, args), args_of_parts);
    launch.parts.params.num_splits = num_splits;
    launch.parts.params.split_rows = rows;
    launch.parts.params.states = states;
    // One row is as wide as it likes; behind it lie those of the other parts.
    const int64 bytes_of_part = rows * problem.head_dim_v * int64{sizeof(float)};
    if (bytes_of_part % kWideBytes != 0) launch.parts.params.wide.o = false;
    launch.parts.num_blocks *= narrow<uint32>(num_splits);
    return launch;
}

}  // namespace fattn::cuda
