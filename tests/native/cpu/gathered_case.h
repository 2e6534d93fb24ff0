// A dense case under a random mask and the same as a gathered problem whose last keys are
// additional ones; used by the tests of the gathered forward and backward.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "cpu/gathered_backward.h"
#include "cpu/gathered_forward.h"
#include "random_gatherer.h"
#include "support/dense_truth.h"

namespace fattn::cpu {

class GatheredCase {
  public:
    GatheredCase(const test::DenseSpec& spec, const GatherStyle& style, int64 num_additional)
        : data(with_mask(spec)), gatherer(spec, style), problem(data.problem()) {
        gatherer.hide(data);
        problem.has_mask = false;
        problem.kv_len = spec.kv_len - num_additional;
        additional.num = num_additional;
        additional.k = cut(problem.k);
        additional.v = cut(problem.v);
        if (!spec.backward) return;
        additional.d_k = cut(problem.d_k);
        additional.d_v = cut(problem.d_v);
    }

    test::DenseTruth truth() const {
        return dense_truth(data, [this](test::DenseCase& other) { gatherer.hide(other); });
    }

    Status forward(const KernelTable& table, int num_threads, const int32* cancel = nullptr) {
        data.reset_outputs();
        DenseForwardArgs args = data.forward_args();
        args.o = data.o.data();
        args.lse = data.lse.floats();
        const GatheredForward pass(problem, additional, table);
        return with_workspace(pass.workspace(gatherer, num_threads), [&](std::byte* workspace) {
            const AdditionalKeyArgs more{last_keys(data.k), last_keys(data.v), nullptr, nullptr};
            return pass.run(gatherer, args, more, num_threads, cancel, workspace);
        });
    }

    /// Which gradients a run wants.
    struct Wanted {
        bool d_q = true;
        bool d_k = true;
        bool d_v = true;
    };

    /// Takes o and lse as they are in the data.
    Status backward(const KernelTable& table, int num_threads, const Wanted& wanted,
                    const int32* cancel = nullptr) {
        data.reset_gradients();
        DenseBackwardArgs args = data.backward_args();
        args.o = data.o.data();
        args.lse = data.lse.floats();
        args.d_q = wanted.d_q ? data.d_q.data() : nullptr;
        args.d_k = wanted.d_k ? data.d_k.data() : nullptr;
        args.d_v = wanted.d_v ? data.d_v.data() : nullptr;
        const AdditionalKeyArgs more{last_keys(data.k), last_keys(data.v),
                                     wanted.d_k ? last_keys(data.d_k) : nullptr,
                                     wanted.d_v ? last_keys(data.d_v) : nullptr};
        const GatheredBackward pass(problem, additional, table);
        return with_workspace(
            pass.workspace(gatherer.backward_capacity(), num_threads), [&](std::byte* workspace) {
                return pass.run(gatherer, args, more, num_threads, cancel, workspace);
            });
    }

    test::DenseCase data;
    RandomGatherer gatherer;
    DenseProblem problem;
    AdditionalKeys additional{};

  private:
    static test::DenseSpec with_mask(test::DenseSpec spec) {
        spec.mask = DType::kU8;
        spec.mask_per_batch = spec.mask_per_head = true;
        return spec;
    }

    /// The layout of the additional keys; the given one keeps those before.
    TensorLayout cut(TensorLayout& layout) const {
        TensorLayout last = layout;
        last.shape[2] = additional.num;
        layout.shape[2] -= additional.num;
        return last;
    }
    void* last_keys(test::Tensor& x) const {
        const TensorLayout& layout = x.layout();
        return static_cast<std::byte*>(x.data()) +
               problem.kv_len * layout.strides[2] * bits_of(layout.dtype) / 8;
    }

    /// Stale memory must not matter, nor may anything behind the workspace be written.
    template <class F>
    static Status with_workspace(uint64 bytes, const F& run) {
        constexpr std::size_t kMargin = 64;
        std::vector<std::byte> memory(static_cast<std::size_t>(bytes) + 2 * kMargin,
                                      std::byte{0xff});
        void* start = memory.data();
        std::size_t space = memory.size();
        start = std::align(kMargin, static_cast<std::size_t>(bytes), start, space);
        auto* workspace = static_cast<std::byte*>(start);
        const Status status = run(workspace);
        const std::byte* end = workspace + bytes;
        EXPECT_TRUE(std::all_of(end, const_cast<const std::byte*>(memory.data() + memory.size()),
                                [](std::byte b) { return b == std::byte{0xff}; }))
            << "written past the workspace";
        return status;
    }
};

}  // namespace fattn::cpu
