// Release and acquire: what fences and strong accesses to one location order between threads of any
// blocks. Used by loads, stores, atomics and fences.
//
// A release publishes at its location what its thread knows; a relaxed write publishes what its
// thread knew at its last fence. An acquire joins what it observes at once, a relaxed read at its
// thread's next fence. A read-modify-write keeps what was published before it.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "exec/order.h"

namespace fattn::vgpu {

class Decoding;
class Warp;
struct Place;

// Which threads a fence or strong access is for; also how far two threads are from each other.
enum class Scope : uint8_t { kCta, kCluster, kGpu };

struct Publication {
    std::shared_ptr<const Knowledge> knowledge;
    uint32_t cluster;
    uint32_t rank;  // of the block in the cluster
    Scope scope;
};

// What has been published, by location: which memory (0: device memory, else of a block), address.
using Location = std::pair<uint64_t, uint64_t>;
using PublishedTable = std::map<Location, std::vector<Publication>>;

// The fences of a warp's lanes.
struct FenceState {
    struct Fenced {
        std::shared_ptr<const Knowledge> knowledge;  // at the last fence; null before the first
        Scope scope = Scope::kCta;
    };
    struct Observed {
        Publication publication;
        Scope distance;
    };
    std::array<Fenced, 32> fenced;
    std::array<std::vector<Observed>, 32> observed;  // by relaxed reads since the last fence
};

// .cta .cluster .gpu or .sys, which is .gpu here; without one .gpu.
Scope take_scope(Decoding& d);

void fence_lanes(Warp& warp, uint32_t mask, Scope scope);

// A strong read of the place, and a strong write to it.
struct StrongAccess {
    Scope scope;
    bool acquires;
    bool releases;
    bool modifies;  // reads and writes as one
};
void observe(Warp& warp, uint32_t lane, const Place& place, const StrongAccess& access);
void publish(Warp& warp, uint32_t lane, const Place& place, const StrongAccess& access);

}  // namespace fattn::vgpu
