// setmaxnreg: warps of a warpgroup change their number of registers together; who asks for more
// waits until the block's pool has them.
#include "exec/register_pool.h"

#include <algorithm>
#include <bit>

#include "exec/cta.h"
#include "exec/decoding.h"
#include "exec/grid.h"

namespace fattn::vgpu {
namespace {

// aux: the number; bit 32: more are asked for.
Step set_registers(Warp& w, const Op& op, uint32_t mask) {
    w.need_converged(op, mask);
    const auto lane = static_cast<uint32_t>(std::countr_zero(mask));
    const auto wanted = static_cast<uint32_t>(op.aux);
    const bool more = op.aux >> 32 & 1;
    if (more ? wanted < w.registers : wanted > w.registers) {
        w.fault(op, lane, FaultKind::kIllegal,
                std::string("setmaxnreg") + (more ? ".inc" : ".dec") + " to " +
                    std::to_string(wanted) + "; the warp has " + std::to_string(w.registers) +
                    " registers a thread");
    }
    Warpgroup& group = w.cta.warpgroups[w.index / kWarpsPerGroup];
    const uint32_t pc = w.program.index_of(op);
    if (w.register_changes < group.register_changes.size() &&
        group.register_changes[w.register_changes] != pc) {
        w.fault(
            op, lane, FaultKind::kDivergence,
            "the warps of a warpgroup execute the same setmaxnreg",
            "another warp executed " + w.describe_op(group.register_changes[w.register_changes]));
    }
    if (w.register_changes == group.register_changes.size()) group.register_changes.push_back(pc);
    if (more) {
        const uint64_t needed = uint64_t{wanted - w.registers} * 32;
        if (needed > w.cta.free_registers) return Step::kWait;
        w.cta.free_registers -= needed;
    } else {
        w.cta.free_registers += uint64_t{w.registers - wanted} * 32;
        w.cta.wake();
    }
    w.registers = wanted;
    ++w.register_changes;
    w.grid.made_progress();
    return Step::kNext;
}

void decode_set_registers(Decoding& d) {
    const auto way = d.take_one({"inc", "dec"});
    if (way.empty() || !d.take("sync") || !d.take("aligned") || !d.take("u32"))
        d.fail("the form is setmaxnreg.inc.sync.aligned.u32 or .dec");
    d.need_arch(90, "setmaxnreg");
    d.need_count(1, 1);
    const uint64_t count = d.constant(d.in.operands[0], "the number of registers");
    if (count < 24 || count > 256 || count % 8 != 0)
        d.fail("the number of registers is a multiple of 8 from 24 to 256");
    d.op.aux = count | uint64_t{way == "inc"} << 32;
    d.op.propagates = false;
    d.finish(set_registers, "registers");
}

}  // namespace

// The compiler starts blocks with what the bounds of the launch leave to a thread, and with no more
// than the kernel asks for later.
uint32_t starting_registers(const Program& program, const EntryInfo& entry,
                            const DeviceModel& model) {
    const uint64_t threads = uint64_t{entry.max_threads} * std::max(1u, entry.min_blocks_per_sm);
    const uint64_t share = model.registers_per_sm / threads / 8 * 8;
    uint64_t asked = 0;
    for (const Op& op : program.ops) {
        if (op.run == set_registers) asked = std::max(asked, op.aux & 0xffffffff);
    }
    return static_cast<uint32_t>(std::min(share, asked == 0 ? 256 : asked));
}

void add_register_opcodes(OpcodeTable& table) { table["setmaxnreg"] = decode_set_registers; }

}  // namespace fattn::vgpu
