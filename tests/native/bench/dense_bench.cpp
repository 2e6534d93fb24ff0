// Rates of dense attention on the CPU against what the machine can do, measured in the same run;
// started by
// ./build.sh bench.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "bench_tensors.h"
#include "fused_attention/fused_attention.h"

namespace {

using fattn::bench::layout;
using fattn::bench::median;
using fattn::bench::random_tensor;
using fattn::bench::with_threads;
using Clock = std::chrono::steady_clock;

struct Shape {
    const char* name;
    int64_t batch, q_heads, kv_heads, q_len, kv_len, head_dim;
    int64_t window;  // keys to the left, -1 for all; causal only
    bool causal;
    bool backward;
};

// The shapes that attention libraries are compared at: long, middle and short self-attention,
// training, decode, window.
constexpr Shape kShapes[] = {
    {"s4096", 1, 1, 1, 4096, 4096, 64, -1, false, false},
    {"s4096", 1, 1, 1, 4096, 4096, 128, -1, false, false},
    {"s4096_causal", 1, 1, 1, 4096, 4096, 64, -1, true, false},
    {"s4096_causal", 1, 1, 1, 4096, 4096, 128, -1, true, false},
    {"s1024_h8", 1, 8, 8, 1024, 1024, 64, -1, false, false},
    {"s1024_h8", 1, 8, 8, 1024, 1024, 128, -1, false, false},
    {"s1024_h8_causal", 1, 8, 8, 1024, 1024, 64, -1, true, false},
    {"s1024_h8_causal", 1, 8, 8, 1024, 1024, 128, -1, true, false},
    {"s512_h48", 1, 48, 48, 512, 512, 64, -1, false, false},
    {"s512_h48", 1, 48, 48, 512, 512, 128, -1, false, false},
    {"s512_h48_causal", 1, 48, 48, 512, 512, 64, -1, true, false},
    {"s512_h48_causal", 1, 48, 48, 512, 512, 128, -1, true, false},
    {"window256", 1, 8, 8, 4096, 4096, 64, 256, true, false},
    {"backward_s4096", 1, 1, 1, 4096, 4096, 64, -1, false, true},
    {"backward_s4096", 1, 1, 1, 4096, 4096, 128, -1, false, true},
    {"backward_s4096_causal", 1, 1, 1, 4096, 4096, 64, -1, true, true},
    {"backward_s4096_causal", 1, 1, 1, 4096, 4096, 128, -1, true, true},
    {"decode_k32768", 1, 32, 8, 1, 32768, 128, -1, true, false},
    {"decode_k4096", 1, 32, 8, 1, 4096, 128, -1, true, false},
};

/// A problem with its tensors, ready to run.
class Case {
  public:
    Case(const Shape& s, fattn_dtype dtype) : shape_(s), dtype_(dtype) {
        fattn_device_cpu(&device_);
        fattn_dense_problem problem{};
        problem.struct_size = sizeof(problem);
        if (s.causal) problem.flags |= FATTN_DENSE_CAUSAL;
        if (s.window >= 0) {
            problem.flags |= FATTN_DENSE_HAS_WINDOW;
            problem.window_left = s.window;
            problem.window_right = -1;
        }
        if (s.backward) problem.flags |= FATTN_DENSE_BACKWARD;
        problem.q = layout(s.batch, s.q_heads, s.q_len, s.head_dim, dtype);
        problem.k = problem.v = layout(s.batch, s.kv_heads, s.kv_len, s.head_dim, dtype);
        status_ = fattn_dense_plan(device_, &problem, &plan_);
        const int64_t q_count = s.batch * s.q_heads * s.q_len * s.head_dim;
        const int64_t k_count = s.batch * s.kv_heads * s.kv_len * s.head_dim;
        q_ = random_tensor(q_count, dtype, 1);
        k_ = random_tensor(k_count, dtype, 2);
        v_ = random_tensor(k_count, dtype, 3);
        d_o_ = random_tensor(q_count, dtype, 4);
        o_.resize(q_.size());
        d_q_.resize(q_.size());
        d_k_.resize(k_.size());
        d_v_.resize(k_.size());
        lse_.resize(static_cast<size_t>(s.batch * s.q_heads * s.q_len));
        if (status_ == FATTN_STATUS_OK) status_ = forward(1);
    }
    Case(const Case&) = delete;
    Case& operator=(const Case&) = delete;
    ~Case() {
        fattn_plan_release(plan_);
        fattn_device_release(device_);
    }

