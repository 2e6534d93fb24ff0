// Fills the rows of special registers that an entry reads.
#include "exec/specials.h"

#include "exec/cta.h"
#include "exec/grid.h"
#include "exec/warp.h"

namespace fattn::vgpu {
namespace {

uint32_t value_of(Special what, const Warp& warp, uint32_t lane) {
    const Launch& launch = warp.grid.launch;
    const Cta& cta = warp.cta;
    const Dim3 thread = thread_position(launch.block, warp.thread_of(lane));
    const Dim3& cluster = launch.cluster;
    const uint32_t bit = 1u << lane;
    switch (what) {
        case Special::kTidX:
            return thread.x;
        case Special::kTidY:
            return thread.y;
        case Special::kTidZ:
            return thread.z;
        case Special::kNtidX:
            return launch.block.x;
        case Special::kNtidY:
            return launch.block.y;
        case Special::kNtidZ:
            return launch.block.z;
        case Special::kCtaidX:
            return cta.block.x;
        case Special::kCtaidY:
            return cta.block.y;
        case Special::kCtaidZ:
            return cta.block.z;
        case Special::kNctaidX:
            return launch.grid.x;
        case Special::kNctaidY:
            return launch.grid.y;
        case Special::kNctaidZ:
            return launch.grid.z;
        case Special::kLaneid:
            return lane;
        case Special::kWarpid:
            return warp.index;
        case Special::kNwarpid:
            return (cta.num_threads() + 31) / 32;
        case Special::kLanemaskEq:
            return bit;
        case Special::kLanemaskLt:
            return bit - 1;
        case Special::kLanemaskLe:
            return bit | (bit - 1);
        case Special::kLanemaskGt:
            return ~(bit | (bit - 1));
        case Special::kLanemaskGe:
            return ~(bit - 1);
        case Special::kSmid:
            return warp.grid.sm_of(cta);
        case Special::kNsmid:
            return launch.module->model().num_sms;
        case Special::kGridid:
            return 1;
        case Special::kDynamicSmem:
            return launch.dynamic_shared_bytes;
        case Special::kTotalSmem:
            return (warp.grid.shared_bytes() + 127) / 128 * 128;
        case Special::kClusteridX:
            return cta.block.x / cluster.x;
        case Special::kClusteridY:
            return cta.block.y / cluster.y;
        case Special::kClusteridZ:
            return cta.block.z / cluster.z;
        case Special::kNclusteridX:
            return launch.grid.x / cluster.x;
        case Special::kNclusteridY:
            return launch.grid.y / cluster.y;
        case Special::kNclusteridZ:
            return launch.grid.z / cluster.z;
        case Special::kClusterCtaidX:
            return cta.block.x % cluster.x;
        case Special::kClusterCtaidY:
            return cta.block.y % cluster.y;
        case Special::kClusterCtaidZ:
            return cta.block.z % cluster.z;
        case Special::kClusterNctaidX:
            return cluster.x;
        case Special::kClusterNctaidY:
            return cluster.y;
        case Special::kClusterNctaidZ:
            return cluster.z;
        case Special::kClusterCtarank:
            return cta.rank;
        case Special::kClusterNctarank:
            return static_cast<uint32_t>(cluster.count());
        case Special::kIsExplicitCluster:
            return cluster.count() > 1 || launch.entry->explicit_cluster;
        case Special::kAggregateSmem:
            return warp.grid.shared_bytes() +
                   launch.module->model().reserved_shared_bytes_per_block;
        case Special::kWorkspaceHigh:
            return static_cast<uint32_t>(warp.grid.workspace_address() >> 32);
        case Special::kWorkspaceLow:
            return static_cast<uint32_t>(warp.grid.workspace_address());
    }
    return 0;
}

}  // namespace

void fill_specials(Warp& warp) {
    for (const SpecialRow& special : warp.program.specials) {
        uint32_t votes = 0;
        for (uint32_t lane = 0; lane < 32; ++lane) {
            const uint32_t value = value_of(special.what, warp, lane);
            votes |= uint32_t{value != 0} << lane;
            if (special.bytes == 4) warp.lanes<uint32_t>(special.row)[lane] = value;
            if (special.bytes == 8) warp.lanes<uint64_t>(special.row)[lane] = value;
            if (special.bytes == 2)
                warp.lanes<uint16_t>(special.row)[lane] = static_cast<uint16_t>(value);
        }
        if (special.bytes == 1) *warp.lanes<uint32_t>(special.row) = votes;
        warp.set_defined(special.row, ~0u, ~0u);
    }
}

}  // namespace fattn::vgpu
