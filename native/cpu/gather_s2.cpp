// The lists of S2 attention; see gather_s2.h.
#include "cpu/gather_s2.h"

#include <algorithm>

#include "cpu/gather_bits.h"

namespace fattn::cpu {
namespace {

constexpr int64 kMostTilesInShare = 6;  // row tiles that share one packing of K and V
constexpr int64 kTilesOfKeys = 2;       // key tiles of the loop in one of ours

}  // namespace

S2Gatherer::S2Gatherer(const DenseProblem& problem, const S2Pattern& pattern, int64 tile_q,
                       int64 tile_kv)
    : pattern_(pattern),
      batch_(problem.batch),
      q_len_(problem.q_len),
      kv_len_(problem.kv_len),
      first_position_(problem.kv_len - problem.q_len),
      num_kv_blocks_(ceil_div(problem.kv_len, pattern.block_size)),
      first_query_block_(pattern.query_block(0, problem.q_len, problem.kv_len)),
      num_query_blocks_(problem.q_len == 0 ? 0
                                           : pattern.query_block(problem.q_len - 1, problem.q_len,
                                                                 problem.kv_len) -
                                                 first_query_block_ + 1),
      key_blocks_of_tile_(max_of<int64>(1, kTilesOfKeys * tile_kv / pattern.block_size)) {
    const int64 stride = pattern_.vertical_stride;
    band_blocks_of_tile_ =
        stride > 1 ? key_blocks_of_tile_ * stride / (stride - 1) : key_blocks_of_tile_;
    auto lists = std::make_shared<Lists>();
    std::vector<Run>& runs = lists->runs;
    for (int64 h = 0; h < problem.num_q_heads; ++h) {
        const int64 head = pattern_.pattern_head(h);
        const bool same = !runs.empty() &&
                          problem.k_head(h) == problem.k_head(runs.back().first_head) &&
                          problem.v_head(h) == problem.v_head(runs.back().first_head) &&
                          pattern_.same(head, runs.back().pattern_head);
        if (same) {
            ++runs.back().count;
        } else {
            runs.push_back({h, 1, head, is_open(head)});
        }
        lists->run_of_head.push_back(narrow<int32>(runs.size()) - 1);
    }
    add_cut(true, tile_q, lists.get());
    add_cut(false, tile_q, lists.get());
    lists_ = std::move(lists);
}

S2Gatherer S2Gatherer::moved(int64 q_position_offset, int64 k_position_offset) const {
    S2Gatherer result = *this;
    const int64 distance = q_position_offset - k_position_offset;
    result.first_position_ += distance;
    result.first_query_block_ += floor_div(distance, pattern_.block_size);
    // Key blocks are counted from the run's first one, shards from position 0.
    result.pattern_.head_offset += floor_div(k_position_offset, pattern_.block_size);
    return result;
}

bool S2Gatherer::is_open(int64 pattern_head) const {
    return pattern_.is_dense(pattern_head) || pattern_.vertical_stride == 1;
}

void S2Gatherer::add_cut(bool open, int64 tile_q, Lists* lists) const {
    Cut cut;
    int64 most_heads = 1;
    for (const Run& run : lists->runs) {
        if (run.open != open) continue;
        cut.runs.push_back(run);
        most_heads = max_of(most_heads, run.count);
    }
    if (cut.runs.empty()) return;
    const int64 rows = pattern_.block_size * most_heads;
    const int64 most = max_of<int64>(1, kMostTilesInShare * tile_q / rows);
    if (open) {
        cut.blocks = most;
    } else if (pattern_.causal) {
        // Within the band every row sees an interval. A shorter share than a row tile wastes more
        // than the slots that its rows skip.
        cut.blocks = max_of(min_of(most, pattern_.local_blocks), min_of(most, tile_q / rows + 1));
    } else {
        // Blocks a stride apart see the same distant blocks.
        cut.blocks = min_of(most, tile_q / rows + 1);
        cut.spacing = cut.blocks > 1 ? pattern_.vertical_stride : 1;
    }
    cut.blocks = min_of(cut.blocks, max_of<int64>(1, num_query_blocks_));
    if (cut.blocks == 1) cut.parts = ceil_div(rows, kMostTilesInShare * tile_q);
    cut.shares = num_query_blocks_ == 0
                     ? 0
                     : cut.parts * min_of(cut.spacing, num_query_blocks_) *
                           ceil_div(ceil_div(num_query_blocks_, cut.spacing), cut.blocks);
    lists->cuts.push_back(std::move(cut));
}

bool S2Gatherer::uses_bits(const Cut& cut) const {
    return !cut.runs[0].open && (!pattern_.causal || cut.blocks > pattern_.local_blocks);
}

int64 S2Gatherer::most_slots(const Cut& cut) const {
    if (cut.runs[0].open) return kv_len_;
    const int64 distant = ceil_div(num_kv_blocks_, pattern_.vertical_stride);
    const int64 local = min_of(pattern_.local_blocks, num_kv_blocks_);
    if (pattern_.causal) {
        return min_of(kv_len_, (distant + local + cut.blocks) * pattern_.block_size);
    }
    return min_of(kv_len_, 2 * (distant + 1 + cut.blocks * local) * pattern_.block_size);
}

GatherCapacity S2Gatherer::forward_capacity() const {
    GatherCapacity capacity{.rows = 0, .heads = 1, .slots = 0, .words = 0, .scratch = 0};
    for (const Cut& cut : lists_->cuts) {
        const int64 slots = most_slots(cut);
        capacity.rows = std::max(
            capacity.rows, cut.blocks * min_of(pattern_.block_size, max_of<int64>(q_len_, 1)));
        capacity.slots = std::max(capacity.slots, slots);
        for (const Run& run : cut.runs) capacity.heads = std::max(capacity.heads, run.count);
        if (uses_bits(cut)) {
            capacity.words = std::max(capacity.words, cut.blocks * ceil_div(slots, kBitsOfWord));
        }
    }
    return capacity;
}

int64 S2Gatherer::num_forward_shares() const {
    int64 shares = 0;
    for (const Cut& cut : lists_->cuts)
        shares += batch_ * narrow<int64>(cut.runs.size()) * cut.shares;
    return shares;
}

GatheredShare S2Gatherer::forward_share(int64 index, const GatherBuffer& buffer) const {
    const Cut* cut = lists_->cuts.data();
    for (; index >= batch_ * narrow<int64>(cut->runs.size()) * cut->shares; ++cut) {
        index -= batch_ * narrow<int64>(cut->runs.size()) * cut->shares;
    }
    const auto num_runs = narrow<int64>(cut->runs.size());
    // Causal rows grow with their position.
    const int64 in_order = index / (num_runs * batch_);
    const int64 number = pattern_.causal ? cut->shares - 1 - in_order : in_order;
    const Run& run = cut->runs[static_cast<std::size_t>(index % num_runs)];
    const int64 part = number % cut->parts;
    const int64 group = number / cut->parts;
    const int64 classes = min_of(cut->spacing, num_query_blocks_);
    const int64 first = group % classes + group / classes * cut->blocks * cut->spacing;
    const int64 left = ceil_div(max_of<int64>(num_query_blocks_ - first, 0), cut->spacing);
    const Blocks queries{first_query_block_ + first, min_of(cut->blocks, left), cut->spacing};
    GatheredShare share{.entry = index / num_runs % batch_,
                        .first_head = run.first_head,
                        .num_heads = run.count,
                        .tile = {}};
    if (queries.count == 0) {
        share.tile = {buffer.rows, 0, buffer.tokens, 0};
    } else if (run.open) {
        share.tile = open_share(queries, buffer);
    } else if (uses_bits(*cut)) {
        share.tile = bits_share(run.pattern_head, queries, buffer);
    } else {
        share.tile = interval_share(run.pattern_head, queries, buffer);
    }
    if (cut->parts > 1) keep_part(part, cut->parts, &share.tile, buffer);
    return share;
}

int64 S2Gatherer::extent(int64 kb) const {
    return min_of(pattern_.block_size, kv_len_ - kb * pattern_.block_size);
}

int64 S2Gatherer::append_block(int64 kb, int64 slots, int32* tokens) const {
    const int64 count = extent(kb);
    for (int64 n = 0; n < count; ++n) {
        tokens[slots + n] = narrow<int32>(kb * pattern_.block_size + n);
    }
    return slots + count;
}

int64 S2Gatherer::first_query_at(int64 position) const {
    return clamp_to<int64>(position - first_position_, 0, q_len_);
}

GatheredTile S2Gatherer::open_share(const Blocks& queries, const GatherBuffer& buffer) const {
    const int64 begin = first_query_at(queries.first * pattern_.block_size);
    const int64 end = first_query_at((queries.at(queries.count - 1) + 1) * pattern_.block_size);
    const int64 slots = pattern_.causal ? clamp_to<int64>(position(end), 0, kv_len_) : kv_len_;
    for (int64 j = 0; j < slots; ++j) buffer.tokens[j] = narrow<int32>(j);
    for (int64 i = begin; i < end; ++i) {
        const int64 seen = pattern_.causal ? clamp_to<int64>(position(i) + 1, 0, slots) : slots;
        buffer.rows[i - begin] = {i, 0, seen, nullptr};
    }
    return {buffer.rows, end - begin, buffer.tokens, slots};
}

GatheredTile S2Gatherer::interval_share(int64 head, const Blocks& queries,
                                        const GatherBuffer& buffer) const {
    const int64 block = pattern_.block_size;
    const int64 local = pattern_.local_blocks;
    const int64 stride = pattern_.vertical_stride;
    const int64 shard = pattern_.shard(head);
    const int64 first = queries.first;
    const int64 last = queries.at(queries.count - 1);
    // Of the band of the first query block: blocks that later ones do not see any more.
    const int64 falling_begin = clamp_to<int64>(first - local + 1, 0, num_kv_blocks_);
    const int64 falling_end = clamp_to<int64>(last - local + 1, falling_begin, num_kv_blocks_);
    int64 slots = 0;
    for (int64 kb = falling_begin; kb < falling_end; ++kb) {
        if (kb % stride != shard) slots = append_block(kb, slots, buffer.tokens);
    }
    const int64 diagonal = clamp_to<int64>(first, 0, num_kv_blocks_);
    for (int64 kb = shard; kb < falling_end; kb += stride) {
        slots = append_block(kb, slots, buffer.tokens);
    }
    for (int64 kb = falling_end; kb < diagonal; ++kb) {
        slots = append_block(kb, slots, buffer.tokens);
    }
    const int64 before_diagonal = slots;
    for (int64 kb = diagonal; kb <= last && kb < num_kv_blocks_; ++kb) {
        slots = append_block(kb, slots, buffer.tokens);
    }
    int64 num_rows = 0;
    int64 fallen = 0;
    for (int64 qb = first; qb <= last; ++qb) {
        const int64 out = qb - local;  // falls out of the band here
        const bool falls = qb > first && out >= falling_begin && out < num_kv_blocks_;
        if (falls && out % stride != shard) fallen += extent(out);
        const int64 end = first_query_at((qb + 1) * block);
        for (int64 i = first_query_at(qb * block); i < end; ++i) {
            const int64 own =
                clamp_to<int64>(position(i) + 1 - diagonal * block, 0, slots - before_diagonal);
            buffer.rows[num_rows++] = {i, fallen, before_diagonal + own, nullptr};
        }
    }
    return {buffer.rows, num_rows, buffer.tokens, slots};
}

GatheredTile S2Gatherer::bits_share(int64 head, const Blocks& queries,
                                    const GatherBuffer& buffer) const {
    const int64 block = pattern_.block_size;
    const auto seen_by_any = [&](int64 kb) {
        for (int64 n = 0; n < queries.count; ++n) {
            if (pattern_.shows(head, queries.at(n), kb)) return true;
        }
        return false;
    };
    int64 slots = 0;
    for (int64 kb = 0; kb < num_kv_blocks_; ++kb) {
        if (seen_by_any(kb)) slots = append_block(kb, slots, buffer.tokens);
    }
    const int64 words = ceil_div(slots, kBitsOfWord);
    int64 num_rows = 0;
    for (int64 n = 0; n < queries.count; ++n) {
        const int64 qb = queries.at(n);
        uint64* bits = buffer.bits + n * words;
        std::fill_n(bits, words, uint64{0});
        int64 begin = slots;
        int64 end = 0;
        int64 diagonal = -1;  // slot of the query block's own first key
        for (int64 slot = 0; slot < slots;) {
            const int64 kb = buffer.tokens[slot] / block;
            const int64 next = slot + extent(kb);
            if (pattern_.shows(head, qb, kb)) {
                set_bits(bits, slot, next);
                begin = min_of(begin, slot);
                end = next;
                if (kb == qb) diagonal = slot;
            }
            slot = next;
        }
        const int64 stop = first_query_at((qb + 1) * block);
        for (int64 i = first_query_at(qb * block); i < stop; ++i) {
            const bool cut = pattern_.causal && diagonal >= 0;
            const int64 row_end = cut ? min_of(diagonal + position(i) + 1 - qb * block, end) : end;
            buffer.rows[num_rows++] = {i, min_of(begin, row_end), row_end, bits};
        }
    }
    return {buffer.rows, num_rows, buffer.tokens, slots};
}

void S2Gatherer::keep_part(int64 part, int64 parts, GatheredTile* tile,
                           const GatherBuffer& buffer) const {
    const int64 begin = tile->num_rows * part / parts;
    const int64 end = tile->num_rows * (part + 1) / parts;
    std::copy(buffer.rows + begin, buffer.rows + end, buffer.rows);
    tile->num_rows = end - begin;
}

GatherCapacity S2Gatherer::backward_capacity() const {
    const int64 blocks = max_of(key_blocks_of_tile_, band_blocks_of_tile_);
    const int64 slots = min_of(kv_len_, blocks * pattern_.block_size);
    const bool bits = !pattern_.causal && std::any_of(lists_->runs.begin(), lists_->runs.end(),
                                                      [](const Run& r) { return !r.open; });
    return {.rows = q_len_,
            .heads = 1,
            .slots = slots,
            .words = bits ? num_query_blocks_ * ceil_div(slots, kBitsOfWord) : 0,
            .scratch = 0};
}

const S2Gatherer::Run& S2Gatherer::run_of(int64 head) const {
    return lists_
        ->runs[static_cast<std::size_t>(lists_->run_of_head[static_cast<std::size_t>(head)])];
}

int64 S2Gatherer::num_equal_heads(int64 /*entry*/, int64 head) const {
    const Run& run = run_of(head);
    return run.first_head + run.count - head;
}

S2Gatherer::KeyBlocks S2Gatherer::key_blocks(KeyChunk chunk) const {
    return {chunk.first_of(num_kv_blocks_), chunk.end_of(num_kv_blocks_)};
}

int64 S2Gatherer::num_key_tiles(int64 /*entry*/, int64 head, KeyChunk chunk) const {
    const Run& run = run_of(head);
    const KeyBlocks keys = key_blocks(chunk);
    const int64 count = keys.end - keys.begin;
    const int64 stride = pattern_.vertical_stride;
    if (run.open) return ceil_div(count, key_blocks_of_tile_);
    if (!pattern_.causal) {
        return min_of(stride, count) * ceil_div(ceil_div(count, stride), key_blocks_of_tile_);
    }
    const int64 first =
        keys.begin + floor_mod(pattern_.shard(run.pattern_head) - keys.begin, stride);
    const int64 of_shard = first < keys.end ? ceil_div(keys.end - first, stride) : 0;
    return ceil_div(of_shard, key_blocks_of_tile_) + ceil_div(count, band_blocks_of_tile_);
}

GatheredTile S2Gatherer::key_tile(int64 /*entry*/, int64 head, KeyChunk chunk, int64 tile,
                                  const GatherBuffer& buffer) const {
    const Run& run = run_of(head);
    const KeyBlocks keys = key_blocks(chunk);
    const int64 stride = pattern_.vertical_stride;
    const auto blocks_from = [&](int64 first, int64 spacing, int64 number) {
        const int64 at = first + number * key_blocks_of_tile_ * spacing;
        return Blocks{at,
                      clamp_to<int64>(ceil_div(max_of<int64>(keys.end - at, 0), spacing), 0,
                                      key_blocks_of_tile_),
                      spacing};
    };
    if (run.open) return shard_tile(blocks_from(keys.begin, 1, tile), buffer);
    if (!pattern_.causal) {
        const int64 classes = min_of(stride, keys.end - keys.begin);
        return bits_tile(run.pattern_head,
                         blocks_from(keys.begin + tile % classes, stride, tile / classes), buffer);
    }
    const int64 first =
        keys.begin + floor_mod(pattern_.shard(run.pattern_head) - keys.begin, stride);
    const int64 of_shard = first < keys.end ? ceil_div(keys.end - first, stride) : 0;
    const int64 shard_tiles = ceil_div(of_shard, key_blocks_of_tile_);
    if (tile < shard_tiles) return shard_tile(blocks_from(first, stride, tile), buffer);
    const int64 begin = keys.begin + (tile - shard_tiles) * band_blocks_of_tile_;
    return band_tile(run.pattern_head, {begin, min_of(keys.end, begin + band_blocks_of_tile_)},
                     buffer);
}

int64 S2Gatherer::keys_before(const Blocks& keys, int64 qb, int64 position) const {
    const int64 before =
        clamp_to<int64>(ceil_div(max_of<int64>(qb - keys.first, 0), keys.spacing), 0, keys.count);
    const bool own = before < keys.count && keys.at(before) == qb;
    return before * pattern_.block_size + (own ? position + 1 - qb * pattern_.block_size : 0);
}

/// Blocks that all queries from their own block on see; without causality, all queries.
GatheredTile S2Gatherer::shard_tile(const Blocks& keys, const GatherBuffer& buffer) const {
    int64 slots = 0;
    for (int64 n = 0; n < keys.count; ++n) slots = append_block(keys.at(n), slots, buffer.tokens);
    const int64 first = pattern_.causal ? first_query_at(keys.first * pattern_.block_size) : 0;
    for (int64 i = first; i < q_len_; ++i) {
        const int64 p = position(i);
        const int64 seen =
            pattern_.causal ? keys_before(keys, floor_div(p, pattern_.block_size), p) : slots;
        buffer.rows[i - first] = {i, 0, min_of(seen, slots), nullptr};
    }
    return {buffer.rows, q_len_ - first, buffer.tokens, slots};
}

/// Blocks outside the head's shard: queries of the next local_blocks blocks see them.
GatheredTile S2Gatherer::band_tile(int64 head, KeyBlocks keys, const GatherBuffer& buffer) const {
    const int64 block = pattern_.block_size;
    const int64 stride = pattern_.vertical_stride;
    const int64 shard = pattern_.shard(head);
    int64 slots = 0;
    for (int64 kb = keys.begin; kb < keys.end; ++kb) {
        if (kb % stride != shard) slots = append_block(kb, slots, buffer.tokens);
    }
    // Keys of this tile in blocks before kb.
    const auto keys_up_to = [&](int64 kb) {
        const int64 to = clamp_to(kb, keys.begin, keys.end);
        const int64 of_shard =
            floor_div(to - 1 - shard, stride) - floor_div(keys.begin - 1 - shard, stride);
        return (to - keys.begin - of_shard) * block;
    };
    int64 num_rows = 0;
    const int64 end = first_query_at((keys.end - 1 + pattern_.local_blocks) * block);
    for (int64 i = first_query_at(keys.begin * block); i < end; ++i) {
        const int64 p = position(i);
        const int64 qb = floor_div(p, block);
        const bool own = qb < keys.end && qb % stride != shard;
        const int64 seen_end = keys_up_to(qb) + (own ? p + 1 - qb * block : 0);
        const int64 seen_begin = keys_up_to(qb - pattern_.local_blocks + 1);
        if (seen_begin < min_of(seen_end, slots)) {
            buffer.rows[num_rows++] = {i, seen_begin, min_of(seen_end, slots), nullptr};
        }
    }
    return {buffer.rows, num_rows, buffer.tokens, slots};
}

GatheredTile S2Gatherer::bits_tile(int64 head, const Blocks& keys,
                                   const GatherBuffer& buffer) const {
    const int64 block = pattern_.block_size;
    int64 slots = 0;
    for (int64 n = 0; n < keys.count; ++n) slots = append_block(keys.at(n), slots, buffer.tokens);
    const int64 words = ceil_div(slots, kBitsOfWord);
    int64 num_rows = 0;
    for (int64 t = 0; t < num_query_blocks_; ++t) {
        const int64 qb = first_query_block_ + t;
        uint64* bits = buffer.bits + t * words;
        std::fill_n(bits, words, uint64{0});
        int64 begin = slots;
        int64 end = 0;
        for (int64 n = 0; n < keys.count; ++n) {
            if (!pattern_.shows(head, qb, keys.at(n))) continue;
            const int64 slot = n * block;
            begin = min_of(begin, slot);
            end = slot + extent(keys.at(n));
            set_bits(bits, slot, end);
        }
        if (begin >= end) continue;
        const int64 stop = first_query_at((qb + 1) * block);
        for (int64 i = first_query_at(qb * block); i < stop; ++i) {
            buffer.rows[num_rows++] = {i, begin, end, bits};
        }
    }
    return {buffer.rows, num_rows, buffer.tokens, slots};
}

}  // namespace fattn::cpu
