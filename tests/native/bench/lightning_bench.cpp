// Rates of linear attention on the CPU from one thousand to one million tokens, and of its
// recurrent step, against what the machine can do, measured in the same run; started by ./build.sh
// bench.
#include <benchmark/benchmark.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "bench_tensors.h"
#include "fused_attention/fused_attention.h"

namespace {

using Clock = std::chrono::steady_clock;
using fattn::bench::layout;
using fattn::bench::median;
using fattn::bench::random_tensor;
using fattn::bench::with_threads;

struct Shape {
    const char* name;
    int64_t heads, len, head_dim;
    bool backward;
    bool step;
};

// Many heads run whole sequences side by side, one head is cut into segments.
constexpr Shape kShapes[] = {
    {"h16", 16, 1024, 128, false, false},        {"h16", 16, 4096, 128, false, false},
    {"h16", 16, 16384, 128, false, false},       {"h16", 16, 65536, 128, false, false},
    {"h16", 16, 4096, 64, false, false},         {"h1", 1, 1024, 128, false, false},
    {"h1", 1, 4096, 128, false, false},          {"h1", 1, 16384, 128, false, false},
    {"h1", 1, 65536, 128, false, false},         {"h1", 1, 262144, 128, false, false},
    {"h1", 1, 1048576, 128, false, false},       {"backward_h16", 16, 4096, 128, true, false},
    {"backward_h1", 1, 65536, 128, true, false}, {"step_h32", 32, 1, 128, false, true},
    {"step_h512", 512, 1, 128, false, true},
};

/// A problem with its tensors, ready to run.
class Case {
  public:
    Case(const Shape& s, fattn_dtype dtype) : shape_(s), dtype_(dtype) {
        fattn_device_cpu(&device_);
        fattn_lightning_problem problem{};
        problem.struct_size = sizeof(problem);
        if (s.backward) problem.flags |= FATTN_LIGHTNING_BACKWARD;
        problem.q = problem.k = problem.v = layout(1, s.heads, s.len, s.head_dim, dtype);
        status_ = fattn_lightning_plan(device_, &problem, &plan_);
        const int64_t count = s.heads * s.len * s.head_dim;
        q_ = random_tensor(count, dtype, 1);
        k_ = random_tensor(count, dtype, 2);
        v_ = random_tensor(count, dtype, 3);
        o_.resize(q_.size());
        if (s.backward) {
            d_o_ = random_tensor(count, dtype, 4);
            d_q_.resize(q_.size());
            d_k_.resize(q_.size());
            d_v_.resize(q_.size());
        }
        state_.resize(static_cast<size_t>(s.heads * s.head_dim * s.head_dim));
        for (int64_t h = 0; h < s.heads; ++h) {
            slopes_.push_back(1.0F / static_cast<float>(2 << (h % 8)));
        }
        fattn_plan_description description{};
        description.struct_size = sizeof(description);
        if (status_ == FATTN_STATUS_OK) status_ = fattn_plan_info(plan_, &description);
        flops_ = s.backward ? description.backward_flops : description.forward_flops;
        if (status_ == FATTN_STATUS_OK) status_ = run(1);
    }
    Case(const Case&) = delete;
    Case& operator=(const Case&) = delete;
    ~Case() {
        fattn_plan_release(plan_);
        fattn_device_release(device_);
    }

    fattn_status run(int threads) {
        const fattn_run run = with_threads(threads);
        if (shape_.backward) {
            fattn_lightning_backward_args args{};
            args.struct_size = sizeof(args);
            args.q = q_.data();
            args.k = k_.data();
            args.v = v_.data();
            args.slopes = slopes_.data();
            args.d_o = d_o_.data();
            args.d_q = d_q_.data();
            args.d_k = d_k_.data();
            args.d_v = d_v_.data();
            return fattn_lightning_backward(plan_, &args, &run);
        }
        fattn_lightning_forward_args args{};
        args.struct_size = sizeof(args);
        args.q = q_.data();
        args.k = k_.data();
        args.v = v_.data();
        args.o = o_.data();
        args.slopes = slopes_.data();
        args.final_state = state_.data();
        return shape_.step ? fattn_lightning_step(plan_, &args, &run)
                           : fattn_lightning_forward(plan_, &args, &run);
    }
    fattn_status status() const { return status_; }
    double flops() const { return flops_; }
    /// Bytes that a run has to move: the tensors, or the state there and back.
    double bytes() const {
        if (shape_.step) return 2.0 * static_cast<double>(state_.size() * sizeof(float));
        return static_cast<double>(q_.size() + k_.size() + v_.size() + o_.size() + d_o_.size() +
                                   d_q_.size() + d_k_.size() + d_v_.size());
    }

