// Permuted block-sparse attention on a GPU over the permutation and the block mask of a run.
#include <utility>

#include "backend/text.h"
#include "cuda/host/block_selection.h"
#include "cuda/host/gathered_kernel.h"
#include "cuda/host/launch_checks.h"
#include "cuda/host/run_workspace.h"
#include "cuda/host/sparse_kernels.h"
#include "cuda/host/wide_copies.h"
#include "cuda/runtime/error.h"

namespace fattn::cuda {
namespace {

/// Kernels count slots and blocks in 32 bits.
constexpr int64 kMostBlockTokens = int64{1} << 29;

Status check_block_tokens(const char* name, int64 value) {
    if (value <= kMostBlockTokens) return {};
    return {StatusCode::kUnsupported,
            text(name, " is ", value, "; CUDA kernels take up to ", kMostBlockTokens)};
}

/// tensors: of the problem, or of its backward.
GatheredProblem permuted_gathered(const PermutedBlockProblem& p, const DenseProblem& tensors) {
    GatheredPattern pattern{};
    pattern.kind = PatternKind::kPermutedBlock;
    pattern.first_position = narrow<int32>(p.kv_len - p.q_len);
    pattern.blocks = {.permutation = nullptr,
                      .slot_of_token = nullptr,
                      .block_mask = nullptr,
                      .block = narrow<int32>(p.block),
                      .segment = narrow<int32>(p.segment),
                      .query_block = narrow<int32>(p.query_block),
                      .num_query_blocks = narrow<int32>(p.num_query_blocks()),
                      .num_key_blocks = narrow<int32>(p.num_key_blocks()),
                      .causal = p.causal};
    return gathered_by_position(tensors, pattern, p.shared);
}

class CudaPermutedBlockKernel final : public PermutedBlockKernel {
  public:
    CudaPermutedBlockKernel(const PermutedBlockProblem& problem,
                            std::shared_ptr<const Device> device, WorkspacePool* pool)
        : problem_(problem),
          gathered_(permuted_gathered(problem, problem),
                    permuted_gathered(problem, backward_problem(problem)), device),
          selection_(problem, std::move(device), pool),
          pool_(pool) {}

    Status load(KernelStore* store) {
        FATTN_CUDA_RETURN_IF_ERROR(gathered_.load(store));
        return selection_.load(store);
    }

    WorkspaceSize workspace(Pass pass, int) const override {
        if (pass == Pass::kForward) {
            return {0, max_of(selection_.workspace(), gathered_.forward_bytes())};
        }
        return {0, problem_.backward ? inverse_at() + inverse_bytes() : 0};
    }
    Status prepare(Pass pass, void* stream) const override {
        return prepare_workspace(gathered_.device(), stream, workspace(pass, 0).device, pool_);
    }
    const char* name(Pass pass) const override { return gathered_.name(pass); }

    Status select(const PermutedBlockSelectArgs& args, const RunOptions& run) const override {
        return selection_.select(args, run);
    }
    Status gate(const BlockGateArgs& args, const RunOptions& run) const override {
        return selection_.gate(args, run);
    }

    Status forward(const PermutedBlockForwardArgs& args, const RunOptions& run) const override {
        DenseForwardArgs dense{};
        dense.q = args.q;
        dense.k = args.k;
        dense.v = args.v;
        dense.o = args.o;
        dense.lse = args.lse;
        FATTN_CUDA_RETURN_IF_ERROR(check_run_arrays(*gathered_.device(), problem_, dense));
        FATTN_CUDA_RETURN_IF_ERROR(check_selection_arrays(args.permutation, args.block_mask));
        Stream stream;
        FATTN_CUDA_RETURN_IF_ERROR(Stream::borrow(gathered_.device(), run.stream, &stream));
        void* workspace = nullptr;
        const Status found =
            find_workspace(stream, *pool_, run, gathered_.forward_bytes(), &workspace);
        // No bit depends on the order of rows: a run that finds no memory for it goes without.
        if (run.workspace != nullptr && !found.ok()) return found;
        return gathered_.forward(pattern_of(args), dense, workspace, run);
    }

