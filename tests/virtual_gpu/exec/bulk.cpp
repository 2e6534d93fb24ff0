// The stages of bulk copies.
#include "exec/bulk.h"

#include <algorithm>
#include <cstring>

#include "exec/cta.h"
#include "exec/grid.h"
#include "exec/lanes.h"

namespace fattn::vgpu {

void read_source(Grid& grid, BulkCopy& copy) {
    if (copy.has_read) return;
    copy.has_read = true;
    copy.data.resize(copy.bytes);
    copy.defined.assign(copy.bytes, 0xff);
    if (copy.from.cta) {
        const SharedMemory& shared = copy.from.cta->shared;
        std::memcpy(copy.data.data(), shared.bytes.data() + copy.from.at, copy.bytes);
        std::memcpy(copy.defined.data(), shared.defined.data() + copy.from.at, copy.bytes);
        return;
    }
    const MemoryBlock& block = *grid.block_of(copy.from.at, copy.bytes);
    const uint64_t offset = copy.from.at - block.base;
    std::memcpy(copy.data.data(), block.data + offset, copy.bytes);
    if (block.initialised) std::memcpy(copy.defined.data(), block.initialised + offset, copy.bytes);
}

void write_target(Grid& grid, BulkCopy& copy) {
    read_source(grid, copy);
    if (copy.has_written) return;
    copy.has_written = true;
    grid.made_progress();
    if (!copy.to.cta) {
        const MemoryBlock& block = *grid.block_of(copy.to.at, copy.bytes);
        const uint64_t offset = copy.to.at - block.base;
        std::memcpy(block.data + offset, copy.data.data(), copy.bytes);
        if (block.initialised)
            std::memcpy(block.initialised + offset, copy.defined.data(), copy.bytes);
        return;
    }
    SharedMemory& shared = copy.to.cta->shared;
    std::memcpy(shared.bytes.data() + copy.to.at, copy.data.data(), copy.bytes);
    std::memcpy(shared.defined.data() + copy.to.at, copy.defined.data(), copy.bytes);
    Mbarrier* barrier = copy.barrier_cta->mbarriers.find(copy.barrier);
    // Its mbarrier has been invalidated: nobody can wait for these bytes any more.
    if (!barrier) return;
    barrier->arriving.push_back({&shared, static_cast<uint32_t>(copy.to.at), copy.bytes, copy.pc});
    barrier->transactions -= copy.bytes;
    if (settle_phase(*barrier)) {
        for (const auto& cta : copy.barrier_cta->cluster.ctas) cta->wake();
    }
}

bool advance_copies(Grid& grid, Cluster& cluster, bool idle) {
    bool moved = false;
    const bool late = grid.options.asynchrony == Asynchrony::kLate;
    for (const auto& copy : cluster.copies) {
        if (copy->has_written) continue;
        if (late ? idle && !moved : idle || grid.random.coin()) {
            // The two halves of a copy may be far apart.
            if (!late && !idle && !copy->has_read) {
                read_source(grid, *copy);
            } else {
                write_target(grid, *copy);
            }
            moved = true;
        }
    }
    std::erase_if(cluster.copies, [](const auto& copy) {
        return copy->has_written && copy->barrier_cta != nullptr;
    });
    return moved;
}

void finish_copies(Grid& grid, Cluster& cluster) {
    for (const auto& copy : cluster.copies) write_target(grid, *copy);
    cluster.copies.clear();
}

void need_sources_read(Warp& warp, const Op& op, uint32_t mask) {
    for (const auto& copy : warp.cta.cluster.copies) {
        if (copy->issuer != &warp || !(mask >> copy->lane & 1) || !copy->from.cta) continue;
        if (copy->source_is_free) continue;
        warp.fault(op, copy->lane, FaultKind::kInFlight,
                   "the thread ends while a bulk copy may still read its block's shared memory; "
                   "cp.async.bulk.wait_group.read waits for that",
                   "issued with " + warp.describe_op(copy->pc), copy->from.at);
    }
}

}  // namespace fattn::vgpu
