// Operands of wgmma from shared memory and registers, and their product.
#include "exec/wgmma_tile.h"

#include <algorithm>
#include <cstring>

#include "exec/cta.h"
#include "exec/fragments.h"
#include "exec/grid.h"
#include "exec/tensor_sum.h"
#include "exec/wgmma_layout.h"

namespace fattn::vgpu {
namespace {

using ptx::Type;

constexpr uint32_t kRows = 16;    // of a warp
constexpr uint32_t kColumns = 8;  // computed at once

// Rows `begin` to `begin + count` of a matrix, in the order in which `fetch` reads their chunks.
std::vector<uint32_t> chunks_of(const WgmmaForm& form, uint64_t bits, bool transposed,
                                uint32_t begin, uint32_t count) {
    const MatrixDescriptor matrix = MatrixDescriptor::unpack(bits);
    std::vector<uint32_t> made;
    if (transposed) {
        for (uint32_t chunk = begin / 8; chunk < (begin + count) / 8; ++chunk) {
            for (uint32_t k = 0; k < form.depth(); ++k) made.push_back(matrix.mn_major(chunk, k));
        }
        return made;
    }
    for (uint32_t row = begin; row < begin + count; ++row) {
        for (uint32_t chunk = 0; chunk < 2; ++chunk) made.push_back(matrix.k_major(row, chunk));
    }
    return made;
}

// put(row, k, value) for each element of 8 rows, whose 16 chunks begin at `chunks`; a bit for each
// row that is defined in whole.
template <Type type, class Put>
uint32_t fetch_rows(const SharedMemory& shared, const uint32_t* chunks, bool transposed, Put put) {
    constexpr uint32_t kPer = kElementsOf<type>;
    uint32_t defined = 255;
    for (uint32_t i = 0; i < 16; ++i) {
        uint32_t words[4];
        std::memcpy(words, shared.bytes.data() + chunks[i], 16);
        const uint8_t* written = shared.defined.data() + chunks[i];
        for (uint32_t e = 0; e < 4 * kPer; ++e) {
            const uint32_t row = transposed ? e : i / 2;
            const uint32_t k = transposed ? i : i % 2 * 4 * kPer + e;
            put(row, k, element<type>(words[e / kPer], e % kPer));
            for (uint32_t byte = 0; byte < 4 / kPer; ++byte) {
                if (!written[e * 4 / kPer + byte]) defined &= ~(1u << row);
            }
        }
    }
    return defined;
}

// Sets the elements of A and returns a bit for each row that is defined.
template <Type type, uint32_t kDepth>
uint32_t fetch_a(Warp& w, const Op& op, const WgmmaForm& form, uint64_t descriptor,
                 float (*to)[kDepth]) {
    uint32_t made = 0;
    if (form.a_in_registers) {
        const uint32_t first = form.d_registers();
        gather_a<type, kDepth>(w, op, first, to);
        uint32_t by_half[2] = {~0u, ~0u};
        for (uint32_t r = 0; r < 4; ++r) by_half[r & 1] &= w.defined(op.src(first + r));
        for (uint32_t row = 0; row < kRows; ++row) {
            const bool all = (by_half[row / 8] >> (4 * (row % 8)) & 15) == 15;
            made |= uint32_t{all} << row;
        }
    } else {
        const std::vector<uint32_t> chunks =
            chunks_of_a(form, descriptor, w.index % kWarpsPerGroup);
        for (uint32_t half = 0; half < 2; ++half) {
            made |= fetch_rows<type>(w.cta.shared, chunks.data() + 16 * half, form.transposed_a,
                                     [&](uint32_t row, uint32_t k, float value) {
                                         to[8 * half + row][k] = value;
                                     })
                    << (8 * half);
        }
    }
    for (uint32_t row = 0; form.negated_a && row < kRows; ++row) {
        for (uint32_t k = 0; k < kDepth; ++k) to[row][k] = -to[row][k];
    }
    return made;
}

// Which registers hold columns `column` to `column + 7` of D, and which of their lanes are defined.
class Accumulators {
  public:
    Accumulators(Warp& w, const Op& op, const WgmmaForm& form, uint32_t column)
        : w_(w), op_(op), half_(form.d == Type::kF16), first_(column / (half_ ? 4 : 2)) {}

    // Row and column of lane's value i, 0 to 3.
    static uint32_t row_of(uint32_t lane, uint32_t i) { return lane / 4 + 8 * (i >> 1); }
    static uint32_t column_of(uint32_t lane, uint32_t i) { return 2 * (lane % 4) + (i & 1); }

    template <class T>
    T load(uint32_t lane, uint32_t i) const {
        if (!half_) return w_.lanes<T>(op_.dst(first_ + i))[lane];
        const uint32_t word = w_.lanes<uint32_t>(op_.dst(first_ + i / 2))[lane];
        return static_cast<T>(f16_value(static_cast<uint16_t>(word >> (16 * (i & 1)))));
    }
    template <class T>
    void store(uint32_t lane, uint32_t i, T value) const {
        if (!half_) {
            w_.lanes<T>(op_.dst(first_ + i))[lane] = value;
            return;
        }
        uint32_t& word = w_.lanes<uint32_t>(op_.dst(first_ + i / 2))[lane];
        const uint32_t shift = 16 * (i & 1);
        word = (word & ~(0xffffu << shift)) | uint32_t{to_f16(static_cast<double>(value))} << shift;
    }
    void define(uint32_t rows, uint32_t columns, bool adds) const {
        for (uint32_t r = 0; r < (half_ ? 2u : 4u); ++r) {
            const Row row = op_.dst(first_ + r);
            uint32_t made = 0;
            for (uint32_t lane = 0; lane < 32; ++lane) {
                const uint32_t i = half_ ? 2 * r : r;
                const uint32_t column = column_of(lane, i);
                const bool fine = (rows >> row_of(lane, i) & 1) && (columns >> column & 1) &&
                                  (!half_ || (columns >> (column + 1) & 1));
                made |= uint32_t{fine} << lane;
            }
            if (adds) made &= w_.defined(row);
            w_.set_defined(row, ~0u, made);
            if (made != ~0u) w_.set_origin(row, w_.program.index_of(op_) + 1);
        }
    }

