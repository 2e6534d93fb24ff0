// mbarrier objects in shared memory: phases, pending counts, transactions. Used by the mbarrier
// instructions and bulk copies.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "exec/order.h"

namespace fattn::vgpu {

class SharedMemory;
class Warp;

// Bytes that an asynchronous copy has written, and that nobody has waited for.
struct Arrived {
    // Of cp.async, which writes through the generic proxy: whose, of which group, and when it
    // arrived. Its thread may wait for the group too.
    struct Thread {
        Warp* warp = nullptr;
        uint32_t lane = 0;
        uint32_t group = 0;
        uint32_t epoch = 0;
    };
    SharedMemory* shared;
    uint32_t offset;
    uint32_t bytes;
    uint32_t pc;
    Thread by = {};  // of a bulk copy nobody's
};

struct Mbarrier {
    uint32_t expected = 0;  // arrivals of each phase
    int64_t pending = 0;
    int64_t transactions = 0;
    uint64_t phase = 0;
    Knowledge current;         // what the phase that runs has been given
    Knowledge completed;       // what the last phase that ended had
    uint32_t initialiser = 0;  // the thread, and when: everyone who uses it must know,
    uint32_t initialised = 0;
    uint32_t fenced = 0;            // or of its fence.mbarrier_init: an epoch of `agent`
    uint32_t agent = 0;             // of asynchronous operations that complete on it
    std::vector<Arrived> arriving;  // in the phase that runs
    std::vector<Arrived> arrived;   // in the last phase that ended
};

// By offset in the block's shared memory.
class MbarrierTable {
  public:
    Mbarrier* find(uint32_t offset) {
        const auto found = table_.find(offset);
        return found == table_.end() ? nullptr : &found->second;
    }
    Mbarrier& make(uint32_t offset) { return table_[offset] = Mbarrier{}; }
    void remove(uint32_t offset) { table_.erase(offset); }
    bool overlaps(uint32_t offset, uint32_t bytes) const {
        if (table_.empty()) return false;
        for (uint32_t at = (offset & ~7u); at < offset + bytes; at += 8) {
            if (table_.contains(at)) return true;
        }
        return false;
    }
    const std::unordered_map<uint32_t, Mbarrier>& all() const { return table_; }
    std::unordered_map<uint32_t, Mbarrier>& all() { return table_; }
    std::string describe() const;  // one line for each

  private:
    std::unordered_map<uint32_t, Mbarrier> table_;
};

// Ends the phase when nothing is pending; true when it did.
bool settle_phase(Mbarrier& barrier);

}  // namespace fattn::vgpu
