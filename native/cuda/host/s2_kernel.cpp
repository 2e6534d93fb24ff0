// S2 attention on a GPU: the closed form of a pattern, moved to the positions of a run.
#include <utility>

#include "backend/text.h"
#include "cuda/host/gathered_kernel.h"
#include "cuda/host/launch_checks.h"
#include "cuda/host/run_workspace.h"
#include "cuda/host/sparse_kernels.h"
#include "cuda/host/wide_copies.h"
#include "cuda/runtime/error.h"

namespace fattn::cuda {
namespace {

/// Kernels count positions and blocks, and differences of them, in 32 bits.
constexpr int64 kMostS2Number = int64{1} << 29;

Status check_s2_number(const char* name, int64 value) {
    if (value >= -kMostS2Number && value <= kMostS2Number) return {};
    return {StatusCode::kUnsupported,
            text(name, " is ", value, "; CUDA kernels take up to ", kMostS2Number)};
}

/// tensors: of the problem, or of its backward.
GatheredProblem s2_gathered(const S2Problem& problem, const DenseProblem& tensors) {
    GatheredPattern pattern{};
    pattern.kind = PatternKind::kS2;
    pattern.s2 = problem.pattern;
    return gathered_by_position(tensors, pattern,
                                !problem.pattern.per_query_head || problem.pattern.homogeneous);
}

class CudaS2Kernel final : public DenseKernel {
  public:
    CudaS2Kernel(const S2Problem& problem, std::shared_ptr<const Device> device,
                 WorkspacePool* pool)
        : gathered_(s2_gathered(problem, problem.dense),
                    s2_gathered(problem, backward_problem(problem.dense)), std::move(device)),
          pool_(pool) {}

    Status load(KernelStore* store) { return gathered_.load(store); }

    WorkspaceSize workspace(Pass pass, int) const override {
        return {0, pass == Pass::kBackward ? gathered_.backward_bytes() : 0};
    }
    Status prepare(Pass pass, void* stream) const override {
        return prepare_workspace(gathered_.device(), stream, workspace(pass, 0).device, pool_);
    }
    const char* name(Pass pass) const override { return gathered_.name(pass); }

    Status forward(const DenseForwardArgs& args, const RunOptions& run) const override {
        FATTN_CUDA_RETURN_IF_ERROR(check_run_arrays(*gathered_.device(), dense(), args));
        GatheredPattern pattern;
        FATTN_CUDA_RETURN_IF_ERROR(move(args, &pattern));
        return gathered_.forward(pattern, args, nullptr, run);
    }

    Status backward(const DenseBackwardArgs& args, const RunOptions& run) const override {
        const std::shared_ptr<const Device>& device = gathered_.device();
        Stream stream;
        FATTN_CUDA_RETURN_IF_ERROR(Stream::borrow(device, run.stream, &stream));
        FATTN_CUDA_RETURN_IF_ERROR(check_run_arrays(*device, dense(), args));
        void* workspace = nullptr;
        FATTN_CUDA_RETURN_IF_ERROR(
            find_workspace(stream, *pool_, run, gathered_.backward_bytes(), &workspace));
        GatheredPattern pattern;
        FATTN_CUDA_RETURN_IF_ERROR(move(args, &pattern));
        return gathered_.backward(pattern, pattern, args, workspace, stream);
    }

  private:
    const DenseProblem& dense() const { return gathered_.problem().dense; }

    /// The pattern at the positions of a run, which are moved by whole blocks.
    template <class Args>
    Status move(const Args& args, GatheredPattern* pattern) const {
        const int64 first =
            dense().kv_len - dense().q_len + args.q_position_offset - args.k_position_offset;
        FATTN_CUDA_RETURN_IF_ERROR(check_s2_number("the position of query 0", first));
        *pattern = gathered_.problem().pattern;
        pattern->first_position = narrow<int32>(first);
        pattern->s2.head_offset += floor_div(args.k_position_offset, pattern->s2.block_size);
        return {};
    }

    GatheredKernel gathered_;
    WorkspacePool* const pool_;
};

}  // namespace

Status supports_s2(const S2Problem& problem) {
    FATTN_CUDA_RETURN_IF_ERROR(
        check_s2_number("the longer sequence", max_of(problem.dense.q_len, problem.dense.kv_len)));
    FATTN_CUDA_RETURN_IF_ERROR(check_s2_number("block_size", problem.pattern.block_size));
    FATTN_CUDA_RETURN_IF_ERROR(check_s2_number("local_blocks", problem.pattern.local_blocks));
    FATTN_CUDA_RETURN_IF_ERROR(check_s2_number("vertical_stride", problem.pattern.vertical_stride));
    FATTN_CUDA_RETURN_IF_ERROR(supports_gathered(s2_gathered(problem, problem.dense)));
    return supports_gathered(s2_gathered(problem, backward_problem(problem.dense)));
}

Status make_s2_kernel(const S2Problem& problem, std::shared_ptr<const Device> device,
                      const KernelResources& resources, std::unique_ptr<DenseKernel>* kernel) {
    FATTN_CUDA_RETURN_IF_ERROR(supports_s2(problem));
    auto made = std::make_unique<CudaS2Kernel>(problem, std::move(device), resources.pool);
    FATTN_CUDA_RETURN_IF_ERROR(made->load(resources.store));
    *kernel = std::move(made);
    return {};
}

}  // namespace fattn::cuda
