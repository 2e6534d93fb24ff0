// Says which decayed sums the passes of linear attention are; see lightning_runs.h.
#include "cuda/host/lightning_runs.h"

#include "backend/text.h"
#include "cuda/host/dense_keys.h"

namespace fattn::cuda {
namespace {

constexpr int64 kMostLightningTokens = INT32_MAX - 256;
constexpr int64 kMostLightningBlocks = INT32_MAX;
constexpr int32 kLargestLightningHeadDim = 256;

bool sums_heads(const LightningProblem& p) { return p.num_kv_heads != p.num_q_heads; }

LightningRows rows_of(const void* data, const TensorLayout& layout, bool of_q_heads) {
    return {data, layout, of_q_heads, is_wide(layout, data)};
}

/// Where results go, and the states that a sum starts from and ends with.
struct LightningEnds {
    void* out;
    const TensorLayout& layout;
    const float* initial_state;
    float* final_state;
    bool transposed;
};

class LightningSums {
  public:
    LightningSums(const LightningProblem& problem, void* workspace)
        : p_(problem), sums_(static_cast<float*>(workspace)) {}

    /// A sum over earlier tokens; shift and heads as the gradients of keys and values have them.
    LightningParams sum(const LightningRows& left, const LightningRows& right,
                        const LightningRows& values, const LightningEnds& ends) const {
        LightningParams params{};
        params.left = left;
        params.right = right;
        params.values = values;
        params.initial_state = ends.initial_state;
        params.final_state = ends.final_state;
        params.transposed_state = ends.transposed;
        params.batch = narrow<int32>(p_.batch);
        params.num_q_heads = narrow<int32>(p_.num_q_heads);
        params.num_kv_heads = narrow<int32>(p_.num_kv_heads);
        params.len = narrow<int32>(p_.len);
        params.extent = narrow<int32>(left.layout.shape[3]);
        params.value_extent = narrow<int32>(values.layout.shape[3]);
        params.num_slices = ceil_div(params.value_extent, lightning_key(p_).chunk());
        params.weight = 1.0F;
        params.factor = 1.0F;
        params.stores = true;
        params.out = ends.out;
        params.out_layout = ends.layout;
        params.wide_out = is_wide(ends.layout, ends.out);
        return params;
    }

    /// The sum, and where tokens see later ones too the same over these, strictly.
    void add(LightningParams params, const float* slopes,
             std::vector<LightningLaunch>* launches) const {
        const bool two_sided = !p_.causal && params.out != nullptr;
        params.slopes = slopes;
        if (two_sided || (params.per_kv_head && sums_heads(p_))) params.sums = sums_;
        params.stores = !two_sided;
        const int64 heads = params.per_kv_head ? p_.num_kv_heads : p_.num_q_heads;
        const auto blocks = narrow<uint32>(p_.batch * heads * params.num_slices);
        launches->push_back({params, blocks});
        if (!two_sided) return;
        params.backwards = !params.backwards;
        params.strict = true;
        params.shift = 1;
        params.initial_state = nullptr;
        params.final_state = nullptr;
        params.adds = true;
        params.stores = true;
        launches->push_back({params, blocks});
    }

