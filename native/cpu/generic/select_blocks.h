// Pooling of the rows of a block to one row, and scores of pooled queries against pooled keys.
// Instantiated per CPU target by table.h, called by block selection.
#pragma once

#include "core/types.h"
#include "cpu/generic/pack.h"
#include "cpu/select_tasks.h"

namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE {
namespace {

template <DType kType>
inline void pool_rows(const PoolTask& task) {
    const bool padded = task.padded_rows > task.num_rows;
    const Vec divisor(static_cast<float>(task.padded_rows));
    for (int64 c = 0; c < pooled_stride(task.extent); c += kWidth) {
        const int64 count = clamp_to<int64>(task.extent - c, 0, kWidth);
        const auto row = [&](int64 r) {
            const int64 token = task.tokens != nullptr ? task.tokens[r] : task.first_token + r;
            return load_as<kType>(byte_offset(task.data, token * task.stride + c * bytes_of(kType)),
                                  count);
        };
        Vec pooled = row(0);
        for (int64 r = 1; r < task.num_rows; ++r) {
            pooled = task.maximum ? max(pooled, row(r)) : pooled + row(r);
        }
        if (!task.maximum) {
            pooled = pooled / divisor;
        } else if (padded) {
            pooled = max(Vec(0.0F), pooled);
        }
        store(task.out + c, pooled);
    }
}

inline void pool_block(const PoolTask& task) {
    with_dtype(task.dtype, [&]<DType kType>() { pool_rows<kType>(task); });
}

inline void block_scores(const BlockScoreTask& task) {
    const auto products = [&](int64 key) {
        const float* k = task.keys + key * task.stride;
        Vec sum(0.0F);
        for (int64 c = 0; c < task.stride; c += kWidth) {
            sum = fma(load(task.query + c), load(k + c), sum);
        }
        return sum;
    };
    // Always four sums at once, each added up in the same order: equal keys get equal scores, whose
    // ties then go to the lower block, wherever they stand.
    for (int64 key = task.begin; key < task.end; key += 4) {
        const int64 count = min_of<int64>(4, task.end - key);
        const auto at = [&](int64 i) { return products(key + min_of(i, count - 1)); };
        float sums[4];
        store_sums(sums, at(0), at(1), at(2), at(3));
        for (int64 i = 0; i < count; ++i) task.scores[key + i] = sums[i] * task.scale;
    }
}

}  // namespace
}  // namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE
