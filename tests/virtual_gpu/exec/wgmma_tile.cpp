// Operands of wgmma from shared memory and registers, and their product.
#include "exec/wgmma_tile.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "exec/access.h"
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
    made.reserve(2 * size_t{count});
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

// A bit for each of 8 rows, whose 16 chunks begin at `chunks`, that is defined in whole.
uint32_t defined_rows(const SharedMemory& shared, const uint32_t* chunks, bool transposed,
                      uint32_t element_bytes) {
    const uint8_t* const defined = shared.defined.data();
    bool all = true;
    for (uint32_t i = 0; i < 16; ++i) all &= whole_defined<16>(defined + chunks[i]);
    if (all) return 255;
    uint32_t rows = 255;
    for (uint32_t i = 0; i < 16; ++i) {
        for (uint32_t byte = 0; byte < 16; ++byte) {
            const uint32_t row = transposed ? byte / element_bytes : i / 2;
            if (!defined[chunks[i] + byte]) rows &= ~(1u << row);
        }
    }
    return rows;
}

// The elements of a chunk.
template <Type type>
void fetch_chunk(const SharedMemory& shared, uint32_t chunk, float* to) {
    uint32_t words[4];
    std::memcpy(words, shared.bytes.data() + chunk, sizeof words);
    row_of_register<type>(words, 0, to);
}

// 8 rows, whose 16 chunks begin at `chunks`: two of each row or, transposed, one of each k.
template <Type type, uint32_t kDepth>
void fetch_rows(const SharedMemory& shared, const uint32_t* chunks, bool transposed,
                float (*to)[kDepth]) {
    constexpr uint32_t kWide = 4 * kElementsOf<type>;
    for (uint32_t i = 0; i < 16; ++i) {
        if (!transposed) {
            fetch_chunk<type>(shared, chunks[i], &to[i / 2][i % 2 * kWide]);
            continue;
        }
        float values[kWide];
        fetch_chunk<type>(shared, chunks[i], values);
        for (uint32_t row = 0; row < 8; ++row) to[row][i] = values[row % kWide];
    }
}

// 8 columns of B in the order of kColumnAt.
template <Type type, uint32_t kDepth>
void fetch_columns(const SharedMemory& shared, const uint32_t* chunks, bool transposed,
                   float (*to)[kColumns]) {
    alignas(64) float columns[kColumns][kDepth];
    fetch_rows<type, kDepth>(shared, chunks, transposed, columns);
    turn_columns<kDepth>(columns, to);
}

template <uint32_t kCount>
void negate(float* values) {
    for (uint32_t i = 0; i < kCount; ++i) values[i] = -values[i];
}

// Sets the elements of A and returns a bit for each row that is defined.
template <Type type, uint32_t kDepth>
uint32_t fetch_a(Warp& w, const Op& op, const WgmmaForm& form, const WgmmaOperation& operation,
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
        const std::vector<uint32_t>& chunks = operation.chunks_of_a[w.index % kWarpsPerGroup];
        for (uint32_t half = 0; half < 2; ++half) {
            const uint32_t* const of_half = chunks.data() + 16 * half;
            made |= defined_rows(w.cta.shared, of_half, form.transposed_a, form.size())
                    << (8 * half);
            fetch_rows<type, kDepth>(w.cta.shared, of_half, form.transposed_a, to + 8 * half);
        }
    }
    if (form.negated_a) negate<kRows * kDepth>(&to[0][0]);
    return made;
}

// An accumulator is defined where its row of A, its column of B and, where it adds, it itself are.
// `registers` hold 8 columns.
void define_accumulators(Warp& w, const Op& op, const Row* registers, bool half, uint32_t rows,
                         uint32_t columns, bool adds) {
    const bool all = rows == 0xffff && columns == 255;
    for (uint32_t r = 0; r < (half ? 2u : 4u); ++r) {
        const Row row = registers[r];
        const uint32_t i = half ? 2 * r : r;
        uint32_t made = all ? ~0u : 0;
        for (uint32_t lane = 0; !all && lane < 32; ++lane) {
            const uint32_t column = 2 * (lane % 4) + (i & 1);
            const bool fine = (rows >> (lane / 4 + 8 * (i >> 1)) & 1) && (columns >> column & 1) &&
                              (!half || (columns >> (column + 1) & 1));
            made |= uint32_t{fine} << lane;
        }
        if (adds) made &= w.defined(row);
        w.set_defined(row, ~0u, made);
        if (made != ~0u) w.set_origin(row, w.program.index_of(op) + 1);
    }
}

