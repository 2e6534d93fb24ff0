// Times of dense forward and backward runs on a GPU at the shapes that attention kernels are
// compared at.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "core/convert.h"
#include "dense_runs.h"

namespace fattn::gpu {
namespace {

struct Shape {
    DType dtype;
    int64 batch;
    int64 num_q_heads;
    int64 num_kv_heads;
    int64 length;
    int64 head_dim;
    bool causal;
    bool general;  // with the general key, whatever the problem allows
};

/// 16384 tokens in all, 2048 numbers a token in the queries; and one shape of grouped heads.
std::vector<Shape> shapes() {
    std::vector<Shape> all;
    for (const int64 head_dim : {64, 128, 256}) {
        for (const bool causal : {false, true}) {
            for (int64 length = 512; length <= 16384; length *= 2) {
                const int64 heads = 2048 / head_dim;
                all.push_back(
                    {DType::kBF16, 16384 / length, heads, heads, length, head_dim, causal, false});
            }
        }
    }
    for (const bool causal : {false, true}) {
        for (const int64 length : {2048, 8192, 16384}) {
            all.push_back({DType::kBF16, 1, 64, 8, length, 128, causal, false});
        }
        all.push_back({DType::kF16, 2, 16, 16, 8192, 128, causal, false});
        for (const int64 head_dim : {32, 96, 192}) {
            all.push_back({DType::kBF16, 4, 16, 16, 4096, head_dim, causal, false});
        }
        for (const int64 head_dim : {64, 128, 256}) {
            all.push_back(
                {DType::kBF16, 4, 2048 / head_dim, 2048 / head_dim, 4096, head_dim, causal, true});
            all.push_back(
                {DType::kF32, 4, 2048 / head_dim, 2048 / head_dim, 4096, head_dim, causal, true});
        }
    }
    return all;
}

/// Normally distributed numbers, a block of them repeated.
void fill(Buffer& buffer, DType dtype, unsigned seed) {
    constexpr std::size_t kBlock = 1 << 18;
    const auto size = static_cast<std::size_t>(bits_of(dtype) / 8);
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    std::vector<unsigned char> bytes(buffer.size());
    const std::size_t block_bytes = std::min(kBlock * size, bytes.size());
    for (std::size_t n = 0; n < block_bytes / size; ++n) {
        const float x = normal(random);
        if (dtype == DType::kF32) reinterpret_cast<float*>(bytes.data())[n] = x;
        if (dtype == DType::kF16) reinterpret_cast<f16*>(bytes.data())[n] = to_f16(x);
        if (dtype == DType::kBF16) reinterpret_cast<bf16*>(bytes.data())[n] = to_bf16(x);
    }
    for (std::size_t at = block_bytes; at < bytes.size(); at += block_bytes) {
        std::memcpy(bytes.data() + at, bytes.data(), std::min(block_bytes, bytes.size() - at));
    }
    buffer.write(bytes.data());
}

DenseProblem problem_of(const Shape& s) {
    DenseProblem p{};
    p.q = contiguous(s.batch, s.num_q_heads, s.length, s.head_dim, s.dtype);
    p.k = contiguous(s.batch, s.num_kv_heads, s.length, s.head_dim, s.dtype);
    p.v = p.k;
    p.o = p.d_o = p.d_q = p.q;
    p.d_k = p.d_v = p.k;
    p.batch = s.batch;
    p.num_q_heads = s.num_q_heads;
    p.num_k_heads = p.num_v_heads = s.num_kv_heads;
    p.q_len = p.kv_len = s.length;
    p.head_dim = p.head_dim_v = s.head_dim;
    p.window_left = -1;
    p.window_right = s.causal ? 0 : -1;
    p.backward = true;
    p.scale = 1.0F / std::sqrt(static_cast<float>(s.head_dim));
    return p;
}

/// Median milliseconds of what enqueue() launches.
template <class Enqueue>
float median_time(const Enqueue& enqueue) {
    constexpr int kWarmUps = 3;
    constexpr int kRuns = 11;
    for (int n = 0; n < kWarmUps; ++n) enqueue();
    synchronize();
    Timer timer;
    std::vector<float> times;
    for (int n = 0; n < kRuns; ++n) {
        timer.start();
        enqueue();
        times.push_back(timer.stop());
    }
    std::nth_element(times.begin(), times.begin() + kRuns / 2, times.end());
    return times[kRuns / 2];
}

}  // namespace

int time_dense(DenseKernels& kernels, const Device& device, const std::string& json_path) {
    std::string results;
    bool is_written = false;
    std::printf("%-36s %5s %4s %4s %6s %6s %9s %8s\n", "key", "B", "Hq", "Hkv", "L", "causal", "ms",
                "TFLOP/s");
    for (const Shape& s : shapes()) {
        const DenseProblem problem = problem_of(s);
        const int64 bytes = bits_of(s.dtype) / 8;
        const auto size_of = [&](const TensorLayout& layout) {
            return static_cast<std::size_t>(layout.shape[0] * layout.strides[0] * bytes);
        };
        Buffer q(size_of(problem.q)), k(size_of(problem.k)), v(size_of(problem.v)),
            o(size_of(problem.o));
        Buffer lse(static_cast<std::size_t>(s.batch * s.num_q_heads * s.length) * sizeof(float));
        fill(q, s.dtype, 1);
        fill(k, s.dtype, 2);
        fill(v, s.dtype, 3);
        DenseForwardArgs args{};
        args.q = q.pointer();
        args.k = k.pointer();
        args.v = v.pointer();
        args.o = o.pointer();
        args.lse = static_cast<float*>(lse.pointer());
        DenseProblem chosen = problem;
        // A scale that no lean key takes, and which costs as much as any.
        if (s.general) chosen.scale = -problem.scale;
        const cuda::ForwardLaunch launch = cuda::dense_forward_launch(chosen, args);
        const double flops = 4.0 * static_cast<double>(s.batch * s.num_q_heads * s.head_dim) *
                             static_cast<double>(s.length) * static_cast<double>(s.length) *
                             (s.causal ? 0.5 : 1.0);
        const auto report = [&](const std::string& key, double flops_of_run, float ms) {
            const double tflops = flops_of_run / (static_cast<double>(ms) * 1e9);
            std::printf("%-36s %5ld %4ld %4ld %6ld %6s %9.4f %8.1f\n", key.c_str(),
                        static_cast<long>(s.batch), static_cast<long>(s.num_q_heads),
                        static_cast<long>(s.num_kv_heads), static_cast<long>(s.length),
                        s.causal ? "yes" : "no", static_cast<double>(ms), tflops);
            std::fflush(stdout);
            std::ostringstream result;
            result << (results.empty() ? "" : ",\n") << "{\"key\": \"" << key
                   << "\", \"batch\": " << s.batch << ", \"q_heads\": " << s.num_q_heads
                   << ", \"kv_heads\": " << s.num_kv_heads << ", \"length\": " << s.length
                   << ", \"head_dim\": " << s.head_dim
                   << ", \"causal\": " << (s.causal ? "true" : "false") << ", \"ms\": " << ms
                   << ", \"tflops\": " << tflops << "}";
            results += result.str();
            // The whole file each time: who stops the program keeps what there is.
            std::ofstream json(json_path);
            json << "{\"device\": \"" << device.name() << "\", \"results\": [\n"
                 << results << "\n]}\n";
            is_written = json.good();
        };
        report(launch.key.name(), flops, median_time([&] { kernels.enqueue(launch); }));
        if (s.general) continue;

        // The forward's output and LSE are there. Five products are counted, two in the forward.
        Buffer d_o(size_of(problem.o)), d_q(size_of(problem.q)), d_k(size_of(problem.k)),
            d_v(size_of(problem.v));
        fill(d_o, s.dtype, 4);
        DenseBackwardArgs gradients{};
        gradients.q = args.q;
        gradients.k = args.k;
        gradients.v = args.v;
        gradients.o = args.o;
        gradients.lse = args.lse;
        gradients.d_o = d_o.pointer();
        gradients.d_q = d_q.pointer();
        gradients.d_k = d_k.pointer();
        gradients.d_v = d_v.pointer();
        const Buffer workspace(static_cast<std::size_t>(cuda::dense_backward_workspace(problem)));
        const cuda::DenseBackwardRun run =
            cuda::dense_backward_run(problem, gradients, workspace.pointer());
        report(cuda::backward_key(problem, cuda::Side::kKeys).name(), 2.5 * flops,
               median_time([&] { kernels.enqueue(problem, run); }));
    }
    return is_written ? 0 : 1;
}

}  // namespace fattn::gpu
