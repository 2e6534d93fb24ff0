// One warp: its registers, its paths of control, and the loop that runs operations. Made by a Cta.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "exec/fences.h"
#include "exec/order.h"
#include "exec/program.h"
#include "exec/wgmma.h"
#include "gpu/fault.h"

namespace fattn::vgpu {

class Cta;
class Grid;

// "ld.shared.u32 %r1, [%r2] (PTX line 12, kernel.cu:34)"
std::string describe_op(const Program& program, uint32_t pc);

// Thrown by handlers; run_grid turns it into its result.
struct FaultError {
    Fault fault;
};

// Lanes that run together. `join` names the place where they wait for the lanes they were parted
// from.
struct Path {
    enum class State : uint8_t { kRunnable, kAtSync, kWaiting };
    uint32_t pc = 0;
    uint32_t mask = 0;
    int32_t join = -1;
    State state = State::kRunnable;
    uint32_t named = 0;     // of kAtSync: lanes that the instruction names
    uint32_t here = 0;      // of kAtSync: lanes of this path that execute it
    bool rejoins = false;   // and then go on as one path again
    bool met = false;       // the lanes named have met: the instruction runs for all of them
    bool released = false;  // what it waits for has come
    int32_t barrier = -1;   // of kWaiting: the named barrier, or -1
    uint32_t result = 0;    // of barrier.red
};

// Thrown before an instruction has done anything: its path waits for other lanes.
struct WaitsForLanes {};

struct Join {
    uint32_t pc = 0;
    uint32_t expected = 0;
    uint32_t arrived = 0;
    int32_t parent = -1;
    bool open = false;
};

// cp.async operations that have been issued and not yet waited for.
struct PendingCopy {
    static constexpr uint32_t kOpenGroup = 0xffffffff;
    uint32_t mask = 0;
    uint32_t group = kOpenGroup;
    uint32_t bytes = 0;
    uint32_t pc = 0;
    bool has_read = false;
    bool has_written = false;
    alignas(64) uint32_t target[32];
    alignas(64) uint64_t source[32];
    uint8_t source_bytes[32];
    alignas(64) std::byte data[32 * 16];  // 16 bytes a lane, once read
    alignas(64) uint8_t defined[32 * 16];

    void start(uint32_t lanes, uint32_t size, uint32_t at) {
        mask = lanes;
        group = kOpenGroup;
        bytes = size;
        pc = at;
        has_read = has_written = false;
    }
};

class Warp {
  public:
    Warp(Cta& cta, uint32_t index, uint32_t num_lanes);

    // --- registers
    template <class T>
    T* lanes(Row row) {
        return reinterpret_cast<T*>(base_[row >> 31] + size_t{row & ~kConstantBit} * kUnitBytes);
    }
    template <class T>
    const T* src(const Op& op, uint32_t i) {
        return lanes<T>(op.rows[op.num_dst + i]);
    }
    template <class T>
    T* dst(const Op& op, uint32_t i = 0) {
        return lanes<T>(op.rows[i]);
    }
    uint32_t defined(Row row) const { return defined_[row >> 31][row & ~kConstantBit]; }
    void set_defined(Row row, uint32_t mask, uint32_t value) {
        uint32_t& bits = defined_[0][row];
        bits = (bits & ~mask) | (value & mask);
    }
    uint32_t origin(Row row) const { return row & kConstantBit ? 0 : origins_[row]; }
    void set_origin(Row row, uint32_t pc) { origins_[row] = pc; }

    // Faults unless every lane of `mask` is defined in `row`; `use` says what the value is for.
    void need_defined(const Op& op, Row row, uint32_t mask, const char* use) {
        if ((defined(row) & mask) != mask) report_undefined(op, row, mask & ~defined(row), use);
    }

    [[noreturn]] void fault(const Op& op, uint32_t lane, FaultKind kind, const std::string& message,
                            const std::string& earlier = {}, uint64_t address = 0);
    std::string describe_op(uint32_t pc) const { return vgpu::describe_op(program, pc); }
    std::string describe_thread(uint32_t lane) const;

    // --- control
    // Runs paths until all are blocked, have ended or `budget` instructions are over. Returns
    // whether anything ran.
    bool run(uint64_t& budget);
    bool ended() const { return alive_ == 0; }
    uint32_t alive() const { return alive_; }
    uint32_t initial() const { return initial_; }
    Path& current() { return paths_[current_]; }
    void jump(uint32_t pc) { paths_[current_].pc = pc; }
    void diverge(const Op& op, uint32_t taken, uint32_t mask);
    void end_lanes(uint32_t mask);
    // For an instruction that the lanes of `named` execute together: false when this path has to
    // wait for others.
    bool meet(const Op& op, uint32_t& mask, uint32_t named);
    // For an instruction that all lanes have to execute together, when lanes of the warp have been
    // made to go on without others: true when the path waits for these now, to go on as one with
    // them. It is no mistake of the program that they are apart.
    bool rejoin(uint32_t mask);
    // Faults unless all lanes are there; waits for those that have been made to go on without.
    void need_converged(const Op& op, uint32_t mask);
    bool whole(uint32_t mask) const { return (alive_ & ~mask) == 0; }
    std::vector<std::string> where()
        const;  // one line for each path that lives, for deadlock reports
    bool waits_for_lanes()
        const;  // a path is at an instruction that names lanes which are elsewhere
    const std::vector<Path>& paths() const { return paths_; }
    void wake();          // paths that wait for something else than a named barrier are tried again
    bool part_waiting();  // lanes that wait where paths join go on alone; false when there are none
    // Paths at the named barrier go on; they learn `from` when it is given.
    void release_from_barrier(int32_t barrier, uint32_t result, const Knowledge* from);

    Cta& cta;
    Grid& grid;
    const Program& program;
    const uint32_t index;
    WarpKnowledge knowledge;
    FenceState fences;
    std::vector<std::unique_ptr<PendingCopy>> copies;
    std::vector<std::unique_ptr<PendingCopy>> spare_copies;  // that have ended
    bool has_arrived_copies = false;                         // some were given to an mbarrier
    uint32_t committed_groups[32] = {};
    uint32_t committed_bulk_groups[32] = {};
    WgmmaState wgmma;
    uint32_t registers = 0;                // of a thread, as setmaxnreg counts them
    uint32_t register_changes = 0;         // setmaxnreg executed
    uint64_t traced = 0;                   // instructions written down
    uint32_t cluster_generation[32] = {};  // arrivals at barrier.cluster

    uint32_t thread_of(uint32_t lane) const { return index * 32 + lane; }

  private:
    void run_path(uint64_t& budget);
    void settle(size_t path);
    bool merge_waiting();
    void propagate(const Op& op, uint32_t mask);
    [[noreturn]] void report_undefined(const Op& op, Row row, uint32_t lanes, const char* use);

    std::unique_ptr<std::byte[]> storage_;
    std::byte* base_[2];
    uint32_t* defined_[2];
    std::vector<uint32_t> defined_storage_;
    std::vector<uint32_t> origins_;
    std::vector<Path> paths_;
    std::vector<Join> joins_;
    size_t current_ = 0;
    uint32_t initial_;
    uint32_t alive_;
    bool parted_ = false;
    bool is_traced_ = false;
};

// The warp's launch asks for a trace of it, and it has just executed this.
void trace_instruction(Warp& w, const Op& op, uint32_t mask);

}  // namespace fattn::vgpu
