// A list of queries against a list of keys, the one form in which sparse patterns reach the CPU's
// tile loops; made by gatherers (cpu/gatherer.h), read by cpu/generic.
#pragma once

#include "core/tensor_view.h"
#include "core/types.h"

namespace fattn::cpu {

/// Bits of a word of GatheredRow::bits.
constexpr int64 kBitsOfWord = 64;

/// One query against the slots of its tile: it sees slots [begin, end), and of these, unless bits
/// is null, only those whose bit is set: bit s % 64 of bits[s / 64] for slot s. Bits of slots
/// outside [begin, end) are never looked at. begin == end: the query sees nothing here.
struct GatheredRow {
    int64 query;  // token of Q, from the start of its sequence
    int64 begin;
    int64 end;
    const uint64* bits;
};

/// Rows against slots. Slot s holds key token tokens[s]: below DenseProblem::kv_len a key of the
/// problem, otherwise additional key tokens[s] - kv_len. There are no empty slots, and no token
/// stands in two slots. Softmax does not mind the order of keys, so a gatherer chooses one in which
/// what a row sees is an interval, or nearly: tile loops leave out what lies before the first and
/// behind the last key that neighbouring rows (a register tile of them) see, and slots in between
/// that they do not see cost as much as others. Rows that see much the same should be neighbours.
struct GatheredTile {
    const GatheredRow* rows;
    int64 num_rows;
    const int32* tokens;
    int64 num_slots;
};

/// Layouts of keys and values that come on top of those of a problem, of the same dtypes, heads and
/// head dims: [B, Hk, num, D] and [B, Hv, num, Dv].
struct AdditionalKeys {
    int64 num;  // 0: none
    TensorLayout k;
    TensorLayout v;
    TensorLayout d_k;  // backward only
    TensorLayout d_v;
};

/// Pointers of one run. A gradient may be null.
struct AdditionalKeyArgs {
    const void* k;
    const void* v;
    void* d_k;
    void* d_v;
};

/// What a task of a gathered run has besides a problem.
struct Gathered {
    const GatheredTile* tile;
    const AdditionalKeys* additional;
    const AdditionalKeyArgs* additional_args;
};

}  // namespace fattn::cpu
