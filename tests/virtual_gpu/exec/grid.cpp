// Starts blocks within the limit of residency, runs them in turns, and says where a grid is stuck.
#include "exec/grid.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include "exec/grid_trace.h"
#include "exec/register_pool.h"
#include "exec/specials.h"
#include "exec/warp.h"

namespace fattn::vgpu {
namespace {

// Warp instructions that a block runs before another may; fewer where livelocks are to be found
// soon.
constexpr uint64_t kMostSlice = 1 << 16, kLeastSlice = 1 << 10;

}  // namespace

Grid::Grid(const Launch& what, DeviceMemory& device_memory)
    : launch(what),
      options(what.options),
      program(*what.module->program(*what.entry)),
      memory(device_memory),
      starting_registers(
          fattn::vgpu::starting_registers(program, *what.entry, what.module->model())),
      executed(program.num_ops() + 1, 0),
      executed_lanes(program.num_ops() + 1, 0),
      random(what.options.seed) {
    if (what.cooperative) {
        workspace_ = {kWorkspaceWindow, workspace_bytes_.size(), workspace_bytes_.data(), nullptr,
                      false};
    }
    shared_bytes_ = what.dynamic_shared_bytes == 0
                        ? program.static_shared_bytes
                        : program.dynamic_shared_offset + what.dynamic_shared_bytes;
}

uint32_t Grid::sm_of(const Cta& cta) const {
    return cta.cluster.id % launch.module->model().num_sms;
}

std::optional<Fault> Grid::check_launch() const {
    const DeviceModel& model = launch.module->model();
    const EntryInfo& entry = *launch.entry;
    const auto refuse = [&](const std::string& message) {
        Fault made;
        made.kind = FaultKind::kLaunch;
        made.kernel = entry.name;
        made.ptx_file = launch.module->file();
        made.message = message;
        return made;
    };
    const auto text = [](const Dim3& d) {
        return std::to_string(d.x) + "x" + std::to_string(d.y) + "x" + std::to_string(d.z);
    };
    const uint64_t threads = launch.block.count();
    if (threads == 0 || launch.grid.count() == 0 || launch.cluster.count() == 0)
        return refuse("a dimension of the launch is 0");
    if (threads > model.max_threads_per_block || launch.block.z > 64) {
        return refuse("the block has " + text(launch.block) + " threads; " +
                      std::to_string(model.max_threads_per_block) + " is the limit, 64 in z");
    }
    if (threads > entry.max_threads) {
        return refuse("the block has " + std::to_string(threads) +
                      " threads; the entry was compiled for " + std::to_string(entry.max_threads));
    }
    if (entry.required_block.x != 0 && !(entry.required_block == launch.block)) {
        return refuse("the block is " + text(launch.block) + "; the entry requires " +
                      text(entry.required_block));
    }
    if (options.checks.limits && shared_bytes_ > model.shared_bytes_per_block_optin) {
        return refuse(
            "a block needs " + std::to_string(shared_bytes_) + " bytes of shared memory; " +
            std::to_string(model.shared_bytes_per_block_optin) + " is the limit of " + model.name);
    }
    if (launch.parameters.size() < entry.parameter_bytes) {
        return refuse("the launch gives " + std::to_string(launch.parameters.size()) +
                      " bytes of parameters; the entry takes " +
                      std::to_string(entry.parameter_bytes));
    }
    if (launch.cluster.count() > 1 && model.compute_major < 9) return refuse("clusters need sm_90");
    if (launch.cluster.count() > 8)
        return refuse("a cluster has at most 8 blocks, not " +
                      std::to_string(launch.cluster.count()));
    if (launch.grid.x % launch.cluster.x != 0 || launch.grid.y % launch.cluster.y != 0 ||
        launch.grid.z % launch.cluster.z != 0) {
        return refuse("the grid " + text(launch.grid) + " is no multiple of the cluster " +
                      text(launch.cluster));
    }
    if (entry.required_cluster.x != 0 && !(entry.required_cluster == launch.cluster)) {
        return refuse("the cluster is " + text(launch.cluster) + "; the entry requires " +
                      text(entry.required_cluster));
    }
    const uint64_t per_sm = resident_blocks_per_sm(
        *launch.module, entry, static_cast<uint32_t>(threads), launch.dynamic_shared_bytes);
    if (options.checks.limits && per_sm == 0) return refuse("no block fits on a multiprocessor");
    if (launch.cooperative && launch.grid.count() > per_sm * model.num_sms) {
        return refuse("a cooperative launch of " + std::to_string(launch.grid.count()) +
                      " blocks; " + std::to_string(per_sm * model.num_sms) +
                      " can be resident at once");
    }
    return std::nullopt;
}

void Grid::start_cluster() {
    const Dim3 shape = launch.cluster;
    const uint32_t number = start_order_[next_start_++];
    const uint32_t columns = launch.grid.x / shape.x, rows = launch.grid.y / shape.y;
    const Dim3 at{number % columns, number / columns % rows, number / columns / rows};
    auto cluster = std::make_unique<Cluster>();
    cluster->started = ShadowPool::of_thread().first_epoch();
    cluster->now = cluster->started + 1;
    cluster->first_block = {at.x * shape.x, at.y * shape.y, at.z * shape.z};
    cluster->shape = shape;
    first_blocks_.push_back(cluster->first_block);
    cluster->id = static_cast<uint32_t>(first_blocks_.size());
    const auto warps = static_cast<uint32_t>((launch.block.count() + 31) / 32);
    cluster->num_threads = cluster->num_agents = static_cast<uint32_t>(shape.count()) * warps * 32;
    for (uint32_t rank = 0; rank < shape.count(); ++rank) {
        const Dim3 block = block_of_rank(cluster->first_block, shape, rank);
        cluster->ctas.push_back(std::make_unique<Cta>(*this, *cluster, block, rank));
    }
    active_.push_back(std::move(cluster));
}

std::string Grid::describe_thread(uint32_t cluster, uint32_t agent) const {
    const auto text = [](Dim3 at) {
        return "(" + std::to_string(at.x) + "," + std::to_string(at.y) + "," +
               std::to_string(at.z) + ")";
    };
    const auto agents = static_cast<uint32_t>((launch.block.count() + 31) / 32 * 32);
    return "thread " + text(thread_position(launch.block, agent % agents)) + " of block " +
           text(block_of_rank(first_blocks_[cluster - 1], launch.cluster, agent / agents));
}

LaunchResult Grid::run() {
    LaunchResult result;
    try {
        if (auto refused = check_launch()) throw FaultError{std::move(*refused)};
        const uint32_t per_sm = resident_blocks_per_sm(*launch.module, *launch.entry,
                                                       static_cast<uint32_t>(launch.block.count()),
                                                       launch.dynamic_shared_bytes);
        resident_limit_ = std::max(1u, per_sm * launch.module->model().num_sms /
                                           static_cast<uint32_t>(launch.cluster.count()));
        start_order_.resize(launch.grid.count() / launch.cluster.count());
        std::iota(start_order_.begin(), start_order_.end(), 0u);
        // Blocks mostly start in order; the seed swaps neighbours and, half of the time, turns the
        // order round.
        for (size_t i = 1; i < start_order_.size(); ++i) {
            if (random.below(4) == 0) std::swap(start_order_[i], start_order_[i - 1]);
        }
        if (random.coin()) std::reverse(start_order_.begin(), start_order_.end());

        const uint64_t slice =
            std::clamp(options.livelock_instructions / 4, kLeastSlice, kMostSlice);
        uint32_t quiet_rounds = 0;  // in which every block that is resident ran, and none got on
        while (next_start_ < start_order_.size() || !active_.empty()) {
            bool ran = false;
            const uint64_t before = since_progress_;
            uint64_t ran_now = 0;
            for (size_t i = 0; i < active_.size();) {
                Cluster& cluster = *active_[i];
                bool cluster_ran = false;
                for (const auto& cta : cluster.ctas) {
                    uint64_t budget = slice;
                    cluster_ran |= cta->run(budget);
                    since_progress_ += slice - budget;
                    ran_now += slice - budget;
                    time += slice - budget;
                }
                if (!cluster.copies.empty())
                    cluster_ran |= advance_copies(*this, cluster, !cluster_ran || quiet_rounds > 0);
                ran |= cluster_ran;
                if (cluster.ended()) {
                    finish_copies(*this, cluster);
                    active_.erase(active_.begin() + static_cast<ptrdiff_t>(i));
                } else {
                    ++i;
                }
            }
            quiet_rounds = since_progress_ == before + ran_now ? quiet_rounds + 1 : 0;
            // A block that yields may wait for one that has not started.
            if (active_.size() < resident_limit_ && next_start_ < start_order_.size()) {
                start_cluster();
                quiet_rounds = 0;
                continue;
            }
            if (active_.empty() || (ran && quiet_rounds == 0)) continue;
            // Who spins may wait for lanes that wait for him where their paths join.
            bool parted = false;
            for (const auto& cluster : active_) {
                for (const auto& cta : cluster->ctas) parted |= cta->part_waiting();
            }
            if (parted) {
                quiet_rounds = 0;
            } else if (!ran) {
                stuck(false);
            } else if (options.checks.livelock && quiet_rounds >= 2 &&
                       since_progress_ > options.livelock_instructions) {
                stuck(true);
            }
        }
    } catch (FaultError& error) {
        result.fault = std::move(error.fault);
    }
    if (launch.keep_trace) {
        result.trace =
            std::make_shared<GridTrace>(launch.entry->name, std::move(global_shadow),
                                        launch.module->program(*launch.entry), waited_for_grids);
    }
    count_kinds();
    result.statistics = std::move(statistics);
    return result;
}

void Grid::stuck(bool livelock) {
    bool lanes_missing = false;
    std::vector<std::string> lines;
    std::string barriers;
    for (const auto& cluster : active_) {
        for (const auto& cta : cluster->ctas) {
            lanes_missing |= cta->waits_for_lanes();
            for (std::string& line : cta->where()) lines.push_back(std::move(line));
            barriers += cta->mbarriers.describe();
        }
    }
    Fault made;
    made.kind = livelock        ? FaultKind::kLivelock
                : lanes_missing ? FaultKind::kDivergence
                                : FaultKind::kDeadlock;
    made.kernel = launch.entry->name;
    made.ptx_file = launch.module->file();
    made.message = livelock ? std::to_string(options.livelock_instructions) +
                                  " instructions ran and nothing was stored, arrived or ended"
                            : "everything that runs waits for something that cannot come";
    constexpr size_t kShown = 40;
    for (size_t i = 0; i < std::min(lines.size(), kShown); ++i)
        made.earlier += (i ? "\n  " : "") + lines[i];
    if (lines.size() > kShown)
        made.earlier += "\n  and " + std::to_string(lines.size() - kShown) + " more";
    made.earlier += barriers;
    if (!active_.empty()) {
        made.block = active_[0]->ctas[0]->block;
        for (const auto& warp : active_[0]->ctas[0]->warps) {
            if (warp->paths().empty()) continue;
            const OpInfo& info =
                program.infos[std::min<size_t>(warp->paths()[0].pc, program.infos.size() - 1)];
            made.thread = thread_position(
                launch.block,
                warp->thread_of(static_cast<uint32_t>(std::countr_zero(warp->paths()[0].mask))));
            made.ptx_line = info.line;
            made.instruction = info.text;
            made.source_line = info.source_line;
            if (info.source_file < program.source_files.size())
                made.source_file = program.source_files[info.source_file];
            break;
        }
    }
    throw FaultError{std::move(made)};
}

void Grid::count_kinds() {
    for (uint32_t pc = 0; pc < program.num_ops(); ++pc) {
        if (executed[pc] == 0) continue;
        const OpInfo& info = program.infos[pc];
        statistics.warp_instructions += executed[pc];
        statistics.thread_instructions += executed_lanes[pc];
        statistics.by_kind[info.kind] += executed[pc];
        statistics.tensor_flops += executed[pc] * info.flops;
    }
}

}  // namespace fattn::vgpu
