// Measures a GPU's peaks in launches that grow until one is long enough to be timed; see peaks.h.
#include "cuda/host/peaks.h"

#include <algorithm>
#include <cstdint>

#include "cuda/device/peaks_params.h"
#include "cuda/host/launch_checks.h"
#include "cuda/runtime/error.h"
#include "cuda/runtime/event.h"
#include "cuda/runtime/memory.h"

namespace fattn::cuda {
namespace {

constexpr int32 kBlocksOfMultiprocessor = 8;
constexpr int64 kBytesOfRead = 16;
/// Reads go over four times what the cache holds.
constexpr int64 kCachesRead = 4;

class PeakMeasurement {
  public:
    Status begin(Peak peak, const std::shared_ptr<const Device>& device, KernelStore* store) {
        const char* name = peak == Peak::kF32    ? "peak_f32"
                           : peak == Peak::kBF16 ? "peak_bf16"
                                                 : "peak_read";
        FATTN_CUDA_RETURN_IF_ERROR(store->function("peaks", name, &function_));
        FATTN_CUDA_RETURN_IF_ERROR(Stream::create(device, 0, &stream_));
        FATTN_CUDA_RETURN_IF_ERROR(Event::create(device, true, &start_));
        FATTN_CUDA_RETURN_IF_ERROR(Event::create(device, true, &end_));
        const DeviceProperties& properties = device->properties();
        params_.num_blocks = properties.num_multiprocessors * kBlocksOfMultiprocessor;
        const double threads = static_cast<double>(params_.num_blocks) * kPeakThreads;
        if (peak == Peak::kF32) work_ = threads * kPeakF32Operations;
        if (peak == Peak::kBF16) work_ = threads * kPeakBF16Operations;
        const int64 bytes = peak == Peak::kRead ? kCachesRead * properties.l2_bytes
                                                : static_cast<int64>(sizeof(float));
        FATTN_CUDA_RETURN_IF_ERROR(
            DeviceMemory::allocate(device, static_cast<std::size_t>(bytes), &memory_));
        auto* data = reinterpret_cast<void*>(static_cast<std::uintptr_t>(memory_.address()));
        params_.data = data;
        params_.sink = static_cast<float*>(data);
        if (peak != Peak::kRead) return {};
        params_.num_reads = bytes / kBytesOfRead;
        work_ = static_cast<double>(bytes);
        return fill_bytes(stream_, memory_.address(), 0, memory_.bytes());
    }

    /// Everything so often; seconds that it took.
    Status launch(int32 repeats, double* seconds) {
        params_.repeats = repeats;
        float milliseconds = 0.0F;
        FATTN_CUDA_RETURN_IF_ERROR(start_.record(stream_));
        FATTN_CUDA_RETURN_IF_ERROR(launch_blocks(
            function_,
            {static_cast<uint32>(params_.num_blocks), kPeakThreads, kPeakThreads * kBytesOfRead},
            stream_, &params_));
        FATTN_CUDA_RETURN_IF_ERROR(end_.record(stream_));
        FATTN_CUDA_RETURN_IF_ERROR(end_.synchronize());
        FATTN_CUDA_RETURN_IF_ERROR(end_.elapsed_milliseconds(start_, &milliseconds));
        *seconds = static_cast<double>(milliseconds) * 1e-3;
        return {};
    }

    /// Operations or bytes of one repeat.
    double work() const { return work_; }

  private:
    Function function_;
    Stream stream_;
    Event start_;
    Event end_;
    DeviceMemory memory_;
    PeakParams params_{};
    double work_ = 0;
};

}  // namespace

Status measure_peak(Peak peak, double seconds, const std::shared_ptr<const Device>& device,
                    KernelStore* store, double* result) {
    // Long enough that starting does not count, short enough for a display to wait.
    constexpr double kLongLaunch = 0.05;
    constexpr int32 kMostRepeats = 1 << 24;
    PeakMeasurement measurement;
    FATTN_CUDA_RETURN_IF_ERROR(measurement.begin(peak, device, store));
    int32 repeats = 1;
    double spent = 0, best = 0;
    do {
        double launched = 0;
        FATTN_CUDA_RETURN_IF_ERROR(measurement.launch(repeats, &launched));
        spent += launched;
        if (launched > 0) best = std::max(best, measurement.work() * repeats / launched);
        if (launched < kLongLaunch && repeats < kMostRepeats) repeats *= 2;
    } while (spent < seconds);
    *result = best * 1e-9;
    return {};
}

}  // namespace fattn::cuda