  private:
    Warp& w_;
    const Op& op_;
    bool half_;
    uint32_t first_;
};

template <Type a_type, Type b_type>
void multiply_tile(Warp& w, const Op& op, const WgmmaForm& form, const WgmmaOperation& operation) {
    constexpr bool kInteger = a_type == Type::kU8 || a_type == Type::kS8;
    using Sum = std::conditional_t<kInteger, int32_t, float>;
    constexpr uint32_t kDepth = 8 * kElementsOf<a_type>;
    LeftFactors<kDepth> a;
    const uint32_t a_defined = fetch_a<a_type, kDepth>(w, op, form, operation.a, a.values);
    if constexpr (!kInteger) a.prepare();
    const std::vector<uint32_t> chunks = chunks_of_b(form, operation.b);
    const DeviceModel& model = w.grid.launch.module->model();
    const Accumulation how = {std::max(1u, model.mma_step * 2 / form.size()), model.mma_extra_bits,
                              w.grid.options.mma_round_to_nearest};
    for (uint32_t column = 0; column < form.columns; column += kColumns) {
        RightFactors<kDepth> b;
        const uint32_t defined =
            fetch_rows<b_type>(w.cta.shared, chunks.data() + 2 * column, form.transposed_b,
                               [&](uint32_t n, uint32_t k, float value) {
                                   b.values[k][n] = form.negated_b ? -value : value;
                               });
        const Accumulators registers(w, op, form, column);
        alignas(64) Sum c[kRows][kColumns] = {};
        for (uint32_t lane = 0; operation.adds && lane < 32; ++lane) {
            for (uint32_t i = 0; i < 4; ++i)
                c[Accumulators::row_of(lane, i)][Accumulators::column_of(lane, i)] =
                    registers.load<Sum>(lane, i);
        }
        if constexpr (kInteger) {
            for (uint32_t row = 0; row < kRows; ++row) {
                for (uint32_t n = 0; n < kColumns; ++n) {
                    int64_t sum = c[row][n];
                    for (uint32_t k = 0; k < kDepth; ++k)
                        sum += static_cast<int64_t>(a.values[row][k]) *
                               static_cast<int64_t>(b.values[k][n]);
                    if (form.saturates) sum = std::clamp<int64_t>(sum, INT32_MIN, INT32_MAX);
                    c[row][n] = static_cast<int32_t>(sum);
                }
            }
        } else {
            b.prepare();
            accumulate(c, a, b, how);
        }
        for (uint32_t lane = 0; lane < 32; ++lane) {
            for (uint32_t i = 0; i < 4; ++i)
                registers.store<Sum>(
                    lane, i, c[Accumulators::row_of(lane, i)][Accumulators::column_of(lane, i)]);
        }
        registers.define(a_defined, defined, operation.adds);
    }
}

}  // namespace

std::vector<uint32_t> chunks_of_a(const WgmmaForm& form, uint64_t descriptor, uint32_t warp) {
    if (form.a_in_registers) return {};
    return chunks_of(form, descriptor, form.transposed_a, kRows * warp, kRows);
}

std::vector<uint32_t> chunks_of_b(const WgmmaForm& form, uint64_t descriptor) {
    return chunks_of(form, descriptor, form.transposed_b, 0, form.columns);
}

void execute_wgmma(Warp& w, const Op& op, const WgmmaOperation& operation) {
    const WgmmaForm form = WgmmaForm::unpack(op.aux);
    const auto is = [&](Type a, Type b) { return form.a == a && form.b == b; };
    if (is(Type::kF16, Type::kF16))
        return multiply_tile<Type::kF16, Type::kF16>(w, op, form, operation);
    if (is(Type::kBf16, Type::kBf16))
        return multiply_tile<Type::kBf16, Type::kBf16>(w, op, form, operation);
    if (is(Type::kTf32, Type::kTf32))
        return multiply_tile<Type::kTf32, Type::kTf32>(w, op, form, operation);
    if (is(Type::kE4m3, Type::kE4m3))
        return multiply_tile<Type::kE4m3, Type::kE4m3>(w, op, form, operation);
    if (is(Type::kE4m3, Type::kE5m2))
        return multiply_tile<Type::kE4m3, Type::kE5m2>(w, op, form, operation);
    if (is(Type::kE5m2, Type::kE4m3))
        return multiply_tile<Type::kE5m2, Type::kE4m3>(w, op, form, operation);
    if (is(Type::kE5m2, Type::kE5m2))
        return multiply_tile<Type::kE5m2, Type::kE5m2>(w, op, form, operation);
    if (is(Type::kU8, Type::kU8))
        return multiply_tile<Type::kU8, Type::kU8>(w, op, form, operation);
    if (is(Type::kU8, Type::kS8))
        return multiply_tile<Type::kU8, Type::kS8>(w, op, form, operation);
    if (is(Type::kS8, Type::kU8))
        return multiply_tile<Type::kS8, Type::kU8>(w, op, form, operation);
    multiply_tile<Type::kS8, Type::kS8>(w, op, form, operation);
}

}  // namespace fattn::vgpu
