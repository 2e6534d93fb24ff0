// What is remembered of accesses to shared memory, to find two that nothing orders. Used by every
// access to a block's memory.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace fattn::vgpu {

class Warp;
struct Op;

enum AccessFlags : uint16_t {
    kPlain = 0,
    kStrong = 1,  // atomic, volatile, relaxed or stronger
};

struct ShadowCell {
    static constexpr uint32_t kPending =
        0xffffffff;  // epoch of a write that an asynchronous operation still owes
    uint32_t epoch = 0;
    uint16_t agent = 0;
    uint8_t strong = 0;
    uint8_t split = 0;  // the four bytes of this word have cells of their own
    uint32_t pc = 0;
    uint32_t last_read = 0;  // the latest epoch in which anything read
};

// Cells for units of one size, and who read them.
struct ShadowLayer {
    struct Reader {
        uint32_t epoch;
        uint32_t lanes;
        uint32_t pc;
    };
    std::unique_ptr<ShadowCell[]> cells;
    std::vector<std::unique_ptr<Reader[]>> readers;  // by warp of the cluster, then by cell
    uint32_t size = 0;

    void allocate(uint32_t num_cells);
    Reader* readers_of(uint32_t warp);
    Reader& reader(uint32_t warp, uint32_t cell) { return readers_of(warp)[cell]; }
};

// The shared memory of one block: contents, which bytes have been written, and the shadow.
class SharedMemory {
  public:
    void allocate(uint32_t size, bool with_shadow);

    void read(Warp& warp, const Op& op, uint32_t lane, uint32_t offset, uint32_t size,
              AccessFlags flags) {
        if (!words_.size) return;
        for (uint32_t word = offset / 4; word <= (offset + size - 1) / 4; ++word)
            read_word(warp, op, lane, word, offset, size, flags);
    }
    // The same for every lane of `mask`, at addresses[lane] - base.
    void read_all(Warp& warp, const Op& op, uint32_t mask, const uint64_t* addresses, uint64_t base,
                  uint32_t size, AccessFlags flags);
    // `data` is what will be written, before it is; null where that does not matter.
    void write(Warp& warp, const Op& op, uint32_t lane, uint32_t offset, uint32_t size,
               AccessFlags flags, const std::byte* data) {
        if (!words_.size) return;
        if (!held_.empty()) need_free(warp, op, lane, offset, size);
        for (uint32_t word = offset / 4; word <= (offset + size - 1) / 4; ++word) {
            write_word(warp, op, lane, word, offset, size, flags, data);
        }
    }
    // An asynchronous operation issued by this lane will write here: nobody may touch it until
    // `settle`.
    void owe(Warp& warp, const Op& op, uint32_t lane, uint32_t offset, uint32_t size);
    // A bulk copy issued by this lane will read or write here: what was written before must be
    // ordered for the async proxy.
    void read_async(Warp& warp, const Op& op, uint32_t lane, uint32_t offset, uint32_t size);
    // The same without a trace: who reads is noted when the read has ended.
    void need_readable(Warp& warp, const Op& op, uint32_t lane, uint32_t offset, uint32_t size);
    void owe_async(Warp& warp, const Op& op, uint32_t lane, uint32_t offset, uint32_t size);
    // Of either proxy's reduction, which does not mind other reductions.
    void owe_reduction(Warp& warp, const Op& op, uint32_t lane, uint32_t offset, uint32_t size,
                       bool async_proxy);
    // Nobody may write here from `hold` to `unhold`: an asynchronous operation reads. Whole words.
    void hold(uint32_t offset, uint32_t size, uint32_t pc);
    void unhold(uint32_t offset, uint32_t size);
    // `agent`, which need not be a thread, has read here in `epoch`.
    void note_read(uint32_t offset, uint32_t size, uint32_t agent, uint32_t epoch, uint32_t pc);
    // It has, and the writes count as the lane's own of this moment (or of `agent` in `epoch`).
    void settle(uint32_t offset, uint32_t size, uint32_t agent, uint32_t epoch, uint32_t pc);

    std::vector<std::byte> bytes;
    std::vector<uint8_t> defined;
    uint64_t id = 0;  // of no other block in the grid, and never 0

  private:
    void read_word(Warp& warp, const Op& op, uint32_t lane, uint32_t word, uint32_t offset,
                   uint32_t size, AccessFlags flags);
    void write_word(Warp& warp, const Op& op, uint32_t lane, uint32_t word, uint32_t offset,
                    uint32_t size, AccessFlags flags, const std::byte* data);
    void read_cell(Warp& warp, const Op& op, uint32_t lane, ShadowLayer& layer, uint32_t cell,
                   AccessFlags flags);
    void write_cell(Warp& warp, const Op& op, uint32_t lane, ShadowLayer& layer, uint32_t cell,
                    AccessFlags flags, bool same_value);
    void split(uint32_t word);
    void need_free(Warp& warp, const Op& op, uint32_t lane, uint32_t offset, uint32_t size);
    void need_async(Warp& warp, const Op& op, uint32_t lane, uint32_t offset, uint32_t size);
    [[noreturn]] void race(Warp& warp, const Op& op, uint32_t lane, const ShadowLayer& layer,
                           uint32_t cell, bool writes, bool earlier_wrote, uint32_t agent,
                           uint32_t pc, bool pending);

    // Of a word, how many asynchronous operations read it until somebody has waited for them.
    struct Held {
        uint32_t count = 0;
        uint32_t pc = 0;
    };

    ShadowLayer words_;
    ShadowLayer bytes_;
    std::vector<Held> held_;  // empty before the first
};

}  // namespace fattn::vgpu