  private:
    const LightningProblem& p_;
    float* sums_;
};

int64 sum_elements(const LightningProblem& p, int64 heads, int64 extent) {
    return p.batch * heads * p.len * extent;
}

}  // namespace

int32 LightningKey::chunk() const {
    return lightning_chunk(narrow<int32>(bytes_of(dtype)), head_dim);
}
int32 LightningKey::shared_bytes() const {
    return lightning_bytes(narrow<int32>(bytes_of(dtype)), head_dim);
}
std::string LightningKey::unit() const { return text("lightning_", dtype); }
std::string LightningKey::name() const { return text(unit(), "_d", head_dim); }

LightningKey lightning_key(const LightningProblem& problem) {
    LightningKey key{problem.q.dtype, 0};
    for (const int32 bucket : kLightningHeadDims) {
        key.head_dim = bucket;
        if (max_of(problem.head_dim, problem.head_dim_v) <= bucket) break;
    }
    return key;
}

Status supports_lightning(const LightningProblem& p) {
    const auto no_kernel = [](std::string reason) {
        return Status(StatusCode::kUnsupported, std::move(reason));
    };
    const DType dtype = p.q.dtype;
    if (dtype != DType::kF32 && dtype != DType::kF16 && dtype != DType::kBF16) {
        return no_kernel(text("q is ", dtype, "; CUDA kernels take f32, f16 and bf16"));
    }
    if (p.map != FeatureMap::kIdentity) {
        return no_kernel(
            "feature_map is given; CUDA kernels of lightning attention take the identity");
    }
    if (p.normalize) {
        return no_kernel(
            "FATTN_LIGHTNING_NORMALIZE is given; CUDA kernels do not divide results by their "
            "weights");
    }
    if (p.backward && p.d_o.dtype != p.q.dtype) {
        return no_kernel(text("d_o is ", p.d_o.dtype, " and q is ", p.q.dtype,
                              "; the backward on CUDA takes a d_o of the dtype of q"));
    }
    const int64 head_dim = max_of(p.head_dim, p.head_dim_v);
    if (head_dim > kLargestLightningHeadDim) {
        return no_kernel(text("the larger head dim is ", head_dim, "; CUDA kernels take up to ",
                              kLargestLightningHeadDim));
    }
    if (p.len > kMostLightningTokens) {
        return no_kernel(text("a sequence has ", p.len, " tokens; CUDA kernels take up to ",
                              kMostLightningTokens));
    }
    const int64 slices = ceil_div<int64>(head_dim, lightning_key(p).chunk());
    if (p.num_q_heads > 0 && p.batch > kMostLightningBlocks / (p.num_q_heads * slices)) {
        return no_kernel(text(p.batch, " entries of ", p.num_q_heads,
                              " heads; CUDA kernels take up to ", kMostLightningBlocks,
                              " blocks in all"));
    }
    return {};
}

uint64 lightning_forward_workspace(const LightningProblem& p) {
    if (p.causal) return 0;
    return static_cast<uint64>(sum_elements(p, p.num_q_heads, p.head_dim_v)) * sizeof(float);
}

uint64 lightning_backward_workspace(const LightningProblem& p) {
    if (!p.backward || (p.causal && !sums_heads(p))) return 0;
    const int64 of_keys = sum_elements(p, p.num_kv_heads, max_of(p.head_dim, p.head_dim_v));
    const int64 of_queries = p.causal ? 0 : sum_elements(p, p.num_q_heads, p.head_dim);
    return static_cast<uint64>(max_of(of_keys, of_queries)) * sizeof(float);
}

std::vector<LightningLaunch> lightning_forward_launches(const LightningProblem& p,
                                                        const LightningForwardArgs& args,
                                                        void* workspace) {
    std::vector<LightningLaunch> launches;
    const LightningSums sums(p, workspace);
    LightningParams o = sums.sum(rows_of(args.q, p.q, true), rows_of(args.k, p.k, false),
                                 rows_of(args.v, p.v, false),
                                 {args.o, p.o, args.initial_state, args.final_state, false});
    o.factor = p.scale;
    sums.add(o, args.slopes, &launches);
    return launches;
}

std::vector<LightningLaunch> lightning_backward_launches(const LightningProblem& p,
                                                         const LightningBackwardArgs& args,
                                                         void* workspace) {
    std::vector<LightningLaunch> launches;
    const LightningSums sums(p, workspace);
    const LightningRows q = rows_of(args.q, p.q, true);
    const LightningRows k = rows_of(args.k, p.k, false);
    const LightningRows v = rows_of(args.v, p.v, false);
    const LightningRows d_o = rows_of(args.d_o, p.d_o, true);
    if (args.d_q != nullptr) {
        LightningParams d_q =
            sums.sum(d_o, v, k, {args.d_q, p.d_q, args.initial_state, nullptr, true});
        d_q.factor = p.scale;
        sums.add(d_q, args.slopes, &launches);
    }
    const auto add_backwards = [&](LightningParams params) {
        params.backwards = true;
        params.per_kv_head = true;
        params.shift = 1;
        params.weight = p.scale;
        sums.add(params, args.slopes, &launches);
    };
    if (args.d_k != nullptr) {
        add_backwards(sums.sum(v, d_o, q, {args.d_k, p.d_k, args.d_final_state, nullptr, true}));
    }
    if (args.d_v != nullptr || args.d_initial_state != nullptr) {
        add_backwards(sums.sum(k, q, d_o,
                               {args.d_v, p.d_v, args.d_final_state, args.d_initial_state, false}));
    }
    return launches;
}

}  // namespace fattn::cuda
