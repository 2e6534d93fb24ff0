// How much the last queries of a head look at its keys: logits by register-tile products, a pass
// that finds each query's sum and a pass that adds up the weights of each key. Instantiated per CPU
// target by table.h, called by block selection.
#pragma once

#include "core/softmax_state.h"
#include "core/types.h"
#include "cpu/generic/math.h"
#include "cpu/generic/micro.h"
#include "cpu/generic/pack.h"
#include "cpu/generic/scores.h"
#include "cpu/generic/scratch.h"
#include "cpu/select_tasks.h"

namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE {
namespace {

/// All f32: an importance only ranks keys, but ranks of near ties should not depend on a narrower
/// product.
struct JudgeScratch {
    float* q;        // [row groups][D][kMicroRows]
    float* k;        // [kTileKv / kPanel][D][kPanel]
    float* logits;   // [kMicroRows][kScoreStride]
    float* columns;  // [kTileKv] sums over the judges

    static uint64 layout(const PermutedBlockProblem& problem, void* memory, JudgeScratch* out) {
        const int64 rows = round_up<int64>(problem.num_judges(), kMicroRows) + kWidth;
        Scratch scratch(memory);
        out->q = scratch.take<float>(rows * problem.head_dim);
        out->k = scratch.take<float>(kTileKv * problem.head_dim);
        out->logits = scratch.take<float>(kMicroRows * kScoreStride);
        out->columns = scratch.take<float>(kTileKv);
        return scratch.used();
    }
};

inline uint64 judge_scratch(const PermutedBlockProblem& problem) {
    JudgeScratch scratch;
    return JudgeScratch::layout(problem, nullptr, &scratch);
}

class JudgeLoop {
  public:
    explicit JudgeLoop(const JudgeTask& task)
        : task_(task),
          problem_(*task.problem),
          num_judges_(problem_.num_judges()),
          dim_(problem_.head_dim) {
        JudgeScratch::layout(problem_, task.scratch, &s_);
        pack_judges();
    }

    void find_sums() {
        for (int64 r = 0; r < num_judges_; ++r) {
            task_.max[r] = -kInfinity;
            task_.sum[r] = 0.0F;
        }
        for (int64 key = task_.key_begin; key < task_.key_end; key += kTileKv) {
            pack_keys(key);
            for (int64 row = 0; row < num_judges_; row += kMicroRows) {
                multiply(row);
                add_to_sums(row);
            }
        }
    }

    void add_weights() {
        for (int64 key = task_.key_begin; key < task_.key_end; key += kTileKv) {
            pack_keys(key);
            fill(s_.columns, 0, padded_keys_, 0.0F);
            for (int64 row = 0; row < num_judges_; row += kMicroRows) {
                multiply(row);
                add_to_columns(row);
            }
            float* out = task_.weights + (key - task_.key_begin);
            for (int64 i = 0; i < num_keys_; i += kWidth) {
                store_first(out + i, load(s_.columns + i), min_of<int64>(kWidth, num_keys_ - i));
            }
        }
    }

  private:
    void pack_judges() {
        const TensorLayout& q = problem_.q;
        const int64 first = problem_.q_len - num_judges_;
        for (int64 row = 0; row < num_judges_; row += kMicroRows) {
            pack_transposed<DotF32, kMicroRows>(
                q.dtype,
                [&](int64 r) {
                    const int64 at = q.row(task_.batch_idx, task_.q_head, first + row + r);
                    return byte_offset(task_.q, at * bytes_of(q.dtype));
                },
                num_judges_ - row, dim_, s_.q + row * dim_);
        }
    }

    void pack_keys(int64 key) {
        const TensorLayout& k = problem_.k;
        num_keys_ = min_of<int64>(kTileKv, task_.key_end - key);
        padded_keys_ = round_up<int64>(num_keys_, kPanel);
        const int64 head = problem_.k_head(task_.q_head);
        for (int64 j = 0; j < num_keys_; j += kPanel) {
            pack_transposed<DotF32, kPanel>(
                k.dtype,
                [&](int64 r) {
                    const int64 at = k.row(task_.batch_idx, head, key + j + r);
                    return byte_offset(task_.k, at * bytes_of(k.dtype));
                },
                num_keys_ - j, dim_, s_.k + j * dim_);
        }
    }

    /// Base-2 logits of judges [row, row + kMicroRows) for the packed keys, -inf past their end.
    void multiply(int64 row) {
        for (int64 j = 0; j < padded_keys_; j += kPanel) {
            micro_product<DotF32, PanelOrder, kMicroVecs, Start::kZero>(
                s_.q + row * dim_, s_.k + j * dim_, dim_, s_.logits + j, kScoreStride, nullptr);
        }
        const Vec scale(problem_.scale * kLog2E);
        for (int64 r = 0; r < min_of<int64>(kMicroRows, num_judges_ - row); ++r) {
            float* x = s_.logits + r * kScoreStride;
            for (int64 i = 0; i < padded_keys_; i += kWidth) store(x + i, load(x + i) * scale);
            fill(x, num_keys_, padded_keys_, -kInfinity);
        }
    }

    void add_to_sums(int64 row) {
        for (int64 r = 0; r < min_of<int64>(kMicroRows, num_judges_ - row); ++r) {
            float* x = s_.logits + r * kScoreStride;
            SoftmaxState<float> state{task_.max[row + r], task_.sum[row + r]};
            raise_max(&state, reduce_max(row_max(x, 0, padded_keys_)));
            const Vec lanes =
                row_weights<DotF32>(x, 0, padded_keys_, 1.0F, fattn::guarded(state.max));
            task_.max[row + r] = state.max;
            task_.sum[row + r] = state.sum + reduce_add(lanes);
        }
    }

    void add_to_columns(int64 row) {
        for (int64 r = 0; r < min_of<int64>(kMicroRows, num_judges_ - row); ++r) {
            float* x = s_.logits + r * kScoreStride;
            row_weights<DotF32>(x, 0, padded_keys_, 1.0F, task_.log_sum[row + r]);
            for (int64 i = 0; i < padded_keys_; i += kWidth) {
                store(s_.columns + i, load(s_.columns + i) + load(x + i));
            }
        }
    }

    const JudgeTask& task_;
    const PermutedBlockProblem& problem_;
    int64 num_judges_;
    int64 dim_;
    int64 num_keys_ = 0;     // of the packed tile
    int64 padded_keys_ = 0;  // the same in whole panels
    JudgeScratch s_{};
};

inline void judge_sums(const JudgeTask& task) { JudgeLoop(task).find_sums(); }
inline void judge_weights(const JudgeTask& task) { JudgeLoop(task).add_weights(); }

}  // namespace
}  // namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE
