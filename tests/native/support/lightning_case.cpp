// Makes the tensors and structs of a linear attention test problem.
#include "support/lightning_case.h"

#include <random>
#include <sstream>

#include "support/bell.h"

namespace fattn::test {

const char* name_of(FeatureMap map) {
    switch (map) {
        case FeatureMap::kIdentity:
            return "identity";
        case FeatureMap::kEluPlusOne:
            return "elu_plus_one";
        case FeatureMap::kRelu:
            return "relu";
        case FeatureMap::kSoftmax:
            return "softmax";
        case FeatureMap::kTaylor2:
            return "taylor2";
    }
    return "?";
}

double LightningSpec::work() const {
    return static_cast<double>(batch * num_q_heads * len) *
           static_cast<double>(num_features(map, head_dim) * (head_dim_v + 1) * 2);
}

std::string describe(const LightningSpec& s) {
    std::ostringstream text;
    text << "lightning " << name_of(s.dtype) << (s.f32_output ? " to f32" : "") << " B " << s.batch
         << " H " << s.num_q_heads << "/" << s.num_kv_heads << " L " << s.len << " D " << s.head_dim
         << "/" << s.head_dim_v << " " << name_of(s.map);
    if (!s.causal) text << " non-causal";
    if (s.normalize) text << " normalised";
    if (s.scale) text << " scale " << *s.scale;
    if (!s.slopes.empty()) text << " slopes from " << s.slopes.front();
    if (s.initial_state) text << " initial state";
    if (s.d_final_state) text << " d_final_state";
    text << " memory " << name_of(s.q_order) << "," << name_of(s.k_order) << ","
         << name_of(s.v_order) << "," << name_of(s.o_order) << " seed " << s.seed;
    return text.str();
}

LightningCase::LightningCase(const LightningSpec& spec) : spec_(spec) {
    const LightningSpec& s = spec_;
    q = Tensor(make_layout({s.batch, s.num_q_heads, s.len, s.head_dim}, s.dtype, s.q_order));
    k = Tensor(make_layout({s.batch, s.num_kv_heads, s.len, s.head_dim}, s.dtype, s.k_order));
    v = Tensor(make_layout({s.batch, s.num_kv_heads, s.len, s.head_dim_v}, s.dtype, s.v_order));
    slopes = Tensor(contiguous(1, 1, 1, s.num_q_heads, DType::kF32));
    const LightningProblem p = problem();
    const TensorLayout state =
        contiguous(s.batch, s.num_q_heads, p.state_rows(), p.state_columns(), DType::kF32);
    if (s.initial_state) initial_state = Tensor(state);
    if (s.d_final_state) d_final_state = Tensor(state);
    if (s.backward) d_o = Tensor(p.d_o);

    std::mt19937_64 random(s.seed);
    std::uniform_real_distribution<double> uniform;
    for (Tensor* tensor : {&q, &k, &v, &d_o, &d_final_state}) {
        tensor->fill([&] { return bell(random); });
    }
    // A state with a sum of weights comes from keys: positive, so that no row divides by nearly 0.
    initial_state.fill([&] { return s.normalize ? 0.5 + uniform(random) : bell(random); });
    std::size_t head = 0;
    slopes.fill([&] {
        return s.slopes.empty() ? uniform(random) * uniform(random)
                                : static_cast<double>(s.slopes.at(head++));
    });
    reset_outputs();
}

fattn_lightning_problem LightningCase::c_problem() const {
    const LightningProblem p = problem();
    fattn_lightning_problem c{};
    c.struct_size = sizeof c;
    c.flags = (spec_.scale ? uint32_t{FATTN_LIGHTNING_HAS_SCALE} : 0U) |
              (spec_.initial_state ? uint32_t{FATTN_LIGHTNING_HAS_INITIAL_STATE} : 0U) |
              (spec_.backward ? uint32_t{FATTN_LIGHTNING_BACKWARD} : 0U) |
              (spec_.causal ? 0U : uint32_t{FATTN_LIGHTNING_NON_CAUSAL}) |
              (spec_.normalize ? uint32_t{FATTN_LIGHTNING_NORMALIZE} : 0U);
    c.q = to_c(p.q);
    c.k = to_c(p.k);
    c.v = to_c(p.v);
    c.o = to_c(p.o);
    if (spec_.backward) {
        c.d_o = to_c(p.d_o);
        c.d_q = to_c(p.d_q);
        c.d_k = to_c(p.d_k);
        c.d_v = to_c(p.d_v);
    }
    c.scale = spec_.scale.value_or(0);
    c.feature_map = static_cast<fattn_feature_map>(spec_.map);
    return c;
}

fattn_lightning_forward_args LightningCase::c_forward() {
    fattn_lightning_forward_args c{};
    c.struct_size = sizeof c;
    c.q = q.data();
    c.k = k.data();
    c.v = v.data();
    c.o = o.data();
    c.slopes = slopes.floats();
    c.initial_state = initial_state.floats();
    c.final_state = final_state.floats();
    return c;
}

fattn_lightning_backward_args LightningCase::c_backward() {
    fattn_lightning_backward_args c{};
    c.struct_size = sizeof c;
    c.q = q.data();
    c.k = k.data();
    c.v = v.data();
    c.slopes = slopes.floats();
    c.initial_state = initial_state.floats();
    c.d_o = d_o.data();
    c.d_final_state = d_final_state.floats();
    c.d_q = d_q.data();
    c.d_k = d_k.data();
    c.d_v = d_v.data();
    c.d_initial_state = d_initial_state.floats();
    return c;
}

LightningProblem LightningCase::problem() const {
    const LightningSpec& s = spec_;
    const DType result = s.f32_output ? DType::kF32 : s.dtype;
    LightningProblem p{};
    p.q = q.layout();
    p.k = k.layout();
    p.v = v.layout();
    p.o = make_layout({s.batch, s.num_q_heads, s.len, s.head_dim_v}, result, s.o_order);
    p.d_o = make_layout({s.batch, s.num_q_heads, s.len, s.head_dim_v}, result, s.q_order);
    p.d_q = make_layout({s.batch, s.num_q_heads, s.len, s.head_dim}, result, s.o_order);
    p.d_k = make_layout({s.batch, s.num_kv_heads, s.len, s.head_dim}, result, s.o_order);
    p.d_v = make_layout({s.batch, s.num_kv_heads, s.len, s.head_dim_v}, result, s.o_order);
    p.batch = s.batch;
    p.num_q_heads = s.num_q_heads;
    p.num_kv_heads = s.num_kv_heads;
    p.len = s.len;
    p.head_dim = s.head_dim;
    p.head_dim_v = s.head_dim_v;
    p.scale = s.scale.value_or(1.0F);
    p.map = s.map;
    p.causal = s.causal;
    p.normalize = s.normalize;
    p.has_initial_state = s.initial_state;
    p.backward = s.backward;
    return p;
}

namespace {

const float* floats_of(const Tensor& tensor) { return static_cast<const float*>(tensor.data()); }

}  // namespace

LightningForwardArgs LightningCase::forward_args() const {
    return {.q = q.data(),
            .k = k.data(),
            .v = v.data(),
            .o = nullptr,
            .slopes = floats_of(slopes),
            .initial_state = floats_of(initial_state),
            .final_state = nullptr};
}

LightningBackwardArgs LightningCase::backward_args() const {
    return {.q = q.data(),
            .k = k.data(),
            .v = v.data(),
            .slopes = floats_of(slopes),
            .initial_state = floats_of(initial_state),
            .d_o = d_o.data(),
            .d_final_state = floats_of(d_final_state),
            .d_q = nullptr,
            .d_k = nullptr,
            .d_v = nullptr,
            .d_initial_state = nullptr};
}

void LightningCase::reset_outputs() {
    const LightningProblem p = problem();
    o = Tensor(p.o);
    final_state =
        Tensor(contiguous(p.batch, p.num_q_heads, p.state_rows(), p.state_columns(), DType::kF32));
    reset_gradients();
}

void LightningCase::reset_gradients() {
    if (!spec_.backward) return;
    const LightningProblem p = problem();
    d_q = Tensor(p.d_q);
    d_k = Tensor(p.d_k);
    d_v = Tensor(p.d_v);
    if (spec_.initial_state) d_initial_state = Tensor(initial_state.layout());
}

}  // namespace fattn::test
