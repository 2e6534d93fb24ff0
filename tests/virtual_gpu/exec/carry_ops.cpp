// Arithmetic with the condition code, of which chains of words make longer integers: add.cc, addc,
// sub.cc, subc, mad.cc, madc.
#include <type_traits>

#include "exec/decoding.h"
#include "exec/lanes.h"

namespace fattn::vgpu {
namespace {

using ptx::Type;

enum class Part : uint8_t { kNone, kLow, kHigh };  // of a product, which takes the place of a

// Op::aux: 1 the carry is read, as the last source, 2 it is written, as the second destination.
constexpr uint64_t kReads = 1, kWrites = 2;

template <class T>
struct Double;
template <>
struct Double<uint32_t> {
    using type = uint64_t;
};
template <>
struct Double<int32_t> {
    using type = int64_t;
};
template <>
struct Double<uint64_t> {
    using type = unsigned __int128;
};
template <>
struct Double<int64_t> {
    using type = __int128;
};

template <class T, Part part>
std::make_unsigned_t<T> left_of(T a, T b) {
    using U = std::make_unsigned_t<T>;
    using Product = typename Double<T>::type;
    if constexpr (part == Part::kLow) return static_cast<U>(static_cast<U>(a) * static_cast<U>(b));
    if constexpr (part == Part::kHigh)
        return static_cast<U>((Product{a} * Product{b}) >> (8 * sizeof(T)));
    return static_cast<U>(a);
}

// A borrow goes out of a difference, and comes in.
template <class T, Part part, bool subtracts>
Step add_with_carry(Warp& w, const Op& op, uint32_t mask) {
    using U = std::make_unsigned_t<T>;
    const T* a = w.src<T>(op, 0);
    const T* b = w.src<T>(op, 1);
    const T* c = part == Part::kNone ? b : w.src<T>(op, 2);
    const uint32_t in = op.aux & kReads ? *w.src<uint32_t>(op, op.num_src - 1u) : 0;
    uint32_t out = 0;
    alignas(64) U made[32];
    for (uint32_t i = 0; i < 32; ++i) {
        const U left = left_of<T, part>(a[i], b[i]), right = static_cast<U>(c[i]);
        const U carried = in >> i & 1;
        const U first = subtracts ? left - right : left + right;
        made[i] = subtracts ? first - carried : first + carried;
        const bool overflows =
            subtracts ? left < right || first < carried : first < left || made[i] < carried;
        out |= uint32_t{overflows} << i;
    }
    write_lanes(w.dst<U>(op), mask, [&](uint32_t i) { return made[i]; });
    if (op.aux & kWrites) write_predicate(w.dst<uint32_t>(op, 1), mask, out);
    return Step::kNext;
}

template <Part part, bool subtracts>
Handler carry_by_type(const Decoding& d, Type type) {
    switch (type) {
        case Type::kU32:
            return add_with_carry<uint32_t, part, subtracts>;
        case Type::kS32:
            return add_with_carry<int32_t, part, subtracts>;
        case Type::kU64:
            return add_with_carry<uint64_t, part, subtracts>;
        case Type::kS64:
            return add_with_carry<int64_t, part, subtracts>;
        default:
            d.fail("with a carry the type is u32 s32 u64 s64");
    }
}

}  // namespace

void decode_carry(Decoding& d) {
    const std::string_view opcode = d.in.opcode;
    const bool multiplies = opcode == "mad" || opcode == "madc";
    const bool reads = opcode == "addc" || opcode == "subc" || opcode == "madc";
    Part part = Part::kNone;
    if (multiplies) {
        const auto name = d.take_one({"lo", "hi"});
        if (name.empty()) d.fail("one of .lo .hi is missing");
        part = name == "lo" ? Part::kLow : Part::kHigh;
    }
    const bool writes = d.take("cc");
    const Type type = d.take_type();
    const size_t operands = multiplies ? 4 : 3;
    d.need_count(operands, operands);
    d.dst(d.in.operands[0], bytes_of(type));
    if (writes) d.add_destination(d.carry());
    for (size_t i = 1; i < operands; ++i) d.src(d.in.operands[i], type);
    if (reads) d.add_source(d.carry());
    d.op.aux = (reads ? kReads : 0) | (writes ? kWrites : 0);
    const bool subtracts = opcode == "sub" || opcode == "subc";
    d.finish(part == Part::kLow    ? carry_by_type<Part::kLow, false>(d, type)
             : part == Part::kHigh ? carry_by_type<Part::kHigh, false>(d, type)
             : subtracts           ? carry_by_type<Part::kNone, true>(d, type)
                                   : carry_by_type<Part::kNone, false>(d, type),
             "int");
}

void add_carry_opcodes(OpcodeTable& table) {
    table["addc"] = table["subc"] = table["madc"] = decode_carry;
}

}  // namespace fattn::vgpu
