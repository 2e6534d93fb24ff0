// The stages of bulk copies.
#include "exec/bulk.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "exec/cta.h"
#include "exec/grid.h"
#include "exec/tensor_box.h"

namespace fattn::vgpu {
namespace {

// Element after element; what was undefined on either side is so afterwards.
void reduce(const BulkCopy::Reduction& how, std::byte* to, uint8_t* to_defined,
            const std::byte* from, const uint8_t* from_defined, uint32_t bytes) {
    const uint32_t size = bytes_of(how.type);
    for (uint32_t i = 0; i < bytes; i += size) {
        uint64_t old = 0, operand = 0;
        std::memcpy(&old, to + i, size);
        std::memcpy(&operand, from + i, size);
        const uint64_t made = compute_rmw(how.type, how.what, old, operand, 0, RmwUnit::kBulk);
        std::memcpy(to + i, &made, size);
    }
    if (!to_defined) return;
    for (uint32_t i = 0; i < bytes; ++i) to_defined[i] &= from_defined[i];
}

// f(place in the run, place among the copy's bytes, bytes) for what lies together in both.
template <class F>
void each_piece(const BulkCopy& copy, const BulkCopy::Run& run, F f) {
    if (copy.swizzle == 0) return f(0u, run.at, run.bytes);
    constexpr uint32_t kChunk = 16;
    for (uint32_t done = 0; done < run.bytes;) {
        const uint32_t at = run.at + done;
        const uint32_t bytes = std::min(run.bytes - done, kChunk - at % kChunk);
        const uint32_t to = swizzled(copy.swizzled_at + at, copy.swizzle) - copy.swizzled_at;
        if (bytes == kChunk) {
            f(done, to, kChunk);
        } else {
            f(done, to, bytes);
        }
        done += bytes;
    }
}

void put(const BulkCopy& copy, uint32_t at, uint32_t bytes, std::byte* to, uint8_t* to_defined) {
    const std::byte* data = copy.data.data() + at;
    const uint8_t* defined = copy.defined.data() + at;
    if (copy.reduction) return reduce(*copy.reduction, to, to_defined, data, defined, bytes);
    std::memcpy(to, data, bytes);
    if (to_defined) std::memcpy(to_defined, defined, bytes);
}

// To nearest, with one NaN.
void round_to_tf32(std::byte* data, uint32_t bytes) {
    constexpr uint32_t kLost = 0x1fff, kInfinity = 0x7f800000, kNan = 0x7fffe000;
    for (uint32_t i = 0; i < bytes; i += 4) {
        uint32_t word = 0;
        std::memcpy(&word, data + i, 4);
        const uint32_t magnitude = word & 0x7fffffff;
        const uint32_t even = word >> 13 & 1;
        if (magnitude < kInfinity) word = (word + kLost / 2 + even) & ~kLost;
        if (magnitude > kInfinity) word = kNan;
        std::memcpy(data + i, &word, 4);
    }
}

// Row after row of a box whose rows leave gaps: a chunk at a time.
void put_rows(const BulkCopy& copy, SharedMemory& shared) {
    constexpr uint32_t kChunk = 16;
    const uint32_t pitch = kChunk << copy.swizzle, rows = copy.bytes / pitch;
    const uint32_t length = pitch - copy.gaps / rows;
    for (uint32_t row = 0; row < rows; ++row) {
        for (uint32_t i = 0; i < length; i += kChunk) {
            const uint32_t at =
                swizzled(copy.swizzled_at + row * pitch + i, copy.swizzle) - copy.swizzled_at;
            put(copy, at, kChunk, shared.bytes.data() + copy.to.at + at,
                shared.defined.data() + copy.to.at + at);
        }
    }
}

}  // namespace

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
    for (const BulkCopy::Run& run : copy.runs) {
        const MemoryBlock& block = *grid.block_of(run.address, run.bytes);
        const uint64_t offset = run.address - block.base;
        each_piece(copy, run, [&](uint32_t from, uint32_t at, uint32_t bytes) {
            std::memcpy(copy.data.data() + at, block.data + offset + from, bytes);
            if (copy.rounds) round_to_tf32(copy.data.data() + at, bytes);
            if (block.initialised)
                std::memcpy(copy.defined.data() + at, block.initialised + offset + from, bytes);
        });
    }
}

