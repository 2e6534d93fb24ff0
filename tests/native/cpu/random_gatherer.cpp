// Random patterns as lists and as masks; see random_gatherer.h.
#include "random_gatherer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "cpu/head_runs.h"

namespace fattn::cpu {
namespace {

using Random = std::mt19937_64;

int64 draw(Random& random, int64 low, int64 high) {
    return std::uniform_int_distribution<int64>(low, high)(random);
}

std::vector<int32> shuffled(int64 count, Random& random) {
    std::vector<int32> numbers(static_cast<std::size_t>(count));
    std::iota(numbers.begin(), numbers.end(), 0);
    std::shuffle(numbers.begin(), numbers.end(), random);
    return numbers;
}

int64 size_of(const std::vector<int32>& list) { return static_cast<int64>(list.size()); }

}  // namespace

std::string describe(const GatherStyle& style) {
    return "seed " + std::to_string(style.seed) + (style.holes ? ", holes" : "") +
           (style.equal_heads ? ", equal heads" : "") + (style.shuffle ? ", shuffled" : "") +
           (style.unseen_slots ? ", unseen slots" : "") + ", " +
           std::to_string(style.rows_of_tile) + " rows, " + std::to_string(style.slots_of_tile) +
           " slots";
}

RandomGatherer::RandomGatherer(const test::DenseSpec& spec, const GatherStyle& style)
    : spec_(spec), style_(style) {
    DenseProblem heads{};
    heads.num_q_heads = spec.num_q_heads;
    heads.num_k_heads = spec.num_k_heads;
    heads.num_v_heads = spec.num_v_heads;
    for (int64 entry = 0; entry < spec.batch; ++entry)
        for (const HeadRun& run : head_runs(heads)) {
            const int64 step = style.equal_heads ? run.count : 1;
            for (int64 h = 0; h < run.count; h += step) add_patterns(entry, run.first + h, step);
        }
}

void RandomGatherer::add_patterns(int64 entry, int64 first, int64 count) {
    Random random(style_.seed * 1000003 +
                  static_cast<uint64>(entry * spec_.num_q_heads + first + 1));
    Pattern pattern{entry,
                    first,
                    count,
                    shuffled(spec_.q_len, random),
                    shuffled(spec_.kv_len, random),
                    std::vector<uint8>(static_cast<std::size_t>(spec_.q_len * spec_.kv_len))};
    const int64 num_keys = spec_.kv_len;
    for (int64 at = 0; at < spec_.q_len; ++at) {
        // Neighbours see much the same keys, now and then all or none.
        const int64 kind = draw(random, 0, 9);
        const int64 middle = num_keys * at / spec_.q_len;
        const int64 reach = draw(random, 1, num_keys / 3 + 1);
        int64 begin = kind == 0 ? 0 : std::max<int64>(0, middle - reach);
        const int64 end = kind == 0 ? num_keys : std::min(num_keys, middle + reach);
        if (kind == 1) begin = end;
        const int64 query = pattern.queries[static_cast<std::size_t>(at)];
        for (int64 n = begin; n < end; ++n) {
            const bool hole = style_.holes && kind != 0 && draw(random, 0, 2) == 0;
            const int64 key = pattern.keys[static_cast<std::size_t>(n)];
            pattern.visible[static_cast<std::size_t>(query * num_keys + key)] = hole ? 0 : 1;
        }
    }
    for (int64 row = 0; row < spec_.q_len; row += style_.rows_of_tile) {
        shares_.push_back(
            {patterns_.size(), row, std::min(spec_.q_len, row + style_.rows_of_tile)});
    }
    patterns_.push_back(std::move(pattern));
}

const RandomGatherer::Pattern& RandomGatherer::pattern_of(int64 entry, int64 head) const {
    const auto found = std::find_if(patterns_.begin(), patterns_.end(), [&](const Pattern& p) {
        return p.entry == entry && head >= p.first && head < p.first + p.count;
    });
    EXPECT_NE(found, patterns_.end());
    return *found;
}

bool RandomGatherer::sees(int64 entry, int64 head, int64 query, int64 key) const {
    return pattern_of(entry, head).visible[static_cast<std::size_t>(query * spec_.kv_len + key)] !=
           0;
}

void RandomGatherer::hide(test::DenseCase& c) const {
    for (int64 b = 0; b < spec_.batch; ++b)
        for (int64 h = 0; h < spec_.num_q_heads; ++h) {
            const Pattern& pattern = pattern_of(b, h);
            for (int64 i = 0; i < spec_.q_len; ++i)
                for (int64 j = 0; j < spec_.kv_len; ++j)
                    c.mask.set(b, h, i, j,
                               pattern.visible[static_cast<std::size_t>(i * spec_.kv_len + j)]);
        }
}

GatheredTile RandomGatherer::list(const Pattern& pattern, const std::vector<int32>& queries,
                                  const std::vector<int32>& keys, bool all_rows,
                                  const GatherBuffer& buffer) const {
    const auto visible = [&](int32 query, int32 key) {
        return pattern.visible[static_cast<std::size_t>(query * spec_.kv_len + key)] != 0;
    };
    std::vector<int32> slots;
    for (const int32 key : keys)
        if (style_.unseen_slots || std::any_of(queries.begin(), queries.end(),
                                               [&](int32 query) { return visible(query, key); }))
            slots.push_back(key);
    if (style_.shuffle) {
        Random random(style_.seed + slots.size());
        std::shuffle(slots.begin(), slots.end(), random);
    }
    std::copy(slots.begin(), slots.end(), buffer.tokens);
    const int64 words_of_row = ceil_div(size_of(slots), kBitsOfWord);
    uint64* words = buffer.bits;
    int64 num_rows = 0;
    for (const int32 query : queries) {
        GatheredRow row{query, size_of(slots), 0, nullptr};
        int64 count = 0;
        for (int64 s = 0; s < size_of(slots); ++s)
            if (visible(query, slots[static_cast<std::size_t>(s)])) {
                row.begin = std::min(row.begin, s);
                row.end = s + 1;
                ++count;
            }
        if (count == 0) {
            if (!all_rows) continue;
            row.begin = row.end;
        }
        if (count != row.end - row.begin) {
            row.bits = words;
            for (int64 w = 0; w < words_of_row; ++w) words[w] = ~uint64{0};
            for (int64 s = row.begin; s < row.end; ++s)
                if (!visible(query, slots[static_cast<std::size_t>(s)]))
                    words[s / kBitsOfWord] &= ~(uint64{1} << (s % kBitsOfWord));
            // The interval may say more than the bits.
            if (query % 2 == 0) {
                for (int64 s = 0; s < row.begin; ++s)
                    words[s / kBitsOfWord] &= ~(uint64{1} << (s % kBitsOfWord));
                row.begin = 0;
            }
            words += words_of_row;
        }
        buffer.rows[num_rows++] = row;
    }
    return {buffer.rows, num_rows, buffer.tokens, size_of(slots)};
}

GatherCapacity RandomGatherer::forward_capacity() const {
    const int64 rows = std::min(style_.rows_of_tile, spec_.q_len);
    return {rows, spec_.num_q_heads, spec_.kv_len, rows * ceil_div(spec_.kv_len, kBitsOfWord), 0};
}

GatheredShare RandomGatherer::forward_share(int64 index, const GatherBuffer& buffer) const {
    const Share& share = shares_[static_cast<std::size_t>(index)];
    const Pattern& pattern = patterns_[share.pattern];
    const std::vector<int32> queries(pattern.queries.begin() + share.begin,
                                     pattern.queries.begin() + share.end);
    return {pattern.entry, pattern.first, pattern.count,
            list(pattern, queries, pattern.keys, true, buffer)};
}

GatherCapacity RandomGatherer::backward_capacity() const {
    const int64 slots = std::min(style_.slots_of_tile, spec_.kv_len);
    return {spec_.q_len, 0, slots, spec_.q_len * ceil_div(slots, kBitsOfWord), 0};
}

int64 RandomGatherer::num_equal_heads(int64 entry, int64 head) const {
    const Pattern& pattern = pattern_of(entry, head);
    return pattern.first + pattern.count - head;
}

int64 RandomGatherer::num_key_tiles(int64, int64, KeyChunk chunk) const {
    return ceil_div(chunk.end_of(spec_.kv_len) - chunk.first_of(spec_.kv_len),
                    style_.slots_of_tile);
}

GatheredTile RandomGatherer::key_tile(int64 entry, int64 head, KeyChunk chunk, int64 tile,
                                      const GatherBuffer& buffer) const {
    const Pattern& pattern = pattern_of(entry, head);
    // A chunk owns tokens by number; each pattern lists them in its own order.
    std::vector<int32> own;
    for (const int32 key : pattern.keys)
        if (key >= chunk.first_of(spec_.kv_len) && key < chunk.end_of(spec_.kv_len))
            own.push_back(key);
    const int64 begin = tile * style_.slots_of_tile;
    const int64 end = std::min(size_of(own), begin + style_.slots_of_tile);
    return list(pattern, pattern.queries, {own.begin() + begin, own.begin() + end}, false, buffer);
}

}  // namespace fattn::cpu
