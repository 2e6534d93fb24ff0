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
        if (cta != &w.cta && cta->ended()) {
            w.fault(op, lane, FaultKind::kUseAfterFree,
                    "the block of the cluster whose shared memory is accessed has ended", {},
                    address);
        }
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

Place resolve(Warp& w, const Op& op, uint32_t lane, Space space, uint64_t address, uint32_t bytes,
              bool writes) {
    if ((address & (std::bit_ceil(bytes) - 1)) != 0) {
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

namespace {

// What all lanes of an access fall into, when they do and are aligned.
struct Span {
    std::byte* data;
    uint8_t* defined;  // null: everything is
    SharedMemory* shared;
    const MemoryBlock* block;
    uint64_t base;  // address of data[0]
};

bool find_span(Warp& w, uint32_t mask, const uint64_t* addresses, Space space, uint32_t bytes,
               bool writes, Span& span) {
    uint64_t low = ~uint64_t{0}, high = 0, any = 0;
    each_lane(mask, [&](uint32_t lane) {
        low = std::min(low, addresses[lane]);
        high = std::max(high, addresses[lane]);
        any |= addresses[lane];
    });
    if ((any & (std::bit_ceil(bytes) - 1)) != 0) return false;
    SharedMemory& shared = w.cta.shared;
    const bool windowed = space == Space::kGeneric && low - kSharedWindow < kWindowBytes;
    if (space == Space::kShared || windowed) {
        const uint64_t base = windowed ? kSharedWindow : 0;
        if (high - base + bytes > shared.bytes.size()) return false;
        span = {shared.bytes.data(), shared.defined.data(), &shared, nullptr, base};
        return true;
    }
    if (space != Space::kGlobal && space != Space::kGeneric) return false;
    if (high - low > ~uint32_t{0} - bytes) return false;
    const MemoryBlock* block = w.grid.block_of(low, static_cast<uint32_t>(high - low) + bytes);
    if (!block || (writes && block->read_only)) return false;
    span = {block->data, block->initialised, nullptr, block, block->base};
    return true;
}

template <uint32_t kBytes>
void copy_in(const Span& span, uint32_t mask, const uint64_t* addresses, LaneData& to) {
    each_lane(mask, [&](uint32_t lane) {
        const uint64_t at = addresses[lane] - span.base;
        std::memcpy(to.bytes + lane * kLaneBytes, span.data + at, kBytes);
        to.defined[lane] = !span.defined || all_defined(span.defined + at, kBytes)
                               ? (1u << kBytes) - 1
                               : defined_bits(span.defined + at, kBytes);
    });
}

template <uint32_t kBytes>
void copy_out(const Span& span, uint64_t at, const std::byte* data, uint32_t defined) {
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
        const Place place = resolve(w, op, lane, access.space, addresses[lane], bytes, false);
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
        const Place place = resolve(w, op, lane, access.space, addresses[lane], bytes, true);
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

// The space that traffic counts for; all lanes are in the first one's.
Space counted_space(Space space, uint32_t mask, const uint64_t* addresses) {
    if (space != Space::kGeneric) return space;
    const uint64_t address = addresses[std::countr_zero(mask)];
    if (address - kSharedWindow < kWindowBytes) return Space::kShared;
    return address - kParamWindow < kSharedWindow - kParamWindow ? Space::kLocal : Space::kGlobal;
}

}  // namespace

void read_lanes(Warp& w, const Op& op, uint32_t mask, const uint64_t* addresses,
                const Access& access, LaneData& to) {
    Span span;
    const bool together =
        !(access.flags & kStrong) &&
        find_span(w, mask, addresses, access.space, access.bytes, false, span) &&
        by_bytes(access.bytes, [&](auto bytes) { copy_in<bytes>(span, mask, addresses, to); });
    if (!together) {
        read_one_by_one(w, op, mask, addresses, access, to);
    } else if (w.grid.options.checks.races && span.shared) {
        span.shared->read_all(w, op, mask, addresses, span.base, access.bytes, access.flags);
    } else if (w.grid.options.checks.races) {
        each_lane(mask, [&](uint32_t lane) {
            w.grid.global_shadow.read(w, op, lane, *span.block, addresses[lane], access.bytes,
                                      access.flags, access.non_coherent);
        });
    }
    if (w.grid.options.statistics)
        count_traffic(w, mask, addresses, access.bytes,
                      counted_space(access.space, mask, addresses), false);
}

void write_lanes_to(Warp& w, const Op& op, uint32_t mask, const uint64_t* addresses,
                    const Access& access, const LaneData& from) {
    w.grid.made_progress();
    const bool races = w.grid.options.checks.races;
    Span span;
    const bool together =
        !(access.flags & kStrong) &&
        find_span(w, mask, addresses, access.space, access.bytes, true, span) &&
        by_bytes(access.bytes, [&](auto bytes) {
            each_lane(mask, [&](uint32_t lane) {
                const uint64_t at = addresses[lane] - span.base;
                const std::byte* data = from.bytes + lane * kLaneBytes;
                if (races && span.shared)
                    span.shared->write(w, op, lane, static_cast<uint32_t>(at), bytes, access.flags,
                                       data);
                if (races && span.block)
                    w.grid.global_shadow.write(w, op, lane, *span.block, addresses[lane], bytes,
                                               access.flags, data);
                copy_out<bytes>(span, at, data, from.defined[lane]);
            });
        });
    if (!together) write_one_by_one(w, op, mask, addresses, access, from);
    if (races && access.releases) w.knowledge.advance(w.cta.cluster.next_epoch());
    if (w.grid.options.statistics)
        count_traffic(w, mask, addresses, access.bytes,
                      counted_space(access.space, mask, addresses), true);
}

namespace {

// Lanes are served in groups that move at most 128 bytes; in a group, words of one bank that differ
// take a turn each.
uint32_t wavefronts(uint32_t mask, const uint64_t* addresses, uint32_t bytes, uint32_t& ideal) {
    const uint32_t lanes_per_group = bytes <= 4 ? 32 : 128 / bytes;
    uint32_t total = 0;
    ideal = 0;
    for (uint32_t first = 0; first < 32; first += lanes_per_group) {
        uint32_t words[32][8];
        uint32_t count[32] = {};
        uint32_t distinct = 0, worst = 0;
        for (uint32_t lane = first; lane < first + lanes_per_group; ++lane) {
            if (!(mask >> lane & 1)) continue;
            for (uint32_t k = 0; k < bytes; k += 4) {
                const auto word = static_cast<uint32_t>((addresses[lane] + k) / 4);
                const uint32_t bank = word % 32;
                const uint32_t kept = std::min(count[bank], 8u);
                if (std::find(words[bank], words[bank] + kept, word) != words[bank] + kept)
                    continue;
                if (count[bank] < 8) words[bank][count[bank]] = word;
                ++count[bank];
                ++distinct;
                worst = std::max(worst, count[bank]);
            }
        }
        total += worst;
        ideal += (distinct + 31) / 32;
    }
    return total;
}

}  // namespace

void count_traffic(Warp& w, uint32_t mask, const uint64_t* addresses, uint32_t bytes, Space space,
                   bool writes) {
    Statistics& statistics = w.grid.statistics;
    if (space == Space::kGlobal) {
        const uint64_t total = uint64_t{bytes} * static_cast<uint32_t>(std::popcount(mask));
        // Sectors that differ: lanes mostly ascend, so most repeat the one before.
        uint64_t sectors[64];
        uint32_t count = 0;
        each_lane(mask, [&](uint32_t lane) {
            for (uint64_t sector = addresses[lane] / 32;
                 sector <= (addresses[lane] + bytes - 1) / 32; ++sector) {
                if (count > 0 && sectors[count - 1] == sector) continue;
                if (std::find(sectors, sectors + count, sector) == sectors + count)
                    sectors[count++] = sector;
            }
        });
        ++statistics.global_accesses;
        (writes ? statistics.global_store_bytes : statistics.global_load_bytes) += total;
        (writes ? statistics.global_store_sectors : statistics.global_load_sectors) += count;
    } else if (space == Space::kShared) {
        uint32_t ideal = 0;
        ++statistics.shared_accesses;
        statistics.shared_wavefronts += wavefronts(mask, addresses, bytes, ideal);
        statistics.shared_ideal_wavefronts += ideal;
    }
}

}  // namespace fattn::vgpu
