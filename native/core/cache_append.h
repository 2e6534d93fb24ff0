// New tokens of a cache and the pages that take them, as a plain struct; made by api/, carried out
// by backends.
#pragma once

#include "core/tensor_view.h"
#include "core/types.h"

namespace fattn {

/// Fields as in fattn_cache_append_args with layouts resolved.
struct CacheAppend {
    TensorLayout tokens_layout;  // [B, H, n, D]
    TensorLayout pages_layout;   // [num_pages, page_size, H or 1, D]
    const void* tokens;
    void* pages;
    const int32* slots;

    FATTN_HD constexpr int64 num_rows() const {
        return tokens_layout.shape[0] * tokens_layout.shape[1] * tokens_layout.shape[2];
    }
    FATTN_HD constexpr int64 num_places() const {
        return pages_layout.shape[0] * pages_layout.shape[1];
    }
    /// Whether every head has pages, and so slots, of its own.
    FATTN_HD constexpr bool has_slots_of_heads() const {
        return pages_layout.shape[2] == 1 && tokens_layout.shape[1] > 1;
    }
    FATTN_HD constexpr int64 num_slots() const {
        return has_slots_of_heads() ? num_rows() : tokens_layout.shape[0] * tokens_layout.shape[2];
    }

    /// Rows count [B, H, n]: where a row's elements begin, and those of its place.
    struct Move {
        int64 from;
        int64 to;
        bool exists;  // false: the row goes nowhere
    };
    FATTN_HD constexpr Move move(int64 row) const {
        const int64* shape = tokens_layout.shape;
        const int64 token = row % shape[2];
        const int64 head = row / shape[2] % shape[1];
        const int64 entry = row / shape[2] / shape[1];
        const int64 slot = slots[has_slots_of_heads() ? row : entry * shape[2] + token];
        if (slot < 0 || slot >= num_places()) return {0, 0, false};
        const int64 page_size = pages_layout.shape[1];
        return {
            tokens_layout.row(entry, head, token),
            pages_layout.row(slot / page_size, slot % page_size, has_slots_of_heads() ? 0 : head),
            true};
    }
};

}  // namespace fattn
