// wgmma operations between issue and wait: what a warpgroup has issued, and what each of its warps
// has waited for. Kept by blocks and warps, worked on by the wgmma instructions.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <vector>

#include "exec/shadow.h"

namespace fattn::vgpu {

class Warp;
struct Op;

inline constexpr uint32_t kWarpsPerGroup = 4;

// Room for factors of products, whose type the operation says.
struct alignas(64) FactorLine {
    float values[16];
};

// One wgmma.mma_async; each warp issues, and computes, its 16 rows of it.
struct WgmmaOperation {
    uint32_t pc = 0;
    uint64_t a = 0;  // descriptors; of A only when it lies in shared memory
    uint64_t b = 0;
    bool adds = false;             // scale-d
    std::array<bool, 4> issued{};  // by warp
    std::array<bool, 4> executed{};
    // Shared memory that it reads, of A by warp: addresses of chunks of 16 bytes in the order of
    // the matrix, and where these lie, held until the end.
    std::array<std::vector<uint32_t>, 4> chunks_of_a;
    std::vector<uint32_t> chunks_of_b;
    std::array<std::vector<SharedRange>, 4> ranges_of_a;
    std::vector<SharedRange> ranges_of_b;
    std::vector<FactorLine> columns;  // B as factors, when a warp has read it for all four
    bool has_columns = false;
};

struct Warpgroup {
    std::deque<WgmmaOperation> operations;  // that have not ended, from number `first` on
    uint64_t first = 0;
    uint32_t agent = 0;  // that reads shared memory; 0 before the first operation
    uint32_t ended = 0;  // the epoch of its last reads
    std::vector<FactorLine> spare_columns;   // of an operation that has ended
    std::vector<uint32_t> register_changes;  // pc of each setmaxnreg
};

// What one warp knows of its warpgroup's operations and of the registers in them.
struct WgmmaState {
    struct Use {
        uint64_t until = 0;  // the number of operations that must have been waited for
        uint32_t pc = 0;
        uint32_t written = 0;  // one more than the number of fences before the last plain write
        bool accumulates = false;
    };
    uint64_t issued = 0;  // operations
    uint64_t waited = 0;
    std::vector<uint64_t> groups;  // operations issued before each commit
    uint32_t fences = 0;
    std::vector<Use> uses;  // by row; empty before the first
};

// For an instruction that is no wgmma and has registers that some wgmma has: faults when one is in
// flight, notes what it writes.
void touch_wgmma_registers(Warp& w, const Op& op, uint32_t mask);
// Lanes end: nothing may be in flight.
void need_wgmma_ended(Warp& w, const Op& op, uint32_t mask);

}  // namespace fattn::vgpu
