// Published block patterns; see block_patterns.h.
//
// Sources, in the order of the kinds: Xiao et al. 2024 (StreamingLLM), arXiv:2309.17453; Child et
// al. 2019 (Sparse Transformer, strided and fixed), arXiv:1904.10509; Zaheer et al. 2020 (BigBird),
// arXiv:2007.14062; Chen et al. 2025 (PowerAttention), arXiv:2503.03588; Fu et al. 2024 (MoA),
// arXiv:2406.14909; Xiao et al. 2025 (DuoAttention), arXiv:2410.10819. They count tokens; here the
// same rules count blocks.
#include "plan/block_patterns.h"

#include <algorithm>

#include "core/philox.h"

namespace fattn {
namespace {

bool is_power_of_two(int64 n) { return n > 0 && (n & (n - 1)) == 0; }

/// Whether a head sees a block without chance; kb is allowed.
bool keeps(const BlockPattern& p, int64 head, int64 qb, int64 kb) {
    const int64 distance = qb > kb ? qb - kb : kb - qb;
    const bool base = kb < p.sink_blocks || distance < p.window_blocks;
    switch (p.kind) {
        case BlockPatternKind::kSinkWindow:
            return base;
        case BlockPatternKind::kStrided:
            return base || distance % p.stride_blocks == 0;
        case BlockPatternKind::kFixed:
            return base || qb / p.stride_blocks == kb / p.stride_blocks ||
                   kb % p.stride_blocks >= p.stride_blocks - p.summary_blocks;
        case BlockPatternKind::kRandomGlobal:
            return base || (!p.causal && qb < p.sink_blocks);
        case BlockPatternKind::kPowerOfTwo:
            return base || is_power_of_two(distance);
        case BlockPatternKind::kHeadWindows:
            return kb < p.sink_blocks || distance < p.head_windows[head];
        case BlockPatternKind::kHeadClasses:
            return base || p.streaming[head] == 0;
    }
    return false;
}

/// Adds random_blocks of the allowed blocks that the row lacks, or all where there are fewer. What
/// is drawn depends on seed, head and query block alone.
void add_random(const BlockPattern& p, int64 head, int64 qb, int64 num_allowed, uint8* row) {
    int64 left = num_allowed - std::count(row, row + num_allowed, uint8{1});
    for (int64 draw = 0; draw < p.random_blocks && left > 0; ++draw, --left) {
        const PhiloxBlock words =
            philox4x32(PhiloxBlock{{static_cast<uint32>(draw), static_cast<uint32>(qb),
                                    static_cast<uint32>(head), 0}},
                       p.seed);
        int64 skip = static_cast<int64>(words.word[0] % static_cast<uint64>(left));
        int64 kb = 0;
        while (row[kb] != 0 || skip-- > 0) ++kb;
        row[kb] = 1;
    }
}

}  // namespace

void write_block_mask(const BlockPattern& pattern, uint8* mask) {
    const int64 columns = pattern.num_kv_blocks();
    uint8* row = mask;
    for (int64 head = 0; head < pattern.num_heads; ++head) {
        for (int64 t = 0; t < pattern.num_q_blocks(); ++t, row += columns) {
            const int64 qb = pattern.first_query_block() + t;
            const int64 allowed = pattern.causal ? min_of(columns, qb + 1) : columns;
            std::fill(row, row + columns, uint8{0});
            for (int64 kb = 0; kb < allowed; ++kb) row[kb] = keeps(pattern, head, qb, kb) ? 1 : 0;
            if (pattern.kind == BlockPatternKind::kRandomGlobal) {
                add_random(pattern, head, qb, allowed, row);
            }
        }
    }
}

}  // namespace fattn
