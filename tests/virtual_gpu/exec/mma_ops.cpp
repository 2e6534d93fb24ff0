// mma.sync: products of small matrices spread over a warp's registers.
#include <bit>
#include <cstring>

#include "exec/decoding.h"
#include "exec/fragments.h"
#include "exec/grid.h"
#include "exec/lanes.h"
#include "exec/tensor_sum.h"

namespace fattn::vgpu {
namespace {

using ptx::Operand;
using ptx::Type;

// Lane l holds rows or columns l/4; a register holds 4/size elements beside each other in k, from
// (4/size) * (l%4) on, and the next register the k that is 16/size further. A's registers alternate
// between rows l/4 and l/4 + 8.
struct Shape {
    Type a, b, c, d;
    uint32_t depth;

    uint32_t size() const { return std::max(1u, bytes_of(a)); }
    uint32_t a_registers() const { return depth * size() / 8; }
    uint32_t b_registers() const { return depth * size() / 16; }
    uint64_t pack() const {
        return static_cast<uint64_t>(a) | static_cast<uint64_t>(b) << 8 |
               static_cast<uint64_t>(c) << 16 | static_cast<uint64_t>(d) << 24 |
               uint64_t{depth} << 32;
    }
    static Shape unpack(uint64_t aux) {
        return {static_cast<Type>(aux & 255), static_cast<Type>(aux >> 8 & 255),
                static_cast<Type>(aux >> 16 & 255), static_cast<Type>(aux >> 24 & 255),
                static_cast<uint32_t>(aux >> 32 & 255)};
    }
};

// An output is undefined where its row of A, its column of B or its accumulator is.
void define_outputs(Warp& w, const Op& op, const Shape& shape, uint32_t c_registers) {
    uint32_t all = ~0u;
    for (uint32_t i = 0; i < op.num_src; ++i) all &= w.defined(op.src(i));
    if (all == ~0u) {
        for (uint32_t i = 0; i < op.num_dst; ++i) w.set_defined(op.dst(i), ~0u, ~0u);
        return;
    }
    uint32_t a_even = ~0u, a_odd = ~0u, b = ~0u;
    for (uint32_t r = 0; r < shape.a_registers(); ++r)
        (r & 1 ? a_odd : a_even) &= w.defined(op.src(r));
    for (uint32_t r = 0; r < shape.b_registers(); ++r)
        b &= w.defined(op.src(shape.a_registers() + r));
    const auto quad = [](uint32_t bits, uint32_t group) {
        return (bits >> (4 * group) & 15) == 15;
    };
    uint32_t made[4];
    for (uint32_t r = 0; r < op.num_dst; ++r) {
        const uint32_t first_c = shape.a_registers() + shape.b_registers();
        const uint32_t c = c_registers == op.num_dst ? w.defined(op.src(first_c + r))
                           : c_registers == 2        ? w.defined(op.src(first_c + r / 2))
                                                     : w.defined(op.src(first_c + 2 * r)) &
                                                    w.defined(op.src(first_c + 2 * r + 1));
        made[r] = 0;
        for (uint32_t lane = 0; lane < 32; ++lane) {
            const bool upper = op.num_dst == 4 ? r >= 2 : r >= 1;
            const bool row = quad(upper ? a_odd : a_even, lane / 4);
            // Of the two columns 2 (l%4) and 2 (l%4) + 1, both in one register when the outputs are
            // f16.
            const uint32_t column = 2 * (lane % 4);
            const bool columns = op.num_dst == 4 ? quad(b, column + (r & 1))
                                                 : quad(b, column) && quad(b, column + 1);
            made[r] |= uint32_t{row && columns && (c >> lane & 1)} << lane;
        }
    }
    uint32_t from = 0;
    for (uint32_t i = 0; i < op.num_src && from == 0; ++i) {
        if (w.defined(op.src(i)) != ~0u) from = w.origin(op.src(i));
    }
    for (uint32_t r = 0; r < op.num_dst; ++r) {
        w.set_defined(op.dst(r), ~0u, made[r]);
        w.set_origin(op.dst(r), from);
    }
}

// c += the products as DeviceModel::unpacks_fp8 says.
template <uint32_t kDepth>
void accumulate_unpacked(float (*c)[8], const LeftFactors<kDepth>& a, const RightFactors<kDepth>& b,
                         const Accumulation& how) {
    alignas(64) float sums[16][8] = {};
    for (uint32_t half = 0; half < 2; ++half) {
        LeftFactors<kDepth / 2> left;
        RightFactors<kDepth / 2> right;
        for (uint32_t k = 0; k < kDepth / 2; ++k) {
            const uint32_t from = 4 * (k / 2) + 2 * half + k % 2;
            for (uint32_t row = 0; row < 16; ++row) left.values[row][k] = a.values[row][from];
            std::memcpy(right.values[k], b.values[from], sizeof right.values[k]);
        }
        left.prepare(kLeastOfF16);
        right.prepare(kLeastOfF16);
        accumulate(sums, left, right, how);
    }
    for (uint32_t row = 0; row < 16; ++row) {
        for (uint32_t n = 0; n < 8; ++n) {
            const float sum = c[row][n] + sums[row][n];
            c[row][n] = std::isnan(sum) ? std::bit_cast<float>(0x7fffffffu) : sum;
        }
    }
}

template <Type a_type, Type b_type, uint32_t kDepth>
Step multiply(Warp& w, const Op& op, uint32_t mask) {
    w.need_converged(op, mask);
    const Shape shape = Shape::unpack(op.aux);
    LeftFactors<kDepth> a;
    RightFactors<kDepth> b;
    alignas(64) float c[16][8];
    gather_a<a_type, kDepth>(w, op, 0, a.values);
    gather_b<b_type, kDepth>(w, op, shape.a_registers(), b.values);
    const bool half_c = shape.c == Type::kF16;
    const uint32_t first_c = op.num_dst + shape.a_registers() + shape.b_registers();
    load_accumulators(w, op.rows + first_c, half_c, c);
    const DeviceModel& model = w.grid.launch.module->model();
    const bool unpacks = kElementsOf<a_type> == 4 && model.unpacks_fp8;
    const Accumulation how = {std::max(1u, model.mma_step * 2 / (unpacks ? 2 : shape.size())),
                              model.mma_extra_bits, w.grid.options.mma_round_to_nearest};
    if (unpacks) {
        accumulate_unpacked(c, a, b, how);
    } else {
        a.prepare(least_exponent(a_type));
        b.prepare(least_exponent(b_type));
        accumulate(c, a, b, how);
    }
    define_outputs(w, op, shape, half_c ? 2 : 4);
    store_accumulators(w, op.rows, shape.d == Type::kF16, c);
    return Step::kNext;
}

// Integers: exact, wrapping or saturating (aux2 bit 1).
template <Type a_type, Type b_type, uint32_t kDepth>
Step multiply_integers(Warp& w, const Op& op, uint32_t mask) {
    w.need_converged(op, mask);
    const Shape shape = Shape::unpack(op.aux);
    float a[16][kDepth], b[kDepth][8];
    gather_a<a_type, kDepth>(w, op, 0, a);
    gather_b<b_type, kDepth>(w, op, shape.a_registers(), b);
    const uint32_t first_c = shape.a_registers() + shape.b_registers();
    int32_t made[4][32];
    for (uint32_t lane = 0; lane < 32; ++lane) {
        for (uint32_t i = 0; i < 4; ++i) {
            const uint32_t row = lane / 4 + 8 * (i >> 1);
            const uint32_t column = kColumnAt[2 * (lane % 4) + (i & 1)];
            int64_t sum = w.src<int32_t>(op, first_c + i)[lane];
            for (uint32_t k = 0; k < kDepth; ++k)
                sum += static_cast<int64_t>(a[row][k]) * static_cast<int64_t>(b[k][column]);
            if (op.aux2 & 2) sum = std::clamp<int64_t>(sum, INT32_MIN, INT32_MAX);
            made[i][lane] = static_cast<int32_t>(sum);
        }
    }
    define_outputs(w, op, shape, 4);
    for (uint32_t i = 0; i < 4; ++i) std::memcpy(w.dst<int32_t>(op, i), made[i], sizeof made[i]);
    return Step::kNext;
}

// kDepth is what 32 bytes of a row hold, or half of it.
template <Type a, Type b>
Handler by_depth(uint32_t depth) {
    constexpr uint32_t kMost = 8 * kElementsOf<a>;
    if constexpr (a == Type::kU8 || a == Type::kS8)
        return depth == kMost ? multiply_integers<a, b, kMost> : multiply_integers<a, b, kMost / 2>;
    else
        return depth == kMost ? multiply<a, b, kMost> : multiply<a, b, kMost / 2>;
}

Handler handler_of(Type a, Type b, uint32_t depth) {
    if (a == Type::kF16) return by_depth<Type::kF16, Type::kF16>(depth);
    if (a == Type::kBf16) return by_depth<Type::kBf16, Type::kBf16>(depth);
    if (a == Type::kTf32) return by_depth<Type::kTf32, Type::kTf32>(depth);
    if (a == Type::kE4m3)
        return b == Type::kE4m3 ? by_depth<Type::kE4m3, Type::kE4m3>(depth)
                                : by_depth<Type::kE4m3, Type::kE5m2>(depth);
    if (a == Type::kE5m2)
        return b == Type::kE4m3 ? by_depth<Type::kE5m2, Type::kE4m3>(depth)
                                : by_depth<Type::kE5m2, Type::kE5m2>(depth);
    if (a == Type::kU8)
        return b == Type::kU8 ? by_depth<Type::kU8, Type::kU8>(depth)
                              : by_depth<Type::kU8, Type::kS8>(depth);
    return b == Type::kU8 ? by_depth<Type::kS8, Type::kU8>(depth)
                          : by_depth<Type::kS8, Type::kS8>(depth);
}

void decode_mma(Decoding& d) {
    if (!d.take("sync") || !d.take("aligned")) d.fail("the form is mma.sync.aligned");
    uint32_t depth = 0;
    for (const auto& [name, k] : {std::pair<std::string_view, uint32_t>{"m16n8k4", 4},
                                  {"m16n8k8", 8},
                                  {"m16n8k16", 16},
                                  {"m16n8k32", 32}}) {
        if (d.take(name)) depth = k;
    }
    if (depth == 0) d.unsupported("the shapes offered are m16n8k4, m16n8k8, m16n8k16 and m16n8k32");
    if (!d.take("row") || !d.take("col")) d.fail("the layouts are .row.col");
    const bool saturates = d.take("satfinite");
    Shape shape{};
    shape.d = d.take_type();
    shape.a = d.take_type();
    shape.b = d.take_type();
    shape.c = d.take_type();
    shape.depth = depth;
    const auto integer = [](Type t) { return t == Type::kU8 || t == Type::kS8; };
    const auto eight = [](Type t) { return t == Type::kE4m3 || t == Type::kE5m2; };
    const uint32_t size = shape.size();
    const bool pair_fits = integer(shape.a) ? integer(shape.b)
                           : eight(shape.a) ? eight(shape.b)
                                            : (shape.a == Type::kF16 || shape.a == Type::kBf16 ||
                                               shape.a == Type::kTf32) &&
                                                  shape.a == shape.b;
    if (!pair_fits)
        d.unsupported(
            "the types of A and B are f16, bf16, tf32, both of e4m3 and e5m2, both of u8 and s8");
    if (depth * size != 16 && depth * size != 32) d.fail("this shape does not fit the types");
    if (integer(shape.a)
            ? shape.c != Type::kS32 || shape.d != Type::kS32
            : (shape.c != Type::kF32 || shape.d != Type::kF32) &&
                  !(shape.a == Type::kF16 && (shape.c == Type::kF16 || shape.c == Type::kF32) &&
                    (shape.d == Type::kF16 || shape.d == Type::kF32))) {
        d.fail("the accumulator's type does not fit: f32, for integers s32, with f16 also f16");
    }
    if (eight(shape.a)) {
        if (depth != 32) d.fail("of 8-bit floats there is m16n8k32 alone");
        d.need_arch(89, "fp8");
    }
    if (shape.c != shape.d) d.fail("C and D are of one type");
    if (saturates && !integer(shape.a)) d.fail(".satfinite is for integers");
    d.need_count(4, 4);
    const size_t d_registers = shape.d == Type::kF16 ? 2 : 4,
                 c_registers = shape.c == Type::kF16 ? 2 : 4;
    for (const Operand& operand : d.elements(d.in.operands[0], d_registers, d_registers))
        d.dst(operand, 4);
    for (const Operand& operand :
         d.elements(d.in.operands[1], shape.a_registers(), shape.a_registers()))
        d.src(operand, Type::kB32);
    if (shape.b_registers() == 1 && d.in.operands[2].kind != Operand::Kind::kVector) {
        d.src(d.in.operands[2], Type::kB32);
    } else {
        for (const Operand& operand :
             d.elements(d.in.operands[2], shape.b_registers(), shape.b_registers()))
            d.src(operand, Type::kB32);
    }
    for (const Operand& operand : d.elements(d.in.operands[3], c_registers, c_registers))
        d.src(operand, shape.c == Type::kF32 ? Type::kF32 : Type::kB32);
    d.op.aux = shape.pack();
    d.op.aux2 = saturates ? 2 : 0;
    d.op.propagates = false;
    d.flops = 2 * 16 * 8 * depth;
    d.finish(handler_of(shape.a, shape.b, shape.depth), "mma");
}

}  // namespace

void add_mma_opcodes(OpcodeTable& table) { table["mma"] = decode_mma; }

}  // namespace fattn::vgpu
