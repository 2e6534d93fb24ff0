// Loads the key of linear attention and enqueues the sums of its passes; see lightning_kernel.h.
#include "cuda/host/lightning_kernel.h"

#include <utility>
#include <variant>

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
        FATTN_CUDA_RETURN_IF_ERROR(store->function(key_.unit(), key_.name(), &sum_));
        FATTN_CUDA_RETURN_IF_ERROR(sum_.allow_dynamic_shared(key_.shared_bytes()));
        if (!lightning_has_row_kernels(problem_)) return {};
        const auto load_rows = [&](const char* name, Function* function) {
            return store->function("lightning_rows", name, function);
        };
        FATTN_CUDA_RETURN_IF_ERROR(load_rows("lightning_features", &features_));
        FATTN_CUDA_RETURN_IF_ERROR(load_rows("lightning_feature_gradients", &gradients_));
        FATTN_CUDA_RETURN_IF_ERROR(load_rows("lightning_quotients", &quotients_));
        return load_rows("lightning_pass_states", &pass_states_);
    }

    WorkspaceSize workspace(Pass pass, int) const override {
        return {0, pass == Pass::kForward ? lightning_forward_workspace(problem_)
                                          : lightning_backward_workspace(problem_)};
    }
    Status prepare(Pass pass, void* stream) const override {
        return prepare_workspace(device_, stream, workspace(pass, 0).device, pool_);
    }
    const char* name(Pass) const override { return sum_.name().c_str(); }

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
            FATTN_CUDA_RETURN_IF_ERROR(std::visit(
                [&](auto& params) {
                    return launch_blocks(function_of(params), blocks_of(params, launch.num_blocks),
                                         stream, &params);
                },
                launch.params));
        }
        return {};
    }

    const Function& function_of(const LightningParams&) const { return sum_; }
    const Function& function_of(const PassStatesParams&) const { return pass_states_; }
    const Function& function_of(const FeatureRowsParams&) const { return features_; }
    const Function& function_of(const FeatureGradientsParams&) const { return gradients_; }
    const Function& function_of(const QuotientsParams&) const { return quotients_; }

    Blocks blocks_of(const LightningParams&, uint32 count) const {
        return {count, lightning_threads(key_.chunk()), key_.shared_bytes()};
    }
    template <class RowParams>
    static Blocks blocks_of(const RowParams&, uint32 count) {
        return {count, kLightningRowThreads, 0};
    }

    const LightningProblem problem_;
    const LightningKey key_;
    const std::shared_ptr<const Device> device_;
    WorkspacePool* const pool_;
    Function sum_;
    Function features_;  // these where the plan needs them
    Function gradients_;
    Function quotients_;
    Function pass_states_;
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
