// Traffic of memory: sectors of device memory and wavefronts of shared memory that an access takes.
// Called by every access when statistics are wanted.
#include <algorithm>
#include <bit>

#include "exec/access.h"
#include "exec/cta.h"
#include "exec/grid.h"
#include "exec/lanes.h"

namespace fattn::vgpu {
namespace {

using ptx::Space;

// The space that traffic counts for; all lanes are in the first one's.
Space counted_space(Space space, uint32_t mask, const uint64_t* addresses) {
    if (space != Space::kGeneric) return space;
    const uint64_t address = addresses[std::countr_zero(mask)];
    if (address - kSharedWindow < kWindowBytes) return Space::kShared;
    return address - kParamWindow < kSharedWindow - kParamWindow ? Space::kLocal : Space::kGlobal;
}

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

// The same of lanes that have 16 bytes each: a group is 8 of them, and each takes four banks.
uint32_t wavefronts_of_16(uint32_t mask, const uint32_t* offsets, uint32_t& ideal) {
    uint32_t total = 0;
    ideal = 0;
    for (uint32_t first = 0; first < 32; first += 8) {
        if ((mask >> first & 255) == 0) continue;
        uint32_t kept[8];
        uint32_t of_bank[8] = {};
        uint32_t distinct = 0, worst = 0;
        for (uint32_t lane = first; lane < first + 8; ++lane) {
            if (!(mask >> lane & 1)) continue;
            const uint32_t chunk = offsets[lane] / 16;
            uint32_t& here = of_bank[chunk % 8];
            // Only chunks of the same banks can be the same.
            if (here != 0 && std::find(kept, kept + distinct, chunk) != kept + distinct) continue;
            kept[distinct++] = chunk;
            worst = std::max(worst, ++here);
        }
        total += worst;
        ideal += (4 * distinct + 31) / 32;
    }
    return total;
}

}  // namespace

void count_span(Warp& w, uint32_t mask, const Span& span, uint32_t bytes, bool writes) {
    Statistics& statistics = w.grid.statistics;
    const uint32_t lanes = static_cast<uint32_t>(std::popcount(mask));
    if (span.shared && (span.in_row || bytes == 16)) {
        uint32_t ideal = std::max(1u, bytes / 4);
        ++statistics.shared_accesses;
        statistics.shared_wavefronts +=
            span.in_row ? ideal : wavefronts_of_16(mask, span.offsets, ideal);
        statistics.shared_ideal_wavefronts += ideal;
        return;
    }
    if (span.block && span.in_row) {
        const uint64_t first = span.block->base + span.offsets[0];
        ++statistics.global_accesses;
        (writes ? statistics.global_store_bytes : statistics.global_load_bytes) +=
            uint64_t{bytes} * lanes;
        (writes ? statistics.global_store_sectors : statistics.global_load_sectors) +=
            (first + uint64_t{bytes} * lanes - 1) / 32 - first / 32 + 1;
        return;
    }
    uint64_t addresses[32];
    const uint64_t base = span.block ? span.block->base : 0;
    for (uint32_t lane = 0; lane < 32; ++lane) addresses[lane] = base + span.offsets[lane];
    count_traffic(w, mask, addresses, bytes, span.block ? Space::kGlobal : Space::kShared, writes);
}

void count_traffic(Warp& w, uint32_t mask, const uint64_t* addresses, uint32_t bytes, Space space,
                   bool writes) {
    Statistics& statistics = w.grid.statistics;
    space = counted_space(space, mask, addresses);
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
