// Rates of gathered attention on the CPU, counted over the pairs that its lists hold, against dense
// attention in the same run, both by the time of the one thread that works; started by ./build.sh
// bench.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <ctime>
#include <memory>
#include <numeric>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "bench_tensors.h"
#include "cpu/dense_backward.h"
#include "cpu/dense_forward.h"
#include "cpu/dispatch.h"
#include "cpu/gathered_backward.h"
#include "cpu/gathered_forward.h"

namespace fattn::cpu {
namespace {

constexpr int64 kLength = 4096;  // of queries and keys

/// Forward: shares of `near` consecutive queries against `far` gathered keys. Backward: tiles of
/// `near` consecutive keys against `far` gathered queries.
struct Shape {
    int64 near;
    int64 far;
    int64 head_dim;
    DType dtype;
    bool bits;
};

/// What is gathered comes in random blocks of 64, ascending; with bits, each row does not see one
/// key in eight.
class BlockGatherer final : public Gatherer {
  public:
    explicit BlockGatherer(const Shape& shape) : shape_(shape) {
        std::minstd_rand random(1);
        std::vector<int32> blocks(kLength / kBlock);
        std::iota(blocks.begin(), blocks.end(), 0);
        for (int64 tile = 0; tile < kLength / shape.near; ++tile) {
            std::shuffle(blocks.begin(), blocks.end(), random);
            std::sort(blocks.begin(), blocks.begin() + shape.far / kBlock);
            blocks_.insert(blocks_.end(), blocks.begin(), blocks.begin() + shape.far / kBlock);
        }
        for (uint64& word : words_) {
            word = 0;
            for (int n = 0; n < 64; ++n) word |= uint64{random() % 8 != 0} << n;
        }
    }

    GatherCapacity forward_capacity() const override { return capacity(shape_.near, shape_.far); }
    int64 num_forward_shares() const override { return kLength / shape_.near; }
    GatheredShare forward_share(int64 index, const GatherBuffer& buffer) const override {
        for (int64 r = 0; r < shape_.near; ++r) {
            buffer.rows[r] = row(index * shape_.near + r, r, shape_.far, buffer);
        }
        for (int64 s = 0; s < shape_.far; ++s) {
            buffer.tokens[s] = static_cast<int32>(far_token(index, s));
        }
        return {0, 0, 1, {buffer.rows, shape_.near, buffer.tokens, shape_.far}};
    }

    GatherCapacity backward_capacity() const override { return capacity(shape_.far, shape_.near); }
    int64 num_equal_heads(int64, int64) const override { return 1; }
    int64 num_key_tiles(int64, int64, KeyChunk chunk) const override {
        return chunk.end_of(kLength / shape_.near) - chunk.first_of(kLength / shape_.near);
    }
    GatheredTile key_tile(int64, int64, KeyChunk chunk, int64 tile,
                          const GatherBuffer& buffer) const override {
        tile += chunk.first_of(kLength / shape_.near);
        for (int64 r = 0; r < shape_.far; ++r) {
            buffer.rows[r] = row(far_token(tile, r), r, shape_.near, buffer);
        }
        for (int64 s = 0; s < shape_.near; ++s) {
            buffer.tokens[s] = static_cast<int32>(tile * shape_.near + s);
        }
        return {buffer.rows, shape_.far, buffer.tokens, shape_.near};
    }

  private:
    static constexpr int64 kBlock = 64;
    static constexpr int64 kWords = 4093;

    GatherCapacity capacity(int64 rows, int64 slots) const {
        return {rows, 1, slots, shape_.bits ? rows * slots / 64 : 0, 0};
    }
    int64 far_token(int64 tile, int64 at) const {
        const int64 block = tile * (shape_.far / kBlock) + at / kBlock;
        return int64{blocks_[static_cast<std::size_t>(block)]} * kBlock + at % kBlock;
    }
    GatheredRow row(int64 query, int64 r, int64 slots, const GatherBuffer& buffer) const {
        if (!shape_.bits) return {query, 0, slots, nullptr};
        const int64 words = slots / 64;
        uint64* bits = buffer.bits + r * words;
        for (int64 w = 0; w < words; ++w) {
            bits[w] = words_[static_cast<std::size_t>((r * words + w) % kWords)];
        }
        return {query, 0, slots, bits};
    }

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
        const auto values = bench::random_tensor(count, static_cast<fattn_dtype>(dtype), seed);
        const auto bytes = std::as_bytes(std::span(values));
        std::copy(bytes.begin(), bytes.end(), data_);
    }
    std::byte* data() { return data_; }

