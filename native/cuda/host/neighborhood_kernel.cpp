// Neighborhood attention on a GPU: patches that the planner chose, windows from their closed form.
#include <utility>

#include "backend/text.h"
#include "cuda/host/dense_keys.h"
#include "cuda/host/gathered_kernel.h"
#include "cuda/host/launch_checks.h"
#include "cuda/host/run_workspace.h"
#include "cuda/host/sparse_kernels.h"
#include "cuda/host/wide_copies.h"
#include "cuda/runtime/error.h"

namespace fattn::cuda {
namespace {

GatheredPattern box_pattern(const NeighborhoodProblem& problem, const BoxSchedule& schedule) {
    GatheredPattern pattern{};
    pattern.kind = PatternKind::kBox;
    GridBoxes& boxes = pattern.boxes;
    boxes.grid = problem.grid;
    boxes.num_tokens = narrow<int32>(problem.num_tokens());
    boxes.num_additional = narrow<int32>(problem.num_additional);
    boxes.additional_k = problem.additional_k;
    boxes.additional_v = problem.additional_v;
    boxes.d_additional_k = problem.d_additional_k;
    boxes.d_additional_v = problem.d_additional_v;
    set_patches({schedule.axis[0].tile_q, schedule.axis[1].tile_q, schedule.axis[2].tile_q},
                &boxes);
    return pattern;
}

class CudaNeighborhoodKernel final : public NeighborhoodKernel {
  public:
    CudaNeighborhoodKernel(const GatheredProblem& problem, const GatheredProblem& of_backward,
                           const GatheredPattern& of_keys, std::shared_ptr<const Device> device,
                           WorkspacePool* pool)
        : gathered_(problem, of_backward, std::move(device)), of_keys_(of_keys), pool_(pool) {}

    Status load(KernelStore* store) { return gathered_.load(store); }

    WorkspaceSize workspace(Pass pass, int) const override {
        return {0, pass == Pass::kBackward ? gathered_.backward_bytes() : 0};
    }
    Status prepare(Pass pass, void* stream) const override {
        return prepare_workspace(gathered_.device(), stream, workspace(pass, 0).device, pool_);
    }
    const char* name(Pass pass) const override { return gathered_.name(pass); }

    Status forward(const NeighborhoodForwardArgs& args, const RunOptions& run) const override {
        FATTN_CUDA_RETURN_IF_ERROR(check_run_arrays(*gathered_.device(), dense(), args.dense));
        FATTN_CUDA_RETURN_IF_ERROR(check_additional(args));
        return gathered_.forward(with_additional(gathered_.problem().pattern, args), args.dense,
                                 nullptr, run);
    }

    Status backward(const NeighborhoodBackwardArgs& args, const RunOptions& run) const override {
        const std::shared_ptr<const Device>& device = gathered_.device();
        const GridBoxes& boxes = of_keys_.boxes;
        Stream stream;
        FATTN_CUDA_RETURN_IF_ERROR(Stream::borrow(device, run.stream, &stream));
        FATTN_CUDA_RETURN_IF_ERROR(check_run_arrays(*device, dense(), args.dense));
        FATTN_CUDA_RETURN_IF_ERROR(check_additional(args));
        FATTN_CUDA_RETURN_IF_ERROR(check_device_arrays(
            *device,
            {{"args->d_additional_k", args.d_additional_k, elements_of(boxes.d_additional_k)},
             {"args->d_additional_v", args.d_additional_v, elements_of(boxes.d_additional_v)}}));
        void* workspace = nullptr;
        FATTN_CUDA_RETURN_IF_ERROR(
            find_workspace(stream, *pool_, run, gathered_.backward_bytes(), &workspace));
        GatheredPattern of_keys = with_additional(of_keys_, args);
        of_keys.boxes.d_k = args.d_additional_k;
        of_keys.boxes.d_v = args.d_additional_v;
        return gathered_.backward(with_additional(gathered_.problem().pattern, args), of_keys,
                                  args.dense, workspace, stream);
    }

