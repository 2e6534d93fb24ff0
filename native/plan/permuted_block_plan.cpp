// Counts what a permuted block-sparse run visits.
#include "plan/permuted_block_plan.h"

#include "core/schedule.h"

namespace fattn {

struct PermutedBlockPlan::Tile {
    TileState state;
    double needed;   // visible pairs
    double visited;  // pairs of queries and tokens that the run multiplies
};

PermutedBlockPlan::Tile PermutedBlockPlan::tile(const BlockSelection& selection,
                                                int64 number_of_head, int64 query_block,
                                                int64 key_block) const {
    const PermutedBlockProblem& p = problem_;
    const int64 row = number_of_head * p.num_query_blocks() + query_block;
    const bool kept = selection.block_mask == nullptr ||
                      selection.block_mask[row * p.num_key_blocks() + key_block] != 0;
    if (!kept) return {TileState::kSkipped, 0, 0};

    const int64 first_query = query_block * p.query_block;
    const int64 num_queries = min_of(p.query_block, p.q_len - first_query);
    const int64 first_position = p.position(first_query);
    const int64 last_position = first_position + num_queries - 1;
    const int64 first_slot = key_block * p.block;
    const int64 num_slots = min_of(p.block, p.kv_len - first_slot);
    const auto queries = static_cast<double>(num_queries);
    const bool whole = num_queries == p.query_block && num_slots == p.block;
    const int64 own = p.segment_of_query_block(query_block);
    const int64 of_key = p.segment_of_key_block(key_block);
    if (!p.causal || of_key < own) {
        const double pairs = queries * static_cast<double>(num_slots);
        return {whole ? TileState::kFull : TileState::kPartial, pairs, pairs};
    }
    if (of_key > own) return {TileState::kSkipped, 0, 0};
    double needed = 0;
    int64 tokens = 0;  // up to the last position
    for (int64 s = first_slot; s < first_slot + num_slots; ++s) {
        const int64 token = selection.permutation == nullptr
                                ? s
                                : selection.permutation[number_of_head * p.kv_len + s];
        if (token > last_position) continue;
        ++tokens;
        needed += static_cast<double>(last_position - max_of(token, first_position) + 1);
    }
    if (tokens == 0) return {TileState::kSkipped, 0, 0};
    const double visited = queries * static_cast<double>(tokens);
    const bool all = tokens == num_slots && needed == visited;
    return {whole && all ? TileState::kFull : TileState::kPartial, needed, visited};
}

ScheduleStats PermutedBlockPlan::stats(const BlockSelection& selection) const {
    const PermutedBlockProblem& p = problem_;
    ScheduleStats sums{};
    sums.tile_q = p.query_block;
    sums.tile_kv = p.block;
    sums.num_q_tiles = p.num_query_blocks();
    sums.num_kv_tiles = p.num_key_blocks();
    for (int64 head = 0; head < p.batch * p.num_q_heads; ++head) {
        for (int64 qb = 0; qb < sums.num_q_tiles; ++qb) {
            for (int64 kb = 0; kb < sums.num_kv_tiles; ++kb) {
                const Tile t = tile(selection, head, qb, kb);
                sums.full_tiles += t.state == TileState::kFull;
                sums.partial_tiles += t.state == TileState::kPartial;
                sums.skipped_tiles += t.state == TileState::kSkipped;
                sums.needed_pairs += t.needed;
                sums.visited_pairs += t.visited;
            }
        }
    }
    return sums;
}

void PermutedBlockPlan::write_tiles(const BlockSelection& selection, int64 batch, int64 head,
                                    uint8* tiles) const {
    const PermutedBlockProblem& p = problem_;
    for (int64 qb = 0; qb < p.num_query_blocks(); ++qb) {
        for (int64 kb = 0; kb < p.num_key_blocks(); ++kb) {
            const Tile t = tile(selection, batch * p.num_q_heads + head, qb, kb);
            *tiles++ = static_cast<uint8>(t.state);
        }
    }
}

double PermutedBlockPlan::flops(Pass pass) const {
    const PermutedBlockProblem& p = problem_;
    double pairs = 0;
    for (int64 qb = 0; qb < p.num_query_blocks(); ++qb) {
        const int64 end = min_of((qb + 1) * p.query_block, p.q_len);
        const int64 seen = p.causal ? p.position(end - 1) + 1 : p.kv_len;
        pairs += static_cast<double>(end - qb * p.query_block) * static_cast<double>(seen);
    }
    pairs *= static_cast<double>(p.batch * p.num_q_heads);
    const auto qk = static_cast<double>(p.head_dim);
    const auto pv = static_cast<double>(p.head_dim_v);
    return 2 * (pass == Pass::kForward ? qk + pv : 3 * qk + 2 * pv) * pairs;
}

}  // namespace fattn
