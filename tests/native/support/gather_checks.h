// The contract of gatherers in code: the rows and slots of both passes, pair by pair, against a
// predicate; called by the tests of the CPU's gatherers.
#pragma once

#include <string>
#include <vector>

#include "core/problem.h"
#include "cpu/gatherer.h"

namespace fattn::test {

/// A buffer of exactly the capacity that a gatherer announced, with marks behind every part.
class GatherMemory {
  public:
    explicit GatherMemory(const cpu::GatherCapacity& capacity)
        : rows_(size(capacity.rows) + 1, cpu::GatheredRow{-7, -7, -7, nullptr}),
          tokens_(size(capacity.slots) + 1, -7),
          bits_(size(capacity.words) + 1, 7),
          scratch_(size(ceil_div<int64>(static_cast<int64>(capacity.scratch), 8)) + 1, 7) {}

    cpu::GatherBuffer view() {
        return {rows_.data(), tokens_.data(), bits_.data(), scratch_.data()};
    }
    bool marks_untouched() const {
        return rows_.back().query == -7 && tokens_.back() == -7 && bits_.back() == 7 &&
               scratch_.back() == 7;
    }

  private:
    static std::size_t size(int64 n) { return static_cast<std::size_t>(n); }

    std::vector<cpu::GatheredRow> rows_;
    std::vector<int32> tokens_;
    std::vector<uint64> bits_;
    std::vector<uint64> scratch_;
};

/// Whether a row of a tile sees a slot.
inline bool shows(const cpu::GatheredRow& row, int64 slot) {
    if (slot < row.begin || slot >= row.end) return false;
    if (row.bits == nullptr) return true;
    return (row.bits[slot / cpu::kBitsOfWord] >> (slot % cpu::kBitsOfWord) & 1) != 0;
}

/// Counts, per query and key token, how often a tile shows the pair; keys at kv_len and above are
/// additional ones.
class PairCounts {
  public:
    PairCounts(int64 q_len, int64 num_keys)
        : num_keys_(num_keys), counts_(static_cast<std::size_t>(q_len * num_keys)) {}

    int at(int64 i, int64 j) const { return counts_[static_cast<std::size_t>(i * num_keys_ + j)]; }

    /// Empty, or what is wrong with the tile.
    std::string add(const cpu::GatheredTile& tile, const cpu::GatherCapacity& capacity) {
        if (tile.num_slots > capacity.slots) return "more slots than announced";
        if (tile.num_rows > capacity.rows) return "more rows than announced";
        std::vector<bool> used(static_cast<std::size_t>(num_keys_));
        for (int64 s = 0; s < tile.num_slots; ++s) {
            const int64 token = tile.tokens[s];
            if (token < 0 || token >= num_keys_) return "token out of range";
            if (used[static_cast<std::size_t>(token)]) return "token in two slots";
            used[static_cast<std::size_t>(token)] = true;
        }
        for (int64 r = 0; r < tile.num_rows; ++r) {
            const cpu::GatheredRow& row = tile.rows[r];
            if (row.begin < 0 || row.end > tile.num_slots || row.begin > row.end) {
                return "row " + std::to_string(row.query) + " sees slots " +
                       std::to_string(row.begin) + " to " + std::to_string(row.end) + " of " +
                       std::to_string(tile.num_slots);
            }
            for (int64 s = row.begin; s < row.end; ++s) {
                counts_[static_cast<std::size_t>(row.query * num_keys_ + tile.tokens[s])] +=
                    shows(row, s);
            }
        }
        return {};
    }

