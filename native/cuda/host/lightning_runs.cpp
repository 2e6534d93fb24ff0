// Says which decayed sums the passes of linear attention are; see lightning_runs.h.
#include "cuda/host/lightning_runs.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "backend/text.h"
#include "cuda/host/dense_keys.h"

namespace fattn::cuda {
namespace {

constexpr int64 kMostLightningBlocks = INT32_MAX;
constexpr int64 kLargestLightningHeadDim = 256;
/// Few heads have their tokens cut into segments, each at least so long, until there are so many
/// blocks. The cut depends on the problem alone, and so do results.
constexpr int64 kLeastSegmentTokens = 256;
constexpr int64 kEnoughBlocks = 256;
/// The last segment may end so far behind the last token, and positions are counted in 32 bits.
constexpr int64 kMostLightningTokens = INT32_MAX - kEnoughBlocks * kLeastSegmentTokens;

/// Problems whose operands are the tensors as they are.
bool is_plain(const LightningProblem& p) { return p.map == FeatureMap::kIdentity && !p.normalize; }

/// Of the operands of a problem's sums. Features of bf16 are rounded to bf16 again; those of f16
/// would leave its range, and differences between quotients their digits.
DType operand_dtype(const LightningProblem& p) {
    if (p.backward && p.d_o.dtype != p.q.dtype) return DType::kF32;
    if (is_plain(p) || (p.q.dtype == DType::kBF16 && !p.normalize)) return p.q.dtype;
    return DType::kF32;
}

TensorLayout compact_layout(const TensorLayout& like, int64 extent, DType dtype) {
    const int64 b = like.shape[0], h = like.shape[1], l = like.shape[2];
    return {{b, h, l, extent}, {h * l * extent, l * extent, extent, 1}, dtype, 4};
}

TaylorFactors taylor_factors(int64 head_dim) {
    const double dim = static_cast<double>(head_dim);
    return {static_cast<float>(1.0 / std::sqrt(std::sqrt(dim))),
            static_cast<float>(1.0 / std::sqrt(dim)),
            static_cast<float>(1.0 / std::sqrt(2.0 * dim))};
}

uint32 row_blocks(int64 threads) {
    return narrow<uint32>(
        min_of<int64>(ceil_div<int64>(threads, kLightningRowThreads), kMostLightningRowBlocks));
}
uint32 row_blocks(const TensorLayout& rows) {
    return row_blocks(rows.shape[0] * rows.shape[1] * rows.shape[2] * 32);
}

/// The workspace of a run, given out from its start on. Without one, what a run would take.
class RunMemory {
  public:
    explicit RunMemory(void* workspace)
        : start_(workspace == nullptr ? kAlignment : reinterpret_cast<std::uintptr_t>(workspace)) {}

    void* bytes(int64 count) {
        const uint64 at = taken_;
        taken_ = round_up(at + static_cast<uint64>(count), kAlignment);
        most_ = max_of(most_, taken_);
        return reinterpret_cast<void*>(start_ + at);
    }
    float* floats(int64 count) {
        return static_cast<float*>(bytes(count * static_cast<int64>(sizeof(float))));
    }
    uint64 taken() const { return taken_; }
    /// Gives back what was taken since.
    void release(uint64 taken) { taken_ = taken; }
    uint64 most() const { return most_; }

  private:
    static constexpr uint64 kAlignment = 64;

    std::uintptr_t start_;
    uint64 taken_ = 0;
    uint64 most_ = 0;
};

LightningStates states_of(const float* data, int64 rows, int64 columns, bool transposed) {
    // Initial states are only read.
    auto* states = const_cast<float*>(data);
    return {states, 0, rows * columns, transposed ? 1 : columns, transposed ? rows : 1};
}

/// A sum's results, and the states that it starts from and ends with.
struct LightningEnds {
    void* out;
    TensorLayout layout;
    LightningStates initial;
    LightningStates final;
};

/// The launches of one pass, and the memory that they use.
class LightningPass {
  public:
    LightningPass(const LightningProblem& problem, const float* slopes, void* workspace)
        : memory(workspace), p_(problem), slopes_(slopes) {}

    RunMemory memory;
    std::vector<LightningLaunch> launches;

    /// Rows as operands of sums: features, with a 1 behind them when extra.
    LightningRows operand(const void* data, const TensorLayout& layout, bool of_q_heads,
                          FeatureMap map, bool extra) {
        const DType dtype = operand_dtype(p_);
        if (map == FeatureMap::kIdentity && !extra && layout.dtype == dtype) {
            return {data, layout, of_q_heads, is_wide(layout, data)};
        }
        const TensorLayout to =
            compact_layout(layout, num_features(map, layout.shape[3]) + (extra ? 1 : 0), dtype);
        void* features = memory.bytes(elements_in(to) * bytes_of(dtype));
        const uint32 blocks = row_blocks(layout);
        launches.push_back({FeatureRowsParams{map, taylor_factors(layout.shape[3]), data, layout,
                                              features, dtype, extra, narrow<int32>(blocks)},
                            blocks});
        return compact_rows(features, to, of_q_heads);
    }

    static LightningRows compact_rows(const void* data, const TensorLayout& layout,
                                      bool of_q_heads) {
        return {data, layout, of_q_heads, is_wide(layout, data)};
    }
    static int64 elements_in(const TensorLayout& compact) {
        return compact.shape[0] * compact.strides[0];
    }

    /// A sum over earlier tokens; shift, weight and heads as the gradients of keys and values have
    /// them.
    LightningParams sum(const LightningRows& left, const LightningRows& right,
                        const LightningRows& values, const LightningEnds& ends) const {
        LightningParams params{};
        params.left = left;
        params.right = right;
        params.values = values;
        params.slopes = slopes_;
        params.initial = ends.initial;
        params.final = ends.final;
        params.batch = narrow<int32>(p_.batch);
        params.num_q_heads = narrow<int32>(p_.num_q_heads);
        params.num_kv_heads = narrow<int32>(p_.num_kv_heads);
        params.len = narrow<int32>(p_.len);
        params.num_segments = 1;
        params.segment_tokens = params.len;
        params.extent = narrow<int32>(left.layout.shape[3]);
        params.value_extent = narrow<int32>(values.layout.shape[3]);
        params.num_slices = ceil_div(params.value_extent, lightning_key(p_).chunk());
        params.weight = 1.0F;
        params.factor = 1.0F;
        params.out = ends.out;
        params.out_layout = ends.layout;
        params.wide_out = is_wide(ends.layout, ends.out);
        return params;
    }

    /// The sum in pieces of left's and right's columns, each where tokens see later ones too
    /// followed by the same over these, strictly.
    void add(const LightningParams& whole) {
        const uint64 taken = memory.taken();
        std::vector<LightningParams> parts;
        for (int32 first = 0; first < whole.extent;
             first += narrow<int32>(kLargestLightningHeadDim)) {
            LightningParams part = whole;
            part.extent =
                narrow<int32>(min_of<int64>(kLargestLightningHeadDim, whole.extent - first));
            part.left = columns_from(whole.left, first);
            part.right = columns_from(whole.right, first);
            part.initial = rows_from(whole.initial, first);
            part.final = rows_from(whole.final, first);
            parts.push_back(part);
            if (p_.causal || whole.out == nullptr) continue;
            part.backwards = !part.backwards;
            part.strict = true;
            part.shift = 1;
            part.initial = {};
            part.final = {};
            parts.push_back(part);
        }
        const bool sums_heads = whole.per_kv_head && p_.num_kv_heads != p_.num_q_heads;
        const int64 heads = whole.per_kv_head ? p_.num_kv_heads : p_.num_q_heads;
        float* sums = nullptr;
        if (whole.out != nullptr && (parts.size() > 1 || sums_heads)) {
            sums = memory.floats(p_.batch * heads * p_.len * whole.value_extent);
        }
        for (std::size_t n = 0; n < parts.size(); ++n) {
            parts[n].sums = sums;
            parts[n].adds = n > 0;
            parts[n].stores = n + 1 == parts.size();
            add_in_segments(parts[n], p_.batch * heads * whole.num_slices);
        }
        memory.release(taken);
    }

