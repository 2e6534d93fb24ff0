// The issue of bulk copies: what their ends must be, and their start. Used by the instructions that
// issue them.
#pragma once

#include <cstdint>

#include "exec/access.h"
#include "exec/bulk.h"
#include "exec/decoding.h"

namespace fattn::vgpu {

// The block of the cluster that the memory belongs to.
Cta& owner_of(Warp& w, const SharedMemory& shared);

// A range that begins at a multiple of `alignment` and lies in one block of memory.
Place resolve_range(Warp& w, const Op& op, uint32_t lane, ptx::Space space, uint64_t address,
                    uint32_t bytes, bool writes, uint32_t alignment);

// Faults unless the runs lie in device memory; orders them against other accesses.
void read_runs(Warp& w, const Op& op, uint32_t lane, const BulkCopy& copy);

struct SharedTarget {
    Place place;       // in the issuer's block, or in the one that the address names
    uint64_t barrier;  // address of the mbarrier
    bool multicast;
    uint32_t ranks;    // of a multicast: blocks that get the copy, at the place of the same offset
    bool async_proxy;  // st.async goes through the generic proxy
};
// `made` has its source, bytes, runs and data.
void start_to_shared(Warp& w, const Op& op, const BulkCopy& made, const SharedTarget& target);
void start_to_global(Warp& w, const Op& op, BulkCopy made);

// A copy that this lane issues, with nothing in it.
BulkCopy copy_of(Warp& w, const Op& op, uint32_t lane);

// One read or written range of device memory for each run.
void count_runs(Warp& w, const BulkCopy& copy, bool writes);

// [address] of an mbarrier as a source, and bit 2 of op.aux2 when it is a 32-bit register.
void decode_barrier_address(Decoding& d, const ptx::Operand& operand);
// .add .min ... of a reduction.
Rmw take_reduction(Decoding& d);
// Whether bulk reductions into device memory have the operation for the type.
bool reduces(Rmw what, ptx::Type type);

}  // namespace fattn::vgpu
