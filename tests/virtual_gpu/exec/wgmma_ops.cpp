// wgmma.mma_async, its fence, groups and waits: issue, order, registers in flight.
#include <algorithm>
#include <bit>
#include <charconv>

#include "exec/cta.h"
#include "exec/decoding.h"
#include "exec/grid.h"
#include "exec/lanes.h"
#include "exec/wgmma_layout.h"
#include "exec/wgmma_tile.h"

namespace fattn::vgpu {
namespace {

using ptx::Operand;
using ptx::Type;

uint32_t first_lane(uint32_t mask) { return static_cast<uint32_t>(std::countr_zero(mask)); }

Warpgroup& group_of(Warp& w) { return w.cta.warpgroups[w.index / kWarpsPerGroup]; }

uint64_t uniform(Warp& w, const Op& op, uint32_t mask, uint32_t source, const char* what) {
    if (w.grid.options.checks.uninitialised) w.need_defined(op, op.src(source), mask, what);
    const uint64_t* lanes = w.src<uint64_t>(op, source);
    const uint64_t value = lanes[first_lane(mask)];
    each_lane(mask, [&](uint32_t lane) {
        if (lanes[lane] != value)
            w.fault(op, lane, FaultKind::kIllegal,
                    std::string(what) + " differs between the lanes of a warp");
    });
    return value;
}

// --- registers. Those that an operation reads must have been fenced since they were written, and
// those of another operation in flight are its own, except that accumulators go on from operation
// to operation of one shape.
void take_registers(Warp& w, const Op& op, uint32_t mask, const WgmmaForm& form, bool adds) {
    WgmmaState& state = w.wgmma;
    if (state.uses.empty()) state.uses.resize(w.program.register_units);
    const uint32_t lane = first_lane(mask), pc = w.program.index_of(op);
    if (state.fences == 0)
        w.fault(op, lane, FaultKind::kInFlight,
                "wgmma.fence must stand before the first wgmma.mma_async of a warp");
    const uint32_t d_registers = form.d_registers();
    const auto take = [&](Row row, bool accumulates, bool reads) {
        WgmmaState::Use& use = state.uses[row];
        if (reads && use.written == state.fences + 1) {
            w.fault(op, lane, FaultKind::kInFlight,
                    std::string(accumulates ? "an accumulator" : "a register of A") +
                        " was written after the last wgmma.fence; one must stand between");
        }
        if (use.until > state.waited && (use.accumulates || accumulates)) {
            const WgmmaForm other = WgmmaForm::unpack(w.program.ops[use.pc].aux);
            const bool chained = use.accumulates && accumulates && other.columns == form.columns &&
                                 other.d == form.d;
            if (!chained) {
                w.fault(op, lane, FaultKind::kInFlight,
                        "a register of another wgmma.mma_async that was not waited for is used",
                        "issued with " + w.describe_op(use.pc));
            }
        }
        use.until = state.issued + 1;
        use.pc = pc;
        use.accumulates = accumulates;
    };
    for (uint32_t r = 0; r < d_registers; ++r) take(op.dst(r), true, adds);
    for (uint32_t r = 0; form.a_in_registers && r < 4; ++r)
        take(op.src(d_registers + r), false, true);
}

// Chunks that lie beside each other as one.
std::vector<SharedRange> ranges_of(const std::vector<uint32_t>& chunks) {
    constexpr uint32_t kBytes = 16;
    std::vector<SharedRange> made;
    for (const uint32_t chunk : chunks) {
        if (!made.empty() && made.back().at + made.back().bytes == chunk) {
            made.back().bytes += kBytes;
        } else if (!made.empty() && chunk + kBytes == made.back().at) {
            made.back() = {chunk, made.back().bytes + kBytes};
        } else {
            made.push_back({chunk, kBytes});
        }
    }
    return made;
}

void need_in_shared(Warp& w, const Op& op, uint32_t lane, const std::vector<SharedRange>& ranges,
                    const char* which) {
    for (const SharedRange& range : ranges) {
        if (range.at + range.bytes <= w.cta.shared.bytes.size()) continue;
        w.fault(op, lane, FaultKind::kOutOfBounds,
                std::string(which) + " of a wgmma reaches byte " +
                    std::to_string(range.at + range.bytes) +
                    " of shared memory, of which the block has " +
                    std::to_string(w.cta.shared.bytes.size()),
                {}, range.at);
    }
}

void execute_until(Warp& w, uint64_t number) {
    Warpgroup& group = group_of(w);
    const uint32_t own = w.index % kWarpsPerGroup;
    for (uint64_t at = group.first; at < number; ++at) {
        WgmmaOperation& operation = group.operations[at - group.first];
        if (operation.executed[own]) continue;
        operation.executed[own] = true;
        if (!operation.has_columns) operation.columns.swap(group.spare_columns);
        execute_wgmma(w, w.program.ops[operation.pc], operation);
    }
}

// Sources: D, A (four registers or a descriptor), B's descriptor, scale-d. aux: WgmmaForm.
Step multiply_async(Warp& w, const Op& op, uint32_t mask) {
    w.need_converged(op, mask);
    const uint32_t lane = first_lane(mask), own = w.index % kWarpsPerGroup;
    const WgmmaForm form = WgmmaForm::unpack(op.aux);
    if (w.index / kWarpsPerGroup * kWarpsPerGroup + kWarpsPerGroup > w.cta.warps.size() ||
        mask != kAllLanes) {
        w.fault(op, lane, FaultKind::kDivergence, "a wgmma needs a warpgroup of four whole warps");
    }
    Warpgroup& group = group_of(w);
    WgmmaState& state = w.wgmma;
    WgmmaOperation made;
    made.pc = w.program.index_of(op);
    const uint32_t first_a = form.d_registers(), at_b = first_a + (form.a_in_registers ? 4 : 1);
    if (!form.a_in_registers) made.a = uniform(w, op, mask, first_a, "the descriptor of A");
    made.b = uniform(w, op, mask, at_b, "the descriptor of B");
    if (w.grid.options.checks.uninitialised) w.need_defined(op, op.src(at_b + 1), mask, "scale-d");
    const uint32_t scale = *w.src<uint32_t>(op, at_b + 1) ^ (form.negated_scale ? ~0u : 0);
    made.adds = scale & 1;
    if (scale != 0 && scale != ~0u)
        w.fault(op, lane, FaultKind::kIllegal, "scale-d differs between the lanes of a warp");

    const bool races = w.grid.options.checks.races;
    if (w.grid.options.checks.wgmma) take_registers(w, op, mask, form, made.adds);
    const uint64_t number = state.issued++;
    if (number - group.first == group.operations.size()) group.operations.push_back(made);
    WgmmaOperation& operation = group.operations[number - group.first];
    if (operation.pc != made.pc || operation.a != made.a || operation.b != made.b ||
        operation.adds != made.adds) {
        w.fault(op, lane, FaultKind::kDivergence,
                "the four warps of a warpgroup execute the same wgmma.mma_async with the same "
                "descriptors and scale-d",
                "another warp executed " + w.describe_op(operation.pc));
    }
    operation.issued[own] = true;
    // B is all warps': who comes first holds it.
    const bool is_first = operation.chunks_of_b.empty();
    if (is_first) {
        operation.chunks_of_b = chunks_of_b(form, made.b);
        operation.ranges_of_b = ranges_of(operation.chunks_of_b);
    }
    operation.chunks_of_a[own] = chunks_of_a(form, made.a, own);
    operation.ranges_of_a[own] = ranges_of(operation.chunks_of_a[own]);
    const std::vector<SharedRange>&a = operation.ranges_of_a[own], &b = operation.ranges_of_b;
    need_in_shared(w, op, lane, a, "A");
    need_in_shared(w, op, lane, b, "B");
    if (races) {
        SharedMemory& shared = w.cta.shared;
        shared.need_readable(w, op, lane, a);
        shared.need_readable(w, op, lane, b);
        for (const SharedRange& range : a) shared.hold(range.at, range.bytes, made.pc);
        for (const SharedRange& range : b) {
            if (is_first) shared.hold(range.at, range.bytes, made.pc);
        }
    }
    w.grid.made_progress();
    const Asynchrony when = w.grid.options.asynchrony;
    if (when == Asynchrony::kEarly || (when == Asynchrony::kSeeded && w.grid.random.coin()))
        execute_until(w, number + 1);
    w.cta.wake();
    return Step::kNext;
}

Step fence_registers(Warp& w, const Op& op, uint32_t mask) {
    w.need_converged(op, mask);
    ++w.wgmma.fences;
    return Step::kNext;
}

Step commit_operations(Warp& w, const Op& op, uint32_t mask) {
    w.need_converged(op, mask);
    w.wgmma.groups.push_back(w.wgmma.issued);
    return Step::kNext;
}

// The oldest operation of the group has ended: all of its reads have.
void end_first(Warp& w, Warpgroup& group) {
    const WgmmaOperation& operation = group.operations.front();
    for (uint32_t i = 0; i < kWarpsPerGroup; ++i)
        execute_until(*w.cta.warps[w.index / kWarpsPerGroup * kWarpsPerGroup + i], group.first + 1);
    if (w.grid.options.checks.races) {
        SharedMemory& shared = w.cta.shared;
        if (group.agent == 0) group.agent = w.cta.cluster.num_agents++;
        group.ended = w.cta.cluster.next_epoch();
        const auto end = [&](const std::vector<SharedRange>& ranges) {
            for (const SharedRange& range : ranges) {
                shared.unhold(range.at, range.bytes);
                shared.note_read(range.at, range.bytes, group.agent, group.ended, operation.pc);
            }
        };
        for (const std::vector<SharedRange>& ranges : operation.ranges_of_a) end(ranges);
        end(operation.ranges_of_b);
    }
    group.spare_columns.swap(group.operations.front().columns);
    group.operations.pop_front();
    ++group.first;
}

// aux: groups that may stay.
Step wait_operations(Warp& w, const Op& op, uint32_t mask) {
    w.need_converged(op, mask);
    WgmmaState& state = w.wgmma;
    if (state.groups.size() <= op.aux) return Step::kNext;
    const uint64_t target = state.groups[state.groups.size() - 1 - op.aux];
    Warpgroup& group = group_of(w);
    for (uint64_t at = group.first; at < target; ++at) {
        const auto& issued = group.operations[at - group.first].issued;
        // Other warps of the warpgroup have still to come to it.
        if (std::find(issued.begin(), issued.end(), false) != issued.end()) return Step::kWait;
    }
    while (group.first < target) end_first(w, group);
    state.waited = std::max(state.waited, target);
    w.grid.made_progress();
    if (!w.grid.options.checks.races || group.agent == 0) return Step::kNext;
    w.knowledge.learn(mask, w.whole(mask), group.agent, group.ended);
    return Step::kNext;
}

// --- spelling
struct Pair {
    Type a, b, d;
};

bool fits(const Pair& types) {
    const auto eight = [](Type t) { return t == Type::kE4m3 || t == Type::kE5m2; };
    const auto integer = [](Type t) { return t == Type::kS8 || t == Type::kU8; };
    if (integer(types.a)) return integer(types.b) && types.d == Type::kS32;
    if (eight(types.a)) return eight(types.b) && (types.d == Type::kF32 || types.d == Type::kF16);
    if (types.a != types.b) return false;
    if (types.a == Type::kF16) return types.d == Type::kF32 || types.d == Type::kF16;
    return (types.a == Type::kBf16 || types.a == Type::kTf32) && types.d == Type::kF32;
}

bool take_flag(Decoding& d, const Operand& operand, const char* what, uint64_t off, uint64_t on) {
    const uint64_t value = d.constant(operand, what);
    if (value != off && value != on)
        d.fail(std::string(what) + " is " + std::to_string(static_cast<int64_t>(off)) + " or " +
               std::to_string(static_cast<int64_t>(on)));
    return value == on;
}

void decode_multiply(Decoding& d) {
    if (!d.take("sync") || !d.take("aligned")) d.fail("the form is wgmma.mma_async.sync.aligned");
    if (d.take("sp")) d.unsupported("sparse matrices are not offered");
    WgmmaForm form{};
    uint32_t depth = 0;
    for (const std::string_view modifier : d.in.modifiers) {
        if (!modifier.starts_with("m64n")) continue;
        const char* const end = modifier.data() + modifier.size();
        const auto n = std::from_chars(modifier.data() + 4, end, form.columns);
        if (n.ec != std::errc() || n.ptr == end || *n.ptr != 'k') d.fail("a shape is m64nNkK");
        const auto k = std::from_chars(n.ptr + 1, end, depth);
        if (k.ec != std::errc() || k.ptr != end) d.fail("a shape is m64nNkK");
        d.take(modifier);
        break;
    }
    if (form.columns == 0) d.fail("a shape such as m64n128k16 is missing");
    if (form.columns % 8 != 0 || form.columns > 256) d.fail("N is a multiple of 8 up to 256");
    form.saturates = d.take("satfinite");
    form.d = d.take_type();
    form.a = d.take_type();
    form.b = d.take_type();
    if (!fits({form.a, form.b, form.d}))
        d.unsupported(
            "the types offered are f16 and fp8 into f32 or f16, bf16 and tf32 into f32, u8 and s8 "
            "into s32");
    const bool integer = form.d == Type::kS32;
    if (integer && form.columns > 24 && form.columns % 16 != 0)
        d.fail("N of integers is 8, 24 or a multiple of 16");
    if (form.saturates && !integer) d.fail(".satfinite is for integers");
    if (depth != form.depth()) d.fail("K of these types is " + std::to_string(form.depth()));
    d.need_arch(90, "wgmma");

    const bool transposes = form.size() == 2;
    const Operand& first = d.operand(1, "A");
    form.a_in_registers = first.kind == Operand::Kind::kVector;
    const size_t flags = (integer ? 0u : 2u) + (transposes ? (form.a_in_registers ? 1u : 2u) : 0u);
    d.need_count(4 + flags, 4 + flags);
    const uint32_t registers = form.d_registers();
    const std::vector<Operand>& results = d.elements(d.in.operands[0], registers, registers);
    for (const Operand& one : results) {
        d.dst(one, 4);
        d.keep_for_wgmma(one);
    }
    for (const Operand& one : results) d.src_any(one);
    if (form.a_in_registers) {
        for (const Operand& one : d.elements(first, 4, 4)) {
            d.src(one, Type::kB32);
            d.keep_for_wgmma(one);
        }
    } else {
        d.src(first, Type::kB64);
    }
    d.src(d.in.operands[2], Type::kB64);
    const Operand& scale = d.in.operands[3];
    form.negated_scale = scale.kind == Operand::Kind::kNegated;
    if (form.negated_scale) {
        d.add_source(scale.index);
    } else {
        d.src(scale, Type::kPred);
    }
    size_t next = 4;
    constexpr auto kMinusOne = static_cast<uint64_t>(-1);
    if (!integer) {
        form.negated_a = take_flag(d, d.in.operands[next++], "imm-scale-a", 1, kMinusOne);
        form.negated_b = take_flag(d, d.in.operands[next++], "imm-scale-b", 1, kMinusOne);
    }
    if (transposes && !form.a_in_registers)
        form.transposed_a = take_flag(d, d.in.operands[next++], "imm-trans-a", 0, 1);
    if (transposes) form.transposed_b = take_flag(d, d.in.operands[next++], "imm-trans-b", 0, 1);
    d.op.aux = form.pack();
    d.op.propagates = false;
    d.op.is_wgmma = true;
    d.flops = 2 * 16 * form.columns * depth;
    d.finish(multiply_async, "wgmma");
}

void decode_wgmma(Decoding& d) {
    const auto what = d.take_one({"mma_async", "fence", "commit_group", "wait_group"});
    if (what.empty()) d.fail("one of .mma_async .fence .commit_group .wait_group is missing");
    if (what == "mma_async") return decode_multiply(d);
    if (!d.take("sync") || !d.take("aligned")) d.fail(".sync.aligned is missing");
    d.need_arch(90, "wgmma");
    d.op.propagates = false;
    const bool waits = what == "wait_group";
    d.need_count(waits ? 1 : 0, waits ? 1 : 0);
    if (waits) d.op.aux = d.constant(d.in.operands[0], "the number of groups");
    d.finish(waits             ? wait_operations
             : what == "fence" ? fence_registers
                               : commit_operations,
             "wgmma");
}

}  // namespace

void touch_wgmma_registers(Warp& w, const Op& op, uint32_t mask) {
    if (!w.grid.options.checks.wgmma) return;
    WgmmaState& state = w.wgmma;
    if (state.uses.empty()) state.uses.resize(w.program.register_units);
    for (uint32_t i = 0; i < uint32_t{op.num_dst} + op.num_src; ++i) {
        const Row row = op.rows[i];
        if (row & kConstantBit) continue;
        WgmmaState::Use& use = state.uses[row];
        if (use.until > state.waited) {
            w.fault(op, first_lane(mask), FaultKind::kInFlight,
                    std::string("a register ") + (use.accumulates ? "that accumulates" : "of A") +
                        " is touched while its wgmma.mma_async has not been waited for",
                    "issued with " + w.describe_op(use.pc));
        }
        if (i < op.num_dst) use.written = state.fences + 1;
    }
}

void need_wgmma_ended(Warp& w, const Op& op, uint32_t mask) {
    if (w.wgmma.waited == w.wgmma.issued) return;
    w.fault(op, first_lane(mask), FaultKind::kInFlight,
            "the warp ends while a wgmma.mma_async has not been waited for");
}

void add_wgmma_opcodes(OpcodeTable& table) { table["wgmma"] = decode_wgmma; }

}  // namespace fattn::vgpu