  private:
    static LightningRows columns_from(LightningRows rows, int32 first) {
        if (first == 0) return rows;
        rows.data = static_cast<const std::byte*>(rows.data) + first * bytes_of(rows.layout.dtype);
        rows.wide = is_wide(rows.layout, rows.data);
        return rows;
    }
    static LightningStates rows_from(LightningStates states, int32 first) {
        if (states.data != nullptr) states.data += first * states.row_elements;
        return states;
    }

    /// As one launch, or with few blocks as three: every segment's own state, states passed on from
    /// segment to segment, and results from those.
    void add_in_segments(LightningParams params, int64 blocks) {
        const int64 wanted = blocks == 0 ? 1 : ceil_div(kEnoughBlocks, blocks);
        const int64 possible = max_of<int64>(1, p_.len / kLeastSegmentTokens);
        const int64 tokens =
            round_up(ceil_div(p_.len, min_of(wanted, possible)), kLeastSegmentTokens);
        if (tokens >= p_.len) {
            launches.push_back({params, narrow<uint32>(blocks)});
            return;
        }
        const uint64 taken = memory.taken();
        params.num_segments = narrow<int32>(ceil_div(p_.len, tokens));
        params.segment_tokens = narrow<int32>(tokens);
        const auto all_blocks = narrow<uint32>(blocks * params.num_segments);
        const int64 heads = p_.batch * p_.num_q_heads;
        const int64 state_size = int64{params.extent} * params.value_extent;
        LightningStates segments =
            states_of(memory.floats(params.num_segments * heads * state_size), params.extent,
                      params.value_extent, false);
        segments.segment_elements = heads * state_size;
        LightningParams own = params;
        own.out = nullptr;
        own.initial = {};
        own.final = segments;
        launches.push_back({own, all_blocks});
        const uint32 pass_blocks = row_blocks(heads * state_size);
        launches.push_back(
            {PassStatesParams{slopes_, params.initial, segments, params.final, narrow<int32>(heads),
                              params.num_q_heads, params.len, params.num_segments,
                              params.segment_tokens, params.extent, params.value_extent,
                              narrow<int32>(pass_blocks)},
             pass_blocks});
        if (params.out != nullptr) {
            params.initial = segments;
            params.final = {};
            launches.push_back({params, all_blocks});
        }
        memory.release(taken);
    }

    const LightningProblem& p_;
    const float* slopes_;
};

/// Results that a sum cannot store as they are leave through another kernel.
class LightningResults {
  public:
    LightningResults(const LightningProblem& problem, LightningPass* pass)
        : p_(problem), pass_(*pass) {}

    /// Where a sum's results go that become `to`, with one number more a row with extra.
    LightningEnds ends(void* out, const TensorLayout& to, FeatureMap map, bool extra,
                       const LightningStates& initial, const LightningStates& final) {
        const bool direct = map == FeatureMap::kIdentity && !extra &&
                            (to.dtype == operand_dtype(p_) || to.dtype == DType::kF32);
        if (out == nullptr || direct) return {out, to, initial, final};
        const TensorLayout layout =
            compact_layout(to, num_features(map, to.shape[3]) + (extra ? 1 : 0), DType::kF32);
        return {pass_.memory.floats(LightningPass::elements_in(layout)), layout, initial, final};
    }

    /// Gradients of features become those of x, which has a layout like `to`.
    void leave(const LightningEnds& ends, void* out, const TensorLayout& to, FeatureMap map,
               const void* x, const TensorLayout& x_layout) {
        if (out == nullptr || ends.out == out) return;
        const uint32 blocks = row_blocks(to);
        pass_.launches.push_back({FeatureGradientsParams{map, taylor_factors(to.shape[3]),
                                                         static_cast<const float*>(ends.out), x,
                                                         x_layout, out, to, narrow<int32>(blocks)},
                                  blocks});
    }

