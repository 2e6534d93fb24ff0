// Tensor maps in memory, and the proxy through which tensor copies read them. Used by tensor copies
// and by the Grid that remembers who fenced.
#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "gpu/tensor_map.h"

namespace fattn::vgpu {

class Warp;
struct Op;

// A map that a grid changes in device memory is read through a proxy of its own: who changed it
// releases it to that proxy, and who reads it acquires it from there.
struct TensorMapFences {
    // Which write an acquire has seen, and which thread's acquire it was.
    struct Acquired {
        uint32_t cluster, agent, epoch;  // of the write
        uint32_t by_cluster, by_agent, by_epoch;
    };
    std::map<std::pair<uint32_t, uint32_t>, uint32_t> released;  // by cluster and agent: the epoch
    std::map<uint64_t, std::vector<Acquired>> acquired;          // by address of the map
};

// Faults unless the address holds a map of this rank that the lane may use.
TensorMapLayout read_tensor_map(Warp& w, const Op& op, uint32_t lane, uint64_t address,
                                uint32_t rank);

}  // namespace fattn::vgpu
