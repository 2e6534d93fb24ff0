// Published block patterns at the C boundary: checks a description and writes its mask.
#include "plan/block_patterns.h"

#include "api/growing.h"
#include "api/status.h"
#include "api/tensor_check.h"
#include "backend/text.h"

namespace fattn::api {
namespace {

constexpr auto value_of(BlockPatternKind kind) {
    return static_cast<fattn_block_pattern_kind>(kind);
}
static_assert(FATTN_BLOCK_PATTERN_SINK_WINDOW == value_of(BlockPatternKind::kSinkWindow));
static_assert(FATTN_BLOCK_PATTERN_STRIDED == value_of(BlockPatternKind::kStrided));
static_assert(FATTN_BLOCK_PATTERN_FIXED == value_of(BlockPatternKind::kFixed));
static_assert(FATTN_BLOCK_PATTERN_RANDOM_GLOBAL == value_of(BlockPatternKind::kRandomGlobal));
static_assert(FATTN_BLOCK_PATTERN_POWER_OF_TWO == value_of(BlockPatternKind::kPowerOfTwo));
static_assert(FATTN_BLOCK_PATTERN_HEAD_WINDOWS == value_of(BlockPatternKind::kHeadWindows));
static_assert(FATTN_BLOCK_PATTERN_HEAD_CLASSES == value_of(BlockPatternKind::kHeadClasses));

Status check_range(const char* name, int64 value, int64 least, int64 most) {
    if (value >= least && value <= most) return {};
    return invalid(text(name, " is ", value, "; allowed are ", least, " to ", most));
}

Status check_sizes(const fattn_block_pattern& given) {
    if (const uint32 unknown = given.flags & ~static_cast<uint32>(FATTN_BLOCK_PATTERN_NON_CAUSAL);
        unknown != 0) {
        return unsupported(text("flags hold unknown bits (", unknown, "); this library knows ",
                                static_cast<uint32>(FATTN_BLOCK_PATTERN_NON_CAUSAL)));
    }
    if (given.kind > FATTN_BLOCK_PATTERN_HEAD_CLASSES) {
        return unsupported(text("kind is ", given.kind, "; this library knows 0 to ",
                                static_cast<uint32>(FATTN_BLOCK_PATTERN_HEAD_CLASSES)));
    }
    if (given.reserved != 0) return unsupported("reserved is not zero");
    FATTN_RETURN_IF_ERROR(check_range("num_heads", given.num_heads, 0, kMaxExtent));
    FATTN_RETURN_IF_ERROR(check_range("kv_len", given.kv_len, 0, kMaxExtent));
    FATTN_RETURN_IF_ERROR(check_range("q_len", given.q_len, 0, given.kv_len));
    FATTN_RETURN_IF_ERROR(check_range("block_size", given.block_size, 1, kMaxExtent));
    if ((given.kv_len - given.q_len) % given.block_size != 0) {
        return invalid(text("q_len is ", given.q_len, " and kv_len is ", given.kv_len,
                            "; the difference must be a multiple of block_size, ",
                            given.block_size));
    }
    return {};
}

Status check_blocks(const fattn_block_pattern& given) {
    FATTN_RETURN_IF_ERROR(check_range("sink_blocks", given.sink_blocks, 0, kMaxExtent));
    FATTN_RETURN_IF_ERROR(check_range("window_blocks", given.window_blocks, 0, kMaxExtent));
    FATTN_RETURN_IF_ERROR(check_range("random_blocks", given.random_blocks, 0, kMaxExtent));
    if (given.kind == FATTN_BLOCK_PATTERN_STRIDED || given.kind == FATTN_BLOCK_PATTERN_FIXED) {
        FATTN_RETURN_IF_ERROR(check_range("stride_blocks", given.stride_blocks, 1, kMaxExtent));
        FATTN_RETURN_IF_ERROR(
            check_range("summary_blocks", given.summary_blocks, 0, given.stride_blocks));
    }
    if (given.kind == FATTN_BLOCK_PATTERN_HEAD_WINDOWS) {
        if (given.head_windows == nullptr && given.num_heads > 0) {
            return invalid("head_windows is NULL; this kind needs one number a head");
        }
        for (int64 h = 0; h < given.num_heads; ++h) {
            const std::string name = text("head_windows[", h, "]");
            FATTN_RETURN_IF_ERROR(check_range(name.c_str(), given.head_windows[h], 0, kMaxExtent));
        }
    }
    if (given.kind == FATTN_BLOCK_PATTERN_HEAD_CLASSES && given.head_streaming == nullptr &&
        given.num_heads > 0) {
        return invalid("head_streaming is NULL; this kind needs one byte a head");
    }
    return {};
}

Status write_mask(const fattn_block_pattern* given, uint8_t* mask, uint64_t num_bytes) {
    fattn_block_pattern read;
    FATTN_RETURN_IF_ERROR(read_growing(given, "pattern", "fattn_block_pattern", &read));
    FATTN_RETURN_IF_ERROR(check_sizes(read));
    FATTN_RETURN_IF_ERROR(check_blocks(read));
    const BlockPattern pattern{.kind = static_cast<BlockPatternKind>(read.kind),
                               .causal = (read.flags & FATTN_BLOCK_PATTERN_NON_CAUSAL) == 0,
                               .num_heads = read.num_heads,
                               .q_len = read.q_len,
                               .kv_len = read.kv_len,
                               .block_size = read.block_size,
                               .sink_blocks = read.sink_blocks,
                               .window_blocks = read.window_blocks,
                               .stride_blocks = read.stride_blocks,
                               .summary_blocks = read.summary_blocks,
                               .random_blocks = read.random_blocks,
                               .seed = read.seed,
                               .head_windows = read.head_windows,
                               .streaming = read.head_streaming};
    const int64 blocks = pattern.num_q_blocks() * pattern.num_kv_blocks();
    if (pattern.num_heads > 0 && blocks > INT64_MAX / pattern.num_heads) {
        return invalid("the mask has more bytes than 63 bits can count");
    }
    const auto needed = static_cast<uint64>(pattern.num_heads * blocks);
    if (num_bytes < needed) {
        return invalid(text("num_bytes is ", num_bytes, "; the mask has ", pattern.num_heads,
                            " times ", pattern.num_q_blocks(), " times ", pattern.num_kv_blocks(),
                            " bytes"));
    }
    if (mask == nullptr && needed > 0) {
        return invalid(text("mask is NULL; room for ", needed, " bytes is needed"));
    }
    // Any number of heads may have no blocks.
    if (needed > 0) write_block_mask(pattern, mask);
    return {};
}

}  // namespace
}  // namespace fattn::api

fattn_status fattn_block_pattern_mask(const fattn_block_pattern* pattern, uint8_t* mask,
                                      uint64_t num_bytes) {
    return fattn::api::guarded([&] { return fattn::api::write_mask(pattern, mask, num_bytes); });
}
