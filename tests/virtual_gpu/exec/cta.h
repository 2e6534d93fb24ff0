// A thread block: shared and local memory, named barriers and warps; and the cluster that blocks
// belong to. Made by the Grid.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "exec/bulk.h"
#include "exec/mbarrier.h"
#include "exec/shadow.h"
#include "exec/warp.h"
#include "exec/wgmma.h"
#include "gpu/fault.h"

namespace fattn::vgpu {

class Grid;
class Cta;

// A named barrier, 0 to 15. A generation begins with its first arrival and ends when all threads
// that it expects are there.
struct NamedBarrier {
    uint32_t expected = 0;  // threads; 0 between generations
    bool everyone = false;  // the count was left out
    bool only_waiters = true;
    std::vector<uint32_t> arrived;  // lanes, by warp
    uint32_t operation = 0;         // of barrier.red
    uint32_t value = 0;
    Knowledge knowledge;
    uint32_t pc = 0;
};

// Blocks that share one clock: a cluster, which is a single block unless the launch says otherwise.
struct Cluster {
    uint32_t id = 0;
    uint32_t started = 0;      // an epoch without accesses: who knows of it knows that blocks run
    uint32_t now = 1;          // the last epoch that was given out
    uint32_t num_threads = 0;  // agents below this are threads
    uint32_t num_agents = 0;
    Dim3 first_block;
    Dim3 shape;  // in blocks
    std::vector<std::unique_ptr<Cta>> ctas;
    // barrier.cluster
    uint32_t arrived_threads = 0;
    uint32_t generation = 0;
    Knowledge knowledge;  // of those who have arrived
    Knowledge completed;  // of the last generation that ended

    BulkCopies copies;  // bulk copies under way

    ~Cluster();
    uint32_t next_epoch() { return ++now; }
    // What threads know when they start: of a single block that it has.
    uint32_t floor() const { return shape.count() > 1 ? started - 1 : started; }
    bool ended() const;
};

class Cta {
  public:
    Cta(Grid& grid, Cluster& cluster, Dim3 block, uint32_t rank);
    ~Cta();

    // Runs warps until all are blocked, have ended or the budget is over. Returns whether anything
    // ran.
    bool run(uint64_t& budget);
    bool ended() const;
    void wake();
    bool part_waiting();
    std::vector<std::string> where() const;
    bool waits_for_lanes() const;

    uint32_t num_threads() const { return num_threads_; }
    uint32_t live_warps() const;
    uint32_t first_agent() const { return rank * static_cast<uint32_t>(warps.size()) * 32; }

    // bar.*: the lanes of `mask` arrive; false when they have to wait.
    struct BarrierUse {
        uint32_t id;
        uint32_t count;  // 0: everyone
        bool waits;
        uint32_t operation;  // 0 none, 1 popc, 2 and, 3 or
        uint32_t votes;      // lanes whose predicate holds
    };
    bool arrive(Warp& warp, const Op& op, uint32_t mask, const BarrierUse& use);
    void warp_ended();

    Grid& grid;
    Cluster& cluster;
    const Dim3 block;
    const uint32_t rank;
    SharedMemory shared;
    MbarrierTable mbarriers;
    std::vector<std::byte> local;  // of thread t from t * local_bytes
    std::vector<uint8_t> local_defined;
    std::vector<std::unique_ptr<Warp>> warps;
    std::vector<Warpgroup> warpgroups;  // of four warps each; the last may have fewer
    uint64_t free_registers = 0;        // of the block's pool

  private:
    bool complete(uint32_t id);

    uint32_t num_threads_;
    std::array<NamedBarrier, 16> barriers_;
};

}  // namespace fattn::vgpu
