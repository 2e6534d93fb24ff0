// A neighborhood problem for tests: a plain description that can be printed, and the tensors, C
// structs and core structs made from it. Used by the reference's, the conformance and the laws'
// tests.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/neighborhood.h"
#include "fused_attention/fused_attention.h"
#include "support/tensor.h"

namespace fattn::test {

/// Everything that makes a problem, data included through its seed.
struct NeighborhoodSpec {
    uint64 seed = 1;
    DType dtype = DType::kF32;
    bool f32_output = false;  // o and gradients in f32 whatever the dtype

    int64 batch = 1;
    int64 num_q_heads = 1;
    int64 num_kv_heads = 1;
    std::vector<NeighborhoodAxis> axes;  // one to three
    int64 num_additional = 0;
    int64 head_dim = 1;
    int64 head_dim_v = 1;
    std::optional<float> scale;

    MemoryOrder q_order = MemoryOrder::kHeadsOutside;
    MemoryOrder k_order = MemoryOrder::kHeadsOutside;
    MemoryOrder v_order = MemoryOrder::kHeadsOutside;
    MemoryOrder o_order = MemoryOrder::kHeadsOutside;

    bool backward = false;
    bool d_lse = false;
    double magnitude = 1;  // standard deviation of q; the other tensors have 1

    NeighborhoodGrid grid() const;
    /// Multiply-adds of the two products over all pairs, hidden ones included, as the reference
    /// makes them.
    double work() const;
};

std::string describe(const NeighborhoodSpec& spec);

/// The tensors of a spec, with every way to look at them. Not copyable: the structs point into it.
class NeighborhoodCase {
  public:
    explicit NeighborhoodCase(const NeighborhoodSpec& spec);
    NeighborhoodCase(const NeighborhoodCase&) = delete;
    NeighborhoodCase& operator=(const NeighborhoodCase&) = delete;

    const NeighborhoodSpec& spec() const { return spec_; }

    /// For the C interface. Outputs point to o, lse and the gradients below; the backward's o and
    /// lse are these too.
    fattn_neighborhood_problem c_problem() const;
    fattn_neighborhood_forward_args c_forward();
    fattn_neighborhood_backward_args c_backward();

    /// For the reference.
    NeighborhoodProblem problem() const;
    NeighborhoodForwardArgs forward_args() const;
    NeighborhoodBackwardArgs backward_args() const;

    /// Poisons all outputs, or the gradients alone, anew.
    void reset_outputs();
    void reset_gradients();

    Tensor q, k, v, additional_k, additional_v, d_o;
    Tensor o, d_q, d_k, d_v, d_additional_k, d_additional_v;
    Tensor d_lse, lse;  // [B, Hq, L, 1]

  private:
    NeighborhoodSpec spec_;
};

}  // namespace fattn::test
