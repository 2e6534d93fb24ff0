// A dense attention problem for tests: a plain description that can be printed, and the tensors, C
// structs and core structs made from it. Used by the reference's, the conformance and the laws'
// tests.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/problem.h"
#include "fused_attention/fused_attention.h"
#include "support/tensor.h"

namespace fattn::test {

/// Everything that makes a problem, data included through its seed. Zero or empty means absent.
struct DenseSpec {
    uint64 seed = 1;
    DType dtype = DType::kF32;
    bool f32_output = false;  // o and gradients in f32 whatever the dtype

    int64 batch = 1;
    int64 num_q_heads = 1;
    int64 num_k_heads = 1;
    int64 num_v_heads = 1;
    int64 q_len = 1;
    int64 kv_len = 1;
    int64 head_dim = 1;
    int64 head_dim_v = 1;

    bool causal = false;
    bool top_left = false;
    int64 window_left = -1;
    int64 window_right = -1;
    int64 attention_chunk = 0;
    int64 q_position_offset = 0;
    int64 k_position_offset = 0;

    std::optional<float> scale;
    float softcap = 0;
    bool sigmoid = false;
    float sigmoid_bias = 0;
    bool alibi = false;
    bool sink = false;
    float dropout_p = 0;

    DType bias = DType::kDefault;
    bool bias_per_batch = false;
    bool bias_per_head = false;
    double bias_hidden = 0;  // share of rows whose bias is -inf throughout, and of single places
    DType mask = DType::kDefault;
    bool mask_per_batch = false;
    bool mask_per_head = false;

    std::vector<int32> q_lens;   // packed sequences; batch is then their number
    std::vector<int32> kv_lens;  // of the same number
    std::vector<int32> kv_len_of_run;
    int64 page_size = 0;

    MemoryOrder q_order = MemoryOrder::kHeadsOutside;
    MemoryOrder k_order = MemoryOrder::kHeadsOutside;
    MemoryOrder v_order = MemoryOrder::kHeadsOutside;
    MemoryOrder o_order = MemoryOrder::kHeadsOutside;

    bool backward = false;
    bool d_lse = false;
    double magnitude = 1;  // standard deviation of q; the other tensors have 1

    bool varlen() const { return !q_lens.empty(); }
    /// Multiply-adds of the two products of a forward run, hidden pairs included.
    double work() const;
};

std::string describe(const DenseSpec& spec);

/// The tensors of a spec, with every way to look at them. Not copyable: the structs point into it.
class DenseCase {
  public:
    explicit DenseCase(const DenseSpec& spec);
    DenseCase(const DenseCase&) = delete;
    DenseCase& operator=(const DenseCase&) = delete;

    const DenseSpec& spec() const { return spec_; }

    /// For the C interface. Outputs point to o, lse and the gradients below; the backward's o and
    /// lse are these too.
    fattn_dense_problem c_problem() const;
    fattn_dense_forward_args c_forward();
    fattn_dense_backward_args c_backward();

    /// For the reference.
    DenseProblem problem() const;
    DenseForwardArgs forward_args() const;
    DenseBackwardArgs backward_args() const;

    /// Poisons all outputs, or the gradients alone, anew.
    void reset_outputs();
    void reset_gradients();

    Tensor q, k, v, bias, mask, d_o;
    Tensor o, d_q, d_k, d_v, d_bias;
    Tensor alibi_slopes, sink_logits, d_lse;  // [1, 1, 1, Hq], [1, 1, 1, Hq], [B, Hq, Lq, 1]
    Tensor lse, d_sink_logits;                // [B, Hq, Lq, 1], [1, 1, 1, Hq]
    std::vector<int32> cu_seqlens_q, cu_seqlens_k, block_table;
    uint64 dropout_seed = 0;
    uint64 dropout_offset = 0;

  private:
    void make_shapes();
    void make_data();
    void hide_unused_keys();

    DenseSpec spec_;
    int64 max_q_len_ = 0;   // of all sequences
    int64 max_kv_len_ = 0;  // likewise; the capacity when paged
    int64 max_pages_per_seq_ = 0;
};

}  // namespace fattn::test
