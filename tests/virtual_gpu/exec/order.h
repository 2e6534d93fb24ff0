// Which accesses are ordered before a thread: vector clocks over the threads of each cluster. Used
// by warps, barriers, fences and shadows.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <vector>

namespace fattn::vgpu {

// For each agent the last epoch that is known. Epochs are counted by one counter for the whole
// cluster, so `floor` stands for all agents at once: after a barrier of everyone it is the only
// thing that a clock holds.
struct Clock {
    uint32_t floor = 0;
    std::vector<uint32_t> at;  // empty, or one for each agent; entries up to the floor mean nothing

    uint32_t of(uint32_t agent) const {
        return agent < at.size() ? std::max(floor, at[agent]) : floor;
    }

    void learn(uint32_t agent, uint32_t epoch) {
        if (epoch <= floor) return;
        if (agent >= at.size()) at.resize(agent + 1, 0);
        at[agent] = std::max(at[agent], epoch);
    }

    void join(const Clock& other) {
        floor = std::max(floor, other.floor);
        if (other.at.empty()) return;
        if (at.size() < other.at.size()) at.resize(other.at.size(), 0);
        for (size_t i = 0; i < other.at.size(); ++i) at[i] = std::max(at[i], other.at[i]);
    }

    void set_floor(uint32_t epoch) {
        floor = epoch;
        at.clear();
    }
};

// What a thread knows: everything ordered before it, and the part that is ordered for the async
// proxy too, which is fenced for shared and device memory by themselves.
struct Knowledge {
    struct OfCluster {
        uint32_t cluster;
        Clock generic;
        Clock async_global;
    };

    Clock generic;
    Clock async;  // of shared memory
    Clock async_global;
    std::vector<OfCluster> others;  // of other clusters, once something has been acquired from them

    // Both belong to threads of one cluster.
    void join(const Knowledge& other) {
        generic.join(other.generic);
        join_async(other);
        join_others(other);
    }
    void join_async(const Knowledge& other) {
        async.join(other.async);
        async_global.join(other.async_global);
    }
    void join_others(const Knowledge& other) {
        for (const OfCluster& one : other.others) {
            OfCluster& mine = of_cluster(one.cluster);
            mine.generic.join(one.generic);
            mine.async_global.join(one.async_global);
        }
    }

    // This is a thread's of the cluster `own`, the other one's of the cluster `from`.
    void join_across(uint32_t own, const Knowledge& other, uint32_t from) {
        if (own == from) return join(other);
        OfCluster& theirs = of_cluster(from);
        theirs.generic.join(other.generic);
        theirs.async_global.join(other.async_global);
        for (const OfCluster& one : other.others) {
            const bool mine = one.cluster == own;
            (mine ? generic : of_cluster(one.cluster).generic).join(one.generic);
            (mine ? async_global : of_cluster(one.cluster).async_global).join(one.async_global);
        }
    }

    OfCluster& of_cluster(uint32_t cluster) {
        for (OfCluster& one : others) {
            if (one.cluster == cluster) return one;
        }
        return others.emplace_back(OfCluster{cluster, {}, {}});
    }
};

// Which memory a proxy fence is for.
struct ProxySpaces {
    bool shared;
    bool global;
};

// What the 32 threads of a warp know. They share one Knowledge until some of them learn more than
// others.
class WarpKnowledge {
  public:
    // Everything up to `floor` is ordered before the warp.
    void start(uint32_t first_agent, uint32_t epoch, uint32_t floor) {
        first_agent_ = first_agent;
        base_.generic.set_floor(floor);
        base_.async.set_floor(floor);
        base_.async_global.set_floor(floor);
        for (auto& one : own_) one.reset();
        private_lanes_ = 0;
        own_floor_ = epoch - 1;
        epoch_ = epoch;
    }

    uint32_t epoch() const { return epoch_; }
    uint32_t floor() const { return base_.generic.floor; }
    uint32_t first_agent() const { return first_agent_; }

    // Whether what `agent` did in `epoch` is ordered before `lane`.
    bool ordered(uint32_t lane, uint32_t agent, uint32_t epoch) const {
        const uint32_t other = agent - first_agent_;
        if (other == lane) return true;
        if (other < 32 && epoch <= own_floor_) return true;
        return of(lane).generic.of(agent) >= epoch;
    }

    // The same of 32 agents from `first` on, which are those of a warp: a bit for each.
    uint32_t ordered_lanes(uint32_t lane, uint32_t first, uint32_t epoch) const {
        const Clock& clock = of(lane).generic;
        const bool own = first == first_agent_;
        if (epoch <= clock.floor || (own && epoch <= own_floor_)) return ~0u;
        uint32_t made = own ? 1u << lane : 0;
        const size_t end = std::min(clock.at.size(), size_t{first} + 32);
        for (size_t i = first; i < end; ++i) made |= uint32_t{clock.at[i] >= epoch} << (i - first);
        return made;
    }

    bool ordered_async(uint32_t lane, uint32_t agent, uint32_t epoch) const {
        return of(lane).async.of(agent) >= epoch;
    }

    // The same of device memory.
    bool ordered_async_global(uint32_t lane, uint32_t agent, uint32_t epoch) const {
        return of(lane).async_global.of(agent) >= epoch;
    }

    // The same for what `agent` of another cluster did.
    bool ordered_across(uint32_t lane, uint32_t cluster, uint32_t agent, uint32_t epoch) const {
        const Knowledge::OfCluster* const one = others_of(lane, cluster);
        return one && one->generic.of(agent) >= epoch;
    }
    bool ordered_async_across(uint32_t lane, uint32_t cluster, uint32_t agent,
                              uint32_t epoch) const {
        const Knowledge::OfCluster* const one = others_of(lane, cluster);
        return one && one->async_global.of(agent) >= epoch;
    }