  private:
    int64 num_keys_;
    std::vector<int> counts_;
};

/// Empty when both passes show exactly the pairs of sees(entry, head, query, key), each once, over
/// num_keys keys (those of the problem and additional ones).
template <class Sees>
std::string check_gatherer(const cpu::Gatherer& gatherer, const DenseProblem& problem,
                           int64 num_keys, const Sees& sees) {
    const int64 num_heads = problem.num_q_heads;
    const auto compare = [&](const PairCounts& counts, int64 entry, int64 head) -> std::string {
        for (int64 i = 0; i < problem.q_len; ++i) {
            for (int64 j = 0; j < num_keys; ++j) {
                const int expected = sees(entry, head, i, j) ? 1 : 0;
                if (counts.at(i, j) == expected) continue;
                return "entry " + std::to_string(entry) + " head " + std::to_string(head) +
                       " query " + std::to_string(i) + " key " + std::to_string(j) + " shown " +
                       std::to_string(counts.at(i, j)) + " times, expected " +
                       std::to_string(expected);
            }
        }
        return {};
    };

    const cpu::GatherCapacity forward = gatherer.forward_capacity();
    GatherMemory memory(forward);
    std::vector<PairCounts> shown(static_cast<std::size_t>(problem.batch * num_heads),
                                  PairCounts(problem.q_len, num_keys));
    std::vector<int> rows(static_cast<std::size_t>(problem.batch * num_heads * problem.q_len));
    for (int64 n = 0; n < gatherer.num_forward_shares(); ++n) {
        const cpu::GatheredShare share = gatherer.forward_share(n, memory.view());
        if (!memory.marks_untouched()) return "a share leaves the buffer";
        if (share.num_heads > forward.heads) return "more heads than announced";
        for (int64 h = share.first_head; h < share.first_head + share.num_heads; ++h) {
            if (problem.k_head(h) != problem.k_head(share.first_head) ||
                problem.v_head(h) != problem.v_head(share.first_head)) {
                return "heads of a share read different keys";
            }
            const int64 at = share.entry * num_heads + h;
            const std::string wrong = shown[static_cast<std::size_t>(at)].add(share.tile, forward);
            if (!wrong.empty()) return "share " + std::to_string(n) + ": " + wrong;
            for (int64 r = 0; r < share.tile.num_rows; ++r) {
                ++rows[static_cast<std::size_t>(at * problem.q_len + share.tile.rows[r].query)];
            }
        }
    }
    for (const int count : rows) {
        if (count != 1) return "a query is a row of " + std::to_string(count) + " shares";
    }
    for (int64 entry = 0; entry < problem.batch; ++entry) {
        for (int64 h = 0; h < num_heads; ++h) {
            const auto at = static_cast<std::size_t>(entry * num_heads + h);
            const std::string wrong = compare(shown[at], entry, h);
            if (!wrong.empty()) return "forward, " + wrong;
        }
    }

    const cpu::GatherCapacity backward = gatherer.backward_capacity();
    GatherMemory key_memory(backward);
    for (const int64 count : {1, 3}) {
        for (int64 entry = 0; entry < problem.batch; ++entry) {
            std::vector<int64> chunk_of(static_cast<std::size_t>(num_keys * num_heads), -1);
            for (int64 h = 0; h < num_heads; ++h) {
                const int64 equal = gatherer.num_equal_heads(entry, h);
                if (equal < 1 || h + equal > num_heads) return "num_equal_heads out of range";
                PairCounts counts(problem.q_len, num_keys);
                for (int64 index = 0; index < count; ++index) {
                    const cpu::KeyChunk chunk{index, count};
                    for (int64 t = 0; t < gatherer.num_key_tiles(entry, h, chunk); ++t) {
                        const cpu::GatheredTile tile =
                            gatherer.key_tile(entry, h, chunk, t, key_memory.view());
                        if (!key_memory.marks_untouched()) return "a key tile leaves the buffer";
                        const std::string wrong = counts.add(tile, backward);
                        if (!wrong.empty()) return "key tile: " + wrong;
                        for (int64 r = 0; r < tile.num_rows; ++r) {
                            if (tile.rows[r].begin == tile.rows[r].end) return "an empty row";
                        }
                        for (int64 s = 0; s < tile.num_slots; ++s) {
                            int64& owner = chunk_of[static_cast<std::size_t>(
                                problem.k_head(h) * num_keys + tile.tokens[s])];
                            if (owner >= 0 && owner != index) return "a key in two chunks";
                            owner = index;
                        }
                    }
                }
                for (int64 other = h; other < h + equal; ++other) {
                    const std::string wrong = compare(counts, entry, other);
                    if (!wrong.empty()) return "backward, " + wrong;
                }
            }
        }
    }
    return {};
}

}  // namespace fattn::test
