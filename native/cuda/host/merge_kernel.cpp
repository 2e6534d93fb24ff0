// See merge_kernel.h.
#include "cuda/host/merge_kernel.h"

#include <cstdint>
#include <string>

#include "backend/text.h"
#include "cuda/device/merge_parts_params.h"
#include "cuda/host/dense_forward.h"
#include "cuda/host/launch_checks.h"
#include "cuda/runtime/error.h"
#include "cuda/runtime/stream.h"

namespace fattn::cuda {
namespace {

constexpr int64 kRowsOfMergeBlock = kMergePartsThreads / 32;
constexpr int64 kMostMergeBlocks = INT32_MAX;

Status check_merge_arrays(const MergeProblem& p, const Device& device) {
    const int64 rows = p.o.shape[0] * p.o.shape[1] * p.o.shape[2];
    FATTN_CUDA_RETURN_IF_ERROR(check_device_arrays(
        device, {{"args->o", p.out, elements_of(p.o)}, {"args->lse", p.lse, rows}}));
    for (int64 r = 0; r < p.num_parts; ++r) {
        const std::string o_name = text("args->o_parts[", r, "]");
        const std::string lse_name = text("args->lse_parts[", r, "]");
        FATTN_CUDA_RETURN_IF_ERROR(
            check_device_arrays(device, {{o_name.c_str(), p.o_parts[r], elements_of(p.part)},
                                         {lse_name.c_str(), p.lse_parts[r], rows}}));
    }
    return {};
}

}  // namespace

Status merge_on_device(const MergeProblem& problem, const RunOptions& run,
                       const std::shared_ptr<const Device>& device, KernelStore* store) {
    if (problem.num_parts > kMostMergedParts) {
        return {StatusCode::kUnsupported,
                text("args->num_parts is ", problem.num_parts, "; on CUDA one call merges up to ",
                     kMostMergedParts)};
    }
    FATTN_CUDA_RETURN_IF_ERROR(check_merge_arrays(problem, *device));
    const int64 rows = problem.o.shape[0] * problem.o.shape[1] * problem.o.shape[2];
    const int64 blocks = ceil_div(rows, kRowsOfMergeBlock);
    if (blocks > kMostMergeBlocks) {
        return {StatusCode::kUnsupported,
                text("a merge of ", rows, " rows; on CUDA one call merges up to ",
                     kMostMergeBlocks * kRowsOfMergeBlock)};
    }
    Stream stream;
    Function function;
    FATTN_CUDA_RETURN_IF_ERROR(Stream::borrow(device, run.stream, &stream));
    FATTN_CUDA_RETURN_IF_ERROR(store->function(kMergeSplitsUnit, kMergePartsKernel, &function));
    MergePartsParams params{};
    params.part = problem.part;
    params.o = problem.o;
    params.out = problem.out;
    params.lse = problem.lse;
    params.num_parts = narrow<int32>(problem.num_parts);
    for (int64 r = 0; r < problem.num_parts; ++r) {
        params.o_parts[r] = problem.o_parts[r];
        params.lse_parts[r] = problem.lse_parts[r];
    }
    return launch_blocks(function, {narrow<uint32>(blocks), kMergePartsThreads, 0}, stream,
                         &params);
}

}  // namespace fattn::cuda