  private:
    const DenseProblem& dense() const { return gathered_.problem().dense; }

    template <class Args>
    Status check_additional(const Args& args) const {
        const GridBoxes& boxes = of_keys_.boxes;
        return check_device_arrays(
            *gathered_.device(),
            {{"args->additional_k", args.additional_k, elements_of(boxes.additional_k)},
             {"args->additional_v", args.additional_v, elements_of(boxes.additional_v)}});
    }

    template <class Args>
    static GatheredPattern with_additional(GatheredPattern pattern, const Args& args) {
        pattern.boxes.k = args.additional_k;
        pattern.boxes.v = args.additional_v;
        return pattern;
    }

    GatheredKernel gathered_;
    GatheredPattern of_keys_;
    WorkspacePool* const pool_;
};

}  // namespace

Status supports_neighborhood(const NeighborhoodProblem& problem) {
    constexpr int64 kMostKeys = INT32_MAX - 256;
    const int64 keys = problem.num_tokens() + problem.num_additional;
    if (keys > kMostKeys) {
        return {StatusCode::kUnsupported,
                text("a grid has ", problem.num_tokens(), " tokens and ", problem.num_additional,
                     " additional keys; CUDA kernels take up to ", kMostKeys, " together")};
    }
    GatheredPattern pattern{};
    FATTN_CUDA_RETURN_IF_ERROR(
        supports_gathered(gathered_by_position(problem.dense, pattern, false)));
    return supports_gathered(gathered_by_position(backward_problem(problem.dense), pattern, false));
}

GatherTiles gather_tiles_of(const DenseProblem& problem) {
    // Tiles of f32 are no larger than others, so patches that fit them fit both passes.
    const GatheredKeys keys = gathered_keys(backward_problem(problem));
    const ForwardTile forward = keys.forward_tile();
    const BackwardTile backward = keys.backward_tile(Side::kKeys);
    // All rows of a tile compute all of its keys. Gathering a key costs as much for one row as for
    // all of them.
    return {.most_rows = forward.tile_q,
            .most_keys = backward.rows,
            .row_tile = backward.columns,
            .key_tile = backward.rows,
            .row_group = forward.tile_q,
            .key_group = forward.tile_kv,
            .gather_rows = forward.tile_q,
            .tile_row = 1,
            .lane_group = 0,
            .lane_run = 0,
            .lane_percent = 0,
            .lane_backward_percent = 0};
}

Status make_neighborhood_kernel(const NeighborhoodProblem& problem,
                                const NeighborhoodSchedules& schedules,
                                std::shared_ptr<const Device> device,
                                const KernelResources& resources,
                                std::unique_ptr<NeighborhoodKernel>* kernel) {
    FATTN_CUDA_RETURN_IF_ERROR(supports_neighborhood(problem));
    const GatheredPattern pattern = box_pattern(problem, schedules.keys_of_queries);
    const GatheredPattern of_keys =
        problem.dense.backward ? box_pattern(problem, schedules.queries_of_keys) : pattern;
    for (const GridBoxes* boxes : {&pattern.boxes, &of_keys.boxes}) {
        FATTN_CUDA_RETURN_IF_ERROR(
            supports_tiles(problem.dense, num_patches(*boxes) + problem.num_additional, "patches"));
    }
    const GatheredProblem gathered = gathered_by_patch(problem.dense, pattern, of_keys);
    const GatheredProblem of_backward =
        gathered_by_patch(backward_problem(problem.dense), pattern, of_keys);
    FATTN_CUDA_RETURN_IF_ERROR(supports_gathered(gathered));
    FATTN_CUDA_RETURN_IF_ERROR(supports_gathered(of_backward));
    auto made = std::make_unique<CudaNeighborhoodKernel>(gathered, of_backward, of_keys,
                                                         std::move(device), resources.pool);
    FATTN_CUDA_RETURN_IF_ERROR(made->load(resources.store));
    *kernel = std::move(made);
    return {};
}

}  // namespace fattn::cuda