  private:
    std::vector<std::byte> memory_;
    std::byte* data_;
};

DenseProblem problem_of(const Shape& shape) {
    DenseProblem p{};
    p.q = p.k = p.v = p.o = p.d_o = p.d_q = p.d_k = p.d_v =
        contiguous(1, 1, kLength, shape.head_dim, shape.dtype);
    p.batch = p.num_q_heads = p.num_k_heads = p.num_v_heads = 1;
    p.q_len = p.kv_len = kLength;
    p.head_dim = p.head_dim_v = shape.head_dim;
    p.window_left = p.window_right = -1;
    p.scale = 0.1F;
    p.backward = true;
    return p;
}

/// Seconds that this thread works in a call.
double seconds_of(const auto& call) {
    const auto now = [] {
        timespec time{};
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
        return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
    };
    const double begin = now();
    call();
    return now() - begin;
}

/// Both passes of a shape, dense and gathered.
class Case {
  public:
    Case(const Shape& shape, const KernelTable& table)
        : shape_(shape),
          problem_(problem_of(shape)),
          gatherer_(shape),
          dense_(problem_, table),
          gathered_(problem_, additional_, table),
          dense_backward_(problem_, table),
          gathered_backward_(problem_, additional_, table) {
        uint64 bytes = 0;
        for (const uint64 needed :
             {dense_.workspace(1), gathered_.workspace(gatherer_, 1), dense_backward_.workspace(1),
              gathered_backward_.workspace(gatherer_.backward_capacity(), 1)}) {
            bytes = std::max(bytes, needed);
        }
        memory_ = Values(static_cast<int64>(bytes / sizeof(float)), DType::kF32, 9);
    }
    Case(const Case&) = delete;
    Case& operator=(const Case&) = delete;

    double run(bool gathered, bool backward) {
        DenseForwardArgs f{};
        f.q = q_.data();
        f.k = k_.data();
        f.v = v_.data();
        f.o = o_.data();
        f.lse = lse_.data();
        DenseBackwardArgs b{};
        b.q = f.q;
        b.k = f.k;
        b.v = f.v;
        b.o = f.o;
        b.lse = f.lse;
        b.d_o = d_o_.data();
        b.d_q = d_q_.data();
        b.d_k = d_k_.data();
        b.d_v = d_v_.data();
        std::byte* memory = memory_.data();
        return seconds_of([&] {
            if (!backward && !gathered) (void)dense_.run(f, 1, nullptr, memory);
            if (!backward && gathered) (void)gathered_.run(gatherer_, f, {}, 1, nullptr, memory);
            if (backward && !gathered) (void)dense_backward_.run(b, 1, nullptr, memory);
            if (backward && gathered)
                (void)gathered_backward_.run(gatherer_, b, {}, 1, nullptr, memory);
        });
    }

  private:
    Values values(unsigned seed) const {
        return Values(kLength * shape_.head_dim, shape_.dtype, seed);
    }

    Shape shape_;
    DenseProblem problem_;
    AdditionalKeys additional_{};
    BlockGatherer gatherer_;
    DenseForward dense_;
    GatheredForward gathered_;
    DenseBackward dense_backward_;
    GatheredBackward gathered_backward_;
    Values q_ = values(1), k_ = values(2), v_ = values(3), o_ = values(4), d_o_ = values(5);
    Values d_q_ = values(6), d_k_ = values(7), d_v_ = values(8);
    std::vector<float> lse_ = std::vector<float>(kLength, 8.0F);
    Values memory_ = Values(0, DType::kF32, 9);
};

/// Alternates dense and gathered; figures are medians.
void run_shape(benchmark::State& state, const Shape& shape, bool backward) {
    Choice choice;
    if (!choose_target(Target::kBest, &choice).ok()) {
        state.SkipWithError("no kernels");
        return;
    }
    Case c(shape, *choice.kernels);
    // One query and one key; a backward run has five products, a forward run two.
    const double work = static_cast<double>(shape.head_dim) * (backward ? 10 : 4);
    std::vector<double> rates, shares;
    for (auto _ : state) {
        const double dense = c.run(false, backward);
        const double gathered = c.run(true, backward);
        state.SetIterationTime(gathered);
        rates.push_back(work * kLength * static_cast<double>(shape.far) / gathered / 1e9);
        shares.push_back(rates.back() / (work * kLength * kLength / dense / 1e9));
    }
    state.counters["GFLOP/s"] = bench::median(rates);
    state.counters["of_dense"] = bench::median(shares);
}

void register_shape(const Shape& shape, bool backward) {
    const std::string name = std::string(backward ? "backward/keys" : "forward/rows") +
                             std::to_string(shape.near) + (backward ? "/rows" : "/keys") +
                             std::to_string(shape.far) + "/d" + std::to_string(shape.head_dim) +
                             (shape.dtype == DType::kF32 ? "/f32" : "/bf16") +
                             (shape.bits ? "/bits" : "");
    benchmark::RegisterBenchmark(name.c_str(), run_shape, shape, backward)
        ->UseManualTime()
        ->Iterations(9)
        ->Unit(benchmark::kMillisecond);
}

void register_shapes() {
    for (const int64 head_dim : {64, 128})
        for (const DType dtype : {DType::kF32, DType::kBF16})
            for (const bool bits : {false, true}) {
                for (const int64 rows : {64, 128})
                    for (const int64 keys : {512, 1024, 4096})
                        register_shape({rows, keys, head_dim, dtype, bits}, false);
                for (const int64 keys : {128, 512})
                    register_shape({keys, 1024, head_dim, dtype, bits}, true);
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
