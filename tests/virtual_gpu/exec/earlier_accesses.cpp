// Accesses of device memory that the latest ones do not stand for: kept, compared, dropped. Used by
// GlobalShadow's reads and writes.
#include "exec/global_shadow.h"
#include "exec/lanes.h"
#include "exec/warp.h"

namespace fattn::vgpu {

uint32_t GlobalShadow::new_earlier(const EarlierAccess& made) {
    if (free_earlier_ == 0) {
        earlier_.push_back(made);
        return static_cast<uint32_t>(earlier_.size() - 1);
    }
    const uint32_t at = free_earlier_;
    free_earlier_ = earlier_[at].next;
    earlier_[at] = made;
    return at;
}

void GlobalShadow::free_list(uint32_t first) {
    while (first != 0) {
        const uint32_t next = earlier_[first].next;
        earlier_[first].next = free_earlier_;
        free_earlier_ = first;
        first = next;
    }
}

// Those that touch no other bytes go, but for strong writes that are not ordered before this
// strong one.
void GlobalShadow::drop_earlier(Warp& warp, uint32_t lane, GlobalWord& at, uint8_t touched,
                                bool strong) {
    for (uint32_t* link = &at.more; *link != 0;) {
        EarlierAccess& one = earlier_[*link];
        const bool stays = strong && one.wrote && (one.cell.how & GlobalCell::kStrongBit) &&
                           !ordered(warp, lane, one.cell);
        if (!stays) one.cell.bytes = static_cast<uint8_t>(one.cell.bytes & ~touched);
        if (one.cell.bytes != 0) {
            link = &one.next;
            continue;
        }
        const uint32_t freed = *link;
        *link = one.next;
        one.next = free_earlier_;
        free_earlier_ = freed;
    }
}

// The latest write stays known for these of its bytes; of strong ones to the same bytes so many.
void GlobalShadow::keep_write(GlobalWord& at, uint8_t bytes) {
    uint32_t strong = 0;
    for (uint32_t i = at.more; i != 0; i = earlier_[i].next) {
        EarlierAccess& one = earlier_[i];
        if (!one.wrote) continue;
        if (one.cell.cluster == at.write.cluster && one.cell.agent == at.write.agent &&
            one.cell.how == at.write.how && one.cell.bytes == bytes) {
            one.cell = at.write;
            one.cell.bytes = bytes;
            return;
        }
        strong += (one.cell.how & GlobalCell::kStrongBit) != 0;
    }
    if ((at.write.how & GlobalCell::kStrongBit) && strong >= kMostStrongWrites) return;
    EarlierAccess made{at.write, 0, at.more, true};
    made.cell.bytes = bytes;
    at.more = new_earlier(made);
}

// What of a thread's asynchronous write is known, at the moment of its end.
void GlobalShadow::settle_earlier(const GlobalWord& at, const GlobalCell& ended) {
    for (uint32_t i = at.more; i != 0; i = earlier_[i].next) {
        EarlierAccess& one = earlier_[i];
        if (one.wrote && one.cell.cluster == ended.cluster && one.cell.agent == ended.agent &&
            one.cell.epoch == kPendingEpoch)
            one.cell.epoch = ended.epoch;
    }
}

// The latest read stays known for these of its bytes. False where it is one of too many readers of
// other clusters than this.
bool GlobalShadow::keep_read(GlobalWord& at, uint8_t bytes, uint32_t cluster) {
    GlobalCell cell = at.read;
    const uint32_t lane = cell.agent % 32;
    cell.agent = static_cast<uint16_t>(cell.agent - lane);
    cell.bytes = bytes;
    uint32_t others = 0;
    for (uint32_t i = at.more; i != 0; i = earlier_[i].next) {
        EarlierAccess& one = earlier_[i];
        const bool alike = !one.wrote && one.cell.cluster == cell.cluster &&
                           one.cell.agent == cell.agent && one.cell.epoch == cell.epoch &&
                           one.cell.how == cell.how && one.cell.bytes == cell.bytes;
        if (alike) {
            one.lanes |= 1u << lane;
            return true;
        }
        others += !one.wrote && one.cell.cluster != cluster;
    }
    if (cell.cluster != cluster && others >= kMostOthers) return false;
    at.more = new_earlier({cell, 1u << lane, at.more, false});
    return true;
}

void GlobalShadow::need_earlier_ordered(Warp& warp, const Op& op, uint32_t lane, uint64_t address,
                                        const GlobalWord& at, uint8_t touched, AccessFlags flags,
                                        bool writes) {
    for (uint32_t i = at.more; i != 0; i = earlier_[i].next) {
        const EarlierAccess& one = earlier_[i];
        if ((one.cell.bytes & touched) == 0 || (!writes && !one.wrote)) continue;
        if (tolerates(warp, op, flags, one.cell)) continue;
        if (one.wrote) {
            if (!ordered(warp, lane, one.cell))
                conflict(warp, op, lane, address, one.cell, writes, true);
            continue;
        }
        each_lane(one.lanes, [&](uint32_t reader) {
            GlobalCell cell = one.cell;
            cell.agent = static_cast<uint16_t>(cell.agent + reader);
            if (!ordered(warp, lane, cell)) conflict(warp, op, lane, address, cell, writes, false);
        });
    }
}

}  // namespace fattn::vgpu
