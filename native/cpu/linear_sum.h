// One decayed sum over tokens for all heads of a problem, cut into segments and run on the pool:
// the output of linear attention or one of its gradients. Used by the lightning kernel.
#pragma once

#include <cstddef>

#include "backend/status.h"
#include "core/lightning.h"
#include "cpu/kernels.h"

namespace fattn::cpu {

/// A tensor of a problem as rows of a sum.
struct LinearOperand {
    const void* data;
    const TensorLayout* layout;
    bool of_q_heads;  // otherwise of key and value heads
    FeatureMap map;
    bool extra;
    const float* factors;  // [B, Hq, L] pairs or null

    int64 size() const { return num_features(map, layout->shape[3]) + (extra ? 1 : 0); }
};

/// States [B, Hq, rows, columns] of a caller, or null. transposed: [columns, rows] in memory.
struct LinearStates {
    const float* initial;  // null: 0
    float* final;          // may be null
    bool transposed;
};

/// sum over u <= t (u >= t when backwards) of weight e^(-slope |t - u|) (left_t . right_u)
/// values_u, and what the states add; over all u when two_sided.
struct LinearSumSpec {
    LinearOperand left;
    LinearOperand right;
    LinearOperand values;
    LinearStates states;
    bool backwards;  // states belong to the end of the sequence
    bool two_sided;
    bool per_kv_head;  // results are summed over the query heads of a key head
    float weight;
    LinearResult kind;
    void* result;
    const TensorLayout* result_layout;
    float factor;
    LinearOperand through;  // kStoreThrough, kQuotientFactors
    float* factors;         // kQuotientFactors: [B, Hq, L] pairs
};

/// How a sum is cut, by the problem alone, so that results do not depend on threads.
class LinearSum {
  public:
    LinearSum(const LightningProblem& problem, const KernelTable& table, const float* slopes,
              const LinearSumSpec& spec);

    /// Bytes of workspace on num_threads threads.
    uint64 workspace(int num_threads) const;
    Status run(int num_threads, const int32* cancel, std::byte* workspace) const;

  private:
    struct Unit;
    struct Memory;

    int64 num_units() const;
    int64 num_directions() const { return spec_.two_sided ? 2 : 1; }
    /// Of the pass with most of them that need memory of their own.
    int64 most_tasks() const {
        return num_units() * max_of(num_segments_, num_directions() * (num_segments_ - 1));
    }
    Unit unit(int64 index) const;
    uint64 thread_bytes() const;
    int64 shared_state_floats() const;
    int64 partial_stride() const;

    Status find_local_states(const Memory& memory, int num_threads, const int32* cancel) const;
    Status pass_states_on(const Memory& memory, int num_threads, const int32* cancel) const;
    void scan_segment(const Memory& memory, int64 unit, int64 segment, int slot,
                      const int32* cancel) const;
    LinearScanTask scan_task(const Memory& memory, const Unit& unit, int64 segment, int direction,
                             int slot, const int32* cancel) const;

    const LightningProblem& problem_;
    const KernelTable& table_;
    const float* slopes_;
    const LinearSumSpec& spec_;
    int64 num_rows_;     // of a state
    int64 num_columns_;  // of a state
    int64 state_floats_;
    int64 most_heads_;  // of a unit
    int64 num_segments_;
    int64 segment_rows_;
};

/// Address of a token's row, and the bytes to the next one in the direction of time.
LinearRows linear_rows(const LightningProblem& problem, const LinearOperand& operand, int64 b,
                       int64 q_head, int64 token, bool backwards);

}  // namespace fattn::cpu
