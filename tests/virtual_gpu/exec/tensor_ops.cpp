// cp.async.bulk.tensor, cp.reduce.async.bulk.tensor and their prefetch: boxes of tensors between
// device and shared memory.
#include "exec/bulk_issue.h"
#include "exec/cta.h"
#include "exec/grid.h"
#include "exec/lanes.h"
#include "exec/tensor_box.h"
#include "exec/tensor_maps.h"

namespace fattn::vgpu {
namespace {

using ptx::Operand;
using ptx::Space;
using ptx::Type;

enum class TensorWay : uint64_t { kLoad, kStore, kReduce, kPrefetch };

constexpr uint32_t kBoxAlignment = 128;  // of a box in shared memory

// Boxes begin at multiples of 16 bytes of a row; what is stored, inside of the tensor.
void need_coordinates(Warp& w, const Op& op, uint32_t lane, const TensorMapLayout& map,
                      const int32_t* coordinates, bool loads) {
    constexpr int64_t kUnit = 16;
    const int64_t byte = int64_t{coordinates[0]} * element_bytes_of(map);
    if (byte % kUnit != 0)
        w.fault(op, lane, FaultKind::kIllegal,
                "the box begins at byte " + std::to_string(byte) +
                    " of the tensor's innermost dimension; multiples of 16 are allowed");
    for (uint32_t i = 0; i < map.rank && !loads; ++i) {
        if (coordinates[i] < 0)
            w.fault(op, lane, FaultKind::kIllegal,
                    "coordinate " + std::to_string(i) + " of what is stored is " +
                        std::to_string(coordinates[i]) + "; 0 and above are allowed");
    }
}

// Sources: the box in shared memory (not of a prefetch), the map, one coordinate for each
// dimension, and of a load the mbarrier and the mask of a multicast. aux: bits 0-2 dimensions, 3-4
// the way, 5 multicast, 8-15 a reduction's operation; aux2: bits 0, 1, 2 that shared address, map
// and mbarrier are 32-bit registers.
Step copy_box(Warp& w, const Op& op, uint32_t mask) {
    const auto rank = static_cast<uint32_t>(op.aux & 7);
    const auto way = static_cast<TensorWay>(op.aux >> 3 & 3);
    const bool multicast = op.aux >> 5 & 1;
    if (w.grid.options.checks.uninitialised) {
        for (uint32_t i = 0; i < op.num_src; ++i)
            w.need_defined(op, op.src(i), mask, "an operand of a tensor copy");
    }
    const uint32_t first = way == TensorWay::kPrefetch ? 0 : 1;  // of sources, the map
    alignas(64) uint64_t boxes[32], maps[32], barriers[32];
    if (first == 1) lane_addresses(w, op, 0, boxes, static_cast<uint64_t>(op.offset), op.aux2 & 1);
    lane_addresses(w, op, first, maps, op.aux >> 32, op.aux2 & 2);
    if (way == TensorWay::kLoad) lane_addresses(w, op, 2 + rank, barriers, 0, op.aux2 & 4);
    each_lane(mask, [&](uint32_t lane) {
        const TensorMapLayout map = read_tensor_map(w, op, lane, maps[lane], rank);
        if (way == TensorWay::kPrefetch) return;
        int32_t coordinates[5];
        for (uint32_t i = 0; i < rank; ++i)
            coordinates[i] = w.src<int32_t>(op, first + 1 + i)[lane];
        BulkCopy made = copy_of(w, op, lane);
        need_coordinates(w, op, lane, map, coordinates, way == TensorWay::kLoad);
        const uint64_t bytes = box_extent_of(map);
        if (bytes > w.grid.shared_bytes()) {
            w.fault(op, lane, FaultKind::kOutOfBounds,
                    "the box has " + std::to_string(bytes) +
                        " bytes; the block's shared memory has " +
                        std::to_string(w.grid.shared_bytes()),
                    {}, boxes[lane]);
        }
        made.bytes = static_cast<uint32_t>(bytes);
        made.gaps = static_cast<uint32_t>(bytes - box_bytes_of(map));
        made.rounds = way == TensorWay::kLoad && rounds_to_tf32(map);
        const Place box = resolve_range(w, op, lane, Space::kShared, boxes[lane], made.bytes,
                                        way == TensorWay::kLoad, kBoxAlignment);
        made.runs = runs_of(map, coordinates);
        made.swizzle = map.swizzle;
        made.swizzled_at = static_cast<uint32_t>(box.address);
        if (way == TensorWay::kLoad) {
            made.data = filled_box(map);
            read_runs(w, op, lane, made);
            const uint32_t ranks = multicast ? w.lanes<uint16_t>(op.src(3 + rank))[lane] : 0;
            return start_to_shared(w, op, made, {box, barriers[lane], multicast, ranks, true});
        }
        made.from = {&owner_of(w, *box.shared), static_cast<uint32_t>(box.address)};
        if (way == TensorWay::kReduce) {
            const auto what = static_cast<Rmw>(op.aux >> 8 & 255);
            Type type = reduced_type_of(map);
            const bool bits = what == Rmw::kAnd || what == Rmw::kOr || what == Rmw::kXor;
            if (bits && (type == Type::kU32 || type == Type::kS32)) type = Type::kB32;
            if (bits && (type == Type::kU64 || type == Type::kS64)) type = Type::kB64;
            if (!reduces(what, type)) {
                w.fault(op, lane, FaultKind::kIllegal,
                        "elements of the tensor map's type " + std::to_string(map.data_type) +
                            " cannot be reduced like this");
            }
            made.reduction = {what, type};
        }
        start_to_global(w, op, std::move(made));
    });
    return Step::kNext;
}

void decode_map_and_coordinates(Decoding& d, const Operand& operand, uint32_t rank) {
    if (operand.kind != Operand::Kind::kMemory || operand.parts.size() != 2)
        d.fail("a tensor is [map, {coordinates}]");
    if (operand.value >> 32 != 0) d.fail("the offset of a tensor map is not negative");
    const Operand& base = operand.parts[0];
    const uint32_t bytes = d.register_bytes(base);
    if (bytes == 4) d.op.aux2 |= 2;
    d.src(base, bytes == 4 ? Type::kU32 : Type::kU64);
    d.op.aux |= operand.value << 32;
    for (const Operand& one : d.elements(operand.parts[1], rank, rank)) d.src(one, Type::kS32);
}

}  // namespace

void decode_tensor_copy(Decoding& d, bool reduces) {
    const auto dimensions = d.take_one({"1d", "2d", "3d", "4d", "5d"});
    if (dimensions.empty()) d.fail("one of .1d to .5d is missing");
    const auto rank = static_cast<uint32_t>(dimensions[0] - '0');
    if (!d.take_one({"im2col", "im2col_no_offs"}).empty())
        d.unsupported("the im2col mode is not offered");
    d.take("tile");
    const bool prefetches = d.take("prefetch");
    const bool from_global = d.take("global");
    const bool in_shared = d.take("shared::cluster");
    const bool from_shared = d.take("shared::cta");
    const bool barred = d.take("mbarrier::complete_tx::bytes");
    const bool grouped = d.take("bulk_group");
    const bool multicast = d.take("multicast::cluster");
    const bool hinted = d.take("L2::cache_hint");
    if (prefetches) {
        if (!d.take("L2") || !from_global || reduces || in_shared || from_shared)
            d.fail("the form is cp.async.bulk.prefetch.tensor.Nd.L2.global");
        d.need_count(1 + (hinted ? 1 : 0), 1 + (hinted ? 1 : 0));
        d.op.aux = rank | static_cast<uint64_t>(TensorWay::kPrefetch) << 3;
        decode_map_and_coordinates(d, d.in.operands[0], rank);
        return d.finish(copy_box, "bulk");
    }
    const bool loads = in_shared && !from_shared && barred && !grouped && !reduces;
    const bool stores = from_shared && !in_shared && grouped && !barred && !multicast;
    if (!from_global || loads == stores)
        d.fail(
            "the forms are .shared::cluster.global.mbarrier::complete_tx::bytes and "
            ".global.shared::cta.bulk_group");
    const Rmw what = reduces ? take_reduction(d) : Rmw::kAdd;
    const size_t operands = (loads ? 3u : 2u) + (multicast ? 1 : 0) + (hinted ? 1 : 0);
    d.need_count(operands, operands);
    // The box in shared memory: the target of a load, the second operand of a store.
    d.address(d.in.operands[loads ? 0 : 1]);
    const auto way = loads ? TensorWay::kLoad : reduces ? TensorWay::kReduce : TensorWay::kStore;
    d.op.aux = rank | static_cast<uint64_t>(way) << 3 | (multicast ? 1u << 5 : 0u) |
               static_cast<uint64_t>(what) << 8;
    decode_map_and_coordinates(d, d.in.operands[loads ? 1 : 0], rank);
    if (reduces) d.reduction = what;
    if (loads) decode_barrier_address(d, d.in.operands[2]);
    if (multicast) d.src(d.in.operands[3], Type::kU16);
    d.finish(copy_box, "bulk");
}

}  // namespace fattn::vgpu
