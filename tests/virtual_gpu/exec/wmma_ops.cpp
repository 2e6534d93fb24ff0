// wmma.load, wmma.store and wmma.mma: products of matrices whose fragments only these instructions
// know. PTX leaves open which lane holds what; here the words of a matrix go round the lanes.
#include <algorithm>
#include <cstring>

#include "exec/access.h"
#include "exec/decoding.h"
#include "exec/fragments.h"
#include "exec/grid.h"
#include "exec/lanes.h"
#include "exec/tensor_sum.h"

namespace fattn::vgpu {
namespace {

using ptx::Operand;
using ptx::Space;
using ptx::Type;

constexpr uint32_t kAccumulators = 256;  // of every shape
constexpr uint32_t kWordBytes = 4;

struct WmmaShape {
    uint32_t rows, columns, depth;  // M, N, K
};

enum class Part : uint32_t { kA, kB, kC };

// How one matrix lies in memory and in registers. Elements are numbered along the lines of A and B
// as memory has them, and along the rows of an accumulator however memory has it; a word of them is
// in register w / 32 of lane w % 32, and in registers behind those that the matrix fills once more.
struct Fragment {
    Type type;
    uint32_t lines, length;  // of the numbering
    uint32_t registers;
    bool crosswise;  // an accumulator whose columns are contiguous in memory

    uint32_t size() const { return bytes_of(type); }
    uint32_t elements() const { return lines * length; }
    uint32_t per_word() const { return kWordBytes / size(); }
    uint32_t words() const { return elements() / per_word(); }
    // The number of the first element of a register's word.
    uint32_t first_of(uint32_t r, uint32_t lane) const {
        return (32 * r + lane) % words() * per_word();
    }
    // Its place in memory, in elements, where lines (or columns) are `stride` apart.
    uint64_t place_of(uint32_t element, uint64_t stride) const {
        const uint32_t line = element / length, along = element % length;
        return crosswise ? along * stride + line : line * stride + along;
    }
    uint32_t default_stride() const { return crosswise ? lines : length; }

    uint64_t pack() const {
        return static_cast<uint64_t>(type) | uint64_t{lines} << 8 | uint64_t{length} << 16 |
               uint64_t{registers} << 24 | uint64_t{crosswise} << 32;
    }
    static Fragment unpack(uint64_t bits) {
        const auto byte = [&](uint32_t at) { return static_cast<uint32_t>(bits >> at & 255); };
        return {static_cast<Type>(byte(0)), byte(8), byte(16), byte(24), (bits >> 32 & 1) != 0};
    }
};

// aux of loads and stores: the fragment, 40-47 the space, 48 a stride is given.
constexpr uint32_t kSpaceAt = 40, kStrideAt = 48;

// Calls access(r, first byte in the register, bytes, addresses) for what is accessed together: a
// word of each lane, or an element where those of a word do not lie beside each other.
template <class F>
void each_access(Warp& w, const Op& op, uint32_t mask, uint32_t stride_source, F access) {
    const Fragment fragment = Fragment::unpack(op.aux);
    const bool given = op.aux >> kStrideAt & 1;
    if (w.grid.options.checks.uninitialised) {
        w.need_defined(op, op.src(0), mask, "an address");
        if (given) w.need_defined(op, op.src(stride_source), mask, "the stride of a matrix");
    }
    alignas(64) uint64_t bases[32], addresses[32];
    lane_addresses(w, op, 0, bases);
    const uint32_t* const strides = given ? w.src<uint32_t>(op, stride_source) : nullptr;
    const uint64_t stride = given ? strides[0] : fragment.default_stride();
    for (uint32_t lane = 1; lane < 32; ++lane) {
        if (bases[lane] != bases[0] || (given && strides[lane] != strides[0]))
            w.fault(op, lane, FaultKind::kIllegal,
                    "the address or stride of a matrix differs between the lanes of a warp");
    }
    const uint32_t alignment = fragment.registers * kWordBytes;
    if (w.grid.options.checks.alignment &&
        (bases[0] % alignment != 0 || stride * fragment.size() % alignment != 0)) {
        w.fault(op, 0, FaultKind::kMisaligned,
                "lines of the matrix have to begin at multiples of " + std::to_string(alignment) +
                    " bytes; its stride is " + std::to_string(stride) + " elements",
                {}, bases[0]);
    }
    const uint32_t bytes = fragment.crosswise ? fragment.size() : kWordBytes;
    for (uint32_t r = 0; r < fragment.registers; ++r) {
        for (uint32_t at = 0; at < kWordBytes; at += bytes) {
            for (uint32_t lane = 0; lane < 32; ++lane) {
                const uint32_t element = fragment.first_of(r, lane) + at / fragment.size();
                addresses[lane] = bases[0] + fragment.place_of(element, stride) * fragment.size();
            }
            access(r, at,
                   Access{static_cast<Space>(op.aux >> kSpaceAt & 255), bytes, kPlain, false},
                   addresses);
        }
    }
}

Step load_fragment(Warp& w, const Op& op, uint32_t mask) {
    w.need_converged(op, mask);
    LaneData data;
    each_access(w, op, mask, 1,
                [&](uint32_t r, uint32_t at, const Access& access, const uint64_t* addresses) {
                    read_lanes(w, op, mask, addresses, access, data);
                    auto* const to = reinterpret_cast<std::byte*>(w.dst<uint32_t>(op, r));
                    uint32_t defined = 0;
                    for (uint32_t lane = 0; lane < 32; ++lane) {
                        std::memcpy(to + lane * kWordBytes + at, data.bytes + lane * kLaneBytes,
                                    access.bytes);
                        const uint32_t all = (1u << access.bytes) - 1;
                        defined |= uint32_t{(data.defined[lane] & all) == all} << lane;
                    }
                    w.set_defined(op.dst(r), mask,
                                  at == 0 ? defined : defined & w.defined(op.dst(r)));
                    if ((defined & mask) != mask)
                        w.set_origin(op.dst(r), w.program.index_of(op) + 1);
                });
    return Step::kNext;
}

Step store_fragment(Warp& w, const Op& op, uint32_t mask) {
    w.need_converged(op, mask);
    const Fragment fragment = Fragment::unpack(op.aux);
    LaneData data;
    each_access(
        w, op, mask, 1 + fragment.registers,
        [&](uint32_t r, uint32_t at, const Access& access, const uint64_t* addresses) {
            const Row row = op.src(1 + r);
            if (w.grid.options.checks.uninitialised && access.space == Space::kGlobal)
                w.need_defined(op, row, mask, "what is stored to device memory");
            const auto* const from = reinterpret_cast<const std::byte*>(w.lanes<uint32_t>(row));
            for (uint32_t lane = 0; lane < 32; ++lane) {
                std::memcpy(data.bytes + lane * kLaneBytes, from + lane * kWordBytes + at,
                            access.bytes);
                data.defined[lane] = w.defined(row) >> lane & 1 ? (1u << access.bytes) - 1 : 0;
            }
            write_lanes_to(w, op, mask, addresses, access, data);
        });
    return Step::kNext;
}

// --- mma. Sources: A, B, C. aux: A's fragment; aux2: B's; bit 63 of aux2 saturates, 62 that C, 61
// that D is f16, 60 and 59 that A's and B's lines are columns.
constexpr uint32_t kMostLines = 32;

// A matrix as values, and a bit for each of its lines across k that is defined in whole.
template <uint32_t kDepth>
struct Matrix {
    float values[kMostLines][kDepth];
    uint32_t defined = ~0u;
};

template <Type type, uint32_t kDepth>
void gather(Warp& w, const Op& op, uint32_t first, const Fragment& fragment, bool along_k,
            Matrix<kDepth>& to) {
    for (uint32_t r = 0; r < fragment.registers && 32 * r < fragment.words(); ++r) {
        const uint32_t* const words = w.src<uint32_t>(op, first + r);
        const uint32_t defined = w.defined(op.src(first + r));
        for (uint32_t lane = 0; lane < 32; ++lane) {
            for (uint32_t i = 0; i < fragment.per_word(); ++i) {
                const uint32_t number = fragment.first_of(r, lane) + i;
                const uint32_t line = number / fragment.length, along = number % fragment.length;
                const uint32_t outer = along_k ? line : along, k = along_k ? along : line;
                to.values[outer][k] = element<type>(words[lane], i);
                if (!(defined >> lane & 1)) to.defined &= ~(1u << outer);
            }
        }
    }
}

struct Accumulators {
    alignas(64) uint32_t words[kAccumulators];  // f32 or s32
    bool defined[kAccumulators];
};

void load_sums(Warp& w, const Op& op, uint32_t first, bool half, Accumulators& to) {
    for (uint32_t i = 0; i < kAccumulators; ++i) {
        const uint32_t word = half ? i / 2 : i;
        const Row row = op.src(first + word / 32);
        const uint32_t bits = w.lanes<uint32_t>(row)[word % 32];
        to.words[i] =
            half ? std::bit_cast<uint32_t>(f16_value(static_cast<uint16_t>(bits >> (i % 2 * 16))))
                 : bits;
        to.defined[i] = w.defined(row) >> (word % 32) & 1;
    }
}

void store_sums(Warp& w, const Op& op, bool half, const Accumulators& from) {
    for (uint32_t r = 0; r < op.num_dst; ++r) {
        uint32_t* const to = w.dst<uint32_t>(op, r);
        uint32_t defined = 0;
        for (uint32_t lane = 0; lane < 32; ++lane) {
            const uint32_t word = 32 * r + lane, i = half ? 2 * word : word;
            to[lane] = from.words[i];
            bool whole = from.defined[i];
            if (half) {
                to[lane] = to_f16(std::bit_cast<float>(from.words[i])) |
                           uint32_t{to_f16(std::bit_cast<float>(from.words[i + 1]))} << 16;
                whole = whole && from.defined[i + 1];
            }
            defined |= uint32_t{whole} << lane;
        }
        w.set_defined(op.dst(r), ~0u, defined);
        if (defined != ~0u) w.set_origin(op.dst(r), w.program.index_of(op) + 1);
    }
}

// 16 rows and 8 columns from (row, column) on; rows of B are its columns.
template <Type type, uint32_t kDepth>
void multiply_tile(const Matrix<kDepth>& a, const Matrix<kDepth>& b, uint32_t row, uint32_t column,
                   uint32_t num_rows, uint32_t num_columns, const Accumulation& how,
                   Accumulators& sums) {
    LeftFactors<kDepth> left;
    RightFactors<kDepth> right;
    alignas(64) float tile[kSumRows][kSumColumns] = {};
    std::memset(left.values, 0, sizeof left.values);
    const uint32_t rows = std::min(kSumRows, num_rows - row);
    std::memcpy(left.values, a.values[row], rows * sizeof left.values[0]);
    for (uint32_t n = 0; n < kSumColumns; ++n) {
        for (uint32_t k = 0; k < kDepth; ++k) right.values[k][n] = b.values[column + n][k];
        for (uint32_t i = 0; i < rows; ++i)
            tile[i][n] = std::bit_cast<float>(sums.words[(row + i) * num_columns + column + n]);
    }
    left.prepare(least_exponent(type));
    right.prepare(least_exponent(type));
    accumulate(tile, left, right, how);
    for (uint32_t i = 0; i < rows; ++i)
        std::memcpy(&sums.words[(row + i) * num_columns + column], tile[i], sizeof tile[i]);
}

template <uint32_t kDepth>
void add_integer(const Matrix<kDepth>& a, const Matrix<kDepth>& b, uint32_t num_columns,
                 bool saturates, Accumulators& sums) {
    for (uint32_t i = 0; i < kAccumulators; ++i) {
        int64_t sum = static_cast<int32_t>(sums.words[i]);
        for (uint32_t k = 0; k < kDepth; ++k)
            sum += static_cast<int64_t>(a.values[i / num_columns][k]) *
                   static_cast<int64_t>(b.values[i % num_columns][k]);
        if (saturates) sum = std::clamp<int64_t>(sum, INT32_MIN, INT32_MAX);
        sums.words[i] = static_cast<uint32_t>(sum);
    }
}

template <Type type, uint32_t kDepth>
Step multiply_fragments(Warp& w, const Op& op, uint32_t mask) {
    w.need_converged(op, mask);
    const Fragment of_a = Fragment::unpack(op.aux), of_b = Fragment::unpack(op.aux2);
    const auto flag = [&](uint32_t bit) { return (op.aux2 >> bit & 1) != 0; };
    Matrix<kDepth> a, b;
    gather<type, kDepth>(w, op, 0, of_a, !flag(60), a);
    gather<type, kDepth>(w, op, of_a.registers, of_b, flag(59), b);
    const uint32_t rows = of_a.elements() / kDepth, columns = of_b.elements() / kDepth;
    Accumulators sums;
    load_sums(w, op, of_a.registers + of_b.registers, flag(62), sums);
    if constexpr (type == Type::kU8 || type == Type::kS8) {
        add_integer(a, b, columns, flag(63), sums);
    } else {
        const DeviceModel& model = w.grid.launch.module->model();
        // Products of tf32 are added four at a time.
        const uint32_t step = type == Type::kTf32 ? model.mma_step / 4 : model.mma_step;
        const Accumulation how = {std::max(1u, step), model.mma_extra_bits,
                                  w.grid.options.mma_round_to_nearest};
        for (uint32_t row = 0; row < rows; row += kSumRows) {
            for (uint32_t column = 0; column < columns; column += kSumColumns)
                multiply_tile<type>(a, b, row, column, rows, columns, how, sums);
        }
    }
    for (uint32_t i = 0; i < kAccumulators; ++i)
        sums.defined[i] &= (a.defined >> (i / columns) & b.defined >> (i % columns) & 1) != 0;
    store_sums(w, op, flag(61), sums);
    return Step::kNext;
}

// --- spelling
WmmaShape take_shape(Decoding& d) {
    struct Named {
        std::string_view name;
        WmmaShape shape;
    };
    constexpr Named kShapes[] = {{"m16n16k16", {16, 16, 16}},
                                 {"m32n8k16", {32, 8, 16}},
                                 {"m8n32k16", {8, 32, 16}},
                                 {"m16n16k8", {16, 16, 8}}};
    for (const Named& one : kShapes) {
        if (d.take(one.name)) return one.shape;
    }
    d.unsupported("the shapes offered are m16n16k16, m32n8k16, m8n32k16 and, of tf32, m16n16k8");
}

bool is_integer(Type type) { return type == Type::kU8 || type == Type::kS8; }

// Elements of f16 are held twice where the matrix has 256, four times where it has 128.
uint32_t registers_of(Part part, Type type, const WmmaShape& shape) {
    if (part == Part::kC) return type == Type::kF16 ? 4 : 8;
    if (type == Type::kF16) return 8;
    const uint32_t lines = part == Part::kA ? shape.rows : shape.columns;
    return lines * shape.depth * bytes_of(type) / (32 * kWordBytes);
}

// `by_rows`: .row.
Fragment fragment_of(Part part, Type type, const WmmaShape& shape, bool by_rows) {
    const uint32_t registers = registers_of(part, type, shape);
    if (part == Part::kC) return {type, shape.rows, shape.columns, registers, !by_rows};
    const uint32_t rows = part == Part::kA ? shape.rows : shape.depth;
    const uint32_t columns = part == Part::kA ? shape.depth : shape.columns;
    return {type, by_rows ? rows : columns, by_rows ? columns : rows, registers, false};
}

void need_type(Decoding& d, Part part, Type type, const WmmaShape& shape) {
    const bool fits =
        part == Part::kC ? type == Type::kF32 ||
                               ((type == Type::kF16 || type == Type::kS32) && shape.depth == 16)
        : shape.depth == 8 ? type == Type::kTf32
                           : type == Type::kF16 || type == Type::kBf16 || is_integer(type);
    if (!fits)
        d.unsupported(
            "the types offered are f16, bf16, s8 and u8 with k of 16 and tf32 with k of 8, f16, "
            "f32 "
            "and s32 as accumulators");
}

bool take_layout(Decoding& d) {
    const auto layout = d.take_one({"row", "col"});
    if (layout.empty()) d.fail("a layout .row or .col is missing");
    return layout == "row";
}

void decode_memory(Decoding& d, bool stores) {
    const auto name = stores ? d.take_one({"d"}) : d.take_one({"a", "b", "c"});
    if (name.empty()) d.fail("the forms are wmma.load.a, .b, .c and wmma.store.d");
    if (!d.take("sync") || !d.take("aligned")) d.fail(".sync.aligned is missing");
    const Part part = name == "a" ? Part::kA : name == "b" ? Part::kB : Part::kC;
    const bool by_rows = take_layout(d);
    const WmmaShape shape = take_shape(d);
    const auto space = d.take_one({"global", "shared", "shared::cta"});
    const Type type = d.take_type();
    need_type(d, part, type, shape);
    const Fragment fragment = fragment_of(part, type, shape, by_rows);
    d.need_count(2, 3);
    const std::vector<Operand>& elements =
        d.elements(d.in.operands[stores ? 1 : 0], fragment.registers, fragment.registers);
    if (!stores) {
        for (const Operand& one : elements) d.dst(one, kWordBytes);
    }
    d.address(d.in.operands[stores ? 0 : 1]);
    if (stores) {
        for (const Operand& one : elements) d.src_any(one);
    }
    const bool strided = d.count() == 3;
    if (strided) d.src(d.in.operands[2], Type::kU32);
    const Space where = space.empty()       ? Space::kGeneric
                        : space == "global" ? Space::kGlobal
                                            : Space::kShared;
    d.op.aux =
        fragment.pack() | static_cast<uint64_t>(where) << kSpaceAt | uint64_t{strided} << kStrideAt;
    d.op.propagates = false;
    d.finish(stores ? store_fragment : load_fragment, "matrix memory");
}

Handler product_of(Type type) {
    switch (type) {
        case Type::kF16:
            return multiply_fragments<Type::kF16, 16>;
        case Type::kBf16:
            return multiply_fragments<Type::kBf16, 16>;
        case Type::kTf32:
            return multiply_fragments<Type::kTf32, 8>;
        case Type::kS8:
            return multiply_fragments<Type::kS8, 16>;
        default:
            return multiply_fragments<Type::kU8, 16>;
    }
}

void decode_product(Decoding& d) {
    if (!d.take("sync") || !d.take("aligned")) d.fail("the form is wmma.mma.sync.aligned");
    std::vector<bool> by_rows;  // in the order of A and B
    for (const std::string_view word : d.in.modifiers) {
        if (word == "row" || word == "col") by_rows.push_back(word == "row");
    }
    if (by_rows.size() != 2) d.fail("the layouts of A and B, each .row or .col, are missing");
    const bool a_by_rows = by_rows[0], b_by_rows = by_rows[1];
    for (const bool rows : by_rows) d.take(rows ? "row" : "col");
    const WmmaShape shape = take_shape(d);
    const bool saturates = d.take("satfinite");
    const Type to = d.take_type();
    Type of_a = d.take_type(), of_c = of_a;
    // Of f16 the types of D and C alone are said.
    if (d.next_is_type()) {
        const Type of_b = d.take_type();
        of_c = d.take_type();
        if (of_a != of_b) d.fail("A and B have one type");
    } else {
        of_a = Type::kF16;
    }
    need_type(d, Part::kA, of_a, shape);
    need_type(d, Part::kC, of_c, shape);
    need_type(d, Part::kC, to, shape);
    const bool integer = is_integer(of_a);
    if (integer != (to == Type::kS32) || integer != (of_c == Type::kS32) ||
        (of_a != Type::kF16 && to != of_c) ||
        ((of_a == Type::kBf16 || of_a == Type::kTf32) && to != Type::kF32))
        d.fail("the accumulator's type does not fit: s32 of integers, f32, of f16 also f16");
    if (saturates && !integer) d.fail(".satfinite is for integers");
    d.need_count(4, 4);
    const Fragment a = fragment_of(Part::kA, of_a, shape, a_by_rows);
    const Fragment b = fragment_of(Part::kB, of_a, shape, b_by_rows);
    const auto sources = [&](size_t i, uint32_t registers) {
        for (const Operand& one : d.elements(d.in.operands[i], registers, registers))
            d.src_any(one);
    };
    const uint32_t made = registers_of(Part::kC, to, shape);
    for (const Operand& one : d.elements(d.in.operands[0], made, made)) d.dst(one, kWordBytes);
    sources(1, a.registers);
    sources(2, b.registers);
    sources(3, registers_of(Part::kC, of_c, shape));
    d.op.aux = a.pack();
    d.op.aux2 = b.pack() | uint64_t{saturates} << 63 | uint64_t{of_c == Type::kF16} << 62 |
                uint64_t{to == Type::kF16} << 61 | uint64_t{!a_by_rows} << 60 |
                uint64_t{!b_by_rows} << 59;
    d.op.propagates = false;
    d.flops = 2 * kAccumulators * shape.depth;
    d.finish(product_of(of_a), "mma");
}

void decode_wmma(Decoding& d) {
    const auto what = d.take_one({"load", "store", "mma"});
    if (what.empty()) d.fail("one of .load .store .mma is missing");
    if (what == "mma") return decode_product(d);
    decode_memory(d, what == "store");
}

}  // namespace

void add_wmma_opcodes(OpcodeTable& table) { table["wmma"] = decode_wmma; }

}  // namespace fattn::vgpu
