// The rows that the next group of lanes comes to, which the caches are asked for while the current
// one is computed; used by the lane loops.
#pragma once

#include "core/problem.h"
#include "core/types.h"
#include "cpu/generic/lane_products.h"
#include "cpu/generic/pack.h"
#include "cpu/lane_group.h"

namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE {
namespace {

/// Keys that become weights between two times that rows of the next group are asked for, and how
/// often that is for so many runs.
constexpr int64 kKeysPerAsk = 32;
FATTN_HD constexpr int64 weight_asks(int64 num_runs) {
    return kLaneVecs * ceil_div(num_runs * kRunKeys, kKeysPerAsk);
}

/// Rows of one head of a tensor by token, for sequences that begin at token 0.
FATTN_HD inline TokenRows head_rows(const TensorLayout& layout, const void* data,
                                    const Sequence& sequence, int64 head) {
    return evenly_spaced(layout, data, layout.row(sequence.batch_idx, head, 0));
}

/// A tensor with rows of the lanes' tokens.
struct AheadTensor {
    const TensorLayout* layout;
    const void* data;  // null: left out
    bool written;
};

/// Heads [first_head, first_head + num_heads) of some tensors.
struct AheadHeads {
    static constexpr int kMost = 4;
    AheadTensor tensors[kMost];
    Sequence sequence;
    int64 first_head;
    int64 num_heads;
};

/// A group reads the rows of its lanes and writes its results all at once, in places that nothing
/// foresees: asked for one after the other between register tiles and weights, they are there by
/// then.
class RowsAhead {
  public:
    /// calls: how often ask will be called for each head.
    RowsAhead(const LaneGroup& next, const AheadHeads& heads, int64 calls)
        : next_(next),
          heads_(heads),
          rows_of_call_(ceil_div(next.num_lanes, max_of<int64>(calls, 1))) {
        start_head();
    }

    void ask() {
        for (int64 n = 0; n < rows_of_call_ && head_ < heads_.num_heads; ++n) {
            const int64 token = next_.tokens[lane_];
            for (int t = 0; t < AheadHeads::kMost; ++t) {
                const char* row = rows_[t].base + token * rows_[t].stride;
                const bool written = heads_.tensors[t].written;
                for (int64 byte = 0; byte < row_bytes_[t]; byte += kLineBytes) {
                    if (written) {
                        __builtin_prefetch(row + byte, 1, 3);
                    } else {
                        __builtin_prefetch(row + byte, 0, 3);
                    }
                }
            }
            if (++lane_ < next_.num_lanes) continue;
            lane_ = 0;
            if (++head_ < heads_.num_heads) start_head();
        }
    }

  private:
    void start_head() {
        for (int t = 0; t < AheadHeads::kMost; ++t) {
            const AheadTensor& tensor = heads_.tensors[t];
            row_bytes_[t] = 0;
            if (tensor.data == nullptr) continue;
            const TensorLayout& layout = *tensor.layout;
            rows_[t] = head_rows(layout, tensor.data, heads_.sequence, heads_.first_head + head_);
            row_bytes_[t] = layout.shape[3] * bytes_of(layout.dtype);
        }
    }

    const LaneGroup& next_;
    AheadHeads heads_;
    int64 rows_of_call_;
    int64 head_ = 0;  // of the row to ask for next
    int64 lane_ = 0;
    TokenRows rows_[AheadHeads::kMost] = {};  // of the head
    int64 row_bytes_[AheadHeads::kMost] = {};
};

}  // namespace
}  // namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE
