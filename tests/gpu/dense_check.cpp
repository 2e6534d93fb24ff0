// Random dense problems on a GPU against the double-precision reference.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "dense_runs.h"
#include "support/dense_truth.h"
#include "support/random_dense.h"

namespace fattn::gpu {
namespace {

using test::DenseCase;
using test::DenseSpec;
using test::Tensor;

/// A problem that has run.
struct Ran {
    std::unique_ptr<DenseCase> problem;
    std::string key;
    bool repeats = true;  // a second run gave the same bytes
};

/// Two of three problems are of the forward pass alone. Every other one is for the lean keys, which
/// random features would rarely leave.
DenseSpec spec_of(unsigned long long seed) {
    DenseSpec spec = test::random_dense_spec(seed, seed % 3 == 0);
    if (seed % 2 == 0) return spec;
    spec.dtype = seed % 4 == 1 ? DType::kF16 : DType::kBF16;
    spec.f32_output = spec.alibi = spec.sigmoid = false;
    spec.softcap = spec.dropout_p = 0;
    spec.bias = spec.mask = DType::kDefault;
    spec.scale.reset();
    if (spec.page_size > 0) {
        spec.page_size = 0;
        spec.kv_len_of_run.clear();
        spec.kv_lens = spec.q_lens;
    }
    spec.head_dim = round_up<int64>(spec.head_dim, 8);
    spec.head_dim_v = round_up<int64>(spec.head_dim_v, 8);
    return spec;
}

/// A tensor's memory on the device, margins included.
class OnDevice {
  public:
    explicit OnDevice(Tensor& tensor) : tensor_(tensor), buffer_(tensor.memory().size()) {
        buffer_.write(tensor_.memory().data());
    }
    void* data() const {
        if (!tensor_.present()) return nullptr;
        return static_cast<unsigned char*>(buffer_.pointer()) + Tensor::first_byte();
    }
    const float* floats() const { return static_cast<const float*>(data()); }
    void upload() { buffer_.write(tensor_.memory().data()); }
    void download() { buffer_.read(tensor_.memory().data()); }

  private:
    Tensor& tensor_;
    Buffer buffer_;
};

class Integers {
  public:
    explicit Integers(const std::vector<int32>& numbers)
        : present_(!numbers.empty()), buffer_(numbers.size() * sizeof(int32)) {
        buffer_.write(numbers.data());
    }
    const int32* data() const {
        return present_ ? static_cast<const int32*>(buffer_.pointer()) : nullptr;
    }

  private:
    bool present_;
    Buffer buffer_;
};

/// Forward run of a problem, twice.
void run_forward(DenseKernels& kernels, Ran& ran) {
    DenseCase& c = *ran.problem;
    c.reset_outputs();
    OnDevice q(c.q), k(c.k), v(c.v), bias(c.bias), mask(c.mask), alibi(c.alibi_slopes),
        sink(c.sink_logits), o(c.o), lse(c.lse);
    const Integers cu_seqlens_q(c.cu_seqlens_q), cu_seqlens_k(c.cu_seqlens_k),
        kv_len(c.spec().kv_len_of_run), block_table(c.block_table);
    DenseForwardArgs args = c.forward_args();
    args.q = q.data();
    args.k = k.data();
    args.v = v.data();
    args.o = o.data();
    args.lse = c.spec().sigmoid ? nullptr : static_cast<float*>(lse.data());
    args.bias = bias.data();
    args.mask = mask.data();
    args.alibi_slopes = alibi.floats();
    args.sink_logits = sink.floats();
    args.cu_seqlens_q = cu_seqlens_q.data();
    args.cu_seqlens_k = cu_seqlens_k.data();
    args.kv_len = kv_len.data();
    args.block_table = block_table.data();
    const cuda::ForwardLaunch launch = cuda::dense_forward_launch(c.problem(), args);
    ran.key = launch.key.name();
    kernels.enqueue(launch);
    synchronize();
    o.download();
    lse.download();
    const std::vector<std::byte> first_o = c.o.memory();
    const std::vector<std::byte> first_lse = c.lse.memory();
    c.reset_outputs();
    o.upload();
    lse.upload();
    kernels.enqueue(launch);
    synchronize();
    o.download();
    lse.download();
    ran.repeats = c.o.memory() == first_o && c.lse.memory() == first_lse;
}

/// Backward run of a problem whose forward has run, twice.
void run_backward(DenseKernels& kernels, Ran& ran) {
    DenseCase& c = *ran.problem;
    c.reset_gradients();
    OnDevice q(c.q), k(c.k), v(c.v), bias(c.bias), mask(c.mask), alibi(c.alibi_slopes),
        sink(c.sink_logits), o(c.o), lse(c.lse), d_o(c.d_o), d_lse(c.d_lse);
    OnDevice gradients[] = {OnDevice(c.d_q), OnDevice(c.d_k), OnDevice(c.d_v), OnDevice(c.d_bias),
                            OnDevice(c.d_sink_logits)};
    const Integers cu_seqlens_q(c.cu_seqlens_q), cu_seqlens_k(c.cu_seqlens_k),
        kv_len(c.spec().kv_len_of_run);
    DenseBackwardArgs args = c.backward_args();
    args.q = q.data();
    args.k = k.data();
    args.v = v.data();
    args.o = o.data();
    args.lse = lse.floats();
    args.d_o = d_o.data();
    args.d_lse = d_lse.floats();
    args.bias = bias.data();
    args.mask = mask.data();
    args.alibi_slopes = alibi.floats();
    args.sink_logits = sink.floats();
    args.cu_seqlens_q = cu_seqlens_q.data();
    args.cu_seqlens_k = cu_seqlens_k.data();
    args.kv_len = kv_len.data();
    args.d_q = gradients[0].data();
    args.d_k = gradients[1].data();
    args.d_v = gradients[2].data();
    args.d_bias = static_cast<float*>(gradients[3].data());
    args.d_sink_logits = static_cast<float*>(gradients[4].data());
    const DenseProblem problem = c.problem();
    const Buffer workspace(static_cast<std::size_t>(cuda::dense_backward_workspace(problem)));
    const cuda::DenseBackwardRun launches =
        cuda::dense_backward_run(problem, args, workspace.pointer());
    ran.key += " " + cuda::backward_key(problem, cuda::Side::kKeys).name();
    std::vector<std::byte> first;
    for (int n = 0; n < 2; ++n) {
        c.reset_gradients();
        for (OnDevice& gradient : gradients) gradient.upload();
        kernels.enqueue(problem, launches);
        synchronize();
        std::vector<std::byte> bytes;
        for (OnDevice& gradient : gradients) gradient.download();
        for (Tensor* tensor : {&c.d_q, &c.d_k, &c.d_v, &c.d_bias, &c.d_sink_logits}) {
            bytes.insert(bytes.end(), tensor->memory().begin(), tensor->memory().end());
        }
        ran.repeats = ran.repeats && (n == 0 || bytes == first);
        first = bytes;
    }
}

/// What is wrong with a result; empty when nothing is.
std::string fault_of(const Ran& ran) {
    const DenseCase& c = *ran.problem;
    const std::string context = ran.key + ": " + test::describe(c.spec());
    if (!ran.repeats) return "a second run differs; " + context;
    if (!c.o.gaps_untouched()) return "o: memory between the elements was written; " + context;
    if (!c.lse.gaps_untouched()) return "lse: memory beside it was written; " + context;
    test::TruthInTwoSteps<test::DenseTruth> truth(
        [&](test::Effort effort) { return test::dense_truth(c, {}, effort); });
    const testing::AssertionResult near =
        truth.check([&](const test::DenseTruth& of_c) { return test::is_near(of_c, c); });
    return near ? "" : ran.key + ": " + near.message();
}

}  // namespace

int check_dense(DenseKernels& kernels, double seconds, unsigned long long first_seed,
                const std::string& json_path) {
    using Clock = std::chrono::steady_clock;
    const auto begin = Clock::now();
    const auto elapsed = [&] {
        return std::chrono::duration<double>(Clock::now() - begin).count();
    };
    constexpr std::size_t kMostProblems = 4000;
    std::vector<Ran> problems;
    for (unsigned long long seed = first_seed;
         problems.size() < kMostProblems && elapsed() < seconds / 4; ++seed) {
        Ran ran{std::make_unique<DenseCase>(spec_of(seed)), "", true};
        const bool backward = ran.problem->spec().backward;
        if (!cuda::supports_dense_forward(ran.problem->problem()).ok()) continue;
        // A plan runs these over f32 copies (wide_copies), which are not made here.
        const DenseSpec& spec = ran.problem->spec();
        if (backward && spec.f32_output && spec.dtype != DType::kF32) continue;
        if (backward && !cuda::supports_dense_backward(ran.problem->problem()).ok()) continue;
        try {
            run_forward(kernels, ran);
            if (backward) run_backward(kernels, ran);
        } catch (const std::exception& error) {
            // The device is lost with its context: what was asked is all that is known.
            std::printf("%s\n  in %s: %s\n", error.what(), ran.key.c_str(),
                        test::describe(ran.problem->spec()).c_str());
            return 1;
        }
        problems.push_back(std::move(ran));
    }
    std::atomic<std::size_t> next{0};
    std::atomic<int> num_compared{0};
    std::mutex mutex;
    std::vector<std::string> faults;
    std::map<std::string, int> per_key;
    const auto compare = [&] {
        for (std::size_t n = next++; n < problems.size() && elapsed() < seconds; n = next++) {
            const std::string fault = fault_of(problems[n]);
            ++num_compared;
            const std::lock_guard<std::mutex> lock(mutex);
            ++per_key[problems[n].key];
            if (!fault.empty()) faults.push_back(fault);
        }
    };
    std::vector<std::thread> threads;
    for (unsigned n = 0; n < std::max(1U, std::thread::hardware_concurrency()); ++n) {
        threads.emplace_back(compare);
    }
    for (std::thread& thread : threads) thread.join();

    for (const std::string& fault : faults) std::printf("%s\n", fault.c_str());
    std::printf("%zu problems ran, %d compared, %zu wrong\n", problems.size(), num_compared.load(),
                faults.size());
    std::ofstream json(json_path);
    json << "{\"ran\": " << problems.size() << ", \"compared\": " << num_compared.load()
         << ", \"wrong\": " << faults.size() << ", \"keys\": {";
    const char* separator = "";
    for (const auto& [key, count] : per_key) {
        std::printf("  %-36s %d\n", key.c_str(), count);
        json << separator << "\"" << key << "\": " << count;
        separator = ", ";
    }
    json << "}}\n";
    return faults.empty() && num_compared > 0 ? 0 : 1;
}

}  // namespace fattn::gpu
