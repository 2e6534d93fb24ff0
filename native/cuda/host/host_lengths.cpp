// Lengths in host memory, gathered and copied in one piece.
#include "cuda/host/host_lengths.h"

#include <cstdint>
#include <memory>
#include <vector>

#include "cuda/runtime/error.h"
#include "cuda/runtime/memory.h"

namespace fattn::cuda {
namespace {

int64 num_starts(const DenseProblem& problem) { return problem.varlen ? problem.batch + 1 : 0; }

template <class Args>
Status upload(const Stream& stream, const DenseProblem& problem, void* workspace, Args* args) {
    bool capturing = false;
    FATTN_CUDA_RETURN_IF_ERROR(stream.is_capturing(&capturing));
    if (capturing) {
        return {StatusCode::kInvalidArgument,
                "the lengths are in host memory while the stream is being captured; a captured run "
                "takes them from device memory (FATTN_DENSE_ARGS_LENGTHS_ON_DEVICE)"};
    }
    // Lives until the copy has been made, which may be long after this returns.
    auto words = std::make_unique<std::vector<int32>>();
    const auto add = [&](const int32** lengths, int64 count) {
        if (*lengths == nullptr || count == 0) return;
        const auto first = static_cast<std::ptrdiff_t>(words->size());
        words->insert(words->end(), *lengths, *lengths + count);
        *lengths = static_cast<const int32*>(workspace) + first;
    };
    add(&args->cu_seqlens_q, num_starts(problem));
    add(&args->cu_seqlens_k, num_starts(problem));
    add(&args->kv_len, problem.has_kv_len ? problem.batch : 0);
    FATTN_CUDA_RETURN_IF_ERROR(copy_to_device(
        stream, static_cast<DevicePointer>(reinterpret_cast<std::uintptr_t>(workspace)),
        words->data(), words->size() * sizeof(int32)));
    const Status queued = stream.call_on_host(
        [](void* data) { delete static_cast<std::vector<int32>*>(data); }, words.get());
    if (queued.ok()) {
        static_cast<void>(words.release());
        return {};
    }
    static_cast<void>(stream.synchronize().ok());
    return queued;
}

}  // namespace

uint64 lengths_workspace(const DenseProblem& problem) {
    const int64 words = 2 * num_starts(problem) + (problem.has_kv_len ? problem.batch : 0);
    return static_cast<uint64>(words) * sizeof(int32);
}

Status upload_lengths(const Stream& stream, const DenseProblem& problem, void* workspace,
                      DenseForwardArgs* args) {
    return upload(stream, problem, workspace, args);
}

Status upload_lengths(const Stream& stream, const DenseProblem& problem, void* workspace,
                      DenseBackwardArgs* args) {
    return upload(stream, problem, workspace, args);
}

}  // namespace fattn::cuda
