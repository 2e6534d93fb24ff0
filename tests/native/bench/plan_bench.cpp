// What a plan costs: making and releasing one of each family, and asking whether one could be made;
// started by ./build.sh bench.
#include <benchmark/benchmark.h>

#include "bench_tensors.h"
#include "fused_attention/fused_attention.h"

namespace {

using fattn::bench::layout;

/// Eight heads of 128 over 4096 tokens.
constexpr int64_t kHeads = 8;
constexpr int64_t kTokens = 4096;
constexpr int64_t kDim = 128;

template <class Problem>
Problem with_tensors() {
    Problem problem{};
    problem.struct_size = sizeof(problem);
    problem.q = problem.k = problem.v = layout(1, kHeads, kTokens, kDim, FATTN_DTYPE_BF16);
    return problem;
}

fattn_dense_problem plain_dense() { return with_tensors<fattn_dense_problem>(); }

fattn_dense_problem training() {
    fattn_dense_problem problem = plain_dense();
    problem.flags = FATTN_DENSE_CAUSAL | FATTN_DENSE_BACKWARD | FATTN_DENSE_HAS_BIAS |
                    FATTN_DENSE_HAS_MASK | FATTN_DENSE_HAS_SINK | FATTN_DENSE_HAS_ALIBI;
    problem.bias = layout(1, 1, kTokens, kTokens, FATTN_DTYPE_F32);
    problem.mask = layout(1, 1, kTokens, kTokens, FATTN_DTYPE_U8);
    return problem;
}

fattn_dense_problem decode() {
    fattn_dense_problem problem = plain_dense();
    problem.q = layout(1, kHeads, 1, kDim, FATTN_DTYPE_BF16);
    problem.flags = FATTN_DENSE_CAUSAL;
    return problem;
}

fattn_neighborhood_problem neighborhood() {
    auto problem = with_tensors<fattn_neighborhood_problem>();
    problem.num_axes = 2;
    for (int axis = 0; axis < 2; ++axis) {
        problem.grid[axis] = 64;
        problem.kernel_size[axis] = 13;
        problem.stride[axis] = problem.dilation[axis] = 1;
    }
    return problem;
}

fattn_s2_problem s2() {
    auto problem = with_tensors<fattn_s2_problem>();
    problem.block_size = 64;
    problem.local_blocks = 16;
    problem.vertical_stride = 8;
    return problem;
}

fattn_permuted_block_problem permuted_block() {
    return with_tensors<fattn_permuted_block_problem>();
}

fattn_lightning_problem lightning() { return with_tensors<fattn_lightning_problem>(); }

template <auto problem_of, auto make>
void make_plan(benchmark::State& state) {
    const auto problem = problem_of();
    fattn_device* device = nullptr;
    fattn_device_cpu(&device);
    for (auto _ : state) {
        fattn_plan* plan = nullptr;
        if (make(device, &problem, &plan) != FATTN_STATUS_OK) {
            state.SkipWithError(fattn_last_error());
            break;
        }
        fattn_plan_release(plan);
    }
    fattn_device_release(device);
}

void ask(benchmark::State& state) {
    const fattn_dense_problem problem = plain_dense();
    fattn_device* device = nullptr;
    fattn_device_cpu(&device);
    for (auto _ : state) {
        if (fattn_supports_dense(device, &problem) != FATTN_STATUS_OK) {
            state.SkipWithError(fattn_last_error());
            break;
        }
    }
    fattn_device_release(device);
}

BENCHMARK(make_plan<plain_dense, fattn_dense_plan>)->Name("dense");
BENCHMARK(make_plan<training, fattn_dense_plan>)->Name("dense_training");
BENCHMARK(make_plan<decode, fattn_dense_plan>)->Name("dense_decode");
BENCHMARK(ask)->Name("dense_supports");
BENCHMARK(make_plan<neighborhood, fattn_neighborhood_plan>)->Name("neighborhood");
BENCHMARK(make_plan<s2, fattn_s2_plan>)->Name("s2");
BENCHMARK(make_plan<permuted_block, fattn_permuted_block_plan>)->Name("permuted_block");
BENCHMARK(make_plan<lightning, fattn_lightning_plan>)->Name("lightning");

}  // namespace

BENCHMARK_MAIN();