    fattn_status run(int threads) { return shape_.backward ? backward(threads) : forward(threads); }
    fattn_status status() const { return status_; }

    /// Operations of the visible pairs, 4 D forward and 10 D backward each.
    double flops() const {
        double pairs = 0;
        for (int64_t i = 0; i < shape_.q_len; ++i) {
            const int64_t p = i + shape_.kv_len - shape_.q_len;
            const int64_t end = shape_.causal ? p + 1 : shape_.kv_len;
            const int64_t begin = shape_.window >= 0 ? std::max<int64_t>(0, p - shape_.window) : 0;
            pairs += static_cast<double>(end - begin);
        }
        return pairs * static_cast<double>(shape_.batch * shape_.q_heads * shape_.head_dim) *
               (shape_.backward ? 10 : 4);
    }
    /// Bytes of the keys and values.
    double cache_bytes() const { return static_cast<double>(k_.size() + v_.size()); }
    bool decode() const { return shape_.q_len == 1; }

    /// Peak of the kind that bounds this case, in 1e9 a second.
    double peak(int threads) const {
        const fattn_peak kind = decode()                     ? FATTN_PEAK_READ
                                : dtype_ == FATTN_DTYPE_BF16 ? FATTN_PEAK_BF16
                                                             : FATTN_PEAK_F32;
        double result = 0;
        fattn_device_measure(device_, kind, threads, 0.02, &result);
        return result;
    }

  private:
    fattn_status forward(int threads) {
        fattn_dense_forward_args args{};
        args.struct_size = sizeof(args);
        args.q = q_.data();
        args.k = k_.data();
        args.v = v_.data();
        args.o = o_.data();
        args.lse = lse_.data();
        const fattn_run run = with_threads(threads);
        return fattn_dense_forward(plan_, &args, &run);
    }
    fattn_status backward(int threads) {
        fattn_dense_backward_args args{};
        args.struct_size = sizeof(args);
        args.q = q_.data();
        args.k = k_.data();
        args.v = v_.data();
        args.o = o_.data();
        args.lse = lse_.data();
        args.d_o = d_o_.data();
        args.d_q = d_q_.data();
        args.d_k = d_k_.data();
        args.d_v = d_v_.data();
        const fattn_run run = with_threads(threads);
        return fattn_dense_backward(plan_, &args, &run);
    }

    Shape shape_;
    fattn_dtype dtype_;
    fattn_device* device_ = nullptr;
    fattn_plan* plan_ = nullptr;
    fattn_status status_ = FATTN_STATUS_OK;
    fattn::bench::Bytes q_, k_, v_, o_, d_o_, d_q_, d_k_, d_v_;
    std::vector<float> lse_;
};

/// Alternates the kernel with the peak it is held against; both figures are medians.
void run_shape(benchmark::State& state, const Shape& shape, fattn_dtype dtype, int threads) {
    Case problem(shape, dtype);
    if (problem.status() != FATTN_STATUS_OK) {
        state.SkipWithError(fattn_last_error());
        return;
    }
    std::vector<double> rates, shares;
    const double work = problem.decode() ? problem.cache_bytes() : problem.flops();
    for (auto _ : state) {
        const double peak = problem.peak(threads);
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
        rates.push_back(work / seconds / 1e9);
        shares.push_back(work / seconds / 1e9 / peak);
    }
    state.counters[problem.decode() ? "GB/s" : "GFLOP/s"] = median(rates);
    state.counters["of_peak"] = median(shares);
}

void register_shapes() {
    for (const Shape& shape : kShapes) {
        for (const fattn_dtype dtype :
             {fattn_dtype{FATTN_DTYPE_F32}, fattn_dtype{FATTN_DTYPE_BF16}}) {
            for (const int threads : {1, 2}) {
                const std::string name = std::string(shape.name) + "/d" +
                                         std::to_string(shape.head_dim) +
                                         (dtype == FATTN_DTYPE_F32 ? "/f32" : "/bf16") +
                                         "/threads" + std::to_string(threads);
                benchmark::RegisterBenchmark(name.c_str(), run_shape, shape, dtype, threads)
                    ->UseManualTime()
                    ->Iterations(15)
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