    Status backward(const PermutedBlockBackwardArgs& args, const RunOptions& run) const override {
        const std::shared_ptr<const Device>& device = gathered_.device();
        DenseBackwardArgs dense{};
        dense.q = args.q;
        dense.k = args.k;
        dense.v = args.v;
        dense.o = args.o;
        dense.lse = args.lse;
        dense.d_o = args.d_o;
        dense.d_lse = args.d_lse;
        dense.d_q = args.d_q;
        dense.d_k = args.d_k;
        dense.d_v = args.d_v;
        Stream stream;
        FATTN_CUDA_RETURN_IF_ERROR(Stream::borrow(device, run.stream, &stream));
        FATTN_CUDA_RETURN_IF_ERROR(check_run_arrays(*device, problem_, dense));
        FATTN_CUDA_RETURN_IF_ERROR(check_selection_arrays(args.permutation, args.block_mask));
        void* workspace = nullptr;
        FATTN_CUDA_RETURN_IF_ERROR(find_workspace(
            stream, *pool_, run, this->workspace(Pass::kBackward, 0).device, &workspace));
        const GatheredPattern pattern = pattern_of(args);
        GatheredPattern of_keys = pattern;
        if (args.permutation != nullptr && !rows_are_slots()) {
            auto* inverse = reinterpret_cast<int32*>(static_cast<char*>(workspace) + inverse_at());
            FATTN_CUDA_RETURN_IF_ERROR(gathered_.invert(args.permutation, inverse,
                                                        problem_.batch * problem_.num_q_heads,
                                                        problem_.kv_len, stream));
            of_keys.blocks.slot_of_token = inverse;
        }
        return gathered_.backward(pattern, of_keys, dense, workspace, stream);
    }

  private:
    /// Whether all query heads of a block of keys have one permutation, so that its rows can be
    /// slots; otherwise they are tokens, and each head's slots are looked up.
    bool rows_are_slots() const {
        return problem_.num_k_heads == problem_.num_v_heads &&
               (problem_.shared || problem_.num_q_heads == problem_.num_k_heads);
    }

    uint64 inverse_at() const { return round_up<uint64>(gathered_.backward_bytes(), 64); }
    uint64 inverse_bytes() const {
        if (rows_are_slots()) return 0;
        return static_cast<uint64>(problem_.batch * problem_.num_q_heads * problem_.kv_len) *
               sizeof(int32);
    }

    Status check_selection_arrays(const int32* permutation, const uint8* block_mask) const {
        const int64 heads = problem_.batch * problem_.num_q_heads;
        return check_device_arrays(
            *gathered_.device(),
            {{"args->permutation", permutation, heads * problem_.kv_len},
             {"args->block_mask", block_mask,
              heads * problem_.num_query_blocks() * problem_.num_key_blocks()}});
    }

    template <class Args>
    GatheredPattern pattern_of(const Args& args) const {
        GatheredPattern pattern = gathered_.problem().pattern;
        pattern.blocks.permutation = args.permutation;
        pattern.blocks.block_mask = args.block_mask;
        return pattern;
    }

    const PermutedBlockProblem problem_;
    GatheredKernel gathered_;
    BlockSelection selection_;
    WorkspacePool* const pool_;
};

}  // namespace

Status supports_permuted_block(const PermutedBlockProblem& problem) {
    FATTN_CUDA_RETURN_IF_ERROR(check_block_tokens("k.shape[2]", problem.kv_len));
    FATTN_CUDA_RETURN_IF_ERROR(check_block_tokens("segment_size", problem.segment));
    FATTN_CUDA_RETURN_IF_ERROR(supports_gathered(permuted_gathered(problem, problem)));
    return supports_gathered(permuted_gathered(problem, backward_problem(problem)));
}

Status make_permuted_block_kernel(const PermutedBlockProblem& problem,
                                  std::shared_ptr<const Device> device,
                                  const KernelResources& resources,
                                  std::unique_ptr<PermutedBlockKernel>* kernel) {
    FATTN_CUDA_RETURN_IF_ERROR(supports_permuted_block(problem));
    auto made =
        std::make_unique<CudaPermutedBlockKernel>(problem, std::move(device), resources.pool);
    FATTN_CUDA_RETURN_IF_ERROR(made->load(resources.store));
    *kernel = std::move(made);
    return {};
}

}  // namespace fattn::cuda
