// Lists of problems for the tests of the gathered passes; see gathered_problems.h.
#include "gathered_problems.h"

namespace fattn::cpu {
namespace {

/// Every dtype and style of what change makes of a spec.
template <class Change>
void add(std::vector<GatheredSpec>& specs, const GatheredSpec& base, const Change& change) {
    for (const DType dtype : kGatheredDTypes)
        for (const GatherStyle& style : gather_styles()) {
            GatheredSpec spec = base;
            spec.dense.dtype = dtype;
            spec.style = style;
            change(spec);
            specs.push_back(spec);
        }
}

}  // namespace

test::DenseSpec sized(int64 q_len, int64 kv_len, int64 head_dim, DType dtype) {
    test::DenseSpec spec;
    spec.q_len = q_len;
    spec.kv_len = kv_len;
    spec.head_dim = spec.head_dim_v = head_dim;
    spec.dtype = dtype;
    return spec;
}

std::vector<GatherStyle> gather_styles() {
    std::vector<GatherStyle> styles(4);
    styles[1].holes = true;
    styles[2].shuffle = true;
    styles[2].unseen_slots = true;
    styles[3].holes = styles[3].shuffle = true;
    styles[3].equal_heads = false;
    return styles;
}

std::vector<GatheredSpec> specs_of_head_dims() {
    std::vector<GatheredSpec> specs;
    for (const int64 head_dim : {1, 7, 48, 129})
        for (const int64 head_dim_v : {1, 80})
            add(specs, {sized(30, 70, head_dim, DType::kF32), {}, 0}, [&](GatheredSpec& spec) {
                spec.dense.head_dim_v = head_dim_v;
                spec.dense.f32_output = head_dim == 7;
            });
    return specs;
}

std::vector<GatheredSpec> specs_of_shared_heads_and_additional_keys() {
    std::vector<GatheredSpec> specs;
    for (const int64 k_heads : {1, 2, 3, 6})
        for (const int64 v_heads : {1, 3})
            add(specs, {sized(50, 90, 24, DType::kF32), {}, k_heads * 5}, [&](GatheredSpec& spec) {
                spec.dense.batch = 2;
                spec.dense.num_q_heads = 6;
                spec.dense.num_k_heads = k_heads;
                spec.dense.num_v_heads = v_heads;
                spec.style.rows_of_tile = 20;
            });
    return specs;
}

std::vector<GatheredSpec> specs_of_memory_orders() {
    using test::MemoryOrder;
    std::vector<GatheredSpec> specs;
    for (const MemoryOrder order :
         {MemoryOrder::kTokensOutside, MemoryOrder::kPacked, MemoryOrder::kPadded})
        add(specs, {sized(70, 130, 24, DType::kF32), {}, 11}, [&](GatheredSpec& spec) {
            test::DenseSpec& dense = spec.dense;
            dense.batch = dense.num_q_heads = dense.num_k_heads = dense.num_v_heads = 2;
            dense.q_order = dense.k_order = dense.v_order = order;
            dense.o_order = MemoryOrder::kPadded;
        });
    return specs;
}

std::vector<GatheredSpec> specs_of_scales() {
    std::vector<GatheredSpec> specs;
    for (const float scale : {-0.3F, 0.0F, 2.0F})
        add(specs, {sized(40, 100, 16, DType::kF32), {}, 0},
            [&](GatheredSpec& spec) { spec.dense.scale = scale; });
    return specs;
}

}  // namespace fattn::cpu