  private:
    const LightningProblem& p_;
    LightningPass& pass_;
};

LightningPass forward_pass(const LightningProblem& p, const LightningForwardArgs& args,
                           void* workspace) {
    LightningPass pass(p, args.slopes, workspace);
    LightningResults results(p, &pass);
    const LightningRows q = pass.operand(args.q, p.q, true, p.map, false);
    const LightningRows k = pass.operand(args.k, p.k, false, p.map, false);
    const LightningRows v = pass.operand(args.v, p.v, false, FeatureMap::kIdentity, p.normalize);
    const int64 rows = p.state_rows(), columns = p.state_columns();
    const LightningEnds ends = results.ends(args.o, p.o, FeatureMap::kIdentity, p.normalize,
                                            states_of(args.initial_state, rows, columns, false),
                                            states_of(args.final_state, rows, columns, false));
    LightningParams o = pass.sum(q, k, v, ends);
    o.factor = p.result_scale();
    pass.add(o);
    if (!p.normalize) {
        results.leave(ends, args.o, p.o, FeatureMap::kIdentity, nullptr, p.o);
        return pass;
    }
    const uint32 blocks = row_blocks(p.o);
    pass.launches.push_back(
        {QuotientsParams{
             static_cast<const float*>(ends.out), nullptr, {}, args.o, p.o, narrow<int32>(blocks)},
         blocks});
    return pass;
}

/// Gradients of sums: those of results, or with quotients a compact tensor of one column more.
LightningRows gradients_of_sums(const LightningProblem& p, const LightningBackwardArgs& args,
                                const LightningRows& q, const LightningRows& k,
                                const LightningRows& v, LightningPass* pass) {
    if (!p.normalize) return pass->operand(args.d_o, p.d_o, true, FeatureMap::kIdentity, false);
    const TensorLayout layout = compact_layout(p.d_o, p.head_dim_v + 1, DType::kF32);
    float* d_sums = pass->memory.floats(LightningPass::elements_in(layout));
    const uint64 taken = pass->memory.taken();
    float* sums = pass->memory.floats(LightningPass::elements_in(layout));
    pass->add(pass->sum(q, k, v,
                        {sums,
                         layout,
                         states_of(args.initial_state, p.state_rows(), p.state_columns(), false),
                         {}}));
    const uint32 blocks = row_blocks(layout);
    pass->launches.push_back(
        {QuotientsParams{sums, args.d_o, p.d_o, d_sums, layout, narrow<int32>(blocks)}, blocks});
    pass->memory.release(taken);
    return LightningPass::compact_rows(d_sums, layout, true);
}

LightningPass backward_pass(const LightningProblem& p, const LightningBackwardArgs& args,
                            void* workspace) {
    LightningPass pass(p, args.slopes, workspace);
    LightningResults results(p, &pass);
    const LightningRows q = pass.operand(args.q, p.q, true, p.map, false);
    const LightningRows k = pass.operand(args.k, p.k, false, p.map, false);
    const LightningRows v = pass.operand(args.v, p.v, false, FeatureMap::kIdentity, p.normalize);
    const LightningRows d_o = gradients_of_sums(p, args, q, k, v, &pass);
    const int64 rows = p.state_rows(), columns = p.state_columns();
    const auto add_backwards = [&](LightningParams params) {
        params.backwards = true;
        params.per_kv_head = true;
        params.shift = 1;
        params.weight = p.result_scale();
        pass.add(params);
    };
    const LightningStates d_final = states_of(args.d_final_state, rows, columns, false);
    // A sum from values to keys reads states the other way round.
    const LightningStates d_final_of_k = states_of(args.d_final_state, columns, rows, true);
    const uint64 taken = pass.memory.taken();
    if (args.d_q != nullptr) {
        const LightningEnds ends = results.ends(
            args.d_q, p.d_q, p.map, false, states_of(args.initial_state, columns, rows, true), {});
        LightningParams d_q = pass.sum(d_o, v, k, ends);
        d_q.factor = p.result_scale();
        pass.add(d_q);
        results.leave(ends, args.d_q, p.d_q, p.map, args.q, p.q);
        pass.memory.release(taken);
    }
    if (args.d_k != nullptr) {
        const LightningEnds ends = results.ends(args.d_k, p.d_k, p.map, false, d_final_of_k, {});
        add_backwards(pass.sum(v, d_o, q, ends));
        results.leave(ends, args.d_k, p.d_k, p.map, args.k, p.k);
        pass.memory.release(taken);
    }
    if (args.d_v != nullptr || args.d_initial_state != nullptr) {
        const LightningEnds ends =
            results.ends(args.d_v, p.d_v, FeatureMap::kIdentity, false, d_final,
                         states_of(args.d_initial_state, rows, columns, false));
        add_backwards(pass.sum(k, q, d_o, ends));
        results.leave(ends, args.d_v, p.d_v, FeatureMap::kIdentity, nullptr, p.d_v);
    }
    return pass;
}

/// What a pass launches and takes at most: with every result wanted.
LightningPass largest_forward(const LightningProblem& p) {
    float wanted = 0.0F;
    LightningForwardArgs args{};
    args.o = args.final_state = &wanted;
    return forward_pass(p, args, nullptr);
}
LightningPass largest_backward(const LightningProblem& p) {
    float wanted = 0.0F;
    LightningBackwardArgs args{};
    args.d_q = args.d_k = args.d_v = args.d_initial_state = &wanted;
    return backward_pass(p, args, nullptr);
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
    LightningKey key{operand_dtype(problem), 0};
    const int64 extent = max_of(problem.state_rows(), problem.state_columns());
    for (const int32 bucket : kLightningHeadDims) {
        key.head_dim = bucket;
        if (extent <= bucket) break;
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
    const int64 head_dim = max_of(p.head_dim, p.head_dim_v);
    if (head_dim > kLargestLightningHeadDim) {
        return no_kernel(text("the larger head dim is ", head_dim, "; CUDA kernels take up to ",
                              kLargestLightningHeadDim));
    }
    if (p.len > kMostLightningTokens) {
        return no_kernel(text("a sequence has ", p.len, " tokens; CUDA kernels take up to ",
                              kMostLightningTokens));
    }
    const int64 slices =
        ceil_div<int64>(max_of(p.state_rows(), p.state_columns()), lightning_key(p).chunk());
    if (p.num_q_heads > 0 && p.batch > kMostLightningBlocks / (p.num_q_heads * slices)) {
        return no_kernel(text(p.batch, " entries of ", p.num_q_heads,
                              " heads; CUDA kernels take up to ", kMostLightningBlocks,
                              " blocks in all"));
    }
    return {};
}

uint64 lightning_forward_workspace(const LightningProblem& p) {
    return largest_forward(p).memory.most();
}

uint64 lightning_backward_workspace(const LightningProblem& p) {
    return p.backward ? largest_backward(p).memory.most() : 0;
}

bool lightning_has_row_kernels(const LightningProblem& p) {
    const auto is_sum = [](const LightningLaunch& launch) {
        return std::holds_alternative<LightningParams>(launch.params);
    };
    const auto all_sums = [&](const LightningPass& pass) {
        return std::all_of(pass.launches.begin(), pass.launches.end(), is_sum);
    };
    return !all_sums(largest_forward(p)) || (p.backward && !all_sums(largest_backward(p)));
}

std::vector<LightningLaunch> lightning_forward_launches(const LightningProblem& p,
                                                        const LightningForwardArgs& args,
                                                        void* workspace) {
    return forward_pass(p, args, workspace).launches;
}

std::vector<LightningLaunch> lightning_backward_launches(const LightningProblem& p,
                                                         const LightningBackwardArgs& args,
                                                         void* workspace) {
    return backward_pass(p, args, workspace).launches;
}

}  // namespace fattn::cuda
