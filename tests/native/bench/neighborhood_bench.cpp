// Rates of neighborhood attention on the CPU, over the pairs it visits and over those it needs,
// against dense attention in the same run; started by ./build.sh bench.
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
    uint32_t num_axes;
    int64_t grid[3], window[3], stride[3], dilation[3];
    int64_t q_heads, kv_heads;
    bool backward;
};

constexpr Shape kShapes[] = {
    {"1d_16k_w513", 1, {16384}, {513}, {1}, {1}, 2, 2, false},
    {"2d_128_w13", 2, {128, 128}, {13, 13}, {1, 1}, {1, 1}, 2, 2, false},
    {"2d_128_w13_gqa", 2, {128, 128}, {13, 13}, {1, 1}, {1, 1}, 8, 2, false},
    {"2d_128_w25_d2", 2, {128, 128}, {25, 25}, {1, 1}, {2, 2}, 2, 2, false},
    {"2d_128_blocks16", 2, {128, 128}, {16, 16}, {16, 16}, {1, 1}, 2, 2, false},
    {"3d_16x32x32_w5x7x7", 3, {16, 32, 32}, {5, 7, 7}, {1, 1, 1}, {1, 1, 1}, 2, 2, false},
    {"backward_1d_16k_w513", 1, {16384}, {513}, {1}, {1}, 2, 2, true},
    {"backward_2d_128_w13", 2, {128, 128}, {13, 13}, {1, 1}, {1, 1}, 2, 2, true},
    {"backward_2d_128_w25_d2", 2, {128, 128}, {25, 25}, {1, 1}, {2, 2}, 2, 2, true},
    {"backward_3d_16x32x32", 3, {16, 32, 32}, {5, 7, 7}, {1, 1, 1}, {1, 1, 1}, 2, 2, true},
    // The cost grows with the tokens alone.
    {"2d_32_w13", 2, {32, 32}, {13, 13}, {1, 1}, {1, 1}, 2, 2, false},
    {"2d_64_w13", 2, {64, 64}, {13, 13}, {1, 1}, {1, 1}, 2, 2, false},
    {"2d_256_w13", 2, {256, 256}, {13, 13}, {1, 1}, {1, 1}, 2, 2, false},
    {"2d_512_w13", 2, {512, 512}, {13, 13}, {1, 1}, {1, 1}, 2, 2, false},
};
constexpr int64_t kDenseLength = 4096;

struct Type {
    fattn_dtype dtype;
    const char* name;
};
constexpr Type kTypes[] = {
    {FATTN_DTYPE_F32, "f32"}, {FATTN_DTYPE_F16, "f16"}, {FATTN_DTYPE_BF16, "bf16"}};

/// Tensors of one problem.
struct Tensors {
    Tensors(int64_t q_heads, int64_t kv_heads, int64_t tokens, int64_t dim, fattn_dtype dtype)
        : q(random_tensor(q_heads * tokens * dim, dtype, 1)),
          k(random_tensor(kv_heads * tokens * dim, dtype, 2)),
          v(random_tensor(kv_heads * tokens * dim, dtype, 3)),
          d_o(random_tensor(q_heads * tokens * dim, dtype, 4)),
          o(q.size()),
          d_q(q.size()),
          d_k(k.size()),
          d_v(k.size()),
          lse(static_cast<size_t>(q_heads * tokens)) {}

    /// The pointers, in the fields that forward and backward arguments of both families share.
    template <class Args>
    Args forward() {
        Args args{};
        args.struct_size = sizeof(args);
        args.q = q.data();
        args.k = k.data();
        args.v = v.data();
        args.o = o.data();
        args.lse = lse.data();
        return args;
    }
    template <class Args>
    Args backward() {
        Args args = forward<Args>();
        args.d_o = d_o.data();
        args.d_q = d_q.data();
        args.d_k = d_k.data();
        args.d_v = d_v.data();
        return args;
    }

    fattn::bench::Bytes q, k, v, d_o, o, d_q, d_k, d_v;
    std::vector<float> lse;
};

/// Seconds of a call that has to succeed; negative when it does not.
template <class Call>
double seconds_of(const Call& call) {
    const auto begin = Clock::now();
    if (call() != FATTN_STATUS_OK) return -1;
    return std::chrono::duration<double>(Clock::now() - begin).count();
}

void run_shape(benchmark::State& state, const Shape& s, int64_t dim, fattn_dtype dtype,
               int threads) {
    fattn_device* device = nullptr;
    fattn_device_cpu(&device);
    int64_t tokens = 1;
    fattn_neighborhood_problem problem{};
    problem.struct_size = sizeof(problem);
    problem.num_axes = s.num_axes;
    for (uint32_t n = 0; n < s.num_axes; ++n) {
        problem.grid[n] = s.grid[n];
        problem.kernel_size[n] = s.window[n];
        problem.stride[n] = s.stride[n];
        problem.dilation[n] = s.dilation[n];
        tokens *= s.grid[n];
    }
    problem.flags = s.backward ? FATTN_NEIGHBORHOOD_BACKWARD : 0;
    problem.q = layout(1, s.q_heads, tokens, dim, dtype);
    problem.k = problem.v = layout(1, s.kv_heads, tokens, dim, dtype);
    fattn_dense_problem dense_problem{};
    dense_problem.struct_size = sizeof(dense_problem);
    dense_problem.flags = s.backward ? FATTN_DENSE_BACKWARD : 0;
    dense_problem.q = dense_problem.k = dense_problem.v = layout(1, 1, kDenseLength, dim, dtype);
    fattn_plan* plan = nullptr;
    fattn_plan* dense_plan = nullptr;
    if (fattn_neighborhood_plan(device, &problem, &plan) != FATTN_STATUS_OK ||
        fattn_dense_plan(device, &dense_problem, &dense_plan) != FATTN_STATUS_OK) {
        state.SkipWithError(fattn_last_error());
        return;
    }
    fattn_schedule_stats stats{};
    stats.struct_size = sizeof(stats);
    fattn_plan_schedule_stats(plan, &stats);
    fattn_plan_description info{};
    info.struct_size = sizeof(info);
    fattn_plan_info(plan, &info);
    Tensors tensors(s.q_heads, s.kv_heads, tokens, dim, dtype);
    Tensors dense(1, 1, kDenseLength, dim, dtype);
    const fattn_run run = with_threads(threads);
    const auto neighborhood = [&](bool backward) {
        if (backward) {
            const auto args = tensors.backward<fattn_neighborhood_backward_args>();
            return fattn_neighborhood_backward(plan, &args, &run);
        }
        const auto args = tensors.forward<fattn_neighborhood_forward_args>();
        return fattn_neighborhood_forward(plan, &args, &run);
    };
    const auto all = [&](bool backward) {
        if (backward) {
            const auto args = dense.backward<fattn_dense_backward_args>();
            return fattn_dense_backward(dense_plan, &args, &run);
        }
        const auto args = dense.forward<fattn_dense_forward_args>();
        return fattn_dense_forward(dense_plan, &args, &run);
    };
    neighborhood(false);
    all(false);
    const double per_pair = static_cast<double>(dim) * (s.backward ? 10 : 4) / 1e9;
    const double dense_work = static_cast<double>(kDenseLength * kDenseLength) * per_pair;
    // The passes visit different pairs.
    const double work = (s.backward ? info.backward_flops : info.forward_flops) / 1e9;
    std::vector<double> times, shares;
    for (auto _ : state) {
        const double dense_seconds = seconds_of([&] { return all(s.backward); });
        const double seconds = seconds_of([&] { return neighborhood(s.backward); });
        if (seconds < 0 || dense_seconds < 0) {
            state.SkipWithError(fattn_last_error());
            return;
        }
        state.SetIterationTime(seconds);
        times.push_back(seconds);
        shares.push_back(work / seconds / (dense_work / dense_seconds));
    }
    const double seconds = median(times);
    state.counters["GFLOP/s_visited"] = work / seconds;
    state.counters["GFLOP/s_needed"] = stats.needed_pairs * per_pair / seconds;
    state.counters["visited/needed"] = work / (stats.needed_pairs * per_pair);
    state.counters["of_dense_rate"] = median(shares);
    state.counters["patch"] = static_cast<double>(stats.tile_q);
    state.counters["ns_per_token"] = seconds * 1e9 / static_cast<double>(tokens * s.q_heads);
    fattn_plan_release(plan);
    fattn_plan_release(dense_plan);
    fattn_device_release(device);
}

}  // namespace

int main(int argc, char** argv) {
    for (const Shape& shape : kShapes) {
        for (const int64_t dim : {64, 128}) {
            for (const auto& [dtype, type_name] : kTypes) {
                for (const int threads : {1, 2}) {
                    const std::string name = std::string(shape.name) + "/d" + std::to_string(dim) +
                                             "/" + type_name + "/threads" + std::to_string(threads);
                    benchmark::RegisterBenchmark(name.c_str(), run_shape, shape, dim, dtype,
                                                 threads)
                        ->UseManualTime()
                        ->Iterations(9)
                        ->Unit(benchmark::kMillisecond);
                }
            }
        }
    }
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return 0;
}
