// A warp's loop, its divergence and its reports.
#include "exec/warp.h"

#include <bit>
#include <cstring>

#include "exec/cta.h"
#include "exec/grid.h"
#include "exec/specials.h"

namespace fattn::vgpu {

Warp::Warp(Cta& of, uint32_t at, uint32_t num_lanes)
    : cta(of),
      grid(of.grid),
      program(of.grid.program),
      index(at),
      initial_(num_lanes >= 32 ? ~0u : (1u << num_lanes) - 1),
      alive_(initial_) {
    const size_t bytes = size_t{program.register_units} * kUnitBytes;
    storage_ = std::make_unique<std::byte[]>(bytes + kUnitBytes);
    const auto address = reinterpret_cast<uintptr_t>(storage_.get());
    base_[0] = storage_.get() + ((kUnitBytes - address % kUnitBytes) % kUnitBytes);
    // Constants are only ever sources.
    base_[1] = reinterpret_cast<std::byte*>(const_cast<uint64_t*>(program.constants.data()));
    defined_storage_.assign(program.register_units + 1, 0);
    defined_[0] = defined_storage_.data();
    defined_[1] = const_cast<uint32_t*>(program.constant_defined.data());
    origins_.assign(program.register_units + 1, 0);
    // Registers begin as a signalling pattern, so that a check that is off still shows.
    for (size_t i = 0; i < bytes; i += 4) std::memcpy(base_[0] + i, "\xa5\xff\xa5\x7f", 4);
    paths_.push_back({.mask = initial_});
    registers = grid.starting_registers;
    const Trace* const trace = grid.options.trace;
    is_traced_ = trace && trace->block == cta.block && trace->warp == index;
    fill_specials(*this);
}

void Warp::fault(const Op& op, uint32_t lane, FaultKind kind, const std::string& message,
                 const std::string& earlier, uint64_t address) {
    const uint32_t pc = program.index_of(op);
    const OpInfo& info = program.infos[pc];
    Fault made;
    made.kind = kind;
    made.kernel = grid.launch.entry->name;
    made.ptx_file = grid.launch.module->file();
    made.ptx_line = info.line;
    made.instruction = info.text;
    if (info.source_file < program.source_files.size())
        made.source_file = program.source_files[info.source_file];
    made.source_line = made.source_file.empty() ? 0 : info.source_line;
    made.block = cta.block;
    made.thread = thread_position(grid.launch.block, thread_of(lane));
    made.address = address;
    made.message = message;
    made.earlier = earlier;
    throw FaultError{std::move(made)};
}

std::string describe_op(const Program& program, uint32_t pc) {
    if (pc >= program.infos.size()) return "an operation of the driver";
    const OpInfo& info = program.infos[pc];
    std::string made = "'" + info.text + "' (PTX line " + std::to_string(info.line);
    if (info.source_file < program.source_files.size() &&
        !program.source_files[info.source_file].empty()) {
        made +=
            ", " + program.source_files[info.source_file] + ":" + std::to_string(info.source_line);
    }
    return made + ")";
}

std::string Warp::describe_thread(uint32_t lane) const {
    const Dim3 at = thread_position(grid.launch.block, thread_of(lane));
    return "thread (" + std::to_string(at.x) + "," + std::to_string(at.y) + "," +
           std::to_string(at.z) + ")";
}

void Warp::report_undefined(const Op& op, Row row, uint32_t lanes, const char* use) {
    const auto lane = static_cast<uint32_t>(std::countr_zero(lanes));
    const uint32_t from = origin(row);
    const std::string earlier = from == 0
                                    ? "the register was never written on this thread's way here"
                                    : "the undefined value came from " + describe_op(from - 1);
    fault(op, lane, FaultKind::kUninitialised, std::string("an undefined value is used as ") + use,
          earlier);
}

void Warp::propagate(const Op& op, uint32_t mask) {
    uint32_t all = ~0u;
    for (uint32_t i = 0; i < op.num_src; ++i) all &= defined(op.src(i));
    for (uint32_t i = 0; i < op.num_dst; ++i) set_defined(op.dst(i), mask, all);
    if ((all & mask) == mask) return;
    uint32_t from = 0;
    for (uint32_t i = 0; i < op.num_src && from == 0; ++i) {
        if ((defined(op.src(i)) & mask) != mask) from = origin(op.src(i));
    }
    for (uint32_t i = 0; i < op.num_dst; ++i) origins_[op.dst(i)] = from;
}

void Warp::run_path(uint64_t& budget) {
    const Op* const ops = program.ops.data();
    const bool check_guards = grid.options.checks.uninitialised;
    uint64_t* const executed = grid.executed.data();
    uint64_t* const executed_lanes = grid.executed_lanes.data();
    while (budget > 0) {
        // Until an operation jumps nothing but the pc changes.
        Path& path = paths_[current_];
        const uint32_t path_mask = path.mask;
        const uint32_t join =
            path.join >= 0 ? joins_[static_cast<size_t>(path.join)].pc : program.num_ops();
        const auto lanes_of_path = static_cast<uint32_t>(std::popcount(path_mask));
        Step step = Step::kNext;
        const Op* op = ops + path.pc;
        while (budget > 0) {
            const auto pc = static_cast<uint32_t>(op - ops);
            path.pc = pc;
            if (pc == join) return settle(current_);
            --budget;
            ++executed[pc];
            uint32_t mask = path_mask;
            if (op->guard != kNoRow) {
                if (check_guards) need_defined(*op, op->guard, mask, "a guard predicate");
                const uint32_t value = *lanes<uint32_t>(op->guard);
                mask &= op->guard_negated ? ~value : value;
                executed_lanes[pc] += static_cast<uint32_t>(std::popcount(mask));
                if (mask == 0) {
                    path.pc = pc + 1;
                    ++op;
                    continue;
                }
            } else {
                executed_lanes[pc] += lanes_of_path;
            }
            if (op->touches_wgmma) touch_wgmma_registers(*this, *op, mask);
            step = op->run(*this, *op, mask);
            if (step != Step::kNext) {
                if (is_traced_ && step != Step::kWait) trace_instruction(*this, *op, mask);
                break;
            }
            if (op->propagates) propagate(*op, mask);
            if (is_traced_) trace_instruction(*this, *op, mask);
            path.pc = pc + 1;
            ++op;
        }
        switch (step) {
            case Step::kNext:
                break;
            case Step::kJumped:
                // Others may have to run before this path's condition changes.
                if (op->back_edge && paths_.size() > 1) return;
                break;
            case Step::kWait: {
                Path& here = paths_[current_];
                if (here.state == Path::State::kRunnable) here.state = Path::State::kWaiting;
                return;
            }
            case Step::kParked:
            case Step::kEnded:
                return;
        }
    }
}

bool Warp::run(uint64_t& budget) {
    bool ran = false;
    while (budget > 0 && !paths_.empty()) {
        size_t chosen = paths_.size();
        for (size_t i = 1; i <= paths_.size(); ++i) {
            const size_t candidate = (current_ + i) % paths_.size();
            if (paths_[candidate].state == Path::State::kRunnable) {
                chosen = candidate;
                break;
            }
        }
        if (chosen == paths_.size()) {
            if (!merge_waiting()) break;
            ran = true;
            continue;
        }
        current_ = chosen;
        ran = true;
        try {
            run_path(budget);
        } catch (WaitsForLanes) {
            // The path's state says so.
        }
    }
    return ran;
}

// The path has come to where it joins others: it is taken off, and goes on with them when all are
// there.
void Warp::settle(size_t at) {
    const Path path = paths_[at];
    paths_.erase(paths_.begin() + static_cast<ptrdiff_t>(at));
    current_ = 0;
    Join& join = joins_[static_cast<size_t>(path.join)];
    join.arrived |= path.mask;
    if ((join.expected & ~join.arrived) != 0) return;
    join.open = false;
    paths_.push_back({.pc = join.pc, .mask = join.arrived, .join = join.parent});
    current_ = paths_.size() - 1;
}

void Warp::diverge(const Op& op, uint32_t taken, uint32_t mask) {
    ++grid.statistics.divergent_branches;
    const uint32_t pc = program.index_of(op);
    const Path from = paths_[current_];
    const uint32_t others = mask & ~taken;
    int32_t join = from.join;
    const bool meets = op.join < program.num_ops() && !grid.options.checks.late_reconvergence;
    if (meets && !(from.join >= 0 && joins_[static_cast<size_t>(from.join)].pc == op.join)) {
        size_t slot = 0;
        while (slot < joins_.size() && joins_[slot].open) ++slot;
        if (slot == joins_.size()) joins_.emplace_back();
        joins_[slot] = {
            .pc = op.join, .expected = mask, .arrived = 0, .parent = from.join, .open = true};
        join = static_cast<int32_t>(slot);
    }
    // The way that is shorter in the text first, unless it leads back.
    Path first = {.pc = pc + 1, .mask = others, .join = join};
    Path second = {.pc = op.target, .mask = taken, .join = join};
    paths_[current_] = first;
    paths_.push_back(second);
}

void Warp::end_lanes(uint32_t mask) {
    alive_ &= ~mask;
    grid.made_progress();
    Path& path = paths_[current_];
    path.mask &= ~mask;
    if (path.mask == 0) paths_.erase(paths_.begin() + static_cast<ptrdiff_t>(current_));
    current_ = 0;
    for (bool again = true; again;) {
        again = false;
        for (Join& join : joins_) {
            if (!join.open) continue;
            join.expected &= ~mask;
            if ((join.expected & ~join.arrived) != 0) continue;
            join.open = false;
            if (join.arrived != 0) {
                paths_.push_back({.pc = join.pc, .mask = join.arrived, .join = join.parent});
            }
            again = true;
        }
    }
    if (alive_ == 0) cta.warp_ended();
}

// Lanes that wait at a join go on as a path of their own, so that one lane may wait for another.
bool Warp::part_waiting() {
    for (Join& join : joins_) {
        if (!join.open || join.arrived == 0) continue;
        join.expected &= ~join.arrived;
        paths_.push_back({.pc = join.pc, .mask = join.arrived, .join = join.parent});
        join.arrived = 0;
        parted_ = true;
        return true;
    }
    return false;
}

bool Warp::meet(const Op& op, uint32_t& mask, uint32_t named) {
    if ((named & alive_) == mask || !grid.options.checks.convergence) return true;
    if ((mask & ~named) != 0) {
        fault(op, static_cast<uint32_t>(std::countr_zero(mask & ~named)), FaultKind::kDivergence,
              "the lane executes an instruction whose member mask does not name it");
    }
    if ((named & initial_ & ~alive_) != 0 || (named & ~initial_) != 0) {
        const uint32_t missing = named & ~alive_;
        fault(op, static_cast<uint32_t>(std::countr_zero(mask)), FaultKind::kDivergence,
              "the member mask names lane " + std::to_string(std::countr_zero(missing)) +
                  ", which has ended or never was");
    }
    Path& path = paths_[current_];
    if (path.met) return true;
    path.state = Path::State::kAtSync;
    path.named = named;
    path.here = mask;
    return false;
}

bool Warp::rejoin(uint32_t mask) {
    if (!parted_) return false;
    Path& path = paths_[current_];
    path.state = Path::State::kAtSync;
    path.named = alive_;
    path.here = mask;
    path.rejoins = true;
    return true;
}

void Warp::need_converged(const Op& op, uint32_t mask) {
    if (mask == initial_ || !grid.options.checks.convergence) return;
    if (alive_ == initial_ && rejoin(mask)) throw WaitsForLanes{};
    fault(op, static_cast<uint32_t>(std::countr_zero(mask)), FaultKind::kDivergence,
          "all lanes of the warp must execute this instruction together; " +
              std::to_string(std::popcount(mask)) + " of " +
              std::to_string(std::popcount(initial_)) + " do");
}

// Paths that have come to one .sync instruction by different ways execute it together, then go on
// by themselves.
bool Warp::merge_waiting() {
    for (size_t i = 0; i < paths_.size(); ++i) {
        if (paths_[i].state != Path::State::kAtSync) continue;
        uint32_t here = 0;
        for (const Path& other : paths_) {
            if (other.state == Path::State::kAtSync && other.pc == paths_[i].pc &&
                ((other.named ^ paths_[i].named) & alive_) == 0)
                here |= other.here;
        }
        if (here != (paths_[i].named & alive_)) continue;
        const uint32_t pc = paths_[i].pc;
        if (paths_[i].rejoins) {
            const Path whole_again = {.pc = pc, .mask = here, .join = paths_[i].join};
            std::erase_if(paths_, [&](const Path& other) {
                return other.state == Path::State::kAtSync && other.pc == pc;
            });
            paths_.push_back(whole_again);
            current_ = 0;
            parted_ = false;
            return true;
        }
        const uint32_t named = paths_[i].named;
        const Path saved = paths_[i];
        const Op& op = program.ops[pc];
        current_ = i;
        paths_[i].mask = here;
        paths_[i].met = true;
        paths_[i].state = Path::State::kRunnable;
        op.run(*this, op, here);
        if (op.propagates) propagate(op, here);
        if (is_traced_) trace_instruction(*this, op, here);
        ++grid.executed[pc];
        grid.executed_lanes[pc] += static_cast<uint32_t>(std::popcount(here));
        paths_[i] = saved;
        for (Path& other : paths_) {
            if (other.state == Path::State::kAtSync && other.pc == pc &&
                ((other.named ^ named) & alive_) == 0) {
                other.state = Path::State::kRunnable;
                ++other.pc;
            }
        }
        return true;
    }
    return false;
}

void Warp::wake() {
    for (Path& path : paths_) {
        if (path.state == Path::State::kWaiting && path.barrier < 0)
            path.state = Path::State::kRunnable;
    }
}

void Warp::release_from_barrier(int32_t barrier, uint32_t result, const Knowledge* from) {
    for (Path& path : paths_) {
        if (path.state != Path::State::kWaiting || path.barrier != barrier) continue;
        path.state = Path::State::kRunnable;
        path.released = true;
        path.result = result;
        path.barrier = -1;
        if (from) knowledge.acquire(path.mask, whole(path.mask), *from);
    }
}

bool Warp::waits_for_lanes() const {
    for (const Path& path : paths_) {
        if (path.state == Path::State::kAtSync) return true;
    }
    return false;
}

std::vector<std::string> Warp::where() const {
    std::vector<std::string> lines;
    for (const Path& path : paths_) {
        char lanes_text[16];
        std::snprintf(lanes_text, sizeof lanes_text, "%08x", path.mask);
        std::string line = "block (" + std::to_string(cta.block.x) + "," +
                           std::to_string(cta.block.y) + "," + std::to_string(cta.block.z) +
                           ") warp " + std::to_string(index) + " lanes " + lanes_text + " at " +
                           describe_op(path.pc);
        if (path.state == Path::State::kAtSync) {
            std::snprintf(lanes_text, sizeof lanes_text, "%08x", path.named & ~path.here);
            line += std::string(", which also names lanes ") + lanes_text;
        }
        if (path.barrier >= 0) line += ", at barrier " + std::to_string(path.barrier);
        lines.push_back(std::move(line));
    }
    for (const Join& join : joins_) {
        if (!join.open || join.arrived == 0) continue;
        char lanes_text[16];
        std::snprintf(lanes_text, sizeof lanes_text, "%08x", join.arrived);
        lines.push_back("block (" + std::to_string(cta.block.x) + "," +
                        std::to_string(cta.block.y) + "," + std::to_string(cta.block.z) +
                        ") warp " + std::to_string(index) + " lanes " + lanes_text +
                        " where they join the others, before " + describe_op(join.pc));
    }
    return lines;
}

}  // namespace fattn::vgpu
