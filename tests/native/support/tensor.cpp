// Strided test tensors with poisoned gaps.
#include "support/tensor.h"

#include <algorithm>
#include <utility>

#include "reference/numeric.h"
#include "support/unwatched.h"

namespace fattn::test {
namespace {

/// 0xff bytes read as NaN in f32, f16 and bf16.
constexpr std::byte kPoison{0xff};
constexpr int64 kPadding = 3;

template <class Visit>
void for_each_element(const TensorLayout& layout, const Visit& visit) {
    for (int64 a = 0; a < layout.shape[0]; ++a)
        for (int64 b = 0; b < layout.shape[1]; ++b)
            for (int64 c = 0; c < layout.shape[2]; ++c)
                for (int64 d = 0; d < layout.shape[3]; ++d)
                    visit(layout.row(a, b, c) + d * layout.strides[3]);
}

int64 size_of(const TensorLayout& layout) {
    return layout.shape[0] * layout.shape[1] * layout.shape[2] * layout.shape[3];
}

}  // namespace

const char* name_of(MemoryOrder order) {
    switch (order) {
        case MemoryOrder::kHeadsOutside:
            return "BHLD";
        case MemoryOrder::kTokensOutside:
            return "BLHD";
        case MemoryOrder::kPacked:
            return "packed";
        case MemoryOrder::kPadded:
            return "padded";
        case MemoryOrder::kSharedBatch:
            return "shared";
    }
    return "?";
}

const char* name_of(DType dtype) {
    switch (dtype) {
        case DType::kF32:
            return "f32";
        case DType::kF16:
            return "f16";
        case DType::kBF16:
            return "bf16";
        case DType::kU8:
            return "u8";
        case DType::kBit:
            return "bit";
        default:
            return "?";
    }
}

TensorLayout make_layout(const int64 (&shape)[4], DType dtype, MemoryOrder order) {
    const int64 heads = shape[1], tokens = shape[2], dim = shape[3];
    TensorLayout layout = contiguous(shape[0], heads, tokens, dim, dtype);
    switch (order) {
        case MemoryOrder::kHeadsOutside:
            break;
        case MemoryOrder::kTokensOutside:
        case MemoryOrder::kPacked: {
            const int64 views = order == MemoryOrder::kPacked ? 3 : 1;
            layout.strides[2] = views * heads * dim;
            layout.strides[1] = dim;
            layout.strides[0] = tokens * layout.strides[2];
            break;
        }
        case MemoryOrder::kPadded:
            layout.strides[2] = dim + kPadding;
            layout.strides[1] = tokens * layout.strides[2] + kPadding;
            layout.strides[0] = heads * layout.strides[1];
            break;
        case MemoryOrder::kSharedBatch:
            layout.strides[0] = 0;
            break;
    }
    return layout;
}

TensorLayout swap_middle(TensorLayout layout) {
    std::swap(layout.shape[1], layout.shape[2]);
    std::swap(layout.strides[1], layout.strides[2]);
    return layout;
}

fattn_layout to_c(const TensorLayout& layout) {
    fattn_layout c{};
    for (int n = 0; n < 4; ++n) {
        c.shape[n] = layout.shape[n];
        c.strides[n] = layout.strides[n];
    }
    c.dtype = static_cast<fattn_dtype>(layout.dtype);
    c.rank = layout.rank;
    return c;
}

Tensor::Tensor(const TensorLayout& layout) : layout_(layout) {
    const Unwatched unwatched;
    int64 last = 0;
    for (int n = 0; n < 4; ++n) last += max_of<int64>(layout.shape[n] - 1, 0) * layout.strides[n];
    const int64 bytes = ceil_div<int64>((last + 1) * bits_of(layout.dtype), 8);
    memory_.assign(static_cast<std::size_t>(bytes) + 2 * kMargin, kPoison);
}

int64 Tensor::size() const { return present() ? size_of(layout_) : 0; }

double Tensor::at(int64 a, int64 b, int64 c, int64 d) const {
    return reference::load(layout_.dtype, data(), layout_.row(a, b, c) + d * layout_.strides[3]);
}

void Tensor::set(int64 a, int64 b, int64 c, int64 d, double x) {
    reference::store(layout_.dtype, data(), layout_.row(a, b, c) + d * layout_.strides[3], x);
}

void Tensor::fill(const std::function<double()>& make) {
    const Unwatched unwatched;
    if (!present()) return;
    for_each_element(layout_,
                     [&](int64 at) { reference::store(layout_.dtype, data(), at, make()); });
}

std::vector<double> Tensor::values() const {
    const Unwatched unwatched;
    std::vector<double> values;
    if (!present()) return values;
    values.reserve(static_cast<std::size_t>(size()));
    for_each_element(
        layout_, [&](int64 at) { values.push_back(reference::load(layout_.dtype, data(), at)); });
    return values;
}

bool Tensor::gaps_untouched() const {
    const Unwatched unwatched;
    if (!present()) return true;
    std::vector<std::byte> rest = memory_;
    const int64 bits = bits_of(layout_.dtype);
    const auto poison = [&](int64 at, int64 count) {
        const int64 first = at * bits / 8, end = ceil_div<int64>((at + count) * bits, 8);
        std::fill_n(rest.begin() + kMargin + first, end - first, kPoison);
    };
    for (int64 a = 0; a < layout_.shape[0]; ++a)
        for (int64 b = 0; b < layout_.shape[1]; ++b)
            for (int64 c = 0; c < layout_.shape[2]; ++c) {
                const int64 row = layout_.row(a, b, c), step = layout_.strides[3];
                // Elements that lie side by side are one stretch of bytes.
                const int64 stretches =
                    step == 1 ? min_of<int64>(layout_.shape[3], 1) : layout_.shape[3];
                for (int64 n = 0; n < stretches; ++n)
                    poison(row + n * step, step == 1 ? layout_.shape[3] : 1);
            }
    return std::all_of(rest.begin(), rest.end(), [](std::byte byte) { return byte == kPoison; });
}

void copy_tokens(const Tensor& source, int64 b, int64 source_token, Tensor& target, int64 to_b) {
    const TensorLayout& to = target.layout();
    for (int64 h = 0; h < to.shape[1]; ++h)
        for (int64 l = 0; l < to.shape[2]; ++l)
            for (int64 d = 0; d < to.shape[3]; ++d)
                target.set(to_b, h, l, d, source.at(b, h, source_token + l, d));
}

}  // namespace fattn::test