void write_target(Grid& grid, BulkCopy& copy) {
    read_source(grid, copy);
    if (copy.has_written) return;
    copy.has_written = true;
    grid.made_progress();
    if (copy.to.cta) {
        SharedMemory& shared = copy.to.cta->shared;
        if (copy.gaps != 0) return put_rows(copy, shared);
        put(copy, 0, copy.bytes, shared.bytes.data() + copy.to.at,
            shared.defined.data() + copy.to.at);
        return;
    }
    for (const BulkCopy::Run& run : copy.runs) {
        const MemoryBlock& block = *grid.block_of(run.address, run.bytes);
        const uint64_t offset = run.address - block.base;
        each_piece(copy, run, [&](uint32_t to, uint32_t at, uint32_t bytes) {
            put(copy, at, bytes, block.data + offset + to,
                block.initialised ? block.initialised + offset + to : nullptr);
        });
    }
}

void signal_end(Grid& grid, BulkCopy& copy) {
    write_target(grid, copy);
    if (copy.has_signalled) return;
    copy.has_signalled = true;
    if (!copy.barrier_cta) return;
    grid.made_progress();
    Mbarrier* barrier = copy.barrier_cta->mbarriers.find(copy.barrier);
    // Its mbarrier has been invalidated: nobody can wait for these bytes any more.
    if (!barrier) return;
    barrier->arriving.push_back({&copy.to.cta->shared, copy.to.at, copy.bytes, copy.pc});
    barrier->transactions -= copy.bytes - copy.gaps;
    if (settle_phase(*barrier)) {
        for (const auto& cta : copy.barrier_cta->cluster.ctas) cta->wake();
    }
}

bool advance_copies(Grid& grid, Cluster& cluster, bool idle) {
    bool moved = false;
    const bool late = grid.options.asynchrony == Asynchrony::kLate;
    for (const auto& copy : cluster.copies) {
        if (copy->has_signalled) continue;
        if (late ? idle && !moved : idle || grid.random.coin()) {
            // The stages of a copy may be far apart.
            if (late || idle || copy->has_written) {
                signal_end(grid, *copy);
            } else if (copy->has_read) {
                write_target(grid, *copy);
            } else {
                read_source(grid, *copy);
            }
            moved = true;
        }
    }
    std::erase_if(cluster.copies, [](const auto& copy) {
        return copy->has_signalled && copy->barrier_cta != nullptr;
    });
    return moved;
}

void finish_copies(Grid& grid, Cluster& cluster) {
    for (const auto& copy : cluster.copies) signal_end(grid, *copy);
    cluster.copies.clear();
}

void need_copies_ended(Warp& warp, const Op& op, uint32_t mask) {
    for (const auto& copy : warp.cta.cluster.copies) {
        if (copy->issuer != &warp || !(mask >> copy->lane & 1) || !copy->from.cta) continue;
        if (copy->source_is_free || copy->barrier_cta) continue;
        warp.fault(op, copy->lane, FaultKind::kInFlight,
                   "the thread ends while a bulk copy may still read its block's shared memory; "
                   "cp.async.bulk.wait_group.read waits for that",
                   "issued with " + warp.describe_op(copy->pc), copy->from.at);
    }
    if (warp.cta.live_warps() > 1 || (warp.alive() & ~mask) != 0) return;
    const auto unseen = [&](uint32_t pc, uint32_t at) {
        warp.fault(op, static_cast<uint32_t>(std::countr_zero(mask)), FaultKind::kInFlight,
                   "the block ends while a bulk copy into its shared memory at byte " +
                       std::to_string(at) + " has not been waited for",
                   "issued with " + warp.describe_op(pc), at);
    };
    for (const auto& copy : warp.cta.cluster.copies) {
        if (copy->to.cta == &warp.cta) unseen(copy->pc, copy->to.at);
    }
    for (const auto& [offset, barrier] : warp.cta.mbarriers.all()) {
        for (const auto* list : {&barrier.arriving, &barrier.arrived}) {
            for (const Arrived& one : *list) {
                if (one.shared == &warp.cta.shared && !one.by.warp) unseen(one.pc, one.offset);
            }
        }
    }
}

}  // namespace fattn::vgpu
