// One launch while it runs: blocks in their order of start, residency, device memory, statistics.
// Made by run_grid.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "exec/cta.h"
#include "exec/global_shadow.h"
#include "exec/random.h"
#include "exec/tensor_maps.h"
#include "gpu/launch.h"

namespace fattn::vgpu {

class Grid {
  public:
    Grid(const Launch& launch, DeviceMemory& device_memory);
    LaunchResult run();

    // The live block that holds [address, address + bytes), or null.
    const MemoryBlock* block_of(uint64_t address, uint32_t bytes) {
        const auto holds = [&](const MemoryBlock* block) {
            return block && address - block->base < block->size &&
                   block->size - (address - block->base) >= bytes;
        };
        MemoryBlock const*& cached = cache_[address >> 21 & (kCacheEntries - 1)];
        if (holds(cached)) return cached;
        if (holds(&workspace_)) return cached = &workspace_;
        const MemoryBlock* found = memory.find(address);
        if (!holds(found)) return nullptr;
        return cached = found;
    }

    void made_progress() { since_progress_ = 0; }
    uint32_t shared_bytes() const { return shared_bytes_; }
    uint32_t sm_of(const Cta& cta) const;
    // "thread (0,1,0) of block (2,0,0)"; the agent is a thread of the cluster.
    std::string describe_thread(uint32_t cluster, uint32_t agent) const;
    uint64_t workspace_address() const { return launch.cooperative ? workspace_.base : 0; }

    const Launch& launch;
    const LaunchOptions& options;
    const Program& program;
    DeviceMemory& memory;
    const uint32_t starting_registers;  // of a thread
    Statistics statistics;
    std::vector<uint64_t> executed;        // warp instructions, by op
    std::vector<uint64_t> executed_lanes;  // thread instructions, by op
    GlobalShadow global_shadow;
    PublishedTable published;
    TensorMapFences tensor_map_fences;
    Random random;
    struct Nowhere {
        alignas(64) std::byte bytes[32];
        uint8_t defined[32];
    };
    Nowhere nowhere{};              // where accesses go that lie nowhere, when nobody checks that
    bool waited_for_grids = false;  // griddepcontrol.wait was executed
    uint64_t time = 0;              // virtual, in warp instructions

  private:
    static constexpr size_t kCacheEntries = 16;

    std::optional<Fault> check_launch() const;
    void start_cluster();
    [[noreturn]] void stuck(bool livelock);
    void count_kinds();

    std::array<std::byte, 64> workspace_bytes_{};  // zeros, which barriers of the grid begin with
    MemoryBlock workspace_{};                      // empty unless the launch is cooperative
    uint32_t shared_bytes_ = 0;
    uint64_t since_progress_ = 0;
    uint32_t resident_limit_ = 1;  // clusters
    uint64_t next_start_ = 0;
    std::vector<uint32_t> start_order_;
    std::vector<std::unique_ptr<Cluster>> active_;
    std::vector<Dim3> first_blocks_;  // of clusters, by their number from 1
    MemoryBlock const* cache_[kCacheEntries] = {};
};

}  // namespace fattn::vgpu
