// Bulk copies between issue and end: what they read, write and complete. Issued by the bulk, tensor
// and st.async instructions, moved on by the Grid, ended by waits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "exec/rmw.h"

namespace fattn::vgpu {

class Cta;
class Grid;
class Warp;
struct Cluster;
struct Op;

struct BulkCopy {
    // Bytes of device memory, and where among the copy's own they lie before they are swizzled.
    struct Run {
        uint64_t address;
        uint32_t at;
        uint32_t bytes;
    };
    // Shared memory is one range at each end; device memory is what the runs say.
    struct Shared {
        Cta* cta = nullptr;  // null: this end is device memory
        uint32_t at = 0;
    };
    struct Reduction {
        Rmw what;
        ptx::Type type;
    };
    Shared from, to;
    std::vector<Run> runs;
    uint32_t swizzle = 0;      // of chunks of 16 bytes, as CUtensorMapSwizzle has it, of a copy
    uint32_t swizzled_at = 0;  // that begins here in shared memory
    uint32_t bytes = 0;        // of the range of shared memory
    uint32_t gaps = 0;         // of these, between rows that are shorter than the swizzle's span
    bool rounds = false;       // f32 that is read becomes tf32
    std::optional<Reduction> reduction;  // instead of a plain write
    // Either the bytes complete on an mbarrier, or the copy belongs to a bulk group of its issuer.
    Cta* barrier_cta = nullptr;
    uint32_t barrier = 0;
    Warp* issuer = nullptr;
    uint32_t lane = 0;
    uint32_t group = kOpenGroup;
    uint32_t pc = 0;
    bool has_read = false;
    bool has_written = false;
    bool has_signalled = false;
    bool source_is_free = false;  // its issuer has waited for the read
    std::vector<std::byte> data;  // what lies outside of a tensor is filled in at issue
    std::vector<uint8_t> defined;

    static constexpr uint32_t kOpenGroup = 0xffffffff;
};

using BulkCopies = std::vector<std::unique_ptr<BulkCopy>>;

void read_source(Grid& grid, BulkCopy& copy);
// Each does what comes before it too.
void write_target(Grid& grid, BulkCopy& copy);
void signal_end(Grid& grid, BulkCopy& copy);

// A step of the copies under way, as the launch's asynchrony and seed say; `idle`: nothing else of
// the cluster can run, so that one copy must. Whether anything was done.
bool advance_copies(Grid& grid, Cluster& cluster, bool idle);
// The blocks have ended: what still has to be written is.
void finish_copies(Grid& grid, Cluster& cluster);
// Lanes that end must have waited for what reads their shared memory, and the last of a block for
// what writes it.
void need_copies_ended(Warp& warp, const Op& op, uint32_t mask);

}  // namespace fattn::vgpu
