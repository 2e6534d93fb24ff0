// st.async and red.async: a few bytes into the shared memory of a block of the cluster, completed
// on an mbarrier there.
#include <cstring>

#include "exec/bulk_issue.h"
#include "exec/cta.h"
#include "exec/grid.h"
#include "exec/lanes.h"

namespace fattn::vgpu {
namespace {

using ptx::Operand;
using ptx::Space;
using ptx::Type;

// Sources: the target, the elements, the mbarrier. aux: bits 0-7 the type, 8-15 elements, 16 a
// reduction, 24-31 its operation; aux2: bits 0 and 2 that target and mbarrier are 32-bit registers.
Step store_async(Warp& w, const Op& op, uint32_t mask) {
    const auto type = static_cast<Type>(op.aux & 255);
    const auto count = static_cast<uint32_t>(op.aux >> 8 & 255);
    const uint32_t size = bytes_of(type);
    if (w.grid.options.checks.uninitialised) {
        w.need_defined(op, op.src(0), mask, "an address");
        w.need_defined(op, op.src(1 + count), mask, "the address of an mbarrier");
    }
    uint64_t targets[32], barriers[32];
    lane_addresses(w, op, 0, targets, static_cast<uint64_t>(op.offset), op.aux2 & 1);
    lane_addresses(w, op, 1 + count, barriers, 0, op.aux2 & 4);
    each_lane(mask, [&](uint32_t lane) {
        BulkCopy made = copy_of(w, op, lane);
        made.bytes = size * count;
        made.data.resize(made.bytes);
        made.defined.assign(made.bytes, 0);
        made.has_read = true;
        for (uint32_t i = 0; i < count; ++i) {
            const auto* from = reinterpret_cast<const std::byte*>(w.lanes<uint16_t>(op.src(1 + i)));
            std::memcpy(made.data.data() + i * size, from + lane * size, size);
            if (w.defined(op.src(1 + i)) >> lane & 1)
                std::memset(made.defined.data() + i * size, 0xff, size);
        }
        if (op.aux >> 16 & 1) made.reduction = {static_cast<Rmw>(op.aux >> 24 & 255), type};
        const Place place =
            resolve_range(w, op, lane, Space::kShared, targets[lane], made.bytes, true, made.bytes);
        const Place barrier = resolve(w, op, lane, Space::kShared, barriers[lane], 8, true);
        if (&owner_of(w, *place.shared) != &owner_of(w, *barrier.shared)) {
            w.fault(op, lane, FaultKind::kIllegal,
                    "the target and the mbarrier of an asynchronous store lie in the same block");
        }
        start_to_shared(w, op, made, {place, barriers[lane], false, 0, false});
    });
    return Step::kNext;
}

}  // namespace

void decode_store_async(Decoding& d) {
    const bool reduces_it = d.in.opcode == "red";
    d.need_arch(90, "an asynchronous store");
    if (reduces_it ? !d.take("relaxed") || !d.take("cluster") : false)
        d.fail("the form is red.async.relaxed.cluster");
    d.take("weak");
    d.take("shared::cluster");
    if (!d.take("mbarrier::complete_tx::bytes")) d.fail(".mbarrier::complete_tx::bytes is missing");
    const Rmw what = reduces_it ? take_reduction(d) : Rmw::kAdd;
    const uint32_t width = reduces_it ? 1 : d.take_width();
    Type type = d.take_type();
    const uint32_t size = bytes_of(type);
    if (width > 4 || (size != 4 && size != 8) || size * width > 16)
        d.fail("one, two or four elements of 4 or 8 bytes are stored, 16 bytes at most");
    if (reduces_it && (!reduces(what, type) || (size == 8 && what != Rmw::kAdd)))
        d.fail("the type does not fit the operation");
    d.need_count(3, 3);
    d.address(d.in.operands[0]);
    const std::vector<Operand> single = {d.in.operands[1]};
    const std::vector<Operand>& elements =
        width == 1 ? single : d.elements(d.in.operands[1], width, width);
    for (const Operand& element : elements) d.src(element, type);
    decode_barrier_address(d, d.in.operands[2]);
    d.op.aux = static_cast<uint64_t>(type) | uint64_t{width} << 8 | uint64_t{reduces_it} << 16 |
               static_cast<uint64_t>(what) << 24;
    d.op.propagates = false;
    if (reduces_it) d.reduction = what;
    d.finish(store_async, "st.async");
}

}  // namespace fattn::vgpu
