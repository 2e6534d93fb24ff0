// A strided tensor with its memory, poisoned wherever no element lies: inputs then catch reads,
// outputs catch writes, that leave the tensor. Used by all native tests that call kernels.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "core/tensor_view.h"
#include "fused_attention/fused_attention.h"

namespace fattn::test {

/// How the dimensions of [B, H, L, D] lie in memory.
enum class MemoryOrder {
    kHeadsOutside,   // B, H, L, D without gaps
    kTokensOutside,  // B, L, H, D without gaps
    kPacked,         // B, L, three tensors, H, D: the view of one of them
    kPadded,         // B, H, L, D with room after every row and every head
    kSharedBatch     // one batch entry that all others point to; inputs only
};

const char* name_of(MemoryOrder order);
const char* name_of(DType dtype);

/// Layout of a [a, b, c, d] tensor whose dimensions are called B, H, L, D for the order's purpose.
TensorLayout make_layout(const int64 (&shape)[4], DType dtype, MemoryOrder order);

/// The same layout with dimensions 1 and 2 of shape and strides exchanged: [pages, page_size, H, D]
/// from B, H, L, D.
TensorLayout swap_middle(TensorLayout layout);

fattn_layout to_c(const TensorLayout& layout);

class Tensor {
  public:
    Tensor() = default;
    /// Every byte is poison: a NaN in each floating type, and no value a kernel would write.
    explicit Tensor(const TensorLayout& layout);

    const TensorLayout& layout() const { return layout_; }
    bool present() const { return layout_.rank != 0; }
    int64 size() const;
    /// First element; null when absent.
    void* data() { return present() ? memory_.data() + kMargin : nullptr; }
    const void* data() const { return present() ? memory_.data() + kMargin : nullptr; }
    float* floats() { return static_cast<float*>(data()); }

    double at(int64 a, int64 b, int64 c, int64 d) const;
    void set(int64 a, int64 b, int64 c, int64 d, double x);
    /// Sets every element, in logical order, from make().
    void fill(const std::function<double()>& make);
    /// All elements in logical order.
    std::vector<double> values() const;
    /// Whether every byte that belongs to no element is still poison.
    bool gaps_untouched() const;
    /// All memory, gaps and margins included, for copies to and from a device, and where the first
    /// element is in it.
    std::vector<std::byte>& memory() { return memory_; }
    static constexpr std::size_t first_byte() { return kMargin; }
    /// Whether all memory is equal, gaps included.
    bool same_bytes(const Tensor& other) const { return memory_ == other.memory_; }

  private:
    static constexpr std::size_t kMargin = 64;  // bytes of poison before and after the elements

    TensorLayout layout_{};
    std::vector<std::byte> memory_;
};

/// Copies tokens of batch entry b of source, from source_token on, to all tokens of batch entry
/// to_b of target. Types may differ; heads and head dim are the target's.
void copy_tokens(const Tensor& source, int64 b, int64 source_token, Tensor& target, int64 to_b);

/// Copies a whole batch entry.
inline void copy_entry(const Tensor& source, int64 b, Tensor& target, int64 to_b) {
    copy_tokens(source, b, 0, target, to_b);
}

}  // namespace fattn::test
