// Rates of gathered attention on the CPU, counted over the pairs that its lists hold, against dense
// attention in the same run; started by ./build.sh bench.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "cpu/dense_forward.h"
#include "cpu/dispatch.h"
#include "cpu/gathered_forward.h"

namespace fattn::cpu {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64 kLength = 4096;  // of queries and keys

struct Shape {
    int64 rows;   // of a share
    int64 slots;  // of a share
    int64 head_dim;
    DType dtype;
    bool bits;
};

/// Shares of consecutive queries against random blocks of 64 keys; with bits, each row does not see
/// one key in eight.
class BlockGatherer final : public Gatherer {
  public:
    explicit BlockGatherer(const Shape& shape) : shape_(shape) {
        std::minstd_rand random(1);
        std::vector<int32> blocks(kLength / kBlock);
        std::iota(blocks.begin(), blocks.end(), 0);
        for (int64 share = 0; share < num_forward_shares(); ++share) {
            std::shuffle(blocks.begin(), blocks.end(), random);
            std::sort(blocks.begin(), blocks.begin() + shape.slots / kBlock);
            blocks_.insert(blocks_.end(), blocks.begin(), blocks.begin() + shape.slots / kBlock);
        }
        for (uint64& word : words_) {
            word = 0;
            for (int n = 0; n < 64; ++n) word |= uint64{random() % 8 != 0} << n;
        }
    }

    GatherCapacity forward_capacity() const override {
        return {shape_.rows, 1, shape_.slots, shape_.bits ? shape_.rows * shape_.slots / 64 : 0, 0};
    }
    int64 num_forward_shares() const override { return kLength / shape_.rows; }
    GatheredShare forward_share(int64 index, const GatherBuffer& buffer) const override {
        const int64 words = shape_.slots / 64;
        for (int64 r = 0; r < shape_.rows; ++r) {
            uint64* bits = shape_.bits ? buffer.bits + r * words : nullptr;
            for (int64 w = 0; bits != nullptr && w < words; ++w) {
                bits[w] = words_[static_cast<std::size_t>((r * words + w) % kWords)];
            }
            buffer.rows[r] = {index * shape_.rows + r, 0, shape_.slots, bits};
        }
        const int64 blocks = shape_.slots / kBlock;
        for (int64 s = 0; s < shape_.slots; ++s) {
            buffer.tokens[s] = static_cast<int32>(
                blocks_[static_cast<std::size_t>(index * blocks + s / kBlock)] * kBlock +
                s % kBlock);
        }
        return {0, 0, 1, {buffer.rows, shape_.rows, buffer.tokens, shape_.slots}};
    }

    GatherCapacity backward_capacity() const override { return {}; }
    int64 num_equal_heads(int64, int64) const override { return 1; }
    int64 num_key_tiles(int64, int64, KeyChunk) const override { return 0; }
    GatheredTile key_tile(int64, int64, KeyChunk, int64, const GatherBuffer&) const override {
        return {};
    }

  private:
    static constexpr int64 kBlock = 64;
    static constexpr int64 kWords = 4093;

    Shape shape_;
    std::vector<int32> blocks_;
    std::vector<uint64> words_ = std::vector<uint64>(kWords);
};

/// Memory on a cache line, filled with unit-normal values of a type.
class Values {
  public:
    Values(int64 count, DType dtype, unsigned seed)
        : memory_(static_cast<std::size_t>(count * bits_of(dtype) / 8 + 64)) {
        void* start = memory_.data();
        std::size_t space = memory_.size();
        data_ = static_cast<std::byte*>(std::align(64, space - 64, start, space));
        std::minstd_rand random(seed);
        std::normal_distribution<float> normal;
        for (int64 i = 0; i < count; ++i) {
            const float x = normal(random);
            // The upper half of an f32 is a bf16.
            const std::size_t bytes = dtype == DType::kF32 ? 4 : 2;
            __builtin_memcpy(data_ + static_cast<std::size_t>(i) * bytes,
                             reinterpret_cast<const std::byte*>(&x) + (4 - bytes), bytes);
        }
    }
    std::byte* data() { return data_; }

  private:
    std::vector<std::byte> memory_;
    std::byte* data_;
};

DenseProblem problem_of(const Shape& shape) {
    DenseProblem p{};
    p.q = p.k = p.v = p.o = contiguous(1, 1, kLength, shape.head_dim, shape.dtype);
    p.batch = p.num_q_heads = p.num_k_heads = p.num_v_heads = 1;
    p.q_len = p.kv_len = kLength;
    p.head_dim = p.head_dim_v = shape.head_dim;
    p.window_left = p.window_right = -1;
    p.scale = 0.1F;
    return p;
}

double median(std::vector<double> values) {
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
}

double seconds_of(const auto& run) {
    const auto begin = Clock::now();
    run();
    return std::chrono::duration<double>(Clock::now() - begin).count();
}

void run_forward(benchmark::State& state, const Shape& shape) {
    Choice choice;
    if (!choose_target(Target::kBest, &choice).ok()) {
        state.SkipWithError("no kernels");
        return;
    }
    const DenseProblem problem = problem_of(shape);
    const int64 count = kLength * shape.head_dim;
    Values q(count, shape.dtype, 1), k(count, shape.dtype, 2), v(count, shape.dtype, 3),
        o(count, shape.dtype, 4);
    std::vector<float> lse(kLength);
    DenseForwardArgs args{};
    args.q = q.data();
    args.k = k.data();
    args.v = v.data();
    args.o = o.data();
    args.lse = lse.data();
    const AdditionalKeys additional{};
    const BlockGatherer gatherer(shape);
    const DenseForward dense(problem, *choice.kernels);
    const GatheredForward gathered(problem, additional, *choice.kernels);
    const uint64 bytes =
        std::max(dense.workspace(1), gathered.workspace(gatherer.forward_capacity(), 1));
    Values memory(static_cast<int64>(bytes / sizeof(float)), DType::kF32, 5);
    const double work = 4.0 * kLength * static_cast<double>(shape.head_dim);
    std::vector<double> rates, shares;
    for (auto _ : state) {
        const double dense_seconds =
            seconds_of([&] { (void)dense.run(args, 1, nullptr, memory.data()); });
        const double seconds =
            seconds_of([&] { (void)gathered.run(gatherer, args, {}, 1, nullptr, memory.data()); });
        state.SetIterationTime(seconds);
        rates.push_back(work * static_cast<double>(shape.slots) / seconds / 1e9);
        shares.push_back(rates.back() / (work * kLength / dense_seconds / 1e9));
    }
    state.counters["GFLOP/s"] = median(rates);
    state.counters["of_dense"] = median(shares);
}

void register_shapes() {
    for (const int64 head_dim : {64, 128})
        for (const DType dtype : {DType::kF32, DType::kBF16})
            for (const bool bits : {false, true})
                for (const int64 rows : {64, 128})
                    for (const int64 slots : {512, 1024, 4096}) {
                        const std::string name =
                            "forward/rows" + std::to_string(rows) + "/keys" +
                            std::to_string(slots) + "/d" + std::to_string(head_dim) +
                            (dtype == DType::kF32 ? "/f32" : "/bf16") + (bits ? "/bits" : "");
                        benchmark::RegisterBenchmark(name.c_str(), run_forward,
                                                     Shape{rows, slots, head_dim, dtype, bits})
                            ->UseManualTime()
                            ->Iterations(9)
                            ->Unit(benchmark::kMillisecond);
                    }
}

}  // namespace
}  // namespace fattn::cpu

int main(int argc, char** argv) {
    fattn::cpu::register_shapes();
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return 0;
}