    /// Peak of the kind that bounds this case, in 1e9 a second.
    double peak(int threads) const {
        const fattn_peak kind = shape_.step                  ? FATTN_PEAK_READ
                                : dtype_ == FATTN_DTYPE_BF16 ? FATTN_PEAK_BF16
                                                             : FATTN_PEAK_F32;
        double result = 0;
        fattn_device_measure(device_, kind, threads, 0.02, &result);
        return result;
    }

  private:
    Shape shape_;
    fattn_dtype dtype_;
    fattn_device* device_ = nullptr;
    fattn_plan* plan_ = nullptr;
    fattn_status status_ = FATTN_STATUS_OK;
    double flops_ = 0;
    fattn::bench::Bytes q_, k_, v_, o_, d_o_, d_q_, d_k_, d_v_;
    std::vector<float> state_, slopes_;
};

/// Alternates the kernel with the peak it is held against; all figures are medians.
void run_shape(benchmark::State& state, const Shape& shape, fattn_dtype dtype, int threads) {
    Case problem(shape, dtype);
    if (problem.status() != FATTN_STATUS_OK) {
        state.SkipWithError(fattn_last_error());
        return;
    }
    std::vector<double> seconds_of_runs, shares;
    const double work = shape.step ? problem.bytes() : problem.flops();
    // Reads are measured over 256 MiB, which take a second to lay out: eleven times a case.
    const size_t runs_a_peak = shape.step ? 10 : 1;
    double peak = 0;
    for (auto _ : state) {
        if (seconds_of_runs.size() % runs_a_peak == 0) peak = problem.peak(threads);
        // Not timed: the peak's memory is gone again, and a guest of a virtual machine may have to
        // map its own anew.
        problem.run(threads);
        const auto begin = Clock::now();
        if (problem.run(threads) != FATTN_STATUS_OK) {
            state.SkipWithError(fattn_last_error());
            return;
        }
        const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
        state.SetIterationTime(seconds);
        seconds_of_runs.push_back(seconds);
        shares.push_back(work / seconds / 1e9 / peak);
    }
    const double seconds = median(seconds_of_runs);
    // Of one head: what stays the same while sequences grow.
    state.counters["Mtokens/s"] = static_cast<double>(shape.heads * shape.len) / seconds / 1e6;
    state.counters["GFLOP/s"] = problem.flops() / seconds / 1e9;
    state.counters["GB/s"] = problem.bytes() / seconds / 1e9;
    state.counters["of_peak"] = median(shares);
}

void register_shapes() {
    for (const Shape& shape : kShapes) {
        for (const fattn_dtype dtype :
             {fattn_dtype{FATTN_DTYPE_F32}, fattn_dtype{FATTN_DTYPE_BF16}}) {
            for (const int threads : {1, 2}) {
                const std::string name =
                    std::string(shape.name) + "/l" + std::to_string(shape.len) + "/d" +
                    std::to_string(shape.head_dim) + (dtype == FATTN_DTYPE_F32 ? "/f32" : "/bf16") +
                    "/threads" + std::to_string(threads);
                benchmark::RegisterBenchmark(name.c_str(), run_shape, shape, dtype, threads)
                    ->UseManualTime()
                    ->Iterations(shape.step           ? 101
                                 : shape.len > 100000 ? 3
                                                      : 9)
                    ->Unit(benchmark::kMillisecond);
            }
        }
    }
}

}  // namespace

int main(int argc, char** argv) {
    register_shapes();
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return 0;
}
