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
    if (has_lean_key && all_wide && is_plain(problem)) launch.key.features = Features::kLean;

    const int64 tiles = num_q_tiles(problem, launch.key.tile());
    params.num_tiles = narrow<int32>(tiles);
    launch.num_blocks = narrow<uint32>(tiles * problem.num_q_heads * problem.batch);
    return launch;
}

}  // namespace fattn::cuda
