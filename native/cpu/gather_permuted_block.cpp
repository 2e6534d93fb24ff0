// The lists of permuted block-sparse attention, from the permutation and the block mask of a run;
// made for each run by the CPU kernel, asked by the gathered loops.
#include "cpu/gather_permuted_block.h"

#include <algorithm>

#include "cpu/gather_bits.h"

namespace fattn::cpu {
namespace {

constexpr int64 kRowsOfPair = 256;           // most rows of two query blocks that make a share
constexpr int64 kRowsOfShare = 192;          // wanted, heads included, when query blocks are small
constexpr int64 kBitWordsOfShare = 1 << 17;  // most words of bits: a megabyte a thread
constexpr int64 kKeysOfTile = 256;           // of the backward, wanted

}  // namespace

/// How many query blocks of a share keep a key block.
enum class PermutedBlockGatherer::KeptBy : uint8 { kNone, kSome, kAll };

PermutedBlockGatherer::Geometry::Geometry(const PermutedBlockProblem& problem)
    : num_segments(ceil_div(problem.kv_len, problem.segment)),
      first_query_block(problem.position(0) / problem.query_block),
      query_blocks_of_segment(problem.segment / problem.query_block),
      key_blocks_of_segment(problem.segment / problem.block) {
    int64 heads = 1;
    for (const HeadRun& run : head_runs(problem)) {
        if (problem.shared) {
            units.push_back(run);
            heads = std::max(heads, run.count);
            continue;
        }
        for (int64 n = 0; n < run.count; ++n) units.push_back({run.first + n, 1});
    }
    const int64 words = std::max<int64>(1, ceil_div(problem.kv_len, kBitsOfWord));
    // Packing keys costs a share as much for few rows as for many. A pair needs no bits.
    const int64 rows = problem.query_block * heads;
    const int64 wanted =
        2 * rows <= kRowsOfPair && 3 * rows >= kRowsOfShare ? 2 : kRowsOfShare / rows;
    query_blocks_of_share =
        clamp_to<int64>(std::min(wanted, kBitWordsOfShare / words), 1, query_blocks_of_segment);
    key_blocks_of_tile = clamp_to<int64>(kKeysOfTile / problem.block, 1, key_blocks_of_segment);
}

PermutedBlockGatherer::PermutedBlockGatherer(const PermutedBlockProblem& problem,
                                             const Geometry& geometry, const int32* permutation,
                                             const uint8* block_mask)
    : problem_(problem),
      geometry_(geometry),
      permutation_(permutation),
      block_mask_(block_mask),
      num_key_blocks_(problem.num_key_blocks()),
      num_query_blocks_(problem.num_query_blocks()) {}

PermutedBlockGatherer::Selection PermutedBlockGatherer::selection_of(int64 entry,
                                                                     int64 head) const {
    const int64 n = entry * problem_.num_q_heads + head;
    return {
        permutation_ == nullptr ? nullptr : permutation_ + n * problem_.kv_len,
        block_mask_ == nullptr ? nullptr : block_mask_ + n * num_query_blocks_ * num_key_blocks_};
}

bool PermutedBlockGatherer::some_keep(const Selection& selection, Span query_blocks,
                                      int64 key_block) const {
    for (int64 qb = query_blocks.begin; qb < query_blocks.end; ++qb) {
        if (keeps(selection, qb, key_block)) return true;
    }
    return false;
}

bool PermutedBlockGatherer::all_keep(const Selection& selection, Span query_blocks,
                                     Span key_blocks) const {
    for (int64 qb = query_blocks.begin; qb < query_blocks.end; ++qb) {
        for (int64 kb = key_blocks.begin; kb < key_blocks.end; ++kb) {
            if (!keeps(selection, qb, kb)) return false;
        }
    }
    return true;
}

void PermutedBlockGatherer::append_block(const Selection& selection, int64 key_block, int32* tokens,
                                         int64* num_slots) const {
    const Span slots = slots_of({key_block, key_block + 1});
    for (int64 s = slots.begin; s < slots.end; ++s) {
        tokens[(*num_slots)++] =
            selection.tokens == nullptr ? narrow<int32>(s) : selection.tokens[s];
    }
}

// ------------------------------------------------------------------------------------------------
// What lies where.

int64 PermutedBlockGatherer::num_groups() const {
    if (num_query_blocks_ == 0) return 0;
    const int64 per_segment =
        ceil_div(geometry_.query_blocks_of_segment, geometry_.query_blocks_of_share);
    const auto group_of = [&](int64 query_block) {
        return query_block / geometry_.query_blocks_of_segment * per_segment +
               query_block % geometry_.query_blocks_of_segment / geometry_.query_blocks_of_share;
    };
    const int64 first = geometry_.first_query_block;
    return group_of(first + num_query_blocks_ - 1) - group_of(first) + 1;
}

/// Groups never cross segments; the first may begin inside one.
PermutedBlockGatherer::Span PermutedBlockGatherer::query_blocks_of_group(int64 group) const {
    const int64 of_segment = geometry_.query_blocks_of_segment;
    const int64 of_share = geometry_.query_blocks_of_share;
    const int64 per_segment = ceil_div(of_segment, of_share);
    const int64 first = geometry_.first_query_block;
    const int64 number = group + first / of_segment * per_segment + first % of_segment / of_share;
    const int64 segment = number / per_segment;
    const int64 begin = segment * of_segment + number % per_segment * of_share;
    const int64 end = std::min(begin + of_share, (segment + 1) * of_segment);
    return {std::max(begin, first) - first, std::min(end - first, num_query_blocks_)};
}

PermutedBlockGatherer::Span PermutedBlockGatherer::queries_of(int64 query_block) const {
    const int64 begin = query_block * problem_.query_block;
    return {begin, std::min(begin + problem_.query_block, problem_.q_len)};
}

PermutedBlockGatherer::Span PermutedBlockGatherer::key_blocks_of(int64 segment) const {
    const int64 begin = segment * geometry_.key_blocks_of_segment;
    return {begin, std::min(begin + geometry_.key_blocks_of_segment, num_key_blocks_)};
}

PermutedBlockGatherer::Span PermutedBlockGatherer::slots_of(Span key_blocks) const {
    return {key_blocks.begin * problem_.block,
            std::min(key_blocks.end * problem_.block, problem_.kv_len)};
}

PermutedBlockGatherer::Span PermutedBlockGatherer::query_blocks_in(Span segments) const {
    const int64 first = geometry_.first_query_block;
    const auto cut = [&](int64 segment) {
        return clamp_to<int64>(segment * geometry_.query_blocks_of_segment - first, 0,
                               num_query_blocks_);
    };
    return {cut(segments.begin), cut(segments.end)};
}

void PermutedBlockGatherer::invert(const Selection& selection, int64 segment,
                                   int32* block_of_token) const {
    const Span slots = slots_of(key_blocks_of(segment));
    for (int64 s = slots.begin; s < slots.end; ++s) {
        const int64 token = selection.tokens == nullptr ? s : selection.tokens[s];
        block_of_token[token - slots.begin] = narrow<int32>(s / problem_.block);
    }
}

// ------------------------------------------------------------------------------------------------
// Forward.

/// Slots: blocks of other segments that some query blocks keep, then those that all keep, then,
/// with causality, tokens of the own segment, ascending.
struct PermutedBlockGatherer::ForwardLists {
    KeptBy* kept_by;        // [key blocks] of those outside
    int32* block_of_token;  // [tokens of the own segment], where not all of it is kept
    Span query_blocks;
    Span outside;    // key blocks whose queries' place does not matter
    Span own;        // key blocks whose tokens are compared with positions
    int64 num_some;  // slots that not all keep
    int64 num_outside;
    int64 num_slots;
    bool own_is_whole;  // every query block keeps every own block
};

GatherCapacity PermutedBlockGatherer::forward_capacity() const {
    int64 heads = 1;
    for (const HeadRun& unit : geometry_.units) heads = std::max(heads, unit.count);
    const int64 share = geometry_.query_blocks_of_share;
    const int64 words = ceil_div(problem_.kv_len, kBitsOfWord);
    return {.rows = std::min(share * problem_.query_block, problem_.q_len),
            .heads = heads,
            .slots = problem_.kv_len,
            .words = share > 1 ? share * words : 0,
            .scratch =
                static_cast<uint64>(std::min(problem_.segment, problem_.kv_len)) * sizeof(int32) +
                static_cast<uint64>(num_key_blocks_)};
}

int64 PermutedBlockGatherer::num_forward_shares() const {
    return problem_.batch * static_cast<int64>(geometry_.units.size()) * num_groups();
}

GatheredShare PermutedBlockGatherer::forward_share(int64 index, const GatherBuffer& buffer) const {
    const int64 groups = num_groups();
    const auto num_units = static_cast<int64>(geometry_.units.size());
    const int64 entry = index / groups / num_units;
    const HeadRun unit = geometry_.units[static_cast<std::size_t>(index / groups % num_units)];
    const Selection selection = selection_of(entry, unit.first);

    ForwardLists lists{};
    lists.block_of_token = static_cast<int32*>(buffer.scratch);
    lists.kept_by = reinterpret_cast<KeptBy*>(lists.block_of_token +
                                              std::min(problem_.segment, problem_.kv_len));
    // Later groups first: with causality they see more.
    lists.query_blocks = query_blocks_of_group(groups - 1 - index % groups);
    lists.own = key_blocks_of(problem_.segment_of_query_block(lists.query_blocks.begin));
    if (!problem_.causal) lists.own = {num_key_blocks_, num_key_blocks_};
    lists.outside = {0, lists.own.begin};
    lists.own_is_whole = all_keep(selection, lists.query_blocks, lists.own);
    if (lists.query_blocks.size() == 2 && lists.own_is_whole) {
        return {.entry = entry,
                .first_head = unit.first,
                .num_heads = unit.count,
                .tile = pair_tile(selection, lists, buffer)};
    }
    for (int64 kb = lists.outside.begin; kb < lists.outside.end; ++kb) {
        lists.kept_by[kb] = all_keep(selection, lists.query_blocks, {kb, kb + 1}) ? KeptBy::kAll
                            : some_keep(selection, lists.query_blocks, kb)        ? KeptBy::kSome
                                                                                  : KeptBy::kNone;
        if (lists.kept_by[kb] == KeptBy::kSome) {
            append_block(selection, kb, buffer.tokens, &lists.num_slots);
        }
    }
    lists.num_some = lists.num_slots;
    for (int64 kb = lists.outside.begin; kb < lists.outside.end; ++kb) {
        if (lists.kept_by[kb] == KeptBy::kAll) {
            append_block(selection, kb, buffer.tokens, &lists.num_slots);
        }
    }
    lists.num_outside = lists.num_slots;
    append_own(selection, lists, buffer);

    int64 num_rows = 0;
    uint64* bits = buffer.bits;
    for (int64 qb = lists.query_blocks.begin; qb < lists.query_blocks.end; ++qb) {
        GatheredRow row{0, lists.num_some, lists.num_outside, nullptr};
        if (lists.query_blocks.size() > 1) {
            row.begin = fill_bits(selection, lists, qb, buffer, bits);
            if (row.begin < lists.num_some || !lists.own_is_whole) {
                row.bits = bits;
                bits += ceil_div(lists.num_slots, kBitsOfWord);
            }
        }
        const Span queries = queries_of(qb);
        for (row.query = queries.begin; row.query < queries.end; ++row.query) {
            while (row.end < lists.num_slots &&
                   buffer.tokens[row.end] <= problem_.position(row.query)) {
                ++row.end;
            }
            buffer.rows[num_rows++] = row;
        }
    }
    return {.entry = entry,
            .first_head = unit.first,
            .num_heads = unit.count,
            .tile = {buffer.rows, num_rows, buffer.tokens, lists.num_slots}};
}

/// Two query blocks that keep all of their segment. What only the first keeps comes first, what
/// only the second keeps comes between the tokens up to the first one's last position and the later
/// ones, so that rows of either see an interval.
GatheredTile PermutedBlockGatherer::pair_tile(const Selection& selection, const ForwardLists& lists,
                                              const GatherBuffer& buffer) const {
    const Span pair[2] = {queries_of(lists.query_blocks.begin),
                          queries_of(lists.query_blocks.begin + 1)};
    int64 num_slots = 0;
    const auto append = [&](bool by_first, bool by_second) {
        for (int64 kb = lists.outside.begin; kb < lists.outside.end; ++kb) {
            if (keeps(selection, lists.query_blocks.begin, kb) == by_first &&
                keeps(selection, lists.query_blocks.begin + 1, kb) == by_second) {
                append_block(selection, kb, buffer.tokens, &num_slots);
            }
        }
    };
    const auto append_tokens = [&](int64 begin, int64 end) {
        if (lists.own.size() == 0) return;
        for (int64 t = begin; t < end; ++t) buffer.tokens[num_slots++] = narrow<int32>(t);
    };
    const int64 middle = problem_.position(pair[1].begin);
    append(true, false);
    const int64 begin_of_second = num_slots;
    append(true, true);
    const int64 end_of_first = num_slots;
    append_tokens(slots_of(lists.own).begin, middle);
    append(false, true);
    const int64 end_of_second = num_slots;
    append_tokens(middle, problem_.position(pair[1].end));

    int64 num_rows = 0;
    const int64 first_token = slots_of(lists.own).begin;
    const bool causal = lists.own.size() > 0;
    for (int64 i = pair[0].begin; i < pair[0].end; ++i) {
        const int64 own = causal ? problem_.position(i) + 1 - first_token : 0;
        buffer.rows[num_rows++] = {i, 0, end_of_first + own, nullptr};
    }
    for (int64 i = pair[1].begin; i < pair[1].end; ++i) {
        const int64 own = causal ? problem_.position(i) + 1 - middle : 0;
        buffer.rows[num_rows++] = {i, begin_of_second, end_of_second + own, nullptr};
    }
    return {buffer.rows, num_rows, buffer.tokens, num_slots};
}

/// Tokens of the own segment that a query of the share may see.
void PermutedBlockGatherer::append_own(const Selection& selection, ForwardLists& lists,
                                       const GatherBuffer& buffer) const {
    if (lists.own.size() == 0) return;
    const Span slots = slots_of(lists.own);
    const int64 last_query = queries_of(lists.query_blocks.end - 1).end - 1;
    const int64 end = std::min(slots.end, problem_.position(last_query) + 1);
    if (!lists.own_is_whole) {
        invert(selection, problem_.segment_of(slots.begin), lists.block_of_token);
    }
    for (int64 token = slots.begin; token < end; ++token) {
        if (lists.own_is_whole ||
            some_keep(selection, lists.query_blocks, lists.block_of_token[token - slots.begin])) {
            buffer.tokens[lists.num_slots++] = narrow<int32>(token);
        }
    }
}

/// Bits of what a query block keeps; returns the first slot that it keeps, num_some when that is
/// not among those that others do not keep.
int64 PermutedBlockGatherer::fill_bits(const Selection& selection, const ForwardLists& lists,
                                       int64 query_block, const GatherBuffer& buffer,
                                       uint64* bits) const {
    const int64 words = ceil_div(lists.num_slots, kBitsOfWord);
    if (lists.num_some == 0 && lists.own_is_whole) return 0;
    std::fill(bits, bits + words, uint64{0});
    int64 first = lists.num_some;
    int64 slot = 0;
    for (int64 kb = lists.outside.begin; slot < lists.num_some; ++kb) {
        if (lists.kept_by[kb] != KeptBy::kSome) continue;
        const int64 size = slots_of({kb, kb + 1}).size();
        if (keeps(selection, query_block, kb)) {
            first = std::min(first, slot);
            set_bits(bits, slot, slot + size);
        }
        slot += size;
    }
    set_bits(bits, lists.num_some, lists.num_outside);
    const int64 first_token = slots_of(lists.own).begin;
    if (lists.own_is_whole) {
        set_bits(bits, lists.num_outside, lists.num_slots);
        return first;
    }
    for (int64 s = lists.num_outside; s < lists.num_slots; ++s) {
        if (keeps(selection, query_block, lists.block_of_token[buffer.tokens[s] - first_token])) {
            set_bits(bits, s, s + 1);
        }
    }
    return first;
}

// ------------------------------------------------------------------------------------------------
// Backward.

GatherCapacity PermutedBlockGatherer::backward_capacity() const {
    const int64 slots = std::max(kKeysOfTile, geometry_.key_blocks_of_tile * problem_.block);
    return {.rows = problem_.q_len,
            .heads = 1,
            .slots = std::min(slots, problem_.kv_len),
            .words = num_query_blocks_ * ceil_div(slots, kBitsOfWord),
            .scratch =
                static_cast<uint64>(std::min(problem_.segment, problem_.kv_len)) * sizeof(int32)};
}

int64 PermutedBlockGatherer::num_equal_heads(int64 /*entry*/, int64 head) const {
    for (const HeadRun& unit : geometry_.units) {
        if (head < unit.first + unit.count) return unit.first + unit.count - head;
    }
    return 1;
}

PermutedBlockGatherer::Span PermutedBlockGatherer::segments_of(KeyChunk chunk) const {
    return {chunk.first_of(geometry_.num_segments), chunk.end_of(geometry_.num_segments)};
}

int64 PermutedBlockGatherer::own_tiles(int64 segment) const {
    return problem_.causal ? ceil_div(slots_of(key_blocks_of(segment)).size(), kKeysOfTile) : 0;
}

int64 PermutedBlockGatherer::tiles_of(int64 segment) const {
    return own_tiles(segment) +
           ceil_div(key_blocks_of(segment).size(), geometry_.key_blocks_of_tile);
}

int64 PermutedBlockGatherer::num_key_tiles(int64 /*entry*/, int64 /*head*/, KeyChunk chunk) const {
    const Span segments = segments_of(chunk);
    if (segments.size() == 0) return 0;
    // Only the last segment of all may be shorter than the others.
    return (segments.size() - 1) * tiles_of(segments.begin) + tiles_of(segments.end - 1);
}

GatheredTile PermutedBlockGatherer::key_tile(int64 entry, int64 head, KeyChunk chunk, int64 tile,
                                             const GatherBuffer& buffer) const {
    const Selection selection = selection_of(entry, head);
    const Span segments = segments_of(chunk);
    const int64 per_segment = tiles_of(segments.begin);
    const int64 segment = segments.begin + std::min(tile / per_segment, segments.size() - 1);
    const int64 index = tile - (segment - segments.begin) * per_segment;
    const int64 own = own_tiles(segment);
    return index < own ? own_tile(selection, segment, index, buffer)
                       : blocks_tile(selection, segment, index - own, buffer);
}

/// Tokens of a segment in their own order, for queries of the segment.
GatheredTile PermutedBlockGatherer::own_tile(const Selection& selection, int64 segment, int64 index,
                                             const GatherBuffer& buffer) const {
    const Span key_blocks = key_blocks_of(segment);
    const Span slots = slots_of(key_blocks);
    const int64 first = slots.begin + index * kKeysOfTile;
    const int64 num_slots = std::min(kKeysOfTile, slots.end - first);
    const int64 words = ceil_div(num_slots, kBitsOfWord);
    for (int64 s = 0; s < num_slots; ++s) buffer.tokens[s] = narrow<int32>(first + s);
    const Span query_blocks = query_blocks_in({segment, segment + 1});
    const bool whole = all_keep(selection, query_blocks, key_blocks);
    auto* const block_of_token = static_cast<int32*>(buffer.scratch);
    if (!whole) invert(selection, segment, block_of_token);

    int64 num_rows = 0;
    uint64* bits = buffer.bits;
    for (int64 qb = query_blocks.begin; qb < query_blocks.end; ++qb) {
        GatheredRow row{0, 0, 0, nullptr};
        if (!whole) {
            std::fill(bits, bits + words, uint64{0});
            int64 num_kept = 0;
            for (int64 s = 0; s < num_slots; ++s) {
                if (!keeps(selection, qb, block_of_token[first + s - slots.begin])) continue;
                set_bits(bits, s, s + 1);
                ++num_kept;
            }
            if (num_kept == 0) continue;
            if (num_kept < num_slots) {
                row.bits = bits;
                bits += words;
            }
        }
        const Span queries = queries_of(qb);
        for (row.query = queries.begin; row.query < queries.end; ++row.query) {
            row.end = clamp_to<int64>(problem_.position(row.query) - first + 1, 0, num_slots);
            if (row.end > 0) buffer.rows[num_rows++] = row;
        }
    }
    return {buffer.rows, num_rows, buffer.tokens, num_slots};
}

/// Slots of some blocks of a segment, for queries to which the place of a key does not matter:
/// those of later segments, or all of them without causality.
GatheredTile PermutedBlockGatherer::blocks_tile(const Selection& selection, int64 segment,
                                                int64 index, const GatherBuffer& buffer) const {
    const Span of_segment = key_blocks_of(segment);
    const int64 first = of_segment.begin + index * geometry_.key_blocks_of_tile;
    const Span key_blocks{first, std::min(first + geometry_.key_blocks_of_tile, of_segment.end)};
    int64 num_slots = 0;
    for (int64 kb = key_blocks.begin; kb < key_blocks.end; ++kb) {
        append_block(selection, kb, buffer.tokens, &num_slots);
    }
    const int64 words = ceil_div(num_slots, kBitsOfWord);
    const Span query_blocks = problem_.causal
                                  ? query_blocks_in({segment + 1, geometry_.num_segments})
                                  : Span{0, num_query_blocks_};

    int64 num_rows = 0;
    uint64* bits = buffer.bits;
    for (int64 qb = query_blocks.begin; qb < query_blocks.end; ++qb) {
        Span kept{key_blocks.end, key_blocks.begin};
        int64 num_kept = 0;
        for (int64 kb = key_blocks.begin; kb < key_blocks.end; ++kb) {
            if (!keeps(selection, qb, kb)) continue;
            kept = {std::min(kept.begin, kb), kb + 1};
            ++num_kept;
        }
        if (num_kept == 0) continue;
        const Span slots = slots_of(kept);
        const int64 origin = slots_of(key_blocks).begin;
        GatheredRow row{0, slots.begin - origin, slots.end - origin, nullptr};
        if (num_kept < kept.size()) {
            std::fill(bits, bits + words, uint64{0});
            for (int64 kb = kept.begin; kb < kept.end; ++kb) {
                if (!keeps(selection, qb, kb)) continue;
                const Span of_block = slots_of({kb, kb + 1});
                set_bits(bits, of_block.begin - origin, of_block.end - origin);
            }
            row.bits = bits;
            bits += words;
        }
        const Span queries = queries_of(qb);
        for (row.query = queries.begin; row.query < queries.end; ++row.query) {
            buffer.rows[num_rows++] = row;
        }
    }
    return {buffer.rows, num_rows, buffer.tokens, num_slots};
}

}  // namespace fattn::cpu
