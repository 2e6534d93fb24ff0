// Permuted block-sparse attention against dense attention of the same length in the same run: time
// of selection and of the run, blocks kept, coverage reached, and how far the result is from dense.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "bench_tensors.h"
#include "fused_attention/fused_attention.h"

namespace {

using Clock = std::chrono::steady_clock;
using fattn::bench::layout;
using fattn::bench::stored;

struct Shape {
    int64_t heads, kv_heads, length, head_dim;
    fattn_dtype dtype;
    bool shared;
    bool backward;
};

constexpr Shape kShapes[] = {
    {2, 2, 8192, 64, FATTN_DTYPE_F32, false, false},
    {2, 2, 16384, 64, FATTN_DTYPE_F32, false, false},
    {2, 2, 32768, 64, FATTN_DTYPE_F32, false, false},
    {2, 2, 16384, 128, FATTN_DTYPE_F32, false, false},
    {2, 2, 8192, 64, FATTN_DTYPE_BF16, false, false},
    {2, 2, 16384, 64, FATTN_DTYPE_BF16, false, false},
    {2, 2, 32768, 64, FATTN_DTYPE_BF16, false, false},
    {2, 2, 16384, 128, FATTN_DTYPE_BF16, false, false},
    {4, 1, 16384, 128, FATTN_DTYPE_BF16, true, false},
    {2, 2, 8192, 64, FATTN_DTYPE_F32, false, true},
    {2, 2, 8192, 64, FATTN_DTYPE_BF16, false, true},
};

double seconds_of(const std::function<void()>& work) {
    const Clock::time_point start = Clock::now();
    work();
    return std::chrono::duration<double>(Clock::now() - start).count();
}

std::vector<float> read(const fattn::bench::Bytes& data, fattn_dtype dtype) {
    const size_t bytes = dtype == FATTN_DTYPE_F32 ? 4 : 2;
    std::vector<float> values(data.size() / bytes);
    for (size_t i = 0; i < values.size(); ++i) {
        uint32_t bits = 0;
        __builtin_memcpy(reinterpret_cast<uint8_t*>(&bits) + 4 - bytes, data.data() + bytes * i,
                         bytes);
        __builtin_memcpy(&values[i], &bits, 4);
    }
    return values;
}

/// Few keys matter: in one segment of eight a quarter of the keys, at random places, lean towards a
/// direction that all queries of the head lean to.
class Inputs {
  public:
    explicit Inputs(const Shape& s) {
        std::mt19937 random(7);
        std::normal_distribution<float> normal;
        const auto draw = [&](int64_t count) {
            std::vector<float> values(static_cast<size_t>(count));
            for (float& x : values) x = normal(random);
            return values;
        };
        const std::vector<float> lean = draw(s.kv_heads * s.head_dim);
        std::vector<float> q_values = draw(s.heads * s.length * s.head_dim);
        std::vector<float> k_values = draw(s.kv_heads * s.length * s.head_dim);
        const int64_t group = s.heads / s.kv_heads;
        for (int64_t i = 0; i < s.heads * s.length; ++i) {
            for (int64_t d = 0; d < s.head_dim; ++d) {
                q_values[static_cast<size_t>(i * s.head_dim + d)] +=
                    0.8F * lean[static_cast<size_t>(i / s.length / group * s.head_dim + d)];
            }
        }
        for (int64_t j = 0, relevant = 0; j < s.kv_heads * s.length; ++j) {
            if (j % 256 == 0) relevant = random() % 8 == 0;
            if (relevant == 0 || random() % 4 != 0) continue;
            for (int64_t d = 0; d < s.head_dim; ++d) {
                k_values[static_cast<size_t>(j * s.head_dim + d)] +=
                    2 * lean[static_cast<size_t>(j / s.length * s.head_dim + d)];
            }
        }
        q = stored(q_values, s.dtype);
        k = stored(k_values, s.dtype);
        v = stored(draw(s.kv_heads * s.length * s.head_dim), s.dtype);
        d_o = stored(draw(s.heads * s.length * s.head_dim), s.dtype);
    }

