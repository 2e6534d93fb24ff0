// The occupancy functions, from the limits of the device's model. Called by programs through the
// driver API.
#include <algorithm>

#include "driver/entry.h"
#include "driver/exports.h"
#include "driver/launch.h"

namespace fattn::vgpu::cuda {
namespace {

using driver::call_in_context;
using driver::Context;
using driver::Driver;
using driver::fail;
using driver::Function;
using driver::require_results;

uint32_t threads_of(int block_threads) {
    if (block_threads < 1 || block_threads > 1024) {
        fail(CUDA_ERROR_INVALID_VALUE, "a block of %d threads; 1 to 1024 are allowed",
             block_threads);
    }
    return static_cast<uint32_t>(block_threads);
}

// 0 too when the launch would be refused for its shared memory.
uint32_t blocks(const Function& function, uint32_t threads, size_t dynamic_shared) {
    if (threads > function.entry->max_threads || dynamic_shared > UINT32_MAX ||
        dynamic_shared > function.max_dynamic_shared) {
        return 0;
    }
    return driver::resident_blocks(function, threads, static_cast<uint32_t>(dynamic_shared));
}

// Clusters of so many blocks that are resident at once. A cluster lies on one group of
// multiprocessors, which here is the device.
uint32_t clusters(const Function& function, const driver::LaunchRequest& request,
                  uint64_t cluster_blocks) {
    const uint32_t per_sm = blocks(function, static_cast<uint32_t>(request.block.count()),
                                   request.dynamic_shared_bytes);
    return static_cast<uint32_t>(uint64_t{per_sm} * function.module->code->model().num_sms /
                                 cluster_blocks);
}

void require_clusters(const Function& function) {
    if (function.module->code->model().compute_major < 9) {
        fail(CUDA_ERROR_NOT_SUPPORTED, "clusters of blocks need compute capability 9.0");
    }
}

}  // namespace

extern "C" {

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* count, CUfunction handle,
                                                              int block_threads,
                                                              size_t dynamic_shared,
                                                              unsigned flags) {
    return call_in_context(
        "cuOccupancyMaxActiveBlocksPerMultiprocessor", [&](Driver& state, Context& context) {
            require_results(count);
            if (flags > 1) {
                fail(CUDA_ERROR_INVALID_VALUE, "the flags are %u; 0 and 1 are allowed", flags);
            }
            const auto function = driver::launchable(state, context, handle);
            *count = static_cast<int>(blocks(*function, threads_of(block_threads), dynamic_shared));
        });
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int* count, CUfunction function,
                                                     int block_threads, size_t dynamic_shared) {
    return cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(count, function, block_threads,
                                                                dynamic_shared, 0);
}

CUresult cuOccupancyMaxPotentialBlockSize(int* grid_blocks, int* block_threads, CUfunction handle,
                                          CUoccupancyB2DSize shared_of, size_t dynamic_shared,
                                          int limit) {
    return call_in_context(
        "cuOccupancyMaxPotentialBlockSize", [&](Driver& state, Context& context) {
            require_results(grid_blocks, block_threads);
            const auto function = driver::launchable(state, context, handle);
            const uint32_t most =
                limit > 0 ? std::min(static_cast<uint32_t>(limit), function->entry->max_threads)
                          : function->entry->max_threads;
            uint32_t best_threads = 0, best_resident = 0, best_blocks = 0;
            for (uint32_t threads = most; threads > 0; threads = (threads - 1) / 32 * 32) {
                const size_t shared =
                    shared_of == nullptr ? dynamic_shared : shared_of(static_cast<int>(threads));
                const uint32_t fit = blocks(*function, threads, shared);
                if (fit * threads > best_resident) {
                    best_threads = threads;
                    best_resident = fit * threads;
                    best_blocks = fit;
                }
            }
            *block_threads = static_cast<int>(best_threads);
            *grid_blocks = static_cast<int>(best_blocks * context.device->model->num_sms);
        });
}

CUresult cuOccupancyAvailableDynamicSMemPerBlock(size_t* bytes, CUfunction handle, int num_blocks,
                                                 int block_threads) {
    return call_in_context(
        "cuOccupancyAvailableDynamicSMemPerBlock", [&](Driver& state, Context& context) {
            require_results(bytes);
            const auto function = driver::launchable(state, context, handle);
            const uint32_t threads = threads_of(block_threads);
            if (num_blocks < 1) {
                fail(CUDA_ERROR_INVALID_VALUE, "%d blocks; 1 or more are allowed", num_blocks);
            }
            // Shared memory only ever takes blocks away, so the largest size can be searched by
            // halves.
            uint32_t low = 0, high = function->max_dynamic_shared;
            const auto fits = [&](uint32_t shared) {
                return blocks(*function, threads, shared) >= static_cast<uint32_t>(num_blocks);
            };
            if (!fits(0)) {
                fail(CUDA_ERROR_INVALID_VALUE, "%d blocks of %u threads do not fit at all",
                     num_blocks, threads);
            }
            while (low < high) {
                const uint32_t middle = low + (high - low + 1) / 2;
                if (fits(middle)) {
                    low = middle;
                } else {
                    high = middle - 1;
                }
            }
            *bytes = low;
        });
}

CUresult cuOccupancyMaxPotentialClusterSize(int* size, CUfunction handle,
                                            const CUlaunchConfig* config) {
    return call_in_context(
        "cuOccupancyMaxPotentialClusterSize", [&](Driver& state, Context& context) {
            require_results(size, config);
            const auto function = driver::launchable(state, context, handle);
            require_clusters(*function);
            const auto request = driver::request_of(*config);
            int best = function->non_portable_cluster ? 16 : 8;
            while (best > 1 && clusters(*function, request, static_cast<uint64_t>(best)) == 0) {
                best /= 2;
            }
            *size = best;
        });
}

CUresult cuOccupancyMaxActiveClusters(int* count, CUfunction handle, const CUlaunchConfig* config) {
    return call_in_context("cuOccupancyMaxActiveClusters", [&](Driver& state, Context& context) {
        require_results(count, config);
        const auto function = driver::launchable(state, context, handle);
        require_clusters(*function);
        const auto request = driver::request_of(*config);
        const uint64_t size = request.cluster.count();
        if (size == 0) fail(CUDA_ERROR_INVALID_VALUE, "a dimension of the cluster is 0");
        *count = static_cast<int>(clusters(*function, request, size));
    });
}

}  // extern "C"
}  // namespace fattn::vgpu::cuda