// Eight columns of B; a bit for each that is defined.
template <uint32_t kDepth>
struct ColumnFactors : RightFactors<kDepth> {
    uint32_t defined;
};

// All columns of B, eight after eight. Made by the first warp that asks for them.
template <Type type, uint32_t kDepth>
const ColumnFactors<kDepth>* columns_of(Warp& w, const WgmmaForm& form, WgmmaOperation& operation) {
    using Columns = ColumnFactors<kDepth>;
    static_assert(sizeof(Columns) % sizeof(FactorLine) == 0);
    if (!operation.has_columns)
        operation.columns.resize(form.columns / kColumns * sizeof(Columns) / sizeof(FactorLine));
    auto* const all = reinterpret_cast<Columns*>(operation.columns.data());
    for (uint32_t i = 0; !operation.has_columns && i < form.columns / kColumns; ++i) {
        const uint32_t* const chunks = operation.chunks_of_b.data() + 2 * kColumns * i;
        Columns& b = all[i];
        fetch_columns<type, kDepth>(w.cta.shared, chunks, form.transposed_b, b.values);
        if (form.negated_b) negate<kDepth * kColumns>(&b.values[0][0]);
        if (type != Type::kU8 && type != Type::kS8) b.prepare(least_exponent(type));
        b.defined = defined_rows(w.cta.shared, chunks, form.transposed_b, form.size());
    }
    operation.has_columns = true;
    return all;
}

template <uint32_t kDepth>
void add_integers(int32_t (*c)[kColumns], const LeftFactors<kDepth>& a,
                  const RightFactors<kDepth>& b, bool saturates) {
    for (uint32_t row = 0; row < kRows; ++row) {
        for (uint32_t n = 0; n < kColumns; ++n) {
            int64_t sum = c[row][n];
            for (uint32_t k = 0; k < kDepth; ++k)
                sum +=
                    static_cast<int64_t>(a.values[row][k]) * static_cast<int64_t>(b.values[k][n]);
            if (saturates) sum = std::clamp<int64_t>(sum, INT32_MIN, INT32_MAX);
            c[row][n] = static_cast<int32_t>(sum);
        }
    }
}

// Of 23 bits behind the point.
constexpr int32_t kLostByBytes = 10;

void cut_places(float* sums) {
    for (uint32_t i = 0; i < kRows * kColumns; ++i) {
        const auto bits = std::bit_cast<uint32_t>(sums[i]) & ~((1u << kLostByBytes) - 1);
        if (std::isfinite(sums[i])) sums[i] = std::bit_cast<float>(bits);
    }
}

template <Type a_type, Type b_type>
void multiply_tile(Warp& w, const Op& op, const WgmmaForm& form, WgmmaOperation& operation) {
    constexpr bool kInteger = a_type == Type::kU8 || a_type == Type::kS8;
    using Sum = std::conditional_t<kInteger, int32_t, float>;
    constexpr uint32_t kDepth = 8 * kElementsOf<a_type>;
    LeftFactors<kDepth> a;
    const uint32_t a_defined = fetch_a<a_type, kDepth>(w, op, form, operation, a.values);
    if constexpr (!kInteger) a.prepare(least_exponent(a_type));
    const DeviceModel& model = w.grid.launch.module->model();
    // Sums of 8-bit floats have 14 significant bits, before and after.
    constexpr bool kShort = a_type == Type::kE4m3 || a_type == Type::kE5m2;
    const bool half = form.d == Type::kF16;
    const bool cuts = !w.grid.options.mma_round_to_nearest;
    const Accumulation how = {std::max(1u, model.mma_step * 2 / form.size()),
                              kShort ? -kLostByBytes : model.mma_extra_bits, !cuts,
                              kShort && half ? kLeastOfF16 : 1};
    const ColumnFactors<kDepth>* const all = columns_of<b_type, kDepth>(w, form, operation);
    for (uint32_t i = 0; i < form.columns / kColumns; ++i) {
        const ColumnFactors<kDepth>& b = all[i];
        const Row* const registers = op.rows + i * (half ? 2 : 4);
        alignas(64) Sum c[kRows][kColumns];
        if (operation.adds) {
            load_accumulators(w, registers, half, c);
        } else {
            std::memset(c, 0, sizeof c);
        }
        if constexpr (kInteger) {
            add_integers(c, a, b, form.saturates);
        } else {
            accumulate(c, a, b, how);
            if (kShort && cuts && !half) cut_places(&c[0][0]);
        }
        store_accumulators(w, registers, half, c);
        define_accumulators(w, op, registers, half, a_defined, b.defined, operation.adds);
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

void execute_wgmma(Warp& w, const Op& op, WgmmaOperation& operation) {
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
