// Asks the cache, between register-tile products, for rows that a task will pack next; used by the
// forward tile loop.
#pragma once

#include "core/types.h"
#include "cpu/generic/pack.h"

namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE {
namespace {

/// A queue of rows to touch, a few at a time. Rows that turn out not to be needed cost bandwidth
/// only.
class ReadAhead {
  public:
    void clear() {
        count_ = 0;
        current_ = 0;
        next_row_ = 0;
        total_ = 0;
    }

    /// Adds rows [begin, end) of bytes each; nothing when the queue is full.
    void add(const TokenRows& rows, int64 begin, int64 end, int64 bytes) {
        if (begin >= end || count_ == kMostParts) return;
        parts_[count_++] = {rows, begin, end, bytes};
        total_ += (end - begin) * max_of<int64>(bytes, 64);
    }

    /// Makes steps so long that num_steps of them reach the end of the queue.
    void pace(int64 num_steps) {
        bytes_of_step_ =
            max_of<int64>(kFewestBytes, ceil_div<int64>(total_, max_of<int64>(num_steps, 1)));
    }

    /// Touches the next few rows.
    void step() {
        for (int64 left = bytes_of_step_; left > 0 && current_ < count_;) {
            const Part& part = parts_[current_];
            left -= max_of<int64>(part.bytes, 64);
            const char* row = part.rows.row(part.begin + next_row_);
            for (int64 b = 0; b < part.bytes; b += 64) __builtin_prefetch(row + b, 0, 2);
            if (part.begin + ++next_row_ == part.end) {
                next_row_ = 0;
                ++current_;
            }
        }
    }

  private:
    static constexpr int kMostParts = 2;
    static constexpr int64 kFewestBytes = 2048;

    struct Part {
        TokenRows rows;
        int64 begin;
        int64 end;
        int64 bytes;
    };

    Part parts_[kMostParts];
    int count_ = 0;
    int current_ = 0;
    int64 next_row_ = 0;
    int64 total_ = 0;
    int64 bytes_of_step_ = kFewestBytes;
};

}  // namespace
}  // namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE
