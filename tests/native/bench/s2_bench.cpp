// Rates of S2 attention on the CPU, counted over the pairs it visits, and its speed-up over dense
// causal attention of the same shape, both measured alternately in the same run; started by
// ./build.sh bench.
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
    int64_t q_heads, kv_heads, length, head_dim;
    uint32_t flags;
    int64_t local_blocks, vertical_stride, head_offset;
    bool backward;
};

// Two key heads of the released Phi-3-small pattern, and one pattern a key head.
constexpr Shape kShapes[] = {
    {"phi3", 8, 2, 8192, 128, FATTN_S2_PATTERN_PER_QUERY_HEAD, 16, 8, 1, false},
    {"phi3", 8, 2, 16384, 128, FATTN_S2_PATTERN_PER_QUERY_HEAD, 16, 8, 1, false},
    {"phi3", 8, 2, 32768, 128, FATTN_S2_PATTERN_PER_QUERY_HEAD, 16, 8, 1, false},
    {"per_key_head", 8, 2, 8192, 64, 0, 16, 8, 0, false},
    {"per_key_head", 8, 2, 32768, 64, 0, 16, 8, 0, false},
    {"narrow", 4, 4, 8192, 64, 0, 2, 8, 0, false},
    {"two_sided", 4, 4, 8192, 64, FATTN_S2_NON_CAUSAL, 8, 8, 0, false},
    {"backward", 8, 2, 8192, 128, FATTN_S2_PATTERN_PER_QUERY_HEAD, 16, 8, 1, true},
    {"backward_per_key_head", 8, 2, 8192, 64, 0, 16, 8, 0, true},
};

double seconds_of(const auto& run) {
    const auto begin = Clock::now();
    run();
    return std::chrono::duration<double>(Clock::now() - begin).count();
}

void run_shape(benchmark::State& state, const Shape& shape, fattn_dtype dtype) {
    fattn_device* device = nullptr;
    fattn_device_cpu(&device);
    fattn_s2_problem s2{};
    s2.struct_size = sizeof(s2);
    s2.flags = shape.flags;
    if (shape.backward) s2.flags |= FATTN_S2_BACKWARD;
    s2.q = layout(1, shape.q_heads, shape.length, shape.head_dim, dtype);
    s2.k = s2.v = layout(1, shape.kv_heads, shape.length, shape.head_dim, dtype);
    s2.block_size = 64;
    s2.local_blocks = shape.local_blocks;
    s2.vertical_stride = shape.vertical_stride;
    s2.head_offset = shape.head_offset;
    fattn_dense_problem dense{};
    dense.struct_size = sizeof(dense);
    if ((shape.flags & FATTN_S2_NON_CAUSAL) == 0) dense.flags |= FATTN_DENSE_CAUSAL;
    if (shape.backward) dense.flags |= FATTN_DENSE_BACKWARD;
    dense.q = s2.q;
    dense.k = s2.k;
    dense.v = s2.v;
    fattn_plan *s2_plan = nullptr, *dense_plan = nullptr;
    if (fattn_s2_plan(device, &s2, &s2_plan) != FATTN_STATUS_OK ||
        fattn_dense_plan(device, &dense, &dense_plan) != FATTN_STATUS_OK) {
        state.SkipWithError(fattn_last_error());
        return;
    }
    const auto q_count = shape.q_heads * shape.length * shape.head_dim;
    const auto kv_count = shape.kv_heads * shape.length * shape.head_dim;
    auto q = random_tensor(q_count, dtype, 1), k = random_tensor(kv_count, dtype, 2),
         v = random_tensor(kv_count, dtype, 3), d_o = random_tensor(q_count, dtype, 4);
    auto o = q, d_q = q, d_k = k, d_v = v;
    std::vector<float> lse(static_cast<std::size_t>(shape.q_heads * shape.length));
    const fattn_run run = with_threads(1);
    const auto forward = [&](auto args, auto* function, fattn_plan* plan) {
        args.struct_size = sizeof(args);
        args.q = q.data();
        args.k = k.data();
        args.v = v.data();
        args.o = o.data();
        args.lse = lse.data();
        return function(plan, &args, &run);
    };
    const auto backward = [&](auto args, auto* function, fattn_plan* plan) {
        args.struct_size = sizeof(args);
        args.q = q.data();
        args.k = k.data();
        args.v = v.data();
        args.o = o.data();
        args.lse = lse.data();
        args.d_o = d_o.data();
        args.d_q = d_q.data();
        args.d_k = d_k.data();
        args.d_v = d_v.data();
        return function(plan, &args, &run);
    };
    fattn_plan_description s2_info{}, dense_info{};
    s2_info.struct_size = dense_info.struct_size = sizeof(s2_info);
    fattn_plan_info(s2_plan, &s2_info);
    fattn_plan_info(dense_plan, &dense_info);
    const double s2_work = shape.backward ? s2_info.backward_flops : s2_info.forward_flops;
    const double dense_work = shape.backward ? dense_info.backward_flops : dense_info.forward_flops;
    const auto run_s2 = [&] { forward(fattn_s2_forward_args{}, fattn_s2_forward, s2_plan); };
    const auto run_dense = [&] {
        forward(fattn_dense_forward_args{}, fattn_dense_forward, dense_plan);
    };
    std::vector<double> rates, shares, speedups;
    for (auto _ : state) {
        double s2_seconds = 0;
        double dense_seconds = 0;
        if (shape.backward) {
            run_dense();
            dense_seconds = seconds_of(
                [&] { backward(fattn_dense_backward_args{}, fattn_dense_backward, dense_plan); });
            run_s2();
            s2_seconds =
                seconds_of([&] { backward(fattn_s2_backward_args{}, fattn_s2_backward, s2_plan); });
        } else {
            dense_seconds = seconds_of(run_dense);
            s2_seconds = seconds_of(run_s2);
        }
        state.SetIterationTime(s2_seconds);
        rates.push_back(s2_work / s2_seconds / 1e9);
        shares.push_back(rates.back() / (dense_work / dense_seconds / 1e9));
        speedups.push_back(dense_seconds / s2_seconds);
    }
    state.counters["GFLOP/s"] = median(rates);
    state.counters["of_dense"] = median(shares);
    state.counters["speedup"] = median(speedups);
    fattn_plan_release(s2_plan);
    fattn_plan_release(dense_plan);
    fattn_device_release(device);
}

}  // namespace

int main(int argc, char** argv) {
    for (const Shape& shape : kShapes) {
        for (const fattn_dtype dtype : {FATTN_DTYPE_F32, FATTN_DTYPE_BF16}) {
            const std::string name =
                std::string("s2/") + shape.name + "/s" + std::to_string(shape.length) + "/d" +
                std::to_string(shape.head_dim) + (dtype == FATTN_DTYPE_F32 ? "/f32" : "/bf16");
            benchmark::RegisterBenchmark(name.c_str(), run_shape, shape, dtype)
                ->UseManualTime()
                ->Iterations(shape.length > 16384 ? 3 : 5)
                ->Unit(benchmark::kMillisecond);
        }
    }
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return 0;
}
