// Loads the general and the lean key of a problem; a run chooses between them and launches.
#include "cuda/host/dense_kernel.h"

#include <utility>

#include "cuda/host/dense_forward.h"
#include "cuda/runtime/error.h"
#include "cuda/runtime/launch.h"
#include "cuda/runtime/memory.h"

namespace fattn::cuda {
namespace {

/// A key with the kernel that was loaded for it.
struct LoadedKey {
    ForwardKey key;
    Function function;
};

Status load_key(const ForwardKey& key, KernelStore* store, LoadedKey* loaded) {
    loaded->key = key;
    FATTN_CUDA_RETURN_IF_ERROR(store->function(key.unit(), key.name(), &loaded->function));
    return loaded->function.allow_dynamic_shared(key.tile().shared_bytes());
}

class CudaDenseKernel final : public DenseKernel {
  public:
    CudaDenseKernel(const DenseProblem& problem, std::shared_ptr<const Device> device)
        : problem_(problem), device_(std::move(device)) {}

    Status load(KernelStore* store) {
        const ForwardKey general = general_key(problem_);
        FATTN_CUDA_RETURN_IF_ERROR(load_key(general, store, &general_));
        // The key that a run with the best of pointers chooses.
        const ForwardKey best = dense_forward_launch(problem_, DenseForwardArgs{}).key;
        if (best == general) return {};
        return load_key(best, store, &lean_);
    }

    WorkspaceSize workspace(Pass, int) const override { return {}; }

    const char* name(Pass pass) const override {
        if (pass == Pass::kBackward) return "none";
        return lean_.function.handle() != nullptr ? lean_.function.name().c_str()
                                                  : general_.function.name().c_str();
    }

    Status forward(const DenseForwardArgs& args, const RunOptions& run) const override {
        Stream stream;
        FATTN_CUDA_RETURN_IF_ERROR(Stream::borrow(device_, run.stream, &stream));
        FATTN_CUDA_RETURN_IF_ERROR(check_pointers(args));
        ForwardLaunch launch_of_run = dense_forward_launch(problem_, args);
        if (launch_of_run.num_blocks == 0) return {};

        const bool lean = launch_of_run.key == lean_.key && lean_.function.handle() != nullptr;
        const ForwardTile tile = launch_of_run.key.tile();
        const LaunchConfig config{
            .grid = {launch_of_run.num_blocks, 1, 1},
            .block = {static_cast<unsigned>(tile.num_threads()), 1, 1},
            .dynamic_shared_bytes = static_cast<unsigned>(tile.shared_bytes())};
        void* arguments[] = {&launch_of_run.params};
        return launch(lean ? lean_.function : general_.function, config, stream, arguments);
    }

    Status backward(const DenseBackwardArgs&, const RunOptions&) const override {
        return {StatusCode::kUnsupported,
                "the backward pass of dense attention has no CUDA kernel in this version"};
    }

  private:
    /// Every array that holds elements has to lie in memory of this device.
    Status check_pointers(const DenseForwardArgs& args) const {
        const auto size = [](const TensorLayout& layout) {
            int64 elements = 1;
            for (int n = 0; n < 4; ++n) elements *= layout.shape[n];
            return elements;
        };
        const struct {
            const char* name;
            const void* address;
            int64 elements;
        } arrays[] = {
            {"args->q", args.q, size(problem_.q)},
            {"args->k", args.k, size(problem_.k)},
            {"args->v", args.v, size(problem_.v)},
            {"args->o", args.o, size(problem_.o)},
            {"args->lse", args.lse, size(problem_.q)},
            {"args->bias", args.bias, problem_.has_bias ? size(problem_.bias) : 0},
            {"args->mask", args.mask, problem_.has_mask ? size(problem_.mask) : 0},
            {"args->alibi_slopes", args.alibi_slopes, problem_.num_q_heads},
            {"args->sink_logits", args.sink_logits, problem_.num_q_heads},
            {"args->cu_seqlens_q", args.cu_seqlens_q, problem_.batch + 1},
            {"args->cu_seqlens_k", args.cu_seqlens_k, problem_.batch + 1},
            {"args->kv_len", args.kv_len, problem_.batch},
            {"args->block_table", args.block_table, problem_.max_pages_per_seq},
        };
        for (const auto& [name, address, elements] : arrays) {
            if (address == nullptr || elements == 0) continue;
            FATTN_CUDA_RETURN_IF_ERROR(check_device_pointer(*device_, address, name));
        }
        return {};
    }

    const DenseProblem problem_;
    const std::shared_ptr<const Device> device_;
    LoadedKey general_{};
    LoadedKey lean_{};
};

}  // namespace

Status make_dense_kernel(const DenseProblem& problem, std::shared_ptr<const Device> device,
                         KernelStore* store, std::unique_ptr<DenseKernel>* kernel) {
    auto made = std::make_unique<CudaDenseKernel>(problem, std::move(device));
    FATTN_CUDA_RETURN_IF_ERROR(made->load(store));
    *kernel = std::move(made);
    return {};
}

}  // namespace fattn::cuda
