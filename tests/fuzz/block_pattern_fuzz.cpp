// Fuzz target: the input is a fattn_block_pattern, byte for byte, and after it the numbers that its
// pointers stand for. Whatever it says, its mask is refused with a text or written into memory of
// exactly its size: zeros and ones, and with causality nothing after the diagonal.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>

#include "fused_attention/fused_attention.h"
#include "fuzz_input.h"

namespace {

using fattn::fuzz::check;
using fattn::fuzz::require;

constexpr int64_t kMostHeads = 64;
constexpr int64_t kMostBytes = 4096;

/// Bytes of the mask; -1 where they are many or the numbers are none of a mask.
int64_t mask_bytes(const fattn_block_pattern& p) {
    const auto is_count = [](int64_t n) { return n >= 0 && n <= kMostBytes; };
    if (!is_count(p.num_heads) || !is_count(p.q_len) || !is_count(p.kv_len)) return -1;
    if (p.block_size < 1) return -1;
    // Written so that no block size overflows.
    const auto blocks = [&](int64_t tokens) {
        return tokens / p.block_size + (tokens % p.block_size != 0 ? 1 : 0);
    };
    const int64_t bytes = p.num_heads * blocks(p.q_len) * blocks(p.kv_len);
    return bytes <= kMostBytes ? bytes : -1;
}

void check_mask(const fattn_block_pattern& p, const uint8_t* mask) {
    const int64_t rows = (p.q_len + p.block_size - 1) / p.block_size;
    const int64_t columns = (p.kv_len + p.block_size - 1) / p.block_size;
    const int64_t first = (p.kv_len - p.q_len) / p.block_size;
    const bool causal = (p.flags & FATTN_BLOCK_PATTERN_NON_CAUSAL) == 0;
    for (int64_t n = 0; n < p.num_heads * rows * columns; ++n) {
        require(mask[n] <= 1);
        const bool after = n % columns > first + n / columns % rows;
        require(!causal || !after || mask[n] == 0);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
    // Room for the largest struct_size that the library believes, so that a wild one reads zeros.
    static constexpr std::size_t kRoom = 16384;
    alignas(fattn_block_pattern) static unsigned char memory[kRoom];
    std::memset(memory, 0, kRoom);
    const std::size_t of_struct = std::min(size, sizeof(fattn_block_pattern));
    if (size > 0) std::memcpy(memory, data, of_struct);
    auto* pattern = reinterpret_cast<fattn_block_pattern*>(memory);
    int64_t windows[kMostHeads] = {};
    uint8_t streaming[kMostHeads] = {};
    const std::size_t left = size - of_struct;
    if (left > 0) {
        std::memcpy(windows, data + of_struct, std::min(left, sizeof(windows)));
        std::memcpy(streaming, data + of_struct, std::min(left, sizeof(streaming)));
    }
    // Whole fields: half a pointer is no pointer.
    if (pattern->struct_size < sizeof(fattn_block_pattern)) {
        pattern->struct_size -= pattern->struct_size % sizeof(void*);
    }
    const bool few_heads = pattern->num_heads <= kMostHeads;
    const bool has_windows = few_heads && pattern->head_windows != nullptr;
    const bool has_streaming = few_heads && pattern->head_streaming != nullptr;
    pattern->head_windows = has_windows ? windows : nullptr;
    pattern->head_streaming = has_streaming ? streaming : nullptr;

    const int64_t bytes = mask_bytes(*pattern);
    if (bytes < 0) {
        check(fattn_block_pattern_mask(pattern, nullptr, 0));
        return 0;
    }
    const auto room = std::make_unique<uint8_t[]>(static_cast<std::size_t>(bytes));
    const fattn_status status =
        fattn_block_pattern_mask(pattern, room.get(), static_cast<uint64_t>(bytes));
    check(status);
    // A short struct leaves fields out that its memory holds.
    if (status == FATTN_STATUS_OK && pattern->struct_size >= sizeof(fattn_block_pattern)) {
        check_mask(*pattern, room.get());
    }
    return 0;
}
