// Loads the keys of a problem's passes; a run chooses between them and launches.
#include "cuda/host/dense_kernel.h"

#include <utility>

#include "cuda/host/dense_backward.h"
#include "cuda/host/dense_forward.h"
#include "cuda/host/host_lengths.h"
#include "cuda/host/launch_checks.h"
#include "cuda/host/run_workspace.h"
#include "cuda/host/wide_copies.h"
#include "cuda/runtime/error.h"

namespace fattn::cuda {
namespace {

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
    Function convert;
};

Status load_backward_key(const BackwardKey& key, KernelStore* store, Function* function) {
    FATTN_CUDA_RETURN_IF_ERROR(store->function(key.unit(), key.name(), function));
    return function->allow_dynamic_shared(key.tile().shared_bytes());
}

class CudaDenseKernel final : public DenseKernel {
  public:
    CudaDenseKernel(const DenseProblem& problem, std::shared_ptr<const Device> device,
                    WorkspacePool* pool)
        : problem_(problem),
          backward_problem_(backward_problem(problem)),
          device_(std::move(device)),
          pool_(pool) {}

    Status load(KernelStore* store) {
        const ForwardKey general = general_key(problem_);
        FATTN_CUDA_RETURN_IF_ERROR(load_key(general, store, &general_));
        int blocks = 0;
        FATTN_CUDA_RETURN_IF_ERROR(general_.function.occupancy(
            general.tile().num_threads(), general.tile().shared_bytes(), &blocks));
        num_splits_ = forward_splits(
            problem_, int64{device_->properties().num_multiprocessors} * max_of(blocks, 1));
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
        return {.host = 0,
                .device = lengths_offset(device_bytes(pass)) + lengths_workspace(problem_)};
    }

    Status prepare(Pass pass, void* stream) const override {
        return prepare_workspace(device_, stream, workspace(pass, 0).device, pool_);
    }

    const char* name(Pass pass) const override {
        if (pass == Pass::kBackward) {
            return problem_.backward ? backward_.keys.name().c_str() : "none";
        }
        return lean_.function.handle() != nullptr ? lean_.function.name().c_str()
                                                  : general_.function.name().c_str();
    }

    Status forward(const DenseForwardArgs& given, const RunOptions& run) const override {
        Stream stream;
        void* workspace = nullptr;
        DenseForwardArgs args = given;
        FATTN_CUDA_RETURN_IF_ERROR(Stream::borrow(device_, run.stream, &stream));
        FATTN_CUDA_RETURN_IF_ERROR(check_arrays(given, run));
        FATTN_CUDA_RETURN_IF_ERROR(begin(Pass::kForward, stream, run, &workspace, &args));
        if (num_splits_ > 1 && run.workspace != nullptr) {
            return forward_in_parts(args, stream, workspace);
        }
        ForwardLaunch launch_of_run = dense_forward_launch(problem_, args);
        return launch_forward(launch_of_run, stream);
    }

    Status backward(const DenseBackwardArgs& given, const RunOptions& run) const override {
        Stream stream;
        void* workspace = nullptr;
        DenseBackwardArgs args = given;
        FATTN_CUDA_RETURN_IF_ERROR(Stream::borrow(device_, run.stream, &stream));
        FATTN_CUDA_RETURN_IF_ERROR(check_arrays(given, run));
        FATTN_CUDA_RETURN_IF_ERROR(begin(Pass::kBackward, stream, run, &workspace, &args));
        WideCopies copies(static_cast<char*>(workspace) + terms_bytes());
        if (has_wide_backward(problem_)) args = copies.args(problem_, args);
        FATTN_CUDA_RETURN_IF_ERROR(launch_converts(backward_.convert, copies.before(), stream));
        DenseBackwardRun launches = dense_backward_run(backward_problem_, args, workspace);
        for (ZerosLaunch& zeros : launches.zeros) {
            FATTN_CUDA_RETURN_IF_ERROR(
                launch_helper(backward_.zeros, zeros.num_blocks, stream, &zeros.params));
        }
        FATTN_CUDA_RETURN_IF_ERROR(
            launch_helper(backward_.row_terms, launches.num_term_blocks, stream, &launches.rows));
        FATTN_CUDA_RETURN_IF_ERROR(
            launch_helper(backward_.sinks, launches.num_sink_blocks, stream, &launches.rows));
        FATTN_CUDA_RETURN_IF_ERROR(
            launch_gradient(backward_.queries, Side::kQueries, stream, launches.d_q));
        FATTN_CUDA_RETURN_IF_ERROR(
            launch_gradient(backward_.queries, Side::kQueries, stream, launches.d_bias));
        FATTN_CUDA_RETURN_IF_ERROR(
            launch_gradient(backward_.keys, Side::kKeys, stream, launches.d_k_d_v));
        return launch_converts(backward_.convert, copies.after(), stream);
    }

