// Release and acquire by location.
#include "exec/fences.h"

#include <algorithm>

#include "exec/access.h"
#include "exec/cta.h"
#include "exec/decoding.h"
#include "exec/grid.h"
#include "exec/lanes.h"

namespace fattn::vgpu {
namespace {

Location location_of(const Place& place) {
    return {place.shared ? place.shared->id : 0, place.address & ~uint64_t{3}};
}

Scope distance(const Warp& warp, const Publication& from) {
    if (from.cluster != warp.cta.cluster.id) return Scope::kGpu;
    return from.rank == warp.cta.rank ? Scope::kCta : Scope::kCluster;
}

void learn(Warp& warp, uint32_t lane, const Publication& from) {
    warp.knowledge.acquire_across(lane, warp.cta.cluster.id, *from.knowledge, from.cluster);
}

}  // namespace

Scope take_scope(Decoding& d) {
    const auto name = d.take_one({"cta", "cluster", "gpu", "sys"});
    return name == "cta" ? Scope::kCta : name == "cluster" ? Scope::kCluster : Scope::kGpu;
}

void fence_lanes(Warp& warp, uint32_t mask, Scope scope) {
    if (!warp.grid.options.checks.races) return;
    FenceState& state = warp.fences;
    each_lane(mask, [&](uint32_t lane) {
        std::erase_if(state.observed[lane], [&](const FenceState::Observed& one) {
            if (one.distance > scope) return false;
            learn(warp, lane, one.publication);
            return true;
        });
        state.fenced[lane] = {std::make_shared<const Knowledge>(warp.knowledge.snapshot(lane)),
                              scope};
    });
    warp.knowledge.advance(warp.cta.cluster.next_epoch());
}

void observe(Warp& warp, uint32_t lane, const Place& place, const StrongAccess& access) {
    const PublishedTable& table = warp.grid.published;
    const auto found = table.find(location_of(place));
    if (found == table.end()) return;
    for (const Publication& one : found->second) {
        const Scope far = distance(warp, one);
        if (far > one.scope || far > access.scope) continue;
        if (access.acquires) {
            learn(warp, lane, one);
            continue;
        }
        // Who polls sees the same again and again.
        std::vector<FenceState::Observed>& seen = warp.fences.observed[lane];
        const bool known = std::any_of(seen.begin(), seen.end(), [&](const auto& other) {
            return other.publication.knowledge == one.knowledge;
        });
        if (!known) seen.push_back({one, far});
    }
}

void publish(Warp& warp, uint32_t lane, const Place& place, const StrongAccess& access) {
    const FenceState::Fenced& fenced = warp.fences.fenced[lane];
    Publication made{fenced.knowledge, warp.cta.cluster.id, warp.cta.rank,
                     std::min(fenced.scope, access.scope)};
    if (access.releases) {
        made.knowledge = std::make_shared<const Knowledge>(warp.knowledge.snapshot(lane));
        made.scope = access.scope;
    }
    PublishedTable& table = warp.grid.published;
    const Location at = location_of(place);
    if (!access.modifies) table.erase(at);
    if (!made.knowledge) return;
    std::vector<Publication>& there = table[at];
    // Of one block's publications with one scope the knowledge is joined.
    for (Publication& one : there) {
        if (one.cluster != made.cluster || one.rank != made.rank || one.scope != made.scope)
            continue;
        auto joined = std::make_shared<Knowledge>(*one.knowledge);
        joined->join(*made.knowledge);
        one.knowledge = std::move(joined);
        return;
    }
    there.push_back(std::move(made));
}

}  // namespace fattn::vgpu
