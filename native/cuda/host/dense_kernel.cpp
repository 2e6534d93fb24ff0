// Loads the keys of a problem's passes; a run chooses between them and launches.
#include "cuda/host/dense_kernel.h"

#include <cstdint>
#include <utility>

#include "backend/text.h"
#include "cuda/host/dense_backward.h"
#include "cuda/host/dense_forward.h"
#include "cuda/runtime/error.h"
#include "cuda/runtime/launch.h"
#include "cuda/runtime/memory.h"

namespace fattn::cuda {
namespace {

constexpr unsigned kSmallThreads = 128;  // of the kernels around the gradients
constexpr std::uintptr_t kWorkspaceAlignment = 64;

/// A forward key with the kernel that was loaded for it.
struct LoadedKey {
    ForwardKey key;
    Function function;
};

Status load_key(const ForwardKey& key, KernelStore* store, LoadedKey* loaded) {
    loaded->key = key;
    FATTN_CUDA_RETURN_IF_ERROR(store->function(key.unit(), key.name(), &loaded->function));
    return loaded->function.allow_dynamic_shared(key.tile().shared_bytes());
}

/// The kernels of the backward pass.
struct BackwardFunctions {
    Function queries;
    Function keys;
    Function row_terms;
    Function sinks;
    Function zeros;
};

Status load_backward_key(const BackwardKey& key, KernelStore* store, Function* function) {
    FATTN_CUDA_RETURN_IF_ERROR(store->function(key.unit(), key.name(), function));
    return function->allow_dynamic_shared(key.tile().shared_bytes());
}

/// An array of a run, for the check that it lies on the device.
struct NamedArray {
    const char* name;
    const void* address;
    int64 elements;
};

int64 size_of(const TensorLayout& layout) {
    int64 elements = 1;
    for (int n = 0; n < 4; ++n) elements *= layout.shape[n];
    return elements;
}

class CudaDenseKernel final : public DenseKernel {
  public:
    CudaDenseKernel(const DenseProblem& problem, std::shared_ptr<const Device> device)
        : problem_(problem),
          device_(std::move(device)),
          num_splits_(forward_splits(problem, device_->properties().num_multiprocessors)) {}

    Status load(KernelStore* store) {
        const ForwardKey general = general_key(problem_);
        FATTN_CUDA_RETURN_IF_ERROR(load_key(general, store, &general_));
        // The key that a run with the best of pointers chooses.
        const ForwardKey best = dense_forward_launch(problem_, DenseForwardArgs{}).key;
        if (best != general) FATTN_CUDA_RETURN_IF_ERROR(load_key(best, store, &lean_));
        if (num_splits_ > 1) {
            FATTN_CUDA_RETURN_IF_ERROR(
                store->function(kMergeSplitsUnit, kMergeSplitsKernel, &merge_splits_));
        }
        return problem_.backward ? load_backward(store) : Status();
    }

    WorkspaceSize workspace(Pass pass, int) const override {
        return {.host = 0, .device = device_bytes(pass)};
    }

    const char* name(Pass pass) const override {
        if (pass == Pass::kBackward) {
            return problem_.backward ? backward_.keys.name().c_str() : "none";
        }
        return lean_.function.handle() != nullptr ? lean_.function.name().c_str()
                                                  : general_.function.name().c_str();
    }

    Status forward(const DenseForwardArgs& args, const RunOptions& run) const override {
        Stream stream;
        FATTN_CUDA_RETURN_IF_ERROR(Stream::borrow(device_, run.stream, &stream));
        FATTN_CUDA_RETURN_IF_ERROR(check_pointers(args));
        if (num_splits_ > 1 && run.workspace != nullptr) return forward_in_parts(args, run, stream);
        ForwardLaunch launch_of_run = dense_forward_launch(problem_, args);
        return launch_forward(launch_of_run, stream);
    }

    Status backward(const DenseBackwardArgs& args, const RunOptions& run) const override {
        Stream stream;
        FATTN_CUDA_RETURN_IF_ERROR(Stream::borrow(device_, run.stream, &stream));
        FATTN_CUDA_RETURN_IF_ERROR(check_pointers(args));
        FATTN_CUDA_RETURN_IF_ERROR(check_workspace(Pass::kBackward, run));
        DenseBackwardRun launches = dense_backward_run(problem_, args, run.workspace);
        for (ZerosLaunch& zeros : launches.zeros) {
            FATTN_CUDA_RETURN_IF_ERROR(
                launch_small(backward_.zeros, zeros.num_blocks, stream, &zeros.params));
        }
        FATTN_CUDA_RETURN_IF_ERROR(
            launch_small(backward_.row_terms, launches.num_term_blocks, stream, &launches.rows));
        FATTN_CUDA_RETURN_IF_ERROR(
            launch_small(backward_.sinks, launches.num_sink_blocks, stream, &launches.rows));
        FATTN_CUDA_RETURN_IF_ERROR(
            launch_gradient(backward_.queries, Side::kQueries, stream, launches.d_q));
        FATTN_CUDA_RETURN_IF_ERROR(
            launch_gradient(backward_.queries, Side::kQueries, stream, launches.d_bias));
        return launch_gradient(backward_.keys, Side::kKeys, stream, launches.d_k_d_v);
    }

  private:
    uint64 device_bytes(Pass pass) const {
        return pass == Pass::kForward ? dense_forward_workspace(problem_, num_splits_)
                                      : dense_backward_workspace(problem_);
    }

    Status forward_in_parts(const DenseForwardArgs& args, const RunOptions& run,
                            const Stream& stream) const {
        FATTN_CUDA_RETURN_IF_ERROR(check_workspace(Pass::kForward, run));
        SplitLaunch split = dense_split_launch(problem_, args, num_splits_, run.workspace);
        FATTN_CUDA_RETURN_IF_ERROR(launch_forward(split.parts, stream));
        return launch_small(merge_splits_, split.num_merge_blocks, stream, &split.merge);
    }

