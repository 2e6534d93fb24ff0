// See dense_keys.h.
#include "cuda/host/dense_keys.h"

#include <cstdint>
#include <iterator>

#include "backend/text.h"
#include "cuda/device/forward_tile.h"

namespace fattn::cuda {
namespace {

constexpr int64 kMostTokens = INT32_MAX - 256;  // tiles past the end count tokens in 32 bits
constexpr int64 kMostBlocks = INT32_MAX;
constexpr int32 kLargestHeadDim = kHeadDims[std::size(kHeadDims) - 1];

Status no_kernel(std::string reason) { return {StatusCode::kUnsupported, std::move(reason)}; }

}  // namespace

Status supports_dense(const DenseProblem& problem) {
    const DType dtype = problem.q.dtype;
    if (dtype != DType::kF32 && dtype != DType::kF16 && dtype != DType::kBF16) {
        return no_kernel(text("q is ", dtype, "; CUDA kernels take f32, f16 and bf16"));
    }
    const int64 head_dim = max_of(problem.head_dim, problem.head_dim_v);
    if (head_dim > kLargestHeadDim) {
        return no_kernel(text("the larger head dim is ", head_dim, "; CUDA kernels take up to ",
                              kLargestHeadDim));
    }
    const int64 length = max_of(problem.q_len, problem.kv_len);
    if (length > kMostTokens) {
        return no_kernel(
            text("a sequence has ", length, " tokens; CUDA kernels take up to ", kMostTokens));
    }
    return {};
}

Status supports_tiles(const DenseProblem& problem, int64 tiles, const char* of_what) {
    if (tiles == 0 || problem.batch <= kMostBlocks / tiles) return {};
    return no_kernel(text(problem.batch, " sequences with ", tiles, " tiles of ", of_what,
                          " each; CUDA kernels take up to ", kMostBlocks, " tiles in all"));
}

Status supports_rows(const DenseProblem& problem) {
    constexpr int64 kMostRows = 4 * kMostBlocks;
    const struct {
        const char* name;
        const TensorLayout& layout;
    } tensors[] = {{"q", problem.q}, {"k", problem.k}, {"v", problem.v}};
    for (const auto& [name, layout] : tensors) {
        const int64 rows = layout.shape[0] * layout.shape[1] * layout.shape[2];
        if (rows <= kMostRows) continue;
        return no_kernel(text(name, " has ", rows,
                              " rows in all heads; the backward on CUDA takes up to ", kMostRows));
    }
    return {};
}

bool is_wide(const TensorLayout& layout, const void* data) {
    if (reinterpret_cast<std::uintptr_t>(data) % kWideBytes != 0) return false;
    for (int n = 0; n < 3; ++n) {
        if (layout.shape[n] > 1 && layout.strides[n] * bytes_of(layout.dtype) % kWideBytes != 0) {
            return false;
        }
    }
    return true;
}

int64 bytes_of(DType dtype) { return bits_of(dtype) / 8; }

}  // namespace fattn::cuda
