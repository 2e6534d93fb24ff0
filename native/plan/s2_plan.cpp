// S2 planner: lists of visible blocks per distinct pattern, sums on query; called by api/.
#include "plan/s2_plan.h"

#include <algorithm>

namespace fattn {

S2Plan::S2Plan(const DenseProblem& problem, const S2Pattern& pattern)
    : pattern_(pattern),
      batch_(problem.batch),
      q_len_(problem.q_len),
      kv_len_(problem.kv_len),
      head_dim_(problem.head_dim),
      head_dim_v_(problem.head_dim_v),
      num_kv_blocks_(ceil_div(problem.kv_len, pattern.block_size)),
      first_query_block_(pattern.query_block(0, problem.q_len, problem.kv_len)) {
    lead_ = kv_len_ - q_len_ - first_query_block_ * pattern_.block_size;
    num_query_blocks_ = q_len_ == 0 ? 0 : ceil_div(q_len_ + lead_, pattern_.block_size);
}

std::vector<int64> S2Plan::distinct_heads(std::vector<int32>* pattern_of_head) const {
    std::vector<int64> distinct;
    for (int64 h = 0; h < pattern_.num_q_heads; ++h) {
        const int64 head = pattern_.pattern_head(h);
        const auto found = std::find_if(distinct.begin(), distinct.end(),
                                        [&](int64 other) { return pattern_.same(other, head); });
        pattern_of_head->push_back(narrow<int32>(found - distinct.begin()));
        if (found == distinct.end()) distinct.push_back(head);
    }
    return distinct;
}

int64 S2Plan::rows_of(int64 query_tile) const {
    const int64 begin = max_of<int64>(query_tile * pattern_.block_size - lead_, 0);
    const int64 end = min_of<int64>((query_tile + 1) * pattern_.block_size - lead_, q_len_);
    return end - begin;
}

ListScheduleData S2Plan::schedule() const {
    ListScheduleData data;
    data.q_len = q_len_ == 0 ? 0 : q_len_ + lead_;
    data.kv_len = kv_len_;
    data.tile_q = data.tile_kv = narrow<int32>(pattern_.block_size);
    const std::vector<int64> heads = distinct_heads(&data.pattern_of_head);
    data.num_patterns = narrow<int32>(heads.size());
    std::vector<TileState> states(static_cast<std::size_t>(num_kv_blocks_));
    for (const int64 head : heads) {
        for (int64 t = 0; t < num_query_blocks(); ++t) {
            const int64 qb = first_query_block_ + t;
            std::fill(states.begin(), states.end(), TileState::kSkipped);
            const S2Row row = pattern_.row(head, qb, num_kv_blocks_);
            for (int64 n = 0; n < row.size(); ++n) {
                const int64 kb = row.block(n);
                const bool diagonal = pattern_.causal && kb == qb;
                const bool ragged =
                    rows_of(t) < pattern_.block_size || (kb + 1) * pattern_.block_size > kv_len_;
                states[static_cast<std::size_t>(kb)] =
                    ragged || (diagonal && pattern_.block_size > 1) ? TileState::kPartial
                                                                    : TileState::kFull;
            }
            data.append_row(states.data(), narrow<int32>(num_kv_blocks_));
        }
    }
    return data;
}

double S2Plan::pairs(bool needed_only) const {
    std::vector<int32> pattern_of_head;
    const std::vector<int64> heads = distinct_heads(&pattern_of_head);
    const int64 block = pattern_.block_size;
    double pairs = 0;
    for (std::size_t n = 0; n < heads.size(); ++n) {
        double of_head = 0;
        for (int64 t = 0; t < num_query_blocks(); ++t) {
            const int64 qb = first_query_block_ + t;
            const S2Row row = pattern_.row(heads[n], qb, num_kv_blocks_);
            if (row.size() == 0) continue;
            // Only the last block of a row can be ragged, and only the last can be the diagonal.
            const int64 last = row.block(row.size() - 1);
            const int64 keys = (row.size() - 1) * block +
                               tile_extent(narrow<int32>(last), narrow<int32>(block), kv_len_);
            const auto rows = static_cast<double>(rows_of(t));
            of_head += rows * static_cast<double>(keys);
            if (!needed_only || !pattern_.causal || last != qb) continue;
            // Position p of the diagonal block sees p + 1 of its keys, and every key is a position.
            const int64 diagonal = keys - (row.size() - 1) * block;
            const int64 first = max_of<int64>(t * block - lead_, 0) + lead_ - t * block;
            of_head -= rows * static_cast<double>(diagonal);
            of_head += rows * static_cast<double>(first + 1) + rows * (rows - 1) / 2;
        }
        const auto sharing =
            std::count(pattern_of_head.begin(), pattern_of_head.end(), static_cast<int32>(n));
        pairs += of_head * static_cast<double>(sharing);
    }
    return pairs * static_cast<double>(batch_);
}

ScheduleStats S2Plan::stats() const {
    std::vector<int32> pattern_of_head;
    const std::vector<int64> heads = distinct_heads(&pattern_of_head);
    int64 full = 0;
    int64 visited = 0;
    for (std::size_t n = 0; n < heads.size(); ++n) {
        const auto sharing =
            std::count(pattern_of_head.begin(), pattern_of_head.end(), static_cast<int32>(n));
        for (int64 t = 0; t < num_query_blocks(); ++t) {
            const int64 qb = first_query_block_ + t;
            const S2Row row = pattern_.row(heads[n], qb, num_kv_blocks_);
            visited += row.size() * sharing;
            if (row.size() == 0 || rows_of(t) < pattern_.block_size) continue;
            const int64 last = row.block(row.size() - 1);
            const bool partial = (pattern_.causal && last == qb && pattern_.block_size > 1) ||
                                 (last + 1) * pattern_.block_size > kv_len_;
            full += (row.size() - (partial ? 1 : 0)) * sharing;
        }
    }
    const int64 all = num_query_blocks() * num_kv_blocks_ * pattern_.num_q_heads;
    return {.tile_q = pattern_.block_size,
            .tile_kv = pattern_.block_size,
            .num_q_tiles = num_query_blocks(),
            .num_kv_tiles = num_kv_blocks_,
            .full_tiles = full * batch_,
            .partial_tiles = (visited - full) * batch_,
            .skipped_tiles = (all - visited) * batch_,
            .needed_pairs = pairs(true),
            .visited_pairs = pairs(false)};
}

double S2Plan::flops(Pass pass) const {
    const auto qk = static_cast<double>(head_dim_);
    const auto pv = static_cast<double>(head_dim_v_);
    const double depth = pass == Pass::kForward ? qk + pv : 3 * qk + 2 * pv;
    return 2 * depth * pairs(false);
}

S2Coverage S2Plan::coverage() const {
    std::vector<int32> pattern_of_head;
    const std::vector<int64> heads = distinct_heads(&pattern_of_head);
    const bool dense = std::any_of(heads.begin(), heads.end(),
                                   [&](int64 head) { return pattern_.is_dense(head); });
    // Heads that are not dense share the local band, and without causality the whole pattern.
    const auto seen_shards = static_cast<int64>(heads.size());
    const int64 stride = pattern_.vertical_stride;
    S2Coverage out{.allowed_blocks = 0,
                   .unseen_blocks = 0,
                   .num_shards = pattern_.causal ? stride : 1,
                   .unseen_shards = dense || !pattern_.causal ? 0 : stride - seen_shards};
    for (int64 t = 0; t < num_query_blocks(); ++t) {
        const int64 qb = first_query_block_ + t;
        const int64 allowed =
            pattern_.causal ? clamp_to<int64>(qb + 1, 0, num_kv_blocks_) : num_kv_blocks_;
        out.allowed_blocks += allowed;
        if (dense) continue;
        int64 seen = 0;
        if (pattern_.causal) {
            for (const int64 head : heads) {
                seen += pattern_.row(head, qb, num_kv_blocks_).num_left();
            }
            seen += pattern_.row(heads[0], qb, num_kv_blocks_).num_local();
        } else {
            seen = pattern_.row(heads[0], qb, num_kv_blocks_).size();
        }
        out.unseen_blocks += allowed - seen;
    }
    return out;
}

void S2Plan::needed_blocks(int64 k_head, int64 first_position, uint8* needed) const {
    const int64 first_block = floor_div(first_position, pattern_.block_size);
    const int64 end = max_of<int64>(num_kv_blocks_, first_block + 1);
    for (int64 kb = 0; kb < num_kv_blocks_; ++kb) {
        needed[kb] = 0;
        for (int64 h = 0; h < pattern_.num_q_heads; ++h) {
            if (h * pattern_.num_k_heads / pattern_.num_q_heads != k_head) continue;
            const int64 head = pattern_.pattern_head(h);
            // A causal column is one interval that begins at its own block, which may come later.
            const bool later = pattern_.causal && kb >= first_block;
            if (later || pattern_.column(head, kb, first_block, end).size() > 0) needed[kb] = 1;
        }
    }
}

}  // namespace fattn