    Status launch_forward(ForwardLaunch& launch_of_run, const Stream& stream) const {
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

    Status load_backward(KernelStore* store) {
        for (const Side side : {Side::kQueries, Side::kKeys}) {
            FATTN_CUDA_RETURN_IF_ERROR(
                load_backward_key(backward_key(problem_, side), store,
                                  side == Side::kKeys ? &backward_.keys : &backward_.queries));
        }
        const std::string unit = kBackwardRowsUnit;
        FATTN_CUDA_RETURN_IF_ERROR(store->function(unit, kRowTermsKernel, &backward_.row_terms));
        FATTN_CUDA_RETURN_IF_ERROR(store->function(unit, kSinksKernel, &backward_.sinks));
        return store->function(unit, kZerosKernel, &backward_.zeros);
    }

    static Status launch_small(const Function& function, uint32 num_blocks, const Stream& stream,
                               void* params) {
        if (num_blocks == 0) return {};
        void* arguments[] = {params};
        return launch(function,
                      {.grid = {num_blocks, 1, 1},
                       .block = {kSmallThreads, 1, 1},
                       .dynamic_shared_bytes = kSmallThreads * sizeof(float)},
                      stream, arguments);
    }

    Status launch_gradient(const Function& function, Side side, const Stream& stream,
                           BackwardLaunch& gradient) const {
        if (gradient.num_blocks == 0) return {};
        const BackwardTile tile = backward_key(problem_, side).tile();
        void* arguments[] = {&gradient.params};
        return launch(function,
                      {.grid = {gradient.num_blocks, 1, 1},
                       .block = {static_cast<unsigned>(tile.num_threads()), 1, 1},
                       .dynamic_shared_bytes = static_cast<unsigned>(tile.shared_bytes())},
                      stream, arguments);
    }

    Status check_workspace(Pass pass, const RunOptions& run) const {
        const uint64 bytes = device_bytes(pass);
        if (bytes == 0) return {};
        if (run.workspace_bytes < bytes) {
            return {StatusCode::kWorkspaceTooSmall,
                    text("run->workspace_bytes is ", run.workspace_bytes,
                         pass == Pass::kForward ? "; a forward" : "; a backward",
                         " run of this plan needs ", bytes,
                         " bytes of device memory (fattn_plan_workspace)")};
        }
        if (reinterpret_cast<std::uintptr_t>(run.workspace) % kWorkspaceAlignment != 0) {
            return {StatusCode::kWorkspaceTooSmall,
                    text("run->workspace is not aligned; its address must be a multiple of ",
                         kWorkspaceAlignment)};
        }
        return check_device_pointer(*device_, run.workspace, "run->workspace");
    }

    /// Every array that holds elements has to lie in memory of this device.
    template <std::size_t kCount>
    Status check_arrays(const NamedArray (&arrays)[kCount]) const {
        for (const auto& [name, address, elements] : arrays) {
            if (address == nullptr || elements == 0) continue;
            FATTN_CUDA_RETURN_IF_ERROR(check_device_pointer(*device_, address, name));
        }
        return {};
    }

    /// The inputs that both passes have.
    template <class Args>
    Status check_inputs(const Args& args) const {
        return check_arrays({
            {"args->q", args.q, size_of(problem_.q)},
            {"args->k", args.k, size_of(problem_.k)},
            {"args->v", args.v, size_of(problem_.v)},
            {"args->bias", args.bias, problem_.has_bias ? size_of(problem_.bias) : 0},
            {"args->mask", args.mask, problem_.has_mask ? size_of(problem_.mask) : 0},
            {"args->alibi_slopes", args.alibi_slopes, problem_.num_q_heads},
            {"args->sink_logits", args.sink_logits, problem_.num_q_heads},
            {"args->cu_seqlens_q", args.cu_seqlens_q, problem_.batch + 1},
            {"args->cu_seqlens_k", args.cu_seqlens_k, problem_.batch + 1},
            {"args->kv_len", args.kv_len, problem_.batch},
        });
    }

    Status check_pointers(const DenseForwardArgs& args) const {
        FATTN_CUDA_RETURN_IF_ERROR(check_inputs(args));
        return check_arrays({
            {"args->block_table", args.block_table, problem_.max_pages_per_seq},
            {"args->o", args.o, size_of(problem_.o)},
            {"args->lse", args.lse, size_of(problem_.q)},
        });
    }

    Status check_pointers(const DenseBackwardArgs& args) const {
        FATTN_CUDA_RETURN_IF_ERROR(check_inputs(args));
        const int64 o = problem_.weights == Weights::kSoftmax ? size_of(problem_.o) : 0;
        return check_arrays({
            {"args->o", args.o, o},
            {"args->lse", args.lse, o},
            {"args->d_o", args.d_o, size_of(problem_.d_o)},
            {"args->d_lse", args.d_lse, o},
            {"args->d_q", args.d_q, size_of(problem_.d_q)},
            {"args->d_k", args.d_k, size_of(problem_.d_k)},
            {"args->d_v", args.d_v, size_of(problem_.d_v)},
            {"args->d_bias", args.d_bias, problem_.has_bias ? size_of(problem_.d_bias) : 0},
            {"args->d_sink_logits", args.d_sink_logits, problem_.num_q_heads},
        });
    }

    const DenseProblem problem_;
    const std::shared_ptr<const Device> device_;
    const int32 num_splits_;  // of the keys of forward runs that bring a workspace
    Function merge_splits_;
    LoadedKey general_{};
    LoadedKey lean_{};
    BackwardFunctions backward_{};
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
