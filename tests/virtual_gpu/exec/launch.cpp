// run_grid and what surrounds it: check lists, occupancy, reports and statistics as text.
#include "gpu/launch.h"

#include <algorithm>
#include <sstream>
#include <stdexcept>

#include "exec/grid.h"

namespace fattn::vgpu {

LaunchResult run_grid(const Launch& launch, DeviceMemory& memory) {
    return Grid(launch, memory).run();
}

uint32_t resident_blocks_per_sm(const Module& module, const EntryInfo& entry,
                                uint32_t block_threads, uint32_t dynamic_shared_bytes) {
    const DeviceModel& model = module.model();
    const uint32_t warps = std::max(1u, (block_threads + 31) / 32);
    const uint32_t shared =
        entry.static_shared_bytes + dynamic_shared_bytes + model.reserved_shared_bytes_per_block;
    const uint32_t by_threads = model.max_threads_per_sm / (warps * 32);
    // A thread gets them by eights.
    const uint32_t registers = (entry.registers + 7) / 8 * 8;
    const uint32_t by_registers = model.registers_per_sm / (registers * warps * 32);
    const uint32_t by_shared = model.shared_bytes_per_sm / shared;
    return std::min({model.max_blocks_per_sm, by_threads, by_registers, by_shared});
}

Checks parse_checks(const std::string& text) {
    Checks made;
    struct Named {
        const char* name;
        bool Checks::*flag;
    };
    constexpr Named kNamed[] = {{"bounds", &Checks::bounds},
                                {"alignment", &Checks::alignment},
                                {"uninitialised", &Checks::uninitialised},
                                {"races", &Checks::races},
                                {"wgmma", &Checks::wgmma},
                                {"convergence", &Checks::convergence},
                                {"barriers", &Checks::barriers},
                                {"livelock", &Checks::livelock},
                                {"limits", &Checks::limits},
                                {"strict", &Checks::strict},
                                {"diverge", &Checks::late_reconvergence}};
    const auto all = [&](bool on) {
        for (const Named& one : kNamed) {
            if (one.flag != &Checks::strict && one.flag != &Checks::late_reconvergence)
                made.*one.flag = on;
        }
    };
    const auto flag = [&](const std::string& name) -> bool& {
        std::string allowed;
        for (const Named& one : kNamed) {
            if (one.name == name) return made.*one.flag;
            allowed += std::string(", ") + one.name;
        }
        throw std::invalid_argument("the check '" + name + "' is none of all, none" + allowed);
    };
    std::stringstream words(text);
    bool first = true;
    for (std::string word; std::getline(words, word, ','); first = false) {
        if (word == "all" || word == "none") {
            all(word == "all");
        } else if (word.starts_with("-")) {
            flag(word.substr(1)) = false;
        } else {
            bool& chosen = flag(word);
            // A list that begins with a name holds what is wanted and nothing else.
            if (first && &chosen != &made.strict && &chosen != &made.late_reconvergence) all(false);
            chosen = true;
        }
    }
    return made;
}

std::string_view to_string(FaultKind kind) {
    switch (kind) {
        case FaultKind::kOutOfBounds:
            return "out of bounds";
        case FaultKind::kUseAfterFree:
            return "use after free";
        case FaultKind::kMisaligned:
            return "misaligned";
        case FaultKind::kReadOnly:
            return "read-only memory";
        case FaultKind::kUninitialised:
            return "uninitialised";
        case FaultKind::kRace:
            return "race";
        case FaultKind::kMissingProxyFence:
            return "missing proxy fence";
        case FaultKind::kInFlight:
            return "in flight";
        case FaultKind::kDivergence:
            return "divergence";
        case FaultKind::kBarrier:
            return "barrier misuse";
        case FaultKind::kDeadlock:
            return "deadlock";
        case FaultKind::kLivelock:
            return "livelock";
        case FaultKind::kTrap:
            return "trap";
        case FaultKind::kIllegal:
            return "illegal operands";
        case FaultKind::kLaunch:
            return "impossible launch";
        case FaultKind::kNotModelled:
            return "not modelled";
    }
    return "unknown";
}

std::string Fault::text() const {
    const auto dims = [](const Dim3& d) {
        return "(" + std::to_string(d.x) + "," + std::to_string(d.y) + "," + std::to_string(d.z) +
               ")";
    };
    std::string made = std::string(to_string(kind)) + " in " + kernel + ": " + message;
    if (ptx_line != 0) {
        made += "\n  at " + ptx_file + ":" + std::to_string(ptx_line) + ": " + instruction;
        if (!source_file.empty())
            made += "\n  from " + source_file + ":" + std::to_string(source_line);
        made += "\n  block " + dims(block) + ", thread " + dims(thread);
    }
    if (!earlier.empty()) made += "\n  " + earlier;
    return made;
}

void Statistics::add(const Statistics& other) {
    warp_instructions += other.warp_instructions;
    thread_instructions += other.thread_instructions;
    for (const auto& [kind, count] : other.by_kind) by_kind[kind] += count;
    global_load_bytes += other.global_load_bytes;
    global_store_bytes += other.global_store_bytes;
    global_load_sectors += other.global_load_sectors;
    global_store_sectors += other.global_store_sectors;
    global_accesses += other.global_accesses;
    shared_accesses += other.shared_accesses;
    shared_wavefronts += other.shared_wavefronts;
    shared_ideal_wavefronts += other.shared_ideal_wavefronts;
    tensor_flops += other.tensor_flops;
    barrier_waits += other.barrier_waits;
    divergent_branches += other.divergent_branches;
}

namespace {

template <class F>
void each_number(const Statistics& s, F f) {
    f("warp_instructions", s.warp_instructions);
    f("thread_instructions", s.thread_instructions);
    f("global_load_bytes", s.global_load_bytes);
    f("global_store_bytes", s.global_store_bytes);
    f("global_load_sectors", s.global_load_sectors);
    f("global_store_sectors", s.global_store_sectors);
    f("global_accesses", s.global_accesses);
    f("shared_accesses", s.shared_accesses);
    f("shared_wavefronts", s.shared_wavefronts);
    f("shared_ideal_wavefronts", s.shared_ideal_wavefronts);
    f("shared_bank_conflicts", s.shared_wavefronts - s.shared_ideal_wavefronts);
    f("tensor_flops", s.tensor_flops);
    f("barrier_waits", s.barrier_waits);
    f("divergent_branches", s.divergent_branches);
}

}  // namespace

std::string Statistics::table() const {
    std::ostringstream made;
    const auto line = [&](const std::string& name, uint64_t value) {
        made << name << std::string(name.size() < 28 ? 28 - name.size() : 1, ' ') << value << '\n';
    };
    each_number(*this, line);
    for (const auto& [kind, count] : by_kind) line("  " + kind, count);
    return made.str();
}

std::string Statistics::json() const {
    std::ostringstream made;
    made << '{';
    each_number(*this, [&](const char* name, uint64_t value) {
        made << '"' << name << "\": " << value << ", ";
    });
    made << "\"by_kind\": {";
    bool first = true;
    for (const auto& [kind, count] : by_kind) {
        made << (first ? "\"" : ", \"") << kind << "\": " << count;
        first = false;
    }
    made << "}}";
    return made.str();
}

}  // namespace fattn::vgpu
