// Finds compiled keys in a folder and launches them.
#include "dense_runs.h"

#include <utility>

namespace fattn::gpu {

DenseKernels::DenseKernels(std::string folder, int architecture)
    : folder_(std::move(folder)), architecture_(architecture >= 90 ? 90 : 80) {}

template <class Params>
void DenseKernels::enqueue(const std::string& unit, const std::string& name, const Grid& grid,
                           const Params& params) {
    if (grid.num_blocks == 0) return;
    auto found = functions_.find(name);
    if (found == functions_.end()) {
        auto module = modules_.find(unit);
        if (module == modules_.end()) {
            const std::string path =
                folder_ + "/" + unit + ".sm_" + std::to_string(architecture_) + ".cubin";
            module = modules_.emplace(unit, Module(path)).first;
        }
        found = functions_.emplace(name, module->second.function(name, grid.shared_bytes)).first;
    }
    gpu::launch(found->second, grid, &params, sizeof(params));
}

void DenseKernels::enqueue(const cuda::ForwardLaunch& launch) {
    const cuda::ForwardTile tile = launch.key.tile();
    enqueue(launch.key.unit(), launch.key.name(),
            {launch.num_blocks, static_cast<unsigned>(tile.num_threads()),
             static_cast<unsigned>(tile.shared_bytes())},
            launch.params);
}

void DenseKernels::enqueue(const cuda::BackwardKey& key, const cuda::BackwardLaunch& launch) {
    const cuda::BackwardTile tile = key.tile();
    enqueue(key.unit(), key.name(),
            {launch.num_blocks, static_cast<unsigned>(tile.num_threads()),
             static_cast<unsigned>(tile.shared_bytes())},
            launch.params);
}

void DenseKernels::enqueue(const DenseProblem& problem, const cuda::DenseBackwardRun& run) {
    constexpr unsigned kThreads = 128;
    constexpr unsigned kShared = kThreads * sizeof(float);
    const std::string rows = cuda::kBackwardRowsUnit;
    for (const cuda::ZerosLaunch& zeros : run.zeros) {
        enqueue(rows, cuda::kZerosKernel, {zeros.num_blocks, kThreads, kShared}, zeros.params);
    }
    enqueue(rows, cuda::kRowTermsKernel, {run.num_term_blocks, kThreads, kShared}, run.rows);
    enqueue(rows, cuda::kSinksKernel, {run.num_sink_blocks, kThreads, kShared}, run.rows);
    enqueue(cuda::backward_key(problem, cuda::Side::kQueries), run.d_q);
    enqueue(cuda::backward_key(problem, cuda::Side::kQueries), run.d_bias);
    enqueue(cuda::backward_key(problem, cuda::Side::kKeys), run.d_k_d_v);
}

}  // namespace fattn::gpu
