// The rows of the lanes' own tokens, on their way into the products and out of the sums; called by
// the lane loops.
#pragma once

#include "core/types.h"
#include "cpu/generic/epilogue.h"
#include "cpu/generic/lane_halves.h"
#include "cpu/generic/pack.h"
#include "cpu/lane_group.h"

namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE {
namespace {

/// Packs a group's rows for RunOperand::multiply: [padded_words][kGroupLanes] words in an order of
/// the products' own; lanes without a row are zero.
template <class Dot, class RowOf>
inline void pack_lanes(DType dtype, const RowOf& row, int64 num_lanes, int64 extent, float* out) {
    if constexpr (!kHasHalves<Dot>) {
        pack_transposed<Dot, kGroupLanes>(dtype, row, num_lanes, extent, out);
    } else if constexpr (Dot::kDepth == 2) {
        pack_halves<DType::kBF16, Dot>(row, num_lanes, extent, out);
    } else {
        with_dtype(dtype,
                   [&]<DType kType>() { pack_halves<kType, Dot>(row, num_lanes, extent, out); });
    }
}

/// Writes sums [kGroupLanes][padded_columns(extent)] times factor_of(lane) to the rows of the
/// lanes' tokens. Returns whether all of them were finite.
template <class FactorOf>
inline bool store_lanes(DType dtype, const TokenRows& rows, const LaneGroup& group,
                        const float* sums, int64 extent, const FactorOf& factor_of) {
    const int64 columns = padded_columns(extent);
    const int64 whole = extent / kWidth * kWidth;
    Vec finite[2] = {Vec(0.0F), Vec(0.0F)};
    with_dtype(dtype, [&]<DType kType>() {
        for (int64 l = 0; l < group.num_lanes; ++l, sums += columns) {
            char* to = const_cast<char*>(rows.base) + group.tokens[l] * rows.stride;
            const Vec factor(factor_of(l));
            const auto put = [&](int64 c, int64 count) {
                const Vec x = load(sums + c);
                finite[c / kWidth % 2] = fma(x, Vec(0.0F), finite[c / kWidth % 2]);
                store_as<kType>(to + c * bytes_of(kType), x * factor, count);
            };
            for (int64 c = 0; c < whole; c += kWidth) put(c, kWidth);
            if (whole < extent) put(whole, extent - whole);
        }
    });
    return !any_nan(finite[0] + finite[1]);
}

}  // namespace
}  // namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE
