// ldmatrix, stmatrix and movmatrix: 8x8 matrices of 16-bit elements between shared memory and a
// warp's registers.
#include <bit>
#include <cstring>

#include "exec/access.h"
#include "exec/decoding.h"
#include "exec/grid.h"
#include "exec/lanes.h"

namespace fattn::vgpu {
namespace {

using ptx::Operand;
using ptx::Space;
using ptx::Type;

// aux: bits 0-7 matrices, 8 transposed, 16-23 the space. Lane 8 m + r gives the address of row r of
// matrix m; element i of lane l's register is (l/4, 2 (l%4) + i), or with the two exchanged.
struct Cell {
    uint32_t row, column;
};
Cell cell_of(uint32_t lane, uint32_t i, bool transposed) {
    const uint32_t major = lane / 4, minor = 2 * (lane % 4) + i;
    return transposed ? Cell{minor, major} : Cell{major, minor};
}

uint32_t address_lanes(uint64_t aux) {
    return (aux & 255) == 4 ? ~0u : (1u << (8 * (aux & 255))) - 1;
}

using Halves = uint16_t __attribute__((vector_size(16)));

// Rows become columns: each round exchanges one bit of a place's row with one of its column.
void turn(Halves* matrix) {
    for (uint32_t round = 0; round < 3; ++round) {
        Halves next[8];
        for (uint32_t i = 0; i < 4; ++i) {
            const Halves a = matrix[i], b = matrix[i + 4];
            next[2 * i] = __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
            next[2 * i + 1] = __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
        }
        std::memcpy(matrix, next, sizeof next);
    }
}

// The common case: all rows lie in one memory and have been written. A register's lanes are the
// rows of its matrix one after the other.
bool load_defined_rows(Warp& w, const Op& op, uint32_t rows, const uint64_t* addresses,
                       const Access& access) {
    Span span;
    if (!find_span(w, rows, addresses, access, false, span)) return false;
    const auto count = static_cast<uint32_t>(op.aux & 255);
    for (uint32_t i = 0; span.defined && i < 8 * count; ++i) {
        if (!whole_defined<16>(span.defined + span.offsets[i])) return false;
    }
    const bool transposed = op.aux >> 8 & 1;
    note_span_read(w, op, rows, span, access);
    for (uint32_t m = 0; m < count; ++m) {
        Halves matrix[8];
        for (uint32_t row = 0; row < 8; ++row)
            std::memcpy(&matrix[row], span.data + span.offsets[8 * m + row], sizeof matrix[row]);
        if (transposed) turn(matrix);
        std::memcpy(w.dst<uint32_t>(op, m), matrix, sizeof matrix);
        w.set_defined(op.dst(m), ~0u, ~0u);
    }
    return true;
}

Step load_matrix(Warp& w, const Op& op, uint32_t mask) {
    w.need_converged(op, mask);
    const auto count = static_cast<uint32_t>(op.aux & 255);
    const bool transposed = op.aux >> 8 & 1;
    const uint32_t rows = address_lanes(op.aux);
    if (w.grid.options.checks.uninitialised) w.need_defined(op, op.src(0), rows, "an address");
    alignas(64) uint64_t addresses[32];
    lane_addresses(w, op, 0, addresses);
    const Access access = {static_cast<Space>(op.aux >> 16 & 255), 16, kPlain, false};
    if (load_defined_rows(w, op, rows, addresses, access)) return Step::kNext;
    LaneData data;
    read_lanes(w, op, rows, addresses, access, data);
    for (uint32_t m = 0; m < count; ++m) {
        uint32_t* to = w.dst<uint32_t>(op, m);
        uint32_t undefined = 0;
        for (uint32_t lane = 0; lane < 32; ++lane) {
            uint32_t word = 0;
            for (uint32_t i = 0; i < 2; ++i) {
                const Cell cell = cell_of(lane, i, transposed);
                const uint32_t from = 8 * m + cell.row;
                uint16_t half;
                std::memcpy(&half, data.bytes + from * kLaneBytes + cell.column * 2, 2);
                word |= uint32_t{half} << (16 * i);
                if ((data.defined[from] >> (2 * cell.column) & 3) != 3) undefined |= 1u << lane;
            }
            to[lane] = word;
        }
        w.set_defined(op.dst(m), ~0u, ~undefined);
        if (undefined) w.set_origin(op.dst(m), w.program.index_of(op) + 1);
    }
    return Step::kNext;
}

Step store_matrix(Warp& w, const Op& op, uint32_t mask) {
    w.need_converged(op, mask);
    const auto count = static_cast<uint32_t>(op.aux & 255);
    const bool transposed = op.aux >> 8 & 1;
    const uint32_t rows = address_lanes(op.aux);
    if (w.grid.options.checks.uninitialised) w.need_defined(op, op.src(0), rows, "an address");
    alignas(64) uint64_t addresses[32];
    lane_addresses(w, op, 0, addresses);
    LaneData data;
    std::memset(data.defined, 0, sizeof data.defined);
    for (uint32_t m = 0; m < count; ++m) {
        const uint32_t* from = w.src<uint32_t>(op, 1 + m);
        const uint32_t defined = w.defined(op.src(1 + m));
        for (uint32_t lane = 0; lane < 32; ++lane) {
            for (uint32_t i = 0; i < 2; ++i) {
                const Cell cell = cell_of(lane, i, transposed);
                const uint32_t to = 8 * m + cell.row;
                const auto half = static_cast<uint16_t>(from[lane] >> (16 * i));
                std::memcpy(data.bytes + to * kLaneBytes + cell.column * 2, &half, 2);
                if (defined >> lane & 1) data.defined[to] |= 3u << (2 * cell.column);
            }
        }
    }
    write_lanes_to(w, op, rows, addresses,
                   {static_cast<Space>(op.aux >> 16 & 255), 16, kPlain, false}, data);
    return Step::kNext;
}

void decode_matrix(Decoding& d) {
    const bool stores = d.in.opcode == "stmatrix";
    if (!d.take("sync") || !d.take("aligned") || !d.take("m8n8"))
        d.fail("the form is " + std::string(d.in.opcode) + ".sync.aligned.m8n8");
    const auto number = d.take_one({"x1", "x2", "x4"});
    if (number.empty()) d.fail("one of .x1 .x2 .x4 is missing");
    const size_t count = static_cast<size_t>(number[1] - '0');
    const bool transposed = d.take("trans");
    const bool shared = !d.take_one({"shared", "shared::cta"}).empty();
    if (!d.take("b16")) d.fail("the type is b16");
    if (stores) d.need_arch(90, "stmatrix");
    d.need_count(2, 2);
    const Operand& value = d.in.operands[stores ? 1 : 0];
    const Operand& address = d.in.operands[stores ? 0 : 1];
    if (stores) d.address(address);
    for (const Operand& element : d.elements(value, count, count)) {
        if (stores) {
            d.src(element, Type::kB32);
        } else {
            d.dst(element, 4);
        }
    }
    if (!stores) d.address(address);
    d.op.aux = count | uint64_t{transposed} << 8 |
               static_cast<uint64_t>(shared ? Space::kShared : Space::kGeneric) << 16;
    d.op.propagates = false;
    d.finish(stores ? store_matrix : load_matrix, d.in.opcode);
}

Step move_matrix(Warp& w, const Op& op, uint32_t mask) {
    w.need_converged(op, mask);
    alignas(64) uint32_t from[32];
    std::memcpy(from, w.src<uint32_t>(op, 0), sizeof from);
    const uint32_t source = w.defined(op.src(0));
    uint32_t* to = w.dst<uint32_t>(op);
    uint32_t defined = 0;
    for (uint32_t lane = 0; lane < 32; ++lane) {
        uint32_t word = 0;
        bool all = true;
        for (uint32_t i = 0; i < 2; ++i) {
            const Cell cell = cell_of(lane, i, true);
            const uint32_t other = cell.row * 4 + cell.column / 2;
            word |= (from[other] >> (16 * (cell.column & 1)) & 0xffff) << (16 * i);
            all &= (source >> other & 1) != 0;
        }
        to[lane] = word;
        defined |= uint32_t{all} << lane;
    }
    w.set_defined(op.dst(0), ~0u, defined);
    if (defined != ~0u) w.set_origin(op.dst(0), w.origin(op.src(0)));
    return Step::kNext;
}

void decode_movmatrix(Decoding& d) {
    if (!d.take("sync") || !d.take("aligned") || !d.take("m8n8") || !d.take("trans") ||
        !d.take("b16"))
        d.fail("the form is movmatrix.sync.aligned.m8n8.trans.b16");
    d.need_count(2, 2);
    d.dst(d.in.operands[0], 4);
    d.src(d.in.operands[1], Type::kB32);
    d.op.propagates = false;
    d.finish(move_matrix, "shuffle");
}

}  // namespace

void add_matrix_opcodes(OpcodeTable& table) {
    table["ldmatrix"] = table["stmatrix"] = decode_matrix;
    table["movmatrix"] = decode_movmatrix;
}

}  // namespace fattn::vgpu
