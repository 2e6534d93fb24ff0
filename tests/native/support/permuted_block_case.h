// A permuted block-sparse problem for tests: a plain description that can be printed, and the
// tensors and structs made from it. Used by the reference's, the selection's and the conformance's
// tests.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/permuted_block.h"
#include "fused_attention/fused_attention.h"
#include "support/tensor.h"

namespace fattn::test {

/// Everything that makes a problem, data included through its seed.
struct PermutedBlockSpec {
    uint64 seed = 1;
    DType dtype = DType::kF32;
    bool f32_output = false;

    int64 batch = 1;
    int64 num_q_heads = 1;
    int64 num_k_heads = 1;
    int64 num_v_heads = 1;
    int64 q_len = 1;
    int64 kv_len = 1;
    int64 head_dim = 4;
    int64 head_dim_v = 4;

    int64 block = 4;
    int64 segment = 8;
    int64 query_block = 0;  // 0: block
    float coverage = 0.9F;
    std::optional<float> scale;
    bool causal = true;
    bool max_pool = false;
    bool shared = false;

    MemoryOrder q_order = MemoryOrder::kHeadsOutside;
    MemoryOrder k_order = MemoryOrder::kHeadsOutside;
    MemoryOrder v_order = MemoryOrder::kHeadsOutside;
    MemoryOrder o_order = MemoryOrder::kHeadsOutside;

    bool backward = false;
    bool d_lse = false;
    double magnitude = 1;  // standard deviation of q; the other tensors have 1
};

std::string describe(const PermutedBlockSpec& spec);

/// Not copyable: the structs point into it.
class PermutedBlockCase {
  public:
    explicit PermutedBlockCase(const PermutedBlockSpec& spec);
    PermutedBlockCase(const PermutedBlockCase&) = delete;
    PermutedBlockCase& operator=(const PermutedBlockCase&) = delete;

    const PermutedBlockSpec& spec() const { return spec_; }
    /// For the C interface. Outputs point to what is below.
    fattn_permuted_block_problem c_problem() const;
    fattn_permuted_block_select_args c_select();
    fattn_permuted_block_forward_args c_forward();
    fattn_permuted_block_backward_args c_backward();

    /// For the reference and the kernels.
    PermutedBlockProblem problem() const;
    PermutedBlockForwardArgs forward_args();
    PermutedBlockBackwardArgs backward_args();

    /// Poisons all outputs, or the gradients alone, anew.
    void reset_outputs();
    void reset_gradients();

    /// Makes room for a selection, filled with values that none has.
    void reset_selection();
    /// A random permutation inside segments and random kept blocks, each with the given chance;
    /// equal for query heads that share.
    void draw_selection(double chance_of_block);

    Tensor q, k, v, d_o, d_lse;
    Tensor o, lse, d_q, d_k, d_v;
    std::vector<int32> permutation;  // [B, Hq, Lk]
    std::vector<uint8> block_mask;   // [B, Hq, nQ, nK]
    std::vector<float> coverage;     // [B, Hq, nQ]

  private:
    PermutedBlockSpec spec_;
};

}  // namespace fattn::test
