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
    }

    /// Adds rows [begin, end) of bytes each.
    void add(const TokenRows& rows, int64 begin, int64 end, int64 bytes) {
        if (begin < end && count_ < kMostParts) parts_[count_++] = {rows, begin, end, bytes};
    }

    /// Touches the next few rows.
    void step() {
        for (int64 left = kBytesPerStep; left > 0 && current_ < count_;) {
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
    static constexpr int kMostParts = 3;
    static constexpr int64 kBytesPerStep = 2048;

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
};

}  // namespace
}  // namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE
