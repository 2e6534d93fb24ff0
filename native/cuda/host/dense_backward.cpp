// Chooses the keys of a dense backward run and fills their parameters.
#include "cuda/host/dense_backward.h"

#include "backend/text.h"
#include "cuda/host/dense_keys.h"

namespace fattn::cuda {
namespace {

constexpr int64 kRowsOfBlock = 4;  // of the small kernels: a warp has one

int64 num_query_rows(const DenseProblem& p) { return p.q.shape[0] * p.num_q_heads * p.q.shape[2]; }

bool wants_scores(const DenseBackwardArgs& args) {
    return args.d_q != nullptr || args.d_k != nullptr || args.d_bias != nullptr;
}

/// No feature that looks at single pairs.
bool is_simple(const DenseProblem& p) {
    return p.softcap == 0.0F && !p.has_bias && !p.has_alibi && !p.has_mask && p.dropout_p == 0.0F &&
           p.weights == Weights::kSoftmax;
}

int64 num_tiles(int64 length, int32 tile) { return ceil_div<int64>(length, tile); }

/// Whether one block computes d_k and d_v of a head: they have the same query heads, and its key
/// has room for both sums.
bool has_both_sums(const DenseProblem& p, const DenseBackwardArgs& args) {
    return p.num_k_heads == p.num_v_heads && args.d_k != nullptr && args.d_v != nullptr &&
           backward_key(p, Side::kKeys).tile().num_sums == 2;
}

SoftmaxBackwardParams common_params(const DenseProblem& p, const DenseBackwardArgs& args,
                                    const RowTerms* terms) {
    const int64 bytes = bytes_of(p.q.dtype);
    SoftmaxBackwardParams params{};
    params.problem = p;
    params.args = args;
    params.terms = p.weights == Weights::kSoftmax ? terms : nullptr;
    params.token_bytes = {p.q.strides[2] * bytes, p.k.strides[2] * bytes, p.v.strides[2] * bytes,
                          p.d_o.strides[2] * bytes_of(p.d_o.dtype)};
    params.wide = {is_wide(p.q, args.q),     is_wide(p.k, args.k),     is_wide(p.v, args.v),
                   is_wide(p.d_o, args.d_o), is_wide(p.d_q, args.d_q), is_wide(p.d_k, args.d_k),
                   is_wide(p.d_v, args.d_v)};
    params.simple = is_simple(p);
    return params;
}

uint32 blocks_of_rows(int64 rows) { return narrow<uint32>(ceil_div(rows, kRowsOfBlock)); }

}  // namespace

BackwardTile BackwardKey::tile() const {
    return dense_backward_tile(narrow<int32>(bytes_of(dtype)), head_dim, side);
}

std::string BackwardKey::unit() const { return text("dense_backward_", dtype); }

std::string BackwardKey::name() const {
    return text(unit(), "_d", head_dim, side == Side::kKeys ? "_keys" : "_queries");
}

BackwardKey backward_key(const DenseProblem& problem, Side side) {
    BackwardKey key{problem.q.dtype, 0, side};
    for (const int32 bucket : kBackwardHeadDims) {
        key.head_dim = bucket;
        if (max_of(problem.head_dim, problem.head_dim_v) <= bucket) break;
    }
    return key;
}

Status supports_dense_backward(const DenseProblem& p) {
    const Status common = supports_dense(p);
    if (!common.ok()) return common;
    const Status rows = supports_rows(p);
    if (!rows.ok()) return rows;
    const BackwardTile queries = backward_key(p, Side::kQueries).tile();
    const BackwardTile keys = backward_key(p, Side::kKeys).tile();
    const Status status =
        supports_tiles(p, num_tiles(p.q_len, queries.rows) * p.num_q_heads, "queries");
    if (!status.ok()) return status;
    const Status of_keys =
        supports_tiles(p, num_tiles(p.kv_len, keys.rows) * (p.num_k_heads + p.num_v_heads), "keys");
    if (!of_keys.ok() || !p.has_bias) return of_keys;
    return supports_tiles(
        p,
        num_tiles(p.q_len, queries.rows) * num_tiles(p.kv_len, queries.columns) * p.d_bias.shape[1],
        "bias");
}

uint64 dense_backward_workspace(const DenseProblem& problem) {
    if (!problem.backward || problem.weights != Weights::kSoftmax) return 0;
    return static_cast<uint64>(num_query_rows(problem)) * sizeof(RowTerms);
}

DenseBackwardRun dense_backward_run(const DenseProblem& p, const DenseBackwardArgs& args,
                                    void* workspace) {
    auto* terms = static_cast<RowTerms*>(workspace);
    DenseBackwardRun run{};
    const struct {
        const TensorLayout& layout;
        void* data;
        bool wanted;
    } gradients[] = {{p.d_q, args.d_q, p.varlen},
                     {p.d_k, args.d_k, p.varlen || p.has_kv_len},
                     {p.d_v, args.d_v, p.varlen || p.has_kv_len}};
    for (const auto& [layout, data, wanted] : gradients) {
        const int64 rows = layout.shape[0] * layout.shape[1] * layout.shape[2];
        if (!wanted || data == nullptr || rows == 0) continue;
        run.zeros.push_back({{layout, data}, blocks_of_rows(rows)});
    }

    run.rows = {p, args, terms};
    const bool softmax = p.weights == Weights::kSoftmax;
    if (softmax && (args.d_sink_logits != nullptr || wants_scores(args) || args.d_v != nullptr)) {
        run.num_term_blocks = blocks_of_rows(num_query_rows(p));
    }
    if (args.d_sink_logits != nullptr) run.num_sink_blocks = narrow<uint32>(p.num_q_heads);

    const BackwardTile queries = backward_key(p, Side::kQueries).tile();
    const BackwardTile keys = backward_key(p, Side::kKeys).tile();
    run.d_q.params = common_params(p, args, terms);
    run.d_q.params.num_tiles = narrow<int32>(num_tiles(p.q_len, queries.rows));
    run.d_q.params.num_heads = narrow<int32>(p.num_q_heads);
    run.d_q.params.last_tile_first = p.window_right >= 0;
    run.d_bias.params = run.d_q.params;
    if (args.d_q != nullptr) {
        run.d_q.num_blocks = narrow<uint32>(run.d_q.params.num_tiles * p.num_q_heads * p.batch);
    }
    if (args.d_bias != nullptr) {
        SoftmaxBackwardParams& params = run.d_bias.params;
        params.bias_gradient = true;
        params.num_kv_tiles = narrow<int32>(num_tiles(p.kv_len, queries.columns));
        run.d_bias.num_blocks = narrow<uint32>(int64{params.num_kv_tiles} * params.num_tiles *
                                               p.d_bias.shape[0] * p.d_bias.shape[1]);
    }

    SoftmaxBackwardParams& params = run.d_k_d_v.params;
    params = common_params(p, args, terms);
    params.num_tiles = narrow<int32>(num_tiles(p.kv_len, keys.rows));
    params.both_sums = has_both_sums(p, args);
    params.num_k_blocks = args.d_k != nullptr ? narrow<int32>(p.num_k_heads) : 0;
    params.num_heads = params.num_k_blocks;
    if (!params.both_sums && args.d_v != nullptr) {
        params.num_heads += narrow<int32>(p.num_v_heads);
    }
    run.d_k_d_v.num_blocks = narrow<uint32>(int64{params.num_tiles} * params.num_heads * p.batch);
    return run;
}

}  // namespace fattn::cuda
