// Postdominators and live ranges of a decoded body.
#include <algorithm>
#include <bit>
#include <unordered_set>
#include <vector>

#include "exec/decoder.h"

namespace fattn::vgpu {
namespace {

// Straight pieces of code; the last block stands for the end of every path.
struct Flow {
    struct Block {
        uint32_t begin = 0, end = 0;
        std::vector<uint32_t> next;
    };
    std::vector<Block> blocks;
    std::vector<uint32_t> block_of;

    explicit Flow(const Program& program) : block_of(program.num_ops() + 1) {
        const uint32_t n = program.num_ops();
        std::vector<bool> starts(n + 1, false);
        starts[0] = true;
        starts[n] = true;
        for (uint32_t i = 0; i < n; ++i) {
            const Op& op = program.ops[i];
            if (op.is_branch) starts[op.target] = true;
            if (op.is_branch || op.ends_path) starts[i + 1] = true;
        }
        for (uint32_t i = 0; i <= n; ++i) {
            if (starts[i]) blocks.push_back({i, i, {}});
            block_of[i] = static_cast<uint32_t>(blocks.size() - 1);
            blocks.back().end = i + 1;
        }
        const auto exit = static_cast<uint32_t>(blocks.size() - 1);
        for (uint32_t b = 0; b < exit; ++b) {
            const Op& last = program.ops[blocks[b].end - 1];
            const bool guarded = last.guard != kNoRow;
            if (last.is_branch) blocks[b].next.push_back(block_of[last.target]);
            if (last.ends_path) blocks[b].next.push_back(exit);
            if (guarded || !(last.is_branch || last.ends_path)) blocks[b].next.push_back(b + 1);
        }
    }
    uint32_t exit() const { return static_cast<uint32_t>(blocks.size() - 1); }
};

using Bits = std::vector<uint64_t>;

void set_bit(Bits& bits, uint32_t i) { bits[i / 64] |= uint64_t{1} << (i % 64); }
void clear_bit(Bits& bits, uint32_t i) { bits[i / 64] &= ~(uint64_t{1} << (i % 64)); }

}  // namespace

// Immediate postdominators after Cooper, Harvey and Kennedy, on the reversed graph.
void find_joins(Program& program) {
    const Flow flow(program);
    const uint32_t exit = flow.exit();
    std::vector<std::vector<uint32_t>> previous(flow.blocks.size());
    for (uint32_t b = 0; b < exit; ++b) {
        for (const uint32_t to : flow.blocks[b].next) previous[to].push_back(b);
    }
    // Post-order of the reversed graph from the exit.
    std::vector<uint32_t> order, number(flow.blocks.size(), 0);
    std::vector<uint8_t> seen(flow.blocks.size(), 0);
    std::vector<std::pair<uint32_t, size_t>> stack = {{exit, 0}};
    seen[exit] = 1;
    while (!stack.empty()) {
        auto& [block, next] = stack.back();
        if (next < previous[block].size()) {
            const uint32_t to = previous[block][next++];
            if (!seen[to]) {
                seen[to] = 1;
                stack.push_back({to, 0});
            }
        } else {
            number[block] = static_cast<uint32_t>(order.size());
            order.push_back(block);
            stack.pop_back();
        }
    }
    constexpr uint32_t kUnknown = ~0u;
    std::vector<uint32_t> dominator(flow.blocks.size(), kUnknown);
    dominator[exit] = exit;
    for (bool changed = true; changed;) {
        changed = false;
        for (auto it = order.rbegin(); it != order.rend(); ++it) {
            if (*it == exit) continue;
            uint32_t found = kUnknown;
            for (const uint32_t to : flow.blocks[*it].next) {
                if (dominator[to] == kUnknown) continue;
                uint32_t a = to, b = found;
                if (found == kUnknown) {
                    found = to;
                    continue;
                }
                while (a != b) {
                    while (number[a] < number[b]) a = dominator[a];
                    while (number[b] < number[a]) b = dominator[b];
                }
                found = a;
            }
            if (found != dominator[*it]) {
                dominator[*it] = found;
                changed = true;
            }
        }
    }
    for (uint32_t b = 0; b < exit; ++b) {
        Op& last = program.ops[flow.blocks[b].end - 1];
        // A block that never reaches the end, an endless loop, joins nowhere.
        last.join = dominator[b] == kUnknown || dominator[b] == exit
                        ? program.num_ops()
                        : flow.blocks[dominator[b]].begin;
    }
}

void find_wgmma_users(Program& program) {
    const std::vector<Row>& rows = program.wgmma_rows;
    if (rows.empty()) return;
    const std::unordered_set<Row> kept(rows.begin(), rows.end());
    for (Op& op : program.ops) {
        for (uint32_t i = 0; i < uint32_t{op.num_dst} + op.num_src; ++i)
            op.touches_wgmma |= !op.is_wgmma && kept.contains(op.rows[i]);
    }
}

uint32_t renumber_registers(Program& program, const std::vector<uint32_t>& bytes, uint32_t& peak) {
    const Flow flow(program);
    const auto num_registers = static_cast<uint32_t>(bytes.size());
    const size_t words = (num_registers + 63) / 64;
    std::vector<Bits> live_in(flow.blocks.size(), Bits(words, 0)), live_out = live_in,
                                                                   uses = live_in, kills = live_in;

    for (uint32_t b = 0; b < flow.exit(); ++b) {
        for (uint32_t i = flow.blocks[b].end; i-- > flow.blocks[b].begin;) {
            const Op& op = program.ops[i];
            for (uint32_t d = 0; d < op.num_dst; ++d) {
                if (!op.kills) continue;
                clear_bit(uses[b], op.dst(d));
                set_bit(kills[b], op.dst(d));
            }
            for (uint32_t s = 0; s < op.num_src; ++s) {
                if (!(op.src(s) & kConstantBit)) set_bit(uses[b], op.src(s));
            }
            if (op.guard != kNoRow) set_bit(uses[b], op.guard);
            // What is not wholly overwritten lives on through the operation.
            for (uint32_t d = 0; d < op.num_dst && !op.kills; ++d) set_bit(uses[b], op.dst(d));
        }
    }
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t b = flow.exit(); b-- > 0;) {
            for (size_t w = 0; w < words; ++w) {
                uint64_t out = 0;
                for (const uint32_t to : flow.blocks[b].next) out |= live_in[to][w];
                const uint64_t in = uses[b][w] | (out & ~kills[b][w]);
                changed |= in != live_in[b][w];
                live_out[b][w] = out;
                live_in[b][w] = in;
            }
        }
    }

    // One interval for each register: from its first place to its last, blocks that it lives
    // through included.
    struct Interval {
        uint32_t begin = ~0u, end = 0;
    };
    std::vector<Interval> intervals(num_registers);
    const auto touch = [&](uint32_t reg, uint32_t at) {
        intervals[reg].begin = std::min(intervals[reg].begin, at);
        intervals[reg].end = std::max(intervals[reg].end, at + 1);
    };
    for (uint32_t b = 0; b < flow.exit(); ++b) {
        for (size_t w = 0; w < words; ++w) {
            for (uint64_t bits = live_in[b][w]; bits != 0; bits &= bits - 1) {
                touch(static_cast<uint32_t>(w * 64 + static_cast<size_t>(std::countr_zero(bits))),
                      flow.blocks[b].begin);
            }
            for (uint64_t bits = live_out[b][w]; bits != 0; bits &= bits - 1) {
                touch(static_cast<uint32_t>(w * 64 + static_cast<size_t>(std::countr_zero(bits))),
                      flow.blocks[b].end);
            }
        }
        for (uint32_t i = flow.blocks[b].begin; i < flow.blocks[b].end; ++i) {
            const Op& op = program.ops[i];
            for (uint32_t r = 0; r < uint32_t{op.num_dst} + op.num_src; ++r) {
                if (!(op.rows[r] & kConstantBit)) touch(op.rows[r], i);
            }
            if (op.guard != kNoRow) touch(op.guard, i);
        }
    }
    // What lives at once, before rows are kept for longer than that.
    std::vector<int64_t> change(program.num_ops() + 2, 0);
    for (uint32_t r = 0; r < num_registers; ++r) {
        if (intervals[r].begin == ~0u) continue;
        const auto size = static_cast<int64_t>(std::max(1u, bytes[r] / 4));
        change[intervals[r].begin] += size;
        change[std::min(intervals[r].end, program.num_ops() + 1)] -= size;
    }
    int64_t living = 0, most = 0;
    for (const int64_t by : change) most = std::max(most, living += by);
    peak = static_cast<uint32_t>(most);
    for (const Row row : program.wgmma_rows) intervals[row] = {0, program.num_ops() + 1};
    // What a warp fills when it starts stays.
    for (const SpecialRow& special : program.specials)
        intervals[special.row] = {0, program.num_ops() + 1};

    std::vector<uint32_t> by_begin;
    for (uint32_t r = 0; r < num_registers; ++r) {
        if (intervals[r].begin != ~0u) by_begin.push_back(r);
    }
    std::sort(by_begin.begin(), by_begin.end(),
              [&](uint32_t a, uint32_t b) { return intervals[a].begin < intervals[b].begin; });
    std::vector<Row> place(num_registers, kNoRow);
    std::vector<std::pair<uint32_t, uint32_t>> active;  // end, register
    // By units. A predicate holds all lanes in one word, where a 16-bit register holds those of
    // two: lanes that run apart would overwrite each other's, so predicates (0) have rows of their
    // own.
    std::vector<std::vector<Row>> free_rows(9);
    uint32_t units = 0;
    const auto units_of = [&](uint32_t reg) { return std::max(1u, bytes[reg] * 32 / kUnitBytes); };
    const auto free_of = [&](uint32_t reg) -> std::vector<Row>& {
        return free_rows[bytes[reg] == 1 ? 0 : units_of(reg)];
    };
    for (const uint32_t reg : by_begin) {
        for (size_t i = 0; i < active.size();) {
            if (active[i].first > intervals[reg].begin) {
                ++i;
                continue;
            }
            free_of(active[i].second).push_back(place[active[i].second]);
            active[i] = active.back();
            active.pop_back();
        }
        std::vector<Row>& free = free_of(reg);
        if (free.empty()) {
            place[reg] = units;
            units += units_of(reg);
        } else {
            place[reg] = free.back();
            free.pop_back();
        }
        active.push_back({intervals[reg].end, reg});
    }
    for (Row& row : program.rows) {
        if (!(row & kConstantBit)) row = place[row];
    }
    for (Op& op : program.ops) {
        if (op.guard != kNoRow) op.guard = place[op.guard];
    }
    for (SpecialRow& special : program.specials) special.row = place[special.row];
    return units;
}

}  // namespace fattn::vgpu
