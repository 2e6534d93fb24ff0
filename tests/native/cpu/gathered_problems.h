// Lists of problems that the gathered forward and the gathered backward must both get right; used
// by their tests.
#pragma once

#include <vector>

#include "random_gatherer.h"
#include "support/dense_case.h"

namespace fattn::cpu {

struct GatheredSpec {
    test::DenseSpec dense;
    GatherStyle style;
    int64 num_additional = 0;
};

constexpr DType kGatheredDTypes[] = {DType::kF32, DType::kF16, DType::kBF16};

test::DenseSpec sized(int64 q_len, int64 kv_len, int64 head_dim, DType dtype);

/// Intervals, bits, and bits in every order.
std::vector<GatherStyle> gather_styles();

/// Each in every dtype and style.
std::vector<GatheredSpec> specs_of_head_dims();
std::vector<GatheredSpec> specs_of_shared_heads_and_additional_keys();
std::vector<GatheredSpec> specs_of_memory_orders();
std::vector<GatheredSpec> specs_of_scales();

}  // namespace fattn::cpu
