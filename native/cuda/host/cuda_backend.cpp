// The CUDA backend; see cuda_backend.h.
#include "cuda/host/cuda_backend.h"

#include "backend/text.h"
#include "cuda/host/cache_append.h"
#include "cuda/host/dense_backward.h"
#include "cuda/host/dense_forward.h"
#include "cuda/host/dense_kernel.h"
#include "cuda/host/lightning_kernel.h"
#include "cuda/host/lightning_runs.h"
#include "cuda/host/merge_kernel.h"
#include "cuda/host/peaks.h"
#include "cuda/host/sparse_kernels.h"
#include "cuda/host/wide_copies.h"
#include "cuda/runtime/error.h"

namespace fattn::cuda {
namespace {

constexpr Architecture kOldest = 80;

Status check_age(const DeviceProperties& properties) {
    if (properties.architecture >= kOldest) return {};
    return {StatusCode::kUnsupported,
            text("CUDA device ", properties.ordinal, " (", properties.name,
                 ") is of compute capability ", properties.architecture / 10, ".",
                 properties.architecture % 10, "; the kernels need ", kOldest / 10, ".",
                 kOldest % 10, " or newer")};
}

}  // namespace

Status CudaBackend::open(int ordinal, std::unique_ptr<CudaBackend>* backend) {
    const Driver* driver = nullptr;
    FATTN_CUDA_RETURN_IF_ERROR(process_driver(&driver));
    DeviceProperties properties;
    FATTN_CUDA_RETURN_IF_ERROR(describe_device(*driver, ordinal, &properties));
    FATTN_CUDA_RETURN_IF_ERROR(check_age(properties));  // before a context is made
    std::shared_ptr<const Device> device;
    FATTN_CUDA_RETURN_IF_ERROR(Device::open(*driver, ordinal, &device));
    return make(std::move(device), backend);
}

Status CudaBackend::attach(void* context, std::unique_ptr<CudaBackend>* backend) {
    const Driver* driver = nullptr;
    FATTN_CUDA_RETURN_IF_ERROR(process_driver(&driver));
    std::shared_ptr<const Device> device;
    FATTN_CUDA_RETURN_IF_ERROR(
        Device::attach(*driver, static_cast<ContextHandle>(context), &device));
    FATTN_CUDA_RETURN_IF_ERROR(check_age(device->properties()));
    return make(std::move(device), backend);
}

Status CudaBackend::make(std::shared_ptr<const Device> device,
                         std::unique_ptr<CudaBackend>* backend) {
    ImageOrigins origins;
    FATTN_CUDA_RETURN_IF_ERROR(process_origins(device->driver(), &origins));
    backend->reset(new CudaBackend(std::move(device), origins));
    return {};
}

std::string CudaBackend::reason() const {
    const Driver& driver = device_->driver();
    const std::size_t images = origins_.packs->images.entries().size();
    return text("sm_", device_->properties().architecture, ", driver of CUDA ",
                version_text(driver.version()),
                driver.named() ? text(" from ", driver.path(), " (FATTN_CUDA_DRIVER)") : "", ", ",
                images, " prebuilt kernel images, ",
                origins_.nvrtc == nullptr
                    ? std::string("no NVRTC")
                    : text("NVRTC ", origins_.nvrtc->major(), ".", origins_.nvrtc->minor()));
}

Status CudaBackend::supports(const DenseProblem& problem) const {
    const Status forward = supports_dense_forward(problem);
    if (!forward.ok() || !problem.backward) return forward;
    return supports_dense_backward(backward_problem(problem));
}

Status CudaBackend::make_dense(const DenseProblem& problem, std::unique_ptr<DenseKernel>* kernel) {
    FATTN_CUDA_RETURN_IF_ERROR(supports(problem));
    return make_dense_kernel(problem, device_, {&store_, &pool_}, kernel);
}

TileShape CudaBackend::dense_tiles(const DenseProblem& problem) const {
    const ForwardTile tile = general_key(problem).tile();
    return {.q = tile.tile_q, .kv = tile.tile_kv};
}

Status CudaBackend::supports(const NeighborhoodProblem& problem) const {
    return supports_neighborhood(problem);
}

Status CudaBackend::make_neighborhood(const NeighborhoodProblem& problem,
                                      const NeighborhoodSchedules& schedules,
                                      std::unique_ptr<NeighborhoodKernel>* kernel) {
    return make_neighborhood_kernel(problem, schedules, device_, {&store_, &pool_}, kernel);
}

GatherTiles CudaBackend::gather_tiles(const DenseProblem& problem) const {
    return gather_tiles_of(problem);
}

Status CudaBackend::supports(const S2Problem& problem) const { return supports_s2(problem); }

Status CudaBackend::make_s2(const S2Problem& problem, std::unique_ptr<DenseKernel>* kernel) {
    return make_s2_kernel(problem, device_, {&store_, &pool_}, kernel);
}

Status CudaBackend::supports(const PermutedBlockProblem& problem) const {
    return supports_permuted_block(problem);
}

Status CudaBackend::make_permuted_block(const PermutedBlockProblem& problem,
                                        std::unique_ptr<PermutedBlockKernel>* kernel) {
    return make_permuted_block_kernel(problem, device_, {&store_, &pool_}, kernel);
}

Status CudaBackend::supports(const LightningProblem& problem) const {
    return supports_lightning(problem);
}

Status CudaBackend::make_lightning(const LightningProblem& problem,
                                   std::unique_ptr<LightningKernel>* kernel) {
    return make_lightning_kernel(problem, device_, {&store_, &pool_}, kernel);
}

Status CudaBackend::merge(const MergeProblem& problem, const RunOptions& run) {
    return merge_on_device(problem, run, device_, &store_);
}

Status CudaBackend::append(const CacheAppend& append, const RunOptions& run) {
    return append_on_device(append, run, device_, &store_);
}

Status CudaBackend::measure(Peak peak, int, double seconds, double* result) {
    return measure_peak(peak, seconds, device_, &store_, result);
}

// What cannot be freed, because the device is gone, is not held by it any more either.
void CudaBackend::trim() { static_cast<void>(pool_.trim().ok()); }

}  // namespace fattn::cuda
