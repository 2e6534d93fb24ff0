// The CPU backend; see backend.h.
#include "cpu/backend.h"

#include <atomic>
#include <chrono>
#include <cstring>
#include <utility>
#include <vector>

#include "backend/text.h"
#include "cpu/dense_kernel.h"
#include "cpu/lightning_kernel.h"
#include "cpu/neighborhood_kernel.h"
#include "cpu/parallel.h"
#include "cpu/permuted_block_kernel.h"
#include "cpu/s2_kernel.h"

namespace fattn::cpu {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Calls one measured loop until the time is over; returns its rate.
double measure_rate(double (*loop)(MeasureTask&), MeasureTask task, double seconds) {
    loop(task);  // warms caches and clocks
    const Clock::time_point start = Clock::now();
    double work = 0;
    double elapsed = 0;
    do {
        work += loop(task);
        elapsed = seconds_since(start);
    } while (elapsed < seconds);
    return work / elapsed;
}

}  // namespace

CpuBackend::CpuBackend(Choice choice, int num_threads)
    : choice_(std::move(choice)), num_threads_(num_threads) {}

Status CpuBackend::supports(const DenseProblem&) const { return {}; }

Status CpuBackend::make_dense(const DenseProblem& problem, std::unique_ptr<DenseKernel>* kernel) {
    if (Status status = supports(problem); !status.ok()) return status;
    *kernel = make_dense_kernel(problem, *choice_.kernels, pool_, num_threads_);
    return {};
}

TileShape CpuBackend::dense_tiles(const DenseProblem&) const {
    return {.q = choice_.kernels->tile_q, .kv = choice_.kernels->tile_kv};
}

Status CpuBackend::supports(const NeighborhoodProblem&) const { return {}; }

Status CpuBackend::make_neighborhood(const NeighborhoodProblem& problem,
                                     const NeighborhoodSchedules& schedules,
                                     std::unique_ptr<NeighborhoodKernel>* kernel) {
    if (Status status = supports(problem); !status.ok()) return status;
    *kernel = make_neighborhood_kernel(problem, schedules, *choice_.kernels, pool_, num_threads_);
    return {};
}

GatherTiles CpuBackend::gather_tiles(const DenseProblem& problem) const {
    const KernelTable& table = *choice_.kernels;
    const bool pairs = table.bf16_dot && problem.q.dtype == DType::kBF16;
    // A register tile is about a sixteenth of a row tile by an eighth of a key tile; packing a key
    // takes about as long as its products with so many rows.
    return {.most_rows = 2 * table.tile_q,
            .most_keys = narrow<int32>(table.backward_keys(problem)),
            .row_tile = table.backward_tile_q,
            .key_tile = table.backward_tile_kv,
            .row_group = table.tile_q / 16,
            .key_group = table.tile_kv / 8,
            .gather_rows = pairs ? 40 : 12,
            .tile_row = pairs ? 20 : 10,
            .lane_group = kGroupLanes,
            .lane_run = kRunKeys,
            .lane_percent = table.lane_percent(problem),
            .lane_backward_percent = table.lane_backward_percent(problem)};
}

Status CpuBackend::supports(const S2Problem&) const { return {}; }

Status CpuBackend::make_s2(const S2Problem& problem, std::unique_ptr<DenseKernel>* kernel) {
    if (Status status = supports(problem); !status.ok()) return status;
    *kernel = make_s2_kernel(problem, *choice_.kernels, pool_, num_threads_);
    return {};
}

Status CpuBackend::supports(const PermutedBlockProblem&) const { return {}; }

Status CpuBackend::make_permuted_block(const PermutedBlockProblem& problem,
                                       std::unique_ptr<PermutedBlockKernel>* kernel) {
    *kernel = make_permuted_block_kernel(problem, *choice_.kernels, pool_, num_threads_);
    return {};
}

Status CpuBackend::supports(const LightningProblem&) const { return {}; }

Status CpuBackend::make_lightning(const LightningProblem& problem,
                                  std::unique_ptr<LightningKernel>* kernel) {
    *kernel = make_lightning_kernel(problem, *choice_.kernels, pool_, num_threads_);
    return {};
}

Status CpuBackend::merge(const MergeProblem& problem, const RunOptions& run) {
    constexpr int64 kRowsPerTask = 256;
    const int64 num_rows = problem.o.shape[0] * problem.o.shape[1] * problem.o.shape[2];
    const int threads = threads_of_run(run.max_threads, num_threads_);
    return parallel_for(
        ceil_div(num_rows, kRowsPerTask), threads, run.cancel, [&](int64 task, int) {
            const int64 begin = task * kRowsPerTask;
            choice_.kernels->merge(problem, begin, min_of(begin + kRowsPerTask, num_rows));
        });
}

Status CpuBackend::append(const CacheAppend& append, const RunOptions& run) {
    constexpr int64 kRowsPerTask = 256;
    const int64 element = bits_of(append.tokens_layout.dtype) / 8;
    const auto bytes = static_cast<std::size_t>(append.tokens_layout.shape[3] * element);
    const auto copy_row = [&](int64 row) {
        const CacheAppend::Move move = append.move(row);
        if (!move.exists) return;
        std::memcpy(static_cast<char*>(append.pages) + move.to * element,
                    static_cast<const char*>(append.tokens) + move.from * element, bytes);
    };
    const int threads = threads_of_run(run.max_threads, num_threads_);
    return parallel_for(ceil_div(append.num_rows(), kRowsPerTask), threads, run.cancel,
                        [&](int64 task, int) {
                            const int64 end = min_of((task + 1) * kRowsPerTask, append.num_rows());
                            for (int64 row = task * kRowsPerTask; row < end; ++row) copy_row(row);
                        });
}

Status CpuBackend::measure(Peak peak, int num_threads, double seconds, double* result) {
    // Together more than any cache holds; each thread reads its own part.
    constexpr int64 kReadFloats = int64{1} << 26;
    constexpr int64 kIterations = 100000;
    const int threads = threads_of_run(num_threads, num_threads_);
    std::vector<float> data;
    double (*loop)(MeasureTask&) = nullptr;
    switch (peak) {
        case Peak::kF32:
            loop = choice_.kernels->peak_f32;
            break;
        case Peak::kBF16:
            loop = choice_.kernels->peak_bf16;
            break;
        case Peak::kRead:
            loop = choice_.kernels->peak_read;
            data.assign(static_cast<std::size_t>(kReadFloats), 1.0f);
            break;
    }
    const int64 part = static_cast<int64>(data.size()) / threads;
    std::atomic<double> total = 0;
    Status status = parallel_for(threads, threads, nullptr, [&](int64 task, int) {
        const MeasureTask measured{.iterations = peak == Peak::kRead ? 1 : kIterations,
                                   .data = data.data() + task * part,
                                   .num_floats = part,
                                   .sink = 0};
        total.fetch_add(measure_rate(loop, measured, seconds));
    });
    *result = total.load() * 1e-9;
    return status;
}

void CpuBackend::trim() { pool_.trim(); }

}  // namespace fattn::cpu
