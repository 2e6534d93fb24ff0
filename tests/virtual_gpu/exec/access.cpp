// Resolution of addresses, and the checks of every access.
#include "exec/access.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <type_traits>

#include "exec/cta.h"
#include "exec/grid.h"
#include "exec/lanes.h"

namespace fattn::vgpu {
namespace {

using ptx::Space;

std::string hex(uint64_t value) {
    char text[24];
    std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
    return text;
}

Place resolve_shared(Warp& w, const Op& op, uint32_t lane, uint64_t address, uint32_t bytes) {
    Cta* cta = &w.cta;
    uint64_t offset = address;
    if (address >> kRankShift != 0) {
        const uint64_t rank = (address >> kRankShift) - 1;
        if (rank >= w.cta.cluster.ctas.size()) {
            w.fault(op, lane, FaultKind::kOutOfBounds,
                    "the shared address " + hex(address) + " names block " + std::to_string(rank) +
                        " of a cluster of " + std::to_string(w.cta.cluster.ctas.size()),
                    {}, address);
        }
        cta = w.cta.cluster.ctas[rank].get();
        offset = address & ((1u << kRankShift) - 1);
        need_running(w, op, lane, *cta);
    }
    SharedMemory& shared = cta->shared;
    if (offset + bytes > shared.bytes.size()) {
        w.fault(op, lane, FaultKind::kOutOfBounds,
                std::to_string(bytes) + " bytes at offset " + std::to_string(offset) +
                    " of shared memory, of which the block has " +
                    std::to_string(shared.bytes.size()),
                {}, address);
    }
    return {shared.bytes.data() + offset, shared.defined.data() + offset, &shared, nullptr, offset};
}

Place resolve_local(Warp& w, const Op& op, uint32_t lane, uint64_t offset, uint32_t bytes) {
    const uint64_t size = w.program.local_bytes;
    if (offset + bytes > size) {
        w.fault(op, lane, FaultKind::kOutOfBounds,
                std::to_string(bytes) + " bytes at offset " + std::to_string(offset) +
                    " of local memory, of which a thread has " + std::to_string(size),
                {}, offset);
    }
    const size_t at = size_t{w.thread_of(lane)} * size + offset;
    return {w.cta.local.data() + at, w.cta.local_defined.data() + at, nullptr, nullptr, offset};
}

Place resolve_param(Warp& w, const Op& op, uint32_t lane, uint64_t offset, uint32_t bytes,
                    bool writes) {
    const auto parameters = w.grid.launch.parameters;
    if (writes) w.fault(op, lane, FaultKind::kReadOnly, "parameters of a kernel cannot be written");
    if (offset + bytes > parameters.size()) {
        w.fault(op, lane, FaultKind::kOutOfBounds,
                std::to_string(bytes) + " bytes at offset " + std::to_string(offset) +
                    " of the parameters, which have " + std::to_string(parameters.size()),
                {}, offset);
    }
    return {const_cast<std::byte*>(parameters.data()) + offset, nullptr, nullptr, nullptr, offset};
}

Place resolve_global(Warp& w, const Op& op, uint32_t lane, uint64_t address, uint32_t bytes,
                     bool writes) {
    const MemoryBlock* block = w.grid.block_of(address, bytes);
    if (!block) {
        const DeviceMemory& memory = w.grid.memory;
        const bool freed = memory.was_freed(address);
        w.fault(op, lane, freed ? FaultKind::kUseAfterFree : FaultKind::kOutOfBounds,
                std::string(writes ? "writes " : "reads ") + std::to_string(bytes) + " bytes at " +
                    hex(address) + ", which is " + memory.describe(address),
                {}, address);
    }
    if (writes && block->read_only)
        w.fault(op, lane, FaultKind::kReadOnly,
                "writes memory at " + hex(address) + " that is read-only", {}, address);
    const uint64_t offset = address - block->base;
    return {block->data + offset, block->initialised ? block->initialised + offset : nullptr,
            nullptr, block, address};
}

// A bit for each byte that is defined.
uint32_t defined_bits(const uint8_t* defined, uint32_t bytes) {
    if (!defined) return (bytes == 32 ? 0 : 1u << bytes) - 1;
    uint32_t bits = 0;
    for (uint32_t i = 0; i < bytes; ++i) bits |= uint32_t{defined[i] != 0} << i;
    return bits;
}

bool all_defined(const uint8_t* defined, uint32_t bytes) {
    for (; bytes >= 8; bytes -= 8, defined += 8) {
        uint64_t word;
        std::memcpy(&word, defined, 8);
        if (word != ~uint64_t{0}) return false;
    }
    for (uint32_t i = 0; i < bytes; ++i) {
        if (!defined[i]) return false;
    }
    return true;
}

}  // namespace

uint32_t outside_windows(const uint64_t* addresses, uint32_t mask) {
    uint32_t outside = 0;
    each_lane(mask, [&](uint32_t lane) {
        const bool inside = addresses[lane] - kSharedWindow < kWindowBytes ||
                            addresses[lane] - kLocalWindow < kWindowBytes ||
                            addresses[lane] - kParamWindow < kWindowBytes;
        outside |= uint32_t{!inside} << lane;
    });
    return outside;
}

void need_running(Warp& w, const Op& op, uint32_t lane, const Cta& cta) {
    if (&cta == &w.cta) return;
    const auto name = [&] { return "block " + std::to_string(cta.rank) + " of the cluster"; };
    if (cta.ended()) {
        w.fault(op, lane, FaultKind::kUseAfterFree,
                name() + ", whose shared memory is accessed, has ended");
    }
    if (!w.grid.options.checks.races || w.knowledge.floor() >= w.cta.cluster.started) return;
    const uint32_t first = cta.first_agent();
    for (uint32_t agent = first; agent < first + 32 * cta.warps.size(); ++agent) {
        if (w.knowledge.ordered(lane, agent, w.cta.cluster.started)) return;
    }
    w.fault(op, lane, FaultKind::kRace,
            name() +
                ", whose shared memory is accessed, is not known to have started; "
                "barrier.cluster tells that");
}

Place resolve_or_nowhere(Warp& w, const Op& op, uint32_t lane, Space space, uint64_t address,
                         uint32_t bytes, bool writes) {
    if (w.grid.options.checks.bounds) return resolve(w, op, lane, space, address, bytes, writes);
    try {
        return resolve(w, op, lane, space, address, bytes, writes);
    } catch (const FaultError& error) {
        const FaultKind kind = error.fault.kind;
        if (kind != FaultKind::kOutOfBounds && kind != FaultKind::kUseAfterFree &&
            kind != FaultKind::kReadOnly)
            throw;
        w.grid.nowhere = {};
        return {w.grid.nowhere.bytes, w.grid.nowhere.defined, nullptr, nullptr, address};
    }
}

Place resolve(Warp& w, const Op& op, uint32_t lane, Space space, uint64_t address, uint32_t bytes,
              bool writes) {
    if (w.grid.options.checks.alignment && (address & (std::bit_ceil(bytes) - 1)) != 0) {
        w.fault(op, lane, FaultKind::kMisaligned,
                "the address " + hex(address) + " is no multiple of " + std::to_string(bytes), {},
                address);
    }
    if (space == Space::kGeneric) {
        if (address - kSharedWindow < kWindowBytes) {
            space = Space::kShared;
            address -= kSharedWindow;
        } else if (address - kLocalWindow < kWindowBytes) {
            space = Space::kLocal;
            address -= kLocalWindow;
        } else if (address - kParamWindow < kWindowBytes) {
            space = Space::kParam;
            address -= kParamWindow;
        }
    }
    switch (space) {
        case Space::kShared:
            return resolve_shared(w, op, lane, address, bytes);
        case Space::kLocal:
            return resolve_local(w, op, lane, address, bytes);
        case Space::kParam:
            return resolve_param(w, op, lane, address, bytes, writes);
        default:
            return resolve_global(w, op, lane, address, bytes, writes);
    }
}

bool find_span(Warp& w, uint32_t mask, const uint64_t* addresses, const Access& access, bool writes,
               Span& span) {
    const uint32_t bytes = access.bytes;
    const uint64_t some = addresses[std::countr_zero(mask)];
    const bool windowed = access.space == Space::kGeneric && some - kSharedWindow < kWindowBytes;
    uint64_t base = 0, size = 0;
    if (access.space == Space::kShared || windowed) {
        SharedMemory& shared = w.cta.shared;
        base = windowed ? kSharedWindow : 0;
        size = shared.bytes.size();
        span.data = shared.bytes.data();
        span.defined = shared.defined.data();
        span.shared = &shared;
        span.block = nullptr;
    } else if (access.space == Space::kGlobal || access.space == Space::kGeneric) {
        const MemoryBlock* block = w.grid.block_of(some, bytes);
        if (!block || (writes && block->read_only)) return false;
        base = block->base;
        size = block->size;
        span.data = block->data;
        span.defined = block->initialised;
        span.shared = nullptr;
        span.block = block;
    } else {
        return false;
    }
    if (size < bytes) return false;
    uint64_t far = 0;
    uint32_t any = 0, most = 0;
    for (uint32_t lane = 0; lane < 32; ++lane) {
        const uint64_t address = mask >> lane & 1 ? addresses[lane] : some;
        const uint64_t offset = address - base;
        far |= offset >> 32;
        any |= static_cast<uint32_t>(address);
        most = std::max(most, static_cast<uint32_t>(offset));
        span.offsets[lane] = static_cast<uint32_t>(offset);
    }
    if (far != 0 || (any & (std::bit_ceil(bytes) - 1)) != 0 || most > size - bytes) return false;
    uint32_t apart = ~mask;
    for (uint32_t lane = 0; lane < 32; ++lane)
        apart |= span.offsets[lane] ^ (span.offsets[0] + lane * bytes);
    span.in_row = apart == 0;
    return true;
}

namespace {

template <uint32_t kBytes>
void copy_in(const Span& span, uint32_t mask, LaneData& to) {
    constexpr uint32_t kAll = (1u << kBytes) - 1;
    each_lane(mask, [&](uint32_t lane) {
        const uint32_t at = span.offsets[lane];
        std::memcpy(to.bytes + lane * kLaneBytes, span.data + at, kBytes);
        to.defined[lane] = !span.defined || whole_defined<kBytes>(span.defined + at)
                               ? kAll
                               : defined_bits(span.defined + at, kBytes);
    });
}

template <uint32_t kBytes>
void copy_out(const Span& span, uint32_t at, const std::byte* data, uint32_t defined) {
    constexpr uint32_t kAll = (1u << kBytes) - 1;
    std::memcpy(span.data + at, data, kBytes);
    if (!span.defined) return;
    if ((defined & kAll) == kAll) {
        std::memset(span.defined + at, 0xff, kBytes);
        return;
    }
    for (uint32_t i = 0; i < kBytes; ++i) span.defined[at + i] = defined >> i & 1 ? 0xff : 0;
}

// f(std::integral_constant of the bytes) for the sizes that loads and stores have.
template <class F>
bool by_bytes(uint32_t bytes, F f) {
    switch (bytes) {
        case 1:
            f(std::integral_constant<uint32_t, 1>{});
            return true;
        case 2:
            f(std::integral_constant<uint32_t, 2>{});
            return true;
        case 4:
            f(std::integral_constant<uint32_t, 4>{});
            return true;
        case 8:
            f(std::integral_constant<uint32_t, 8>{});
            return true;
        case 16:
            f(std::integral_constant<uint32_t, 16>{});
            return true;
        default:
            return false;
    }
}

void read_one_by_one(Warp& w, const Op& op, uint32_t mask, const uint64_t* addresses,
                     const Access& access, LaneData& to) {
    const uint32_t bytes = access.bytes;
    const bool races = w.grid.options.checks.races;
    const uint32_t full = (bytes == 32 ? 0 : 1u << bytes) - 1;
    each_lane(mask, [&](uint32_t lane) {
        const Place place =
            resolve_or_nowhere(w, op, lane, access.space, addresses[lane], bytes, false);
        std::memcpy(to.bytes + lane * kLaneBytes, place.data, bytes);
        to.defined[lane] = !place.defined || all_defined(place.defined, bytes)
                               ? full
                               : defined_bits(place.defined, bytes);
        if (!races) return;
        if (place.shared)
            place.shared->read(w, op, lane, static_cast<uint32_t>(place.address), bytes,
                               access.flags);
        if (place.block)
            w.grid.global_shadow.read(w, op, lane, *place.block, place.address, bytes, access.flags,
                                      access.non_coherent);
        if ((access.flags & kStrong) && (place.shared || place.block))
            observe(w, lane, place, {access.scope, access.acquires, false, false});
    });
}

void write_one_by_one(Warp& w, const Op& op, uint32_t mask, const uint64_t* addresses,
                      const Access& access, const LaneData& from) {
    const uint32_t bytes = access.bytes;
    const bool races = w.grid.options.checks.races;
    each_lane(mask, [&](uint32_t lane) {
        const Place place =
            resolve_or_nowhere(w, op, lane, access.space, addresses[lane], bytes, true);
        const std::byte* data = from.bytes + lane * kLaneBytes;
        if (races) {
            if (place.shared)
                place.shared->write(w, op, lane, static_cast<uint32_t>(place.address), bytes,
                                    access.flags, data);
            if (place.block)
                w.grid.global_shadow.write(w, op, lane, *place.block, place.address, bytes,
                                           access.flags, data);
            if ((access.flags & kStrong) && (place.shared || place.block))
                publish(w, lane, place, {access.scope, false, access.releases, false});
        }
        std::memcpy(place.data, data, bytes);
        if (!place.defined) return;
        for (uint32_t i = 0; i < bytes; ++i)
            place.defined[i] = from.defined[lane] >> i & 1 ? 0xff : 0;
    });
}

}  // namespace

void note_span_read(Warp& w, const Op& op, uint32_t mask, const Span& span, const Access& access) {
    if (w.grid.options.checks.races && span.shared) {
        span.shared->read_all(w, op, mask, span.offsets, span.in_row, access.bytes, access.flags);
    } else if (w.grid.options.checks.races) {
        w.grid.global_shadow.read_all(w, op, mask, span, access);
    }
    if (w.grid.options.statistics) count_span(w, mask, span, access.bytes, false);
}

void read_lanes(Warp& w, const Op& op, uint32_t mask, const uint64_t* addresses,
                const Access& access, LaneData& to) {
    Span span;
    if (!(access.flags & kStrong) && find_span(w, mask, addresses, access, false, span) &&
        by_bytes(access.bytes, [&](auto bytes) { copy_in<bytes>(span, mask, to); })) {
        return note_span_read(w, op, mask, span, access);
    }
    read_one_by_one(w, op, mask, addresses, access, to);
    if (w.grid.options.statistics)
        count_traffic(w, mask, addresses, access.bytes, access.space, false);
}

namespace {

// Lane after lane, because two may write one place.
template <uint32_t kBytes>
void write_span(Warp& w, const Op& op, uint32_t mask, const Span& span, const Access& access,
                const LaneData& from) {
    const bool races = w.grid.options.checks.races;
    SharedMemory* const shared =
        races && span.shared && span.shared->has_shadow() ? span.shared : nullptr;
    if (shared && kBytes % 4 == 0 && !shared->is_held()) {
        const WordAccess words = shared->words_of(w, op);
        const bool noted = span.in_row && words.write_row(span.offsets[0] / 4, kBytes / 4);
        each_lane(mask, [&](uint32_t lane) {
            const uint32_t at = span.offsets[lane];
            const std::byte* data = from.bytes + lane * kLaneBytes;
            if (!noted && !words.write(at / 4, kBytes / 4, lane))
                shared->write(w, op, lane, at, kBytes, access.flags, data);
            copy_out<kBytes>(span, at, data, from.defined[lane]);
        });
        return;
    }
    each_lane(mask, [&](uint32_t lane) {
        const uint32_t at = span.offsets[lane];
        const std::byte* data = from.bytes + lane * kLaneBytes;
        if (shared) shared->write(w, op, lane, at, kBytes, access.flags, data);
        if (races && span.block)
            w.grid.global_shadow.write(w, op, lane, *span.block, span.block->base + at, kBytes,
                                       access.flags, data);
        copy_out<kBytes>(span, at, data, from.defined[lane]);
    });
}

}  // namespace

void write_lanes_to(Warp& w, const Op& op, uint32_t mask, const uint64_t* addresses,
                    const Access& access, const LaneData& from) {
    w.grid.made_progress();
    Span span;
    if (!(access.flags & kStrong) && find_span(w, mask, addresses, access, true, span) &&
        by_bytes(access.bytes,
                 [&](auto bytes) { write_span<bytes>(w, op, mask, span, access, from); })) {
        if (w.grid.options.statistics) count_span(w, mask, span, access.bytes, true);
        return;
    }
    write_one_by_one(w, op, mask, addresses, access, from);
    if (w.grid.options.checks.races && access.releases)
        w.knowledge.advance(w.cta.cluster.next_epoch());
    if (w.grid.options.statistics)
        count_traffic(w, mask, addresses, access.bytes, access.space, true);
}

}  // namespace fattn::vgpu
