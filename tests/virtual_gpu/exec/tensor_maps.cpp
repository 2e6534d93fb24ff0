// tensormap.replace, tensormap.cp_fenceproxy, fence.proxy.tensormap, and reading a map for a copy.
#include "exec/tensor_maps.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstring>

#include "exec/access.h"
#include "exec/cta.h"
#include "exec/decoding.h"
#include "exec/grid.h"
#include "exec/lanes.h"
#include "exec/tensor_box.h"

namespace fattn::vgpu {
namespace {

using ptx::Operand;
using ptx::Space;
using ptx::Type;

constexpr uint32_t kMapBytes = sizeof(TensorMapLayout);
constexpr uint32_t kHalfMap = kMapBytes / 2;  // maps begin at multiples of 64 bytes

// Where a map lies; the whole of it lies in one block of memory.
Place map_place(Warp& w, const Op& op, uint32_t lane, Space space, uint64_t address, bool writes) {
    const Place place = resolve(w, op, lane, space, address, kHalfMap, writes);
    resolve(w, op, lane, space, address + kHalfMap, kHalfMap, writes);
    return place;
}

// --- the proxy
void release_maps(Warp& w, uint32_t mask) {
    each_lane(mask, [&](uint32_t lane) {
        w.grid.tensor_map_fences.released[{w.cta.cluster.id, w.knowledge.first_agent() + lane}] =
            w.knowledge.epoch();
    });
}

void acquire_map(Warp& w, uint32_t lane, const Place& place) {
    std::vector<TensorMapFences::Acquired>& seen = w.grid.tensor_map_fences.acquired[place.address];
    const uint32_t agent = w.knowledge.first_agent() + lane, cluster = w.cta.cluster.id;
    std::erase_if(seen, [&](const TensorMapFences::Acquired& one) {
        return one.by_cluster == cluster && one.by_agent == agent;
    });
    for (uint32_t i = 0; i < kMapBytes; i += 4) {
        const GlobalCell& write = w.grid.global_shadow.last_write(*place.block, place.address + i);
        if (write.cluster == 0) continue;
        seen.push_back(
            {write.cluster, write.agent, write.epoch, cluster, agent, w.knowledge.epoch()});
    }
}

void need_fences(Warp& w, const Op& op, uint32_t lane, const Place& place) {
    const TensorMapFences& fences = w.grid.tensor_map_fences;
    const auto found = fences.acquired.find(place.address);
    for (uint32_t i = 0; i < kMapBytes; i += 4) {
        const GlobalCell& write = w.grid.global_shadow.last_write(*place.block, place.address + i);
        if (write.cluster == 0) continue;
        const auto refuse = [&](const char* which) {
            w.fault(op, lane, FaultKind::kMissingProxyFence,
                    std::string("the tensor map was changed in this grid; ") + which +
                        " must stand between that and the copy",
                    "the earlier access is " + w.describe_op(write.pc), place.address);
        };
        const auto released = fences.released.find({write.cluster, write.agent});
        if (released == fences.released.end() || released->second < write.epoch)
            refuse("fence.proxy.tensormap::generic.release of the thread that changed it");
        const auto is_known = [&](const TensorMapFences::Acquired& one) {
            if (one.cluster != write.cluster || one.agent != write.agent ||
                one.epoch != write.epoch)
                return false;
            return one.by_cluster == w.cta.cluster.id
                       ? w.knowledge.ordered(lane, one.by_agent, one.by_epoch)
                       : w.knowledge.ordered_across(lane, one.by_cluster, one.by_agent,
                                                    one.by_epoch);
        };
        if (found == fences.acquired.end() ||
            std::none_of(found->second.begin(), found->second.end(), is_known))
            refuse("fence.proxy.tensormap::generic.acquire of its 128 bytes");
    }
}

// aux: the scope, bit 8 acquires.
Step map_fence(Warp& w, const Op& op, uint32_t mask) {
    const bool acquires = op.aux >> 8 & 1;
    if (!w.grid.options.checks.races) return Step::kNext;
    if (acquires) {
        uint64_t addresses[32];
        lane_addresses(w, op, 0, addresses);
        // What other blocks published is learnt first.
        fence_lanes(w, mask, static_cast<Scope>(op.aux & 255));
        each_lane(mask, [&](uint32_t lane) {
            const Place place = map_place(w, op, lane, Space::kGeneric, addresses[lane], false);
            if (place.block) acquire_map(w, lane, place);
        });
        return Step::kNext;
    }
    release_maps(w, mask);
    fence_lanes(w, mask, static_cast<Scope>(op.aux & 255));
    return Step::kNext;
}

// --- changes of a map. Where a field lies in the layout, and its bytes.
struct Field {
    uint8_t offset;
    uint8_t bytes;
};

// Sources: address, then the new value when it is a register. aux: bits 0-7 offset, 8-15 bytes,
// 16-23 added to the value, 24-31 the shift of the value, 32 shared, 40-47 the value of a field
// that is a constant, 48 it is one.
Step replace(Warp& w, const Op& op, uint32_t mask) {
    const Field field = {static_cast<uint8_t>(op.aux), static_cast<uint8_t>(op.aux >> 8)};
    const Space space = op.aux >> 32 & 1 ? Space::kShared : Space::kGeneric;
    const bool constant = op.aux >> 48 & 1;
    if (w.grid.options.checks.uninitialised) {
        for (uint32_t i = 0; i < op.num_src; ++i)
            w.need_defined(op, op.src(i), mask, "an operand of tensormap.replace");
    }
    uint64_t addresses[32];
    lane_addresses(w, op, 0, addresses);
    each_lane(mask, [&](uint32_t lane) {
        const Place place = map_place(w, op, lane, space, addresses[lane], true);
        uint64_t value = op.aux >> 40 & 255;
        if (!constant) {
            value = field.bytes == 8 ? w.src<uint64_t>(op, 1)[lane] : w.src<uint32_t>(op, 1)[lane];
            value = (value + (op.aux >> 16 & 255)) << (op.aux >> 24 & 255);
        }
        std::byte bytes[8];
        std::memcpy(bytes, &value, 8);
        if (w.grid.options.checks.races) {
            const auto at = static_cast<uint32_t>(place.address) + field.offset;
            if (place.shared) place.shared->write(w, op, lane, at, field.bytes, kPlain, bytes);
            if (place.block)
                w.grid.global_shadow.write(w, op, lane, *place.block, place.address + field.offset,
                                           field.bytes, kPlain, bytes);
        }
        std::memcpy(place.data + field.offset, bytes, field.bytes);
        if (place.defined) std::memset(place.defined + field.offset, 0xff, field.bytes);
    });
    w.grid.made_progress();
    return Step::kNext;
}

// PTX numbers element types in another order than CUtensorMapDataType: f32.ftz stands before f64.
constexpr uint8_t kElementTypes[] = {0, 1, 2, 3, 4, 5, 6, 7, 10, 8, 9, 11, 12};

void decode_replace(Decoding& d) {
    d.need_arch(90, "tensormap.replace");
    if (!d.take("tile")) d.fail("the form is tensormap.replace.tile");
    const auto name = d.take_one({"global_address", "rank", "box_dim", "global_dim",
                                  "global_stride", "element_stride", "elemtype",
                                  "interleave_layout", "swizzle_mode", "fill_mode"});
    if (name.empty()) d.fail("a field such as .global_address is missing");
    const auto space = d.take_one({"shared::cta", "global"});
    if (!d.take("b1024")) d.fail("the object is .b1024");
    const Type type = d.take_type();
    const bool constant = name == "elemtype" || name == "interleave_layout" ||
                          name == "swizzle_mode" || name == "fill_mode";
    const bool has_ordinal = name == "box_dim" || name.starts_with("global_dim") ||
                             name == "global_stride" || name == "element_stride";
    const bool wide = name == "global_address" || name == "global_stride";
    if (type != (wide ? Type::kB64 : Type::kB32))
        d.fail("the type is .b64 for an address or a stride, else .b32");
    d.need_count(has_ordinal ? 3 : 2, has_ordinal ? 3 : 2);
    d.address(d.in.operands[0]);
    uint64_t ordinal = 0;
    if (has_ordinal) {
        ordinal = d.constant(d.in.operands[1], "the dimension");
        const uint64_t most = name == "global_stride" ? 3 : 4;
        if (ordinal > most) d.fail("the dimension is 0 to " + std::to_string(most));
    }
    const Operand& value = d.in.operands.back();
    Field field{};
    uint64_t added = 0, shift = 0, fixed = 0;
    if (name == "global_address") {
        field = {offsetof(TensorMapLayout, address), 8};
    } else if (name == "rank") {
        field = {offsetof(TensorMapLayout, rank), 1};
        added = 1;
    } else if (name == "box_dim") {
        field = {static_cast<uint8_t>(offsetof(TensorMapLayout, box) + 2 * ordinal), 2};
    } else if (name == "global_dim") {
        field = {static_cast<uint8_t>(offsetof(TensorMapLayout, dims) + 8 * ordinal), 4};
    } else if (name == "global_stride") {
        field = {static_cast<uint8_t>(offsetof(TensorMapLayout, strides) + 8 * ordinal), 8};
        // Texts of CUDA before 12.5 give strides in units of 16 bytes.
        shift = d.ptx_version() < 85 ? 4 : 0;
    } else if (name == "element_stride") {
        field = {static_cast<uint8_t>(offsetof(TensorMapLayout, element_strides) + 4 * ordinal), 4};
    } else {
        fixed = d.constant(value, "the new value");
        const uint64_t most = name == "elemtype"            ? 12
                              : name == "interleave_layout" ? 2
                              : name == "swizzle_mode"      ? 3
                                                            : 1;
        if (fixed > most) d.fail("the new value is 0 to " + std::to_string(most));
        field = {static_cast<uint8_t>(
                     name == "elemtype"            ? offsetof(TensorMapLayout, data_type)
                     : name == "interleave_layout" ? offsetof(TensorMapLayout, interleave)
                     : name == "swizzle_mode"      ? offsetof(TensorMapLayout, swizzle)
                                                   : offsetof(TensorMapLayout, nan_fill)),
                 1};
        if (name == "elemtype") fixed = kElementTypes[fixed];
    }
    if (!constant) d.src(value, type);
    d.op.aux = field.offset | uint64_t{field.bytes} << 8 | added << 16 | shift << 24 |
               uint64_t{space == "shared::cta"} << 32 | fixed << 40 | uint64_t{constant} << 48;
    d.op.propagates = false;
    d.finish(replace, "tensormap");
}

// Sources: target in device memory, source in shared memory. aux2: bits 0 and 1 32-bit registers.
Step copy_and_release(Warp& w, const Op& op, uint32_t mask) {
    w.need_converged(op, mask);
    uint64_t targets[32], sources[32];
    lane_addresses(w, op, 0, targets, static_cast<uint64_t>(op.offset), op.aux2 & 1);
    lane_addresses(w, op, 1, sources, op.aux, op.aux2 & 2);
    const bool races = w.grid.options.checks.races;
    // The warp copies together; the first lane's operands are everybody's.
    const auto lane = static_cast<uint32_t>(std::countr_zero(mask));
    const Place from = map_place(w, op, lane, Space::kShared, sources[lane], false);
    const Place to = map_place(w, op, lane, Space::kGlobal, targets[lane], true);
    if (races) {
        from.shared->read(w, op, lane, static_cast<uint32_t>(from.address), kMapBytes, kPlain);
        w.grid.global_shadow.write(w, op, lane, *to.block, to.address, kMapBytes, kPlain, nullptr);
        release_maps(w, mask);
        fence_lanes(w, mask, static_cast<Scope>(op.aux2 >> 8 & 255));
    }
    std::memcpy(to.data, from.data, kMapBytes);
    if (to.defined) std::memcpy(to.defined, from.defined, kMapBytes);
    w.grid.made_progress();
    return Step::kNext;
}

void decode_copy_and_release(Decoding& d) {
    d.need_arch(90, "tensormap.cp_fenceproxy");
    if (!d.take("global") || !d.take("shared::cta") || !d.take("tensormap::generic") ||
        !d.take("release") || !d.has_one({"cta", "cluster", "gpu", "sys"}))
        d.fail(
            "the form is tensormap.cp_fenceproxy.global.shared::cta.tensormap::generic.release"
            ".gpu.sync.aligned");
    const Scope scope = take_scope(d);
    if (!d.take("sync") || !d.take("aligned")) d.fail(".sync.aligned is missing");
    d.need_count(3, 3);
    d.address(d.in.operands[0]);
    d.second_address(d.in.operands[1]);
    if (d.constant(d.in.operands[2], "the size") != kMapBytes) d.fail("the size is 128");
    d.op.aux2 |= static_cast<uint64_t>(scope) << 8;
    d.op.propagates = false;
    d.finish(copy_and_release, "tensormap");
}

void decode_tensor_map(Decoding& d) {
    if (d.take("replace")) return decode_replace(d);
    if (d.take("cp_fenceproxy")) return decode_copy_and_release(d);
    d.fail("one of .replace .cp_fenceproxy is missing");
}

}  // namespace

TensorMapLayout read_tensor_map(Warp& w, const Op& op, uint32_t lane, uint64_t address,
                                uint32_t rank) {
    const Place place = map_place(w, op, lane, Space::kGeneric, address, false);
    if (place.shared)
        w.fault(op, lane, FaultKind::kIllegal,
                "a tensor map lies in parameters, constant or device memory, not in shared memory",
                {}, address);
    if (place.block && w.grid.options.checks.races) {
        w.grid.global_shadow.read(w, op, lane, *place.block, place.address, kMapBytes, kPlain,
                                  false);
        need_fences(w, op, lane, place);
    }
    if (place.defined && w.grid.options.checks.uninitialised &&
        std::find(place.defined, place.defined + kMapBytes, 0) != place.defined + kMapBytes)
        w.fault(op, lane, FaultKind::kUninitialised, "the tensor map was never written in whole",
                {}, address);
    TensorMapLayout map;
    std::memcpy(&map, place.data, kMapBytes);
    bool modelled = true;
    const std::string objection = objection_to(map, modelled);
    if (!objection.empty())
        w.fault(op, lane, modelled ? FaultKind::kIllegal : FaultKind::kNotModelled, objection, {},
                address);
    if (map.rank != rank) {
        w.fault(op, lane, FaultKind::kIllegal,
                "the copy has " + std::to_string(rank) + " dimensions, the tensor map " +
                    std::to_string(map.rank),
                {}, address);
    }
    return map;
}

void decode_tensor_map_fence(Decoding& d) {
    const auto which = d.take_one({"release", "acquire"});
    if (which.empty()) d.fail("one of .release .acquire is missing");
    if (!d.has_one({"cta", "cluster", "gpu", "sys"})) d.fail("a scope is missing");
    const bool acquires = which == "acquire";
    d.op.aux = static_cast<uint64_t>(take_scope(d)) | (acquires ? 1u << 8 : 0u);
    d.need_count(acquires ? 2 : 0, acquires ? 2 : 0);
    if (acquires) {
        d.address(d.in.operands[0]);
        if (d.constant(d.in.operands[1], "the size") != kMapBytes) d.fail("the size is 128");
    }
    d.op.propagates = false;
    d.finish(map_fence, "fence");
}

void add_tensor_map_opcodes(OpcodeTable& table) { table["tensormap"] = decode_tensor_map; }

}  // namespace fattn::vgpu