    fattn::bench::Bytes q, k, v, d_o;
};

void require(fattn_status status) {
    if (status != FATTN_STATUS_OK) std::abort();
}

void compare_with_dense(benchmark::State& state, const Shape& s) {
    const Inputs in(s);
    fattn_device* device = nullptr;
    require(fattn_device_cpu(&device));
    const fattn_layout q = layout(1, s.heads, s.length, s.head_dim, s.dtype);
    const fattn_layout k = layout(1, s.kv_heads, s.length, s.head_dim, s.dtype);
    fattn_permuted_block_problem problem{};
    problem.struct_size = sizeof problem;
    if (s.shared) problem.flags |= FATTN_PERMUTED_BLOCK_SHARE_PERMUTATION;
    if (s.backward) problem.flags |= FATTN_PERMUTED_BLOCK_BACKWARD;
    problem.q = q;
    problem.k = problem.v = k;
    fattn_dense_problem dense_problem{};
    dense_problem.struct_size = sizeof dense_problem;
    dense_problem.flags = FATTN_DENSE_CAUSAL;
    if (s.backward) dense_problem.flags |= FATTN_DENSE_BACKWARD;
    dense_problem.q = q;
    dense_problem.k = dense_problem.v = k;
    fattn_plan* plan = nullptr;
    fattn_plan* dense_plan = nullptr;
    require(fattn_permuted_block_plan(device, &problem, &plan));
    require(fattn_dense_plan(device, &dense_problem, &dense_plan));

    const int64_t blocks = s.length / 128;
    std::vector<int32_t> permutation(static_cast<size_t>(s.heads * s.length));
    std::vector<uint8_t> mask(static_cast<size_t>(s.heads * blocks * blocks));
    std::vector<float> coverage(static_cast<size_t>(s.heads * blocks));
    std::vector<float> lse(static_cast<size_t>(s.heads * s.length)), dense_lse(lse.size());
    fattn::bench::Bytes o(in.q.size()), dense_o(in.q.size());
    fattn::bench::Bytes d_q(in.q.size()), d_k(in.k.size()), d_v(in.v.size());

    fattn_permuted_block_select_args select{};
    select.struct_size = sizeof select;
    select.q = in.q.data();
    select.k = in.k.data();
    select.permutation = permutation.data();
    select.block_mask = mask.data();
    select.coverage = coverage.data();
    fattn_permuted_block_forward_args forward{};
    forward.struct_size = sizeof forward;
    forward.q = in.q.data();
    forward.k = in.k.data();
    forward.v = in.v.data();
    forward.o = o.data();
    forward.lse = lse.data();
    forward.permutation = permutation.data();
    forward.block_mask = mask.data();
    fattn_dense_forward_args dense{};
    dense.struct_size = sizeof dense;
    dense.q = in.q.data();
    dense.k = in.k.data();
    dense.v = in.v.data();
    dense.o = dense_o.data();
    dense.lse = dense_lse.data();
    fattn_permuted_block_backward_args backward{};
    backward.struct_size = sizeof backward;
    backward.q = in.q.data();
    backward.k = in.k.data();
    backward.v = in.v.data();
    backward.o = o.data();
    backward.lse = lse.data();
    backward.d_o = in.d_o.data();
    backward.permutation = permutation.data();
    backward.block_mask = mask.data();
    backward.d_q = d_q.data();
    backward.d_k = d_k.data();
    backward.d_v = d_v.data();
    fattn_dense_backward_args dense_backward{};
    dense_backward.struct_size = sizeof dense_backward;
    dense_backward.q = in.q.data();
    dense_backward.k = in.k.data();
    dense_backward.v = in.v.data();
    dense_backward.o = dense_o.data();
    dense_backward.lse = dense_lse.data();
    dense_backward.d_o = in.d_o.data();
    dense_backward.d_q = d_q.data();
    dense_backward.d_k = d_k.data();
    dense_backward.d_v = d_v.data();

    // The best of a few rounds, taken in turns, so that both meet the same machine.
    double select_time = 1e9, run_time = 1e9, dense_time = 1e9;
    for (auto _ : state) {
        select_time = std::min(select_time, seconds_of([&] {
                                   require(fattn_permuted_block_select(plan, &select, nullptr));
                               }));
        const auto run_sparse = [&] {
            require(fattn_permuted_block_forward(plan, &forward, nullptr));
            if (s.backward) require(fattn_permuted_block_backward(plan, &backward, nullptr));
        };
        const auto run_dense = [&] {
            require(fattn_dense_forward(dense_plan, &dense, nullptr));
            if (s.backward) require(fattn_dense_backward(dense_plan, &dense_backward, nullptr));
        };
        run_time = std::min(run_time, seconds_of(run_sparse));
        dense_time = std::min(dense_time, seconds_of(run_dense));
    }

    fattn_schedule_stats stats{}, all{};
    stats.struct_size = all.struct_size = sizeof stats;
    fattn_permuted_block_selection selection{};
    selection.struct_size = sizeof(selection);
    selection.permutation = permutation.data();
    selection.block_mask = mask.data();
    require(fattn_permuted_block_stats(plan, &selection, &stats));
    require(fattn_plan_schedule_stats(plan, &all));
    fattn_schedule_stats dense_stats{};
    dense_stats.struct_size = sizeof dense_stats;
    require(fattn_plan_schedule_stats(dense_plan, &dense_stats));
    const std::vector<float> found = read(o, s.dtype), expected = read(dense_o, s.dtype);
    double difference = 0, size = 0;
    for (size_t i = 0; i < found.size(); ++i) {
        difference += std::pow(static_cast<double>(found[i]) - static_cast<double>(expected[i]), 2);
        size += std::pow(static_cast<double>(expected[i]), 2);
    }
    const double passes = s.backward ? 3.5 : 1;
    const double flops = 4 * static_cast<double>(s.head_dim) * passes;
    double reached = 0;
    for (const float c : coverage) reached += static_cast<double>(c);
    state.counters["select_ms"] = 1e3 * select_time;
    state.counters["run_ms"] = 1e3 * run_time;
    state.counters["dense_ms"] = 1e3 * dense_time;
    state.counters["speed_up"] = dense_time / (select_time + run_time);
    state.counters["pairs_visited"] = stats.visited_pairs / all.visited_pairs;
    state.counters["coverage"] = reached / static_cast<double>(coverage.size());
    state.counters["rms_from_dense"] = std::sqrt(difference / size);
    state.counters["gflops_visited"] = 1e-9 * flops * stats.visited_pairs / run_time;
    state.counters["dense_gflops"] = 1e-9 * flops * dense_stats.visited_pairs / dense_time;
    fattn_plan_release(plan);
    fattn_plan_release(dense_plan);
    fattn_device_release(device);
}

}  // namespace

int main(int argc, char** argv) {
    benchmark::Initialize(&argc, argv);
    for (const Shape& s : kShapes) {
        const std::string name = std::string("permuted_block/") +
                                 (s.dtype == FATTN_DTYPE_F32 ? "f32" : "bf16") + "/h" +
                                 std::to_string(s.heads) + (s.shared ? "_shared" : "") + "/s" +
                                 std::to_string(s.length) + "/d" + std::to_string(s.head_dim) +
                                 (s.backward ? "/train" : "");
        benchmark::RegisterBenchmark(
            name.c_str(), [&s](benchmark::State& state) { compare_with_dense(state, s); })
            ->Iterations(3)
            ->Unit(benchmark::kMillisecond)
            ->UseRealTime();
    }
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return 0;
}
