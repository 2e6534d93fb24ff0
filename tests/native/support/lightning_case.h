// A linear attention problem for tests: a plain description that can be printed, and the tensors, C
// structs and core structs made from it. Used by the reference's, the conformance and the laws'
// tests.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/lightning.h"
#include "fused_attention/fused_attention.h"
#include "support/tensor.h"

namespace fattn::test {

/// Everything that makes a problem, data included through its seed.
struct LightningSpec {
    uint64 seed = 1;
    DType dtype = DType::kF32;
    bool f32_output = false;  // o and gradients in f32 whatever the dtype

    int64 batch = 1;
    int64 num_q_heads = 1;
    int64 num_kv_heads = 1;
    int64 len = 1;
    int64 head_dim = 1;
    int64 head_dim_v = 1;

    FeatureMap map = FeatureMap::kIdentity;
    bool causal = true;
    bool normalize = false;
    std::optional<float> scale;
    std::vector<float> slopes;  // of the heads; empty: some between 0 and 1
    bool initial_state = false;
    bool d_final_state = false;

    MemoryOrder q_order = MemoryOrder::kHeadsOutside;
    MemoryOrder k_order = MemoryOrder::kHeadsOutside;
    MemoryOrder v_order = MemoryOrder::kHeadsOutside;
    MemoryOrder o_order = MemoryOrder::kHeadsOutside;

    bool backward = false;

    /// Multiply-adds of a forward run of the reference.
    double work() const;
};

const char* name_of(FeatureMap map);
std::string describe(const LightningSpec& spec);

/// The tensors of a spec, with every way to look at them. Not copyable: the structs point into it.
class LightningCase {
  public:
    explicit LightningCase(const LightningSpec& spec);
    LightningCase(const LightningCase&) = delete;
    LightningCase& operator=(const LightningCase&) = delete;

    const LightningSpec& spec() const { return spec_; }

    /// For the C interface. Outputs point to the tensors below.
    fattn_lightning_problem c_problem() const;
    fattn_lightning_forward_args c_forward();
    fattn_lightning_backward_args c_backward();

    /// For the reference.
    LightningProblem problem() const;
    LightningForwardArgs forward_args() const;
    LightningBackwardArgs backward_args() const;

    /// Poisons all outputs, or the gradients alone, anew.
    void reset_outputs();
    void reset_gradients();

    Tensor q, k, v, d_o;
    Tensor o, d_q, d_k, d_v;
    Tensor slopes;                        // [1, 1, 1, Hq]
    Tensor initial_state, d_final_state;  // [B, Hq, state rows, state columns]
    Tensor final_state, d_initial_state;  // the same

  private:
    LightningSpec spec_;
};

}  // namespace fattn::test
