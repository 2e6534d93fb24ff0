// Bulk copies between issue and end: what they read, write and complete. Issued by bulk_ops, moved
// on by the Grid, ended by waits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace fattn::vgpu {

class Cta;
class Grid;
class Warp;
struct Cluster;
struct Op;

struct BulkCopy {
    struct End {
        Cta* cta = nullptr;  // whose shared memory; null: device memory
        uint64_t at = 0;     // offset or address
    };
    End from, to;
    uint32_t bytes = 0;
    // Either the bytes complete on an mbarrier, or the copy belongs to a bulk group of its issuer.
    Cta* barrier_cta = nullptr;
    uint32_t barrier = 0;
    Warp* issuer = nullptr;
    uint32_t lane = 0;
    uint32_t group = kOpenGroup;
    uint32_t pc = 0;
    bool has_read = false;
    bool has_written = false;
    bool source_is_free = false;  // its issuer has waited for the read
    std::vector<std::byte> data;  // once read
    std::vector<uint8_t> defined;

    static constexpr uint32_t kOpenGroup = 0xffffffff;
};

using BulkCopies = std::vector<std::unique_ptr<BulkCopy>>;

void read_source(Grid& grid, BulkCopy& copy);
// Reads if it has not, writes, and completes its bytes on its mbarrier.
void write_target(Grid& grid, BulkCopy& copy);

// A step of the copies under way, as the launch's asynchrony and seed say; `idle`: nothing else of
// the cluster can run, so that one copy must. Whether anything was done.
bool advance_copies(Grid& grid, Cluster& cluster, bool idle);
// The blocks have ended: what still has to be written is.
void finish_copies(Grid& grid, Cluster& cluster);
// Lanes that end must have waited for what reads their shared memory.
void need_sources_read(Warp& warp, const Op& op, uint32_t mask);

}  // namespace fattn::vgpu
