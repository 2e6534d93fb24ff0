// Loads the key of linear attention and enqueues the sums of its passes; see lightning_kernel.h.
#include "cuda/host/lightning_kernel.h"

#include <utility>

#include "cuda/host/launch_checks.h"
#include "cuda/host/lightning_runs.h"
#include "cuda/host/run_workspace.h"
#include "cuda/runtime/error.h"
#include "cuda/runtime/stream.h"

namespace fattn::cuda {
namespace {

class CudaLightningKernel final : public LightningKernel {
  public:
    CudaLightningKernel(const LightningProblem& problem, std::shared_ptr<const Device> device,
                        WorkspacePool* pool)
        : problem_(problem),
          key_(lightning_key(problem)),
          device_(std::move(device)),
          pool_(pool) {}

    Status load(KernelStore* store) {
        FATTN_CUDA_RETURN_IF_ERROR(store->function(key_.unit(), key_.name(), &function_));
        return function_.allow_dynamic_shared(key_.shared_bytes());
    }

    WorkspaceSize workspace(Pass pass, int) const override {
        return {0, pass == Pass::kForward ? lightning_forward_workspace(problem_)
                                          : lightning_backward_workspace(problem_)};
    }
    Status prepare(Pass pass, void* stream) const override {
        return prepare_workspace(device_, stream, workspace(pass, 0).device, pool_);
    }
    const char* name(Pass) const override { return function_.name().c_str(); }

    Status forward(const LightningForwardArgs& args, const RunOptions& run) const override {
        const LightningProblem& p = problem_;
        FATTN_CUDA_RETURN_IF_ERROR(check_device_arrays(
            *device_, {{"args->q", args.q, elements_of(p.q)},
                       {"args->k", args.k, elements_of(p.k)},
                       {"args->v", args.v, elements_of(p.v)},
                       {"args->o", args.o, elements_of(p.o)},
                       {"args->slopes", args.slopes, p.num_q_heads},
                       {"args->initial_state", args.initial_state, state_size()},
                       {"args->final_state", args.final_state, state_size()}}));
        Stream stream;
        void* workspace = nullptr;
        FATTN_CUDA_RETURN_IF_ERROR(Stream::borrow(device_, run.stream, &stream));
        FATTN_CUDA_RETURN_IF_ERROR(
            find_workspace(stream, *pool_, run, lightning_forward_workspace(p), &workspace));
        return launch_all(lightning_forward_launches(p, args, workspace), stream);
    }

    Status backward(const LightningBackwardArgs& args, const RunOptions& run) const override {
        const LightningProblem& p = problem_;
        FATTN_CUDA_RETURN_IF_ERROR(check_device_arrays(
            *device_, {{"args->q", args.q, elements_of(p.q)},
                       {"args->k", args.k, elements_of(p.k)},
                       {"args->v", args.v, elements_of(p.v)},
                       {"args->slopes", args.slopes, p.num_q_heads},
                       {"args->initial_state", args.initial_state, state_size()},
                       {"args->d_o", args.d_o, elements_of(p.d_o)},
                       {"args->d_final_state", args.d_final_state, state_size()},
                       {"args->d_q", args.d_q, elements_of(p.d_q)},
                       {"args->d_k", args.d_k, elements_of(p.d_k)},
                       {"args->d_v", args.d_v, elements_of(p.d_v)},
                       {"args->d_initial_state", args.d_initial_state, state_size()}}));
        Stream stream;
        void* workspace = nullptr;
        FATTN_CUDA_RETURN_IF_ERROR(Stream::borrow(device_, run.stream, &stream));
        FATTN_CUDA_RETURN_IF_ERROR(
            find_workspace(stream, *pool_, run, lightning_backward_workspace(p), &workspace));
        return launch_all(lightning_backward_launches(p, args, workspace), stream);
    }

    /// A block reads its part of the state before it writes it, so both may be the same memory.
    Status step(const LightningForwardArgs& args, const RunOptions& run) const override {
        return forward(args, run);
    }

  private:
    int64 state_size() const {
        return problem_.batch * problem_.num_q_heads * problem_.state_rows() *
               problem_.state_columns();
    }

    Status launch_all(std::vector<LightningLaunch> launches, const Stream& stream) const {
        for (LightningLaunch& launch : launches) {
            FATTN_CUDA_RETURN_IF_ERROR(launch_blocks(
                function_,
                {launch.num_blocks, lightning_threads(key_.chunk()), key_.shared_bytes()}, stream,
                &launch.params));
        }
        return {};
    }

    const LightningProblem problem_;
    const LightningKey key_;
    const std::shared_ptr<const Device> device_;
    WorkspacePool* const pool_;
    Function function_;
};

}  // namespace

Status make_lightning_kernel(const LightningProblem& problem, std::shared_ptr<const Device> device,
                             const KernelResources& resources,
                             std::unique_ptr<LightningKernel>* kernel) {
    FATTN_CUDA_RETURN_IF_ERROR(supports_lightning(problem));
    auto made = std::make_unique<CudaLightningKernel>(problem, std::move(device), resources.pool);
    FATTN_CUDA_RETURN_IF_ERROR(made->load(resources.store));
    *kernel = std::move(made);
    return {};
}

}  // namespace fattn::cuda
