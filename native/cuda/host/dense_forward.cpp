// Chooses the key of a dense forward run and fills its parameters.
#include "cuda/host/dense_forward.h"

#include <cstdint>
#include <iterator>
#include <utility>

#include "backend/text.h"

namespace fattn::cuda {
namespace {

constexpr int64 kWideBytes = 16;
constexpr int64 kMostTokens = INT32_MAX - 256;  // tiles past the end count tokens in 32 bits
constexpr int64 kMostBlocks = INT32_MAX;
constexpr int32 kLargestHeadDim = kHeadDims[std::size(kHeadDims) - 1];

int32 bucket_of(int64 head_dim) {
    for (const int32 bucket : kHeadDims) {
        if (head_dim <= bucket) return bucket;
    }
    return 0;
}

int64 bytes_of(DType dtype) { return bits_of(dtype) / 8; }

/// Whether every row of a tensor starts at a multiple of 16 bytes.
bool is_wide(const TensorLayout& layout, const void* data) {
    if (reinterpret_cast<std::uintptr_t>(data) % kWideBytes != 0) return false;
    for (int n = 0; n < 3; ++n) {
        if (layout.shape[n] > 1 && layout.strides[n] * bytes_of(layout.dtype) % kWideBytes != 0) {
            return false;
        }
    }
    return true;
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

std::string ForwardKey::unit() const { return text("dense_forward_", dtype); }

std::string ForwardKey::name() const {
    return text(unit(), "_d", head_dim, features == Features::kLean ? "_lean" : "_general");
}

Status supports_dense_forward(const DenseProblem& problem) {
    const DType dtype = problem.q.dtype;
    const auto refuse = [](std::string reason) {
        return Status(StatusCode::kUnsupported, std::move(reason));
    };
    if (dtype != DType::kF32 && dtype != DType::kF16 && dtype != DType::kBF16) {
        return refuse(text("q is ", dtype, "; CUDA kernels take f32, f16 and bf16"));
    }
    const int64 head_dim = max_of(problem.head_dim, problem.head_dim_v);
    if (head_dim > kLargestHeadDim) {
        return refuse(text("the larger head dim is ", head_dim, "; CUDA kernels take up to ",
                           kLargestHeadDim));
    }
    const int64 length = max_of(problem.q_len, problem.kv_len);
    if (length > kMostTokens) {
        return refuse(
            text("a sequence has ", length, " tokens; CUDA kernels take up to ", kMostTokens));
    }
    const int64 blocks = num_q_tiles(problem, general_key(problem).tile()) * problem.num_q_heads;
    if (blocks > 0 && problem.batch > kMostBlocks / blocks) {
        return refuse(text(problem.batch, " sequences with ", blocks,
                           " tiles of queries each; CUDA kernels take up to ", kMostBlocks,
                           " tiles in all"));
    }
    return {};
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
    params.num_q_tiles = narrow<int32>(tiles);
    launch.num_blocks = narrow<uint32>(tiles * problem.num_q_heads * problem.batch);
    return launch;
}

}  // namespace fattn::cuda
