// Finds compiled keys in a folder and launches them.
#include "dense_runs.h"

#include <utility>

namespace fattn::gpu {

DenseKernels::DenseKernels(std::string folder, int architecture)
    : folder_(std::move(folder)), architecture_(architecture >= 90 ? 90 : 80) {}

void DenseKernels::enqueue(const cuda::ForwardLaunch& launch) {
    if (launch.num_blocks == 0) return;
    const cuda::ForwardTile tile = launch.key.tile();
    const Grid grid{launch.num_blocks, static_cast<unsigned>(tile.num_threads()),
                    static_cast<unsigned>(tile.shared_bytes())};
    const std::string name = launch.key.name();
    auto found = functions_.find(name);
    if (found == functions_.end()) {
        const std::string unit = launch.key.unit();
        auto module = modules_.find(unit);
        if (module == modules_.end()) {
            const std::string path =
                folder_ + "/" + unit + ".sm_" + std::to_string(architecture_) + ".cubin";
            module = modules_.emplace(unit, Module(path)).first;
        }
        found = functions_.emplace(name, module->second.function(name, grid.shared_bytes)).first;
    }
    gpu::launch(found->second, grid, &launch.params, sizeof(launch.params));
}

}  // namespace fattn::gpu
