// Reads and writes of a warp's lanes in every state space, with all their checks. Used by loads,
// stores, atomics and copies.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "exec/shadow.h"
#include "exec/warp.h"
#include "gpu/memory.h"
#include "ptx/types.h"

namespace fattn::vgpu {

struct Access {
    ptx::Space space = ptx::Space::kGeneric;
    uint32_t bytes = 4;  // of a lane, at most 32
    AccessFlags flags = kPlain;
    bool non_coherent = false;
    Scope scope = Scope::kGpu;  // of a strong access
    bool acquires = false;
    bool releases = false;
};

// What a strong access of this scope is to the shadows.
inline AccessFlags strong_for(Scope scope) {
    return scope == Scope::kCta       ? kStrongInBlock
           : scope == Scope::kCluster ? kStrongInCluster
                                      : kStrong;
}

// Where a lane's bytes lie on this machine.
struct Place {
    std::byte* data = nullptr;
    uint8_t* defined = nullptr;      // null: everything is
    SharedMemory* shared = nullptr;  // one of these two, or neither for local memory and parameters
    const MemoryBlock* block = nullptr;
    uint64_t address = 0;  // in device memory, or the offset in shared memory
};

inline constexpr uint32_t kLaneBytes = 32;  // between lanes in the buffers below

struct LaneData {
    alignas(64) std::byte bytes[32 * kLaneBytes];
    alignas(64) uint32_t defined[32];  // a bit for each byte
};

// Base and offset of operand `i`, which is a 64-bit or, when `narrow`, a 32-bit register.
inline void lane_addresses(Warp& w, const Op& op, uint32_t i, uint64_t* to, uint64_t offset,
                           bool narrow) {
    if (narrow) {
        const uint32_t* a = w.src<uint32_t>(op, i);
        for (uint32_t lane = 0; lane < 32; ++lane)
            to[lane] = static_cast<uint32_t>(a[lane] + offset);
    } else {
        const uint64_t* a = w.src<uint64_t>(op, i);
        for (uint32_t lane = 0; lane < 32; ++lane) to[lane] = a[lane] + offset;
    }
}

inline void lane_addresses(Warp& w, const Op& op, uint32_t i, uint64_t* to) {
    lane_addresses(w, op, i, to, static_cast<uint64_t>(op.offset), op.aux2 & 1);
}

// What all lanes of an access fall into, when they do and are aligned.
struct Span {
    std::byte* data;
    uint8_t* defined;  // null: everything is
    SharedMemory* shared;
    const MemoryBlock* block;
    bool in_row;                       // 32 lanes, each behind the one before
    alignas(64) uint32_t offsets[32];  // into data; where a lane takes no part, as another's
};

// False when the lanes have to be looked at one by one.
bool find_span(Warp& w, uint32_t mask, const uint64_t* addresses, const Access& access, bool writes,
               Span& span);
// Races of a read of all lanes, and its traffic.
void note_span_read(Warp& w, const Op& op, uint32_t mask, const Span& span, const Access& access);

// Whether so many bytes are defined; 1, 2, 4, 8 or 16.
template <uint32_t kBytes>
bool whole_defined(const uint8_t* defined) {
    if constexpr (kBytes == 16) return whole_defined<8>(defined) && whole_defined<8>(defined + 8);
    uint64_t word = ~uint64_t{0};
    std::memcpy(&word, defined, std::min(kBytes, 8u));
    return word == ~uint64_t{0};
}

// Faults when the bytes lie nowhere or are misaligned.
Place resolve(Warp& w, const Op& op, uint32_t lane, ptx::Space space, uint64_t address,
              uint32_t bytes, bool writes);

// Which lanes' generic addresses lie in device memory.
uint32_t outside_windows(const uint64_t* addresses, uint32_t mask);

// Faults when the block is another one of the cluster that may not have started, or has ended.
void need_running(Warp& w, const Op& op, uint32_t lane, const Cta& cta);

// Without the check of bounds a place that is of no effect, where the bytes lie nowhere.
Place resolve_or_nowhere(Warp& w, const Op& op, uint32_t lane, ptx::Space space, uint64_t address,
                         uint32_t bytes, bool writes);

void read_lanes(Warp& w, const Op& op, uint32_t mask, const uint64_t* addresses,
                const Access& access, LaneData& to);
void write_lanes_to(Warp& w, const Op& op, uint32_t mask, const uint64_t* addresses,
                    const Access& access, const LaneData& from);

// Counts sectors or wavefronts of one warp instruction, from a span or from addresses.
void count_span(Warp& w, uint32_t mask, const Span& span, uint32_t bytes, bool writes);
void count_traffic(Warp& w, uint32_t mask, const uint64_t* addresses, uint32_t bytes,
                   ptx::Space space, bool writes);

// Whether a generic or shared address of another block of the cluster is meant, and which.
inline constexpr uint32_t kRankShift = 24;

}  // namespace fattn::vgpu