  private:
    uint64 device_bytes(Pass pass) const {
        if (pass == Pass::kForward) return dense_forward_workspace(problem_, num_splits_);
        if (!has_wide_backward(problem_)) return dense_backward_workspace(problem_);
        WideCopies copies(nullptr);
        static_cast<void>(copies.args(problem_, {}));
        return terms_bytes() + copies.bytes();
    }

    /// Of the terms of rows, where a run's copies begin.
    uint64 terms_bytes() const { return round_up<uint64>(dense_backward_workspace(problem_), 64); }

    /// Where the lengths of a run lie in its workspace, behind the bytes that its kernels use.
    uint64 lengths_offset(uint64 bytes) const {
        return lengths_workspace(problem_) == 0 ? bytes : ceil_div<uint64>(bytes, 64) * 64;
    }

    /// Arrays of a run, but for lengths in host memory, which are looked at when they are copied.
    template <class Args>
    Status check_arrays(Args args, const RunOptions& run) const {
        if (run.lengths_on_host) args.cu_seqlens_q = args.cu_seqlens_k = args.kv_len = nullptr;
        return check_run_arrays(*device_, problem_, args);
    }

    /// Finds the workspace of a run, and puts lengths that lie in host memory there. A forward run
    /// that brings none does not split, whatever its stream was prepared for: its bits depend on
    /// what the caller says alone.
    template <class Args>
    Status begin(Pass pass, const Stream& stream, const RunOptions& run, void** workspace,
                 Args* args) const {
        const bool needs_none = pass == Pass::kForward && run.workspace == nullptr;
        const uint64 bytes = needs_none ? 0 : device_bytes(pass);
        const uint64 lengths = run.lengths_on_host ? lengths_workspace(problem_) : 0;
        const uint64 offset = lengths == 0 ? bytes : lengths_offset(bytes);
        FATTN_CUDA_RETURN_IF_ERROR(
            find_workspace(stream, *pool_, run, offset + lengths, workspace));
        if (lengths == 0) return {};
        return upload_lengths(stream, problem_, static_cast<char*>(*workspace) + offset, args);
    }

    Status forward_in_parts(const DenseForwardArgs& args, const Stream& stream,
                            void* workspace) const {
        SplitLaunch split = dense_split_launch(problem_, args, num_splits_, workspace);
        FATTN_CUDA_RETURN_IF_ERROR(launch_forward(split.parts, stream));
        return launch_helper(merge_splits_, split.num_merge_blocks, stream, &split.merge);
    }

    Status launch_forward(ForwardLaunch& launch_of_run, const Stream& stream) const {
        const bool lean = launch_of_run.key == lean_.key && lean_.function.handle() != nullptr;
        const ForwardTile tile = launch_of_run.key.tile();
        return launch_blocks(lean ? lean_.function : general_.function,
                             {launch_of_run.num_blocks, tile.num_threads(), tile.shared_bytes()},
                             stream, &launch_of_run.params);
    }

    Status load_backward(KernelStore* store) {
        for (const Side side : {Side::kQueries, Side::kKeys}) {
            FATTN_CUDA_RETURN_IF_ERROR(
                load_backward_key(backward_key(backward_problem_, side), store,
                                  side == Side::kKeys ? &backward_.keys : &backward_.queries));
        }
        const std::string unit = kBackwardRowsUnit;
        FATTN_CUDA_RETURN_IF_ERROR(store->function(unit, kRowTermsKernel, &backward_.row_terms));
        FATTN_CUDA_RETURN_IF_ERROR(store->function(unit, kSinksKernel, &backward_.sinks));
        FATTN_CUDA_RETURN_IF_ERROR(store->function(unit, kConvertKernel, &backward_.convert));
        return store->function(unit, kZerosKernel, &backward_.zeros);
    }

    Status launch_gradient(const Function& function, Side side, const Stream& stream,
                           BackwardLaunch& gradient) const {
        const BackwardTile tile = backward_key(backward_problem_, side).tile();
        return launch_blocks(function,
                             {gradient.num_blocks, tile.num_threads(), tile.shared_bytes()}, stream,
                             &gradient.params);
    }

    const DenseProblem problem_;
    const DenseProblem backward_problem_;
    const std::shared_ptr<const Device> device_;
    WorkspacePool* const pool_;
    int32 num_splits_ = 1;  // of the keys of forward runs that bring a workspace
    Function merge_splits_;
    LoadedKey general_{};
    LoadedKey lean_{};
    BackwardFunctions backward_{};
};

}  // namespace

Status make_dense_kernel(const DenseProblem& problem, std::shared_ptr<const Device> device,
                         const KernelResources& resources, std::unique_ptr<DenseKernel>* kernel) {
    auto made = std::make_unique<CudaDenseKernel>(problem, std::move(device), resources.pool);
    FATTN_CUDA_RETURN_IF_ERROR(made->load(resources.store));
    *kernel = std::move(made);
    return {};
}

}  // namespace fattn::cuda
