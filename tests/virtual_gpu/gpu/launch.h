// One grid: what is launched, with which checks, and what came of it. Called by the driver's
// launches and by tests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "gpu/fault.h"
#include "gpu/memory.h"
#include "gpu/module.h"
#include "gpu/trace.h"

namespace fattn::vgpu {

// Which mistakes are looked for. Everything is by default; text forms: parse_checks.
struct Checks {
    bool bounds = true;     // addresses of loads, stores and atomics that lie nowhere; without it
                            // nothing is written there and what is read is undefined
    bool alignment = true;  // of every access
    bool uninitialised = true;
    bool races = true;        // shared and global memory, the async proxy included
    bool wgmma = true;        // registers that a wgmma in flight uses
    bool convergence = true;  // .aligned and .sync instructions without their lanes
    bool barriers = true;     // mbarrier and bar misuse that hardware lets pass
    bool livelock = true;     // many instructions without progress
    bool limits = true;       // shared memory and registers of a block
    bool strict =
        false;  // also what is tolerated: same-value stores, fences executed by the issuer
    bool late_reconvergence =
        false;  // --diverge: paths stay apart until the next .sync instruction
};

// "all", "none", or a list as "races,uninitialised" or "-races,strict"; a word that is not known
// throws std::invalid_argument.
Checks parse_checks(const std::string& text);

// When asynchronous operations read, write and signal inside their legal window.
enum class Asynchrony { kSeeded, kEarly, kLate };

struct LaunchOptions {
    Checks checks;
    uint64_t seed = 1;  // scheduling, start order and completion are functions of it alone
    Asynchrony asynchrony = Asynchrony::kSeeded;
    bool mma_round_to_nearest = false;  // instead of cutting like tensor cores do
    bool statistics = true;  // traffic and bank conflicts; instruction counts are always there
    uint64_t livelock_instructions = 1'000'000;     // so many without progress are a livelock
    const Trace* trace = nullptr;                   // what one warp executes is written down
    std::function<void(const std::string&)> print;  // what a thread's printf makes; empty: nowhere
};

class GridTrace;  // what a grid did to device memory; known to the interpreter alone

struct Launch {
    const Module* module = nullptr;
    const EntryInfo* entry = nullptr;
    Dim3 grid;
    Dim3 block;
    Dim3 cluster;
    uint32_t dynamic_shared_bytes = 0;
    bool cooperative = false;  // all blocks must be resident at once, else a fault of kind kLaunch
    std::span<const std::byte> parameters;
    // Of a programmatic dependent: the grids before it, the last first, each of which may have
    // begun before the next one here had ended. What the last one did is known to threads behind
    // griddepcontrol.wait alone, and what the others did if it has waited for them.
    std::vector<std::shared_ptr<const GridTrace>> before;
    bool keep_trace = false;  // for a dependent
    LaunchOptions options;
};

struct Statistics {
    uint64_t warp_instructions = 0;
    uint64_t thread_instructions = 0;
    std::map<std::string, uint64_t>
        by_kind;  // warp instructions: "mma", "ld.global", "fp32", "barrier", ...
    uint64_t global_load_bytes = 0;
    uint64_t global_store_bytes = 0;
    uint64_t global_load_sectors = 0;  // of 32 bytes, counted per warp instruction
    uint64_t global_store_sectors = 0;
    uint64_t global_accesses = 0;  // warp instructions that touch global memory
    uint64_t shared_accesses = 0;
    uint64_t shared_wavefronts =
        0;  // bank conflicts = wavefronts - those that the bytes alone need
    uint64_t shared_ideal_wavefronts = 0;
    uint64_t tensor_flops = 0;
    uint64_t barrier_waits = 0;
    uint64_t divergent_branches = 0;

    void add(const Statistics& other);
    std::string table() const;
    std::string json() const;
};

struct LaunchResult {
    std::optional<Fault> fault;  // the grid stopped there; memory holds what was stored until then
    Statistics statistics;
    std::shared_ptr<const GridTrace> trace;  // when it was to be kept
};

// Runs the grid to its end on the calling thread. Several threads may run grids at once when their
// memory does not overlap.
LaunchResult run_grid(const Launch& launch, DeviceMemory& memory);

// Blocks of this entry that fit on one multiprocessor of the module's model.
uint32_t resident_blocks_per_sm(const Module& module, const EntryInfo& entry,
                                uint32_t block_threads, uint32_t dynamic_shared_bytes);

}  // namespace fattn::vgpu