    // All that one lane knows and did until now; `advance` ends the epoch that it speaks of.
    Knowledge snapshot(uint32_t lane) const {
        Knowledge made = of(lane);
        for (uint32_t other = 0; other < 32; ++other)
            made.generic.learn(first_agent_ + other, own_floor_);
        made.generic.learn(first_agent_ + lane, epoch_);
        return made;
    }
    void advance(uint32_t next_epoch) { epoch_ = next_epoch; }

    // A lane learns what a thread of the cluster `from` knew; its own cluster is `own`.
    void acquire_across(uint32_t lane, uint32_t own, const Knowledge& what, uint32_t from) {
        private_of(lane).join_across(own, what, from);
    }

    // All that the lanes of `mask` know and did until now. What they do afterwards belongs to
    // `next_epoch`.
    Knowledge release(uint32_t mask, uint32_t next_epoch) {
        Knowledge made;
        if ((mask & ~private_lanes_) != 0) made = base_;
        for (uint32_t lane = 0; lane < 32; ++lane) {
            if (!(mask >> lane & 1)) continue;
            if (own_[lane]) made.join(*own_[lane]);
            made.generic.learn(first_agent_ + lane, epoch_);
        }
        for (uint32_t lane = 0; lane < 32; ++lane)
            made.generic.learn(first_agent_ + lane, own_floor_);
        epoch_ = next_epoch;
        return made;
    }

    // The lanes of `mask`, all that live when `whole`, learn what `from` holds.
    void acquire(uint32_t mask, bool whole, const Knowledge& from) {
        if (whole) {
            base_.join(from);
            for (auto& one : own_) {
                if (one) one->join(from);
            }
            return;
        }
        for (uint32_t lane = 0; lane < 32; ++lane) {
            if (mask >> lane & 1) private_of(lane).join(from);
        }
    }

    // The same of one agent's accesses up to `epoch`, by either proxy.
    void learn(uint32_t mask, bool whole, uint32_t agent, uint32_t epoch) {
        const auto teach = [&](Knowledge& knowledge) {
            knowledge.generic.learn(agent, epoch);
            knowledge.async.learn(agent, epoch);
        };
        if (whole) teach(base_);
        for (uint32_t lane = 0; lane < 32; ++lane) {
            if (whole ? own_[lane] != nullptr : (mask >> lane & 1) != 0) teach(private_of(lane));
        }
    }

    // The lanes of `mask` synchronise with each other.
    void sync(uint32_t mask, bool whole, uint32_t next_epoch) {
        if (whole) {
            for (auto& one : own_) {
                if (one) base_.join(*one);
                one.reset();
            }
            private_lanes_ = 0;
            own_floor_ = epoch_;
            epoch_ = next_epoch;
            return;
        }
        const Knowledge all = release(mask, next_epoch);
        acquire(mask, false, all);
    }

    // A barrier of the whole cluster: everything up to `epoch` is ordered before everyone; for the
    // async proxy and of other clusters, what `from` says.
    void raise_floor(uint32_t epoch, uint32_t next_epoch, const Knowledge& from) {
        base_.generic.set_floor(epoch);
        base_.join_async(from);
        base_.join_others(from);
        for (auto& one : own_) one.reset();
        private_lanes_ = 0;
        own_floor_ = epoch;
        epoch_ = next_epoch;
    }

    // fence.proxy.async: what is ordered for the generic proxy becomes ordered for the async proxy;
    // `own`: only what the lanes themselves have written.
    void fence_proxy(uint32_t mask, bool whole, uint32_t next_epoch, ProxySpaces spaces, bool own) {
        const auto fence = [&](Knowledge& knowledge, uint32_t lanes) {
            const auto raise = [&](Clock& clock) {
                if (!own) clock.join(knowledge.generic);
                for (uint32_t lane = 0; lane < 32; ++lane) {
                    if (lanes >> lane & 1) clock.learn(first_agent_ + lane, epoch_);
                    if (!own) clock.learn(first_agent_ + lane, own_floor_);
                }
            };
            if (spaces.shared) raise(knowledge.async);
            if (!spaces.global) return;
            raise(knowledge.async_global);
            if (own) return;
            for (Knowledge::OfCluster& one : knowledge.others) one.async_global.join(one.generic);
        };
        if (whole) {
            for (uint32_t lane = 0; lane < 32; ++lane) {
                if (own_[lane]) fence(*own_[lane], 1u << lane);
            }
            fence(base_, mask & ~private_lanes_);
        } else {
            for (uint32_t lane = 0; lane < 32; ++lane) {
                if (mask >> lane & 1) fence(private_of(lane), 1u << lane);
            }
        }
        epoch_ = next_epoch;
    }

    const Knowledge& of(uint32_t lane) const { return own_[lane] ? *own_[lane] : base_; }

  private:
    const Knowledge::OfCluster* others_of(uint32_t lane, uint32_t cluster) const {
        for (const Knowledge::OfCluster& one : of(lane).others) {
            if (one.cluster == cluster) return &one;
        }
        return nullptr;
    }
    Knowledge& private_of(uint32_t lane) {
        if (!own_[lane]) own_[lane] = std::make_unique<Knowledge>(base_);
        private_lanes_ |= 1u << lane;
        return *own_[lane];
    }

    Knowledge base_;
    std::array<std::unique_ptr<Knowledge>, 32> own_;
    uint32_t private_lanes_ = 0;
    uint32_t own_floor_ = 0;  // up to here the warp's lanes know of each other
    uint32_t epoch_ = 1;
    uint32_t first_agent_ = 0;
};

}  // namespace fattn::vgpu
