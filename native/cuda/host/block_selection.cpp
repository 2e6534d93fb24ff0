// See block_selection.h.
#include "cuda/host/block_selection.h"

#include <utility>

#include "backend/text.h"
#include "cuda/host/dense_backward.h"
#include "cuda/host/dense_keys.h"
#include "cuda/host/gathered_runs.h"
#include "cuda/host/launch_checks.h"
#include "cuda/host/run_workspace.h"
#include "cuda/runtime/error.h"

namespace fattn::cuda {
namespace {

int32 power_of_two(int64 at_least) {
    int32 size = 2;
    while (size < at_least) size *= 2;
    return size;
}

/// Whether importance is found from f32 copies: weights are rounded to the type of their product,
/// and keys that lie close together would change places.
bool widens(const PermutedBlockProblem& p) { return p.q.dtype != DType::kF32; }

/// The judges' attention to keys that are sorted, causal or not, with a single number a value.
DenseProblem judges_of(const PermutedBlockProblem& p) {
    const int64 judges = p.num_judges();
    DenseProblem dense{};
    dense.q = p.q;
    dense.q.shape[2] = judges;
    dense.k = p.k;
    dense.k.shape[2] = p.num_sorted();
    if (widens(p)) {
        dense.q = contiguous(p.batch, p.num_q_heads, judges, p.head_dim, DType::kF32);
        dense.k = contiguous(p.batch, p.num_k_heads, p.num_sorted(), p.head_dim, DType::kF32);
    }
    dense.v = dense.k;
    dense.v.shape[3] = 1;
    dense.o = contiguous(p.batch, p.num_q_heads, judges, 1, DType::kF32);
    dense.batch = p.batch;
    dense.num_q_heads = p.num_q_heads;
    dense.num_k_heads = dense.num_v_heads = p.num_k_heads;
    dense.q_len = judges;
    dense.kv_len = p.num_sorted();
    dense.head_dim = p.head_dim;
    dense.head_dim_v = 1;
    dense.window_left = dense.window_right = -1;
    dense.scale = p.scale;
    return dense;
}

/// With d_o of ones the gradient of a value is the sum of its weights over the judges, and over the
/// query heads that share it.
DenseProblem gradients_of(const PermutedBlockProblem& p) {
    DenseProblem dense = judges_of(p);
    const int64 units = p.shared ? p.num_k_heads : p.num_q_heads;
    dense.num_v_heads = units;
    dense.v.shape[1] = units;
    // What values hold does not matter.
    dense.v.strides[1] = 0;
    dense.d_o = contiguous(p.batch, p.num_q_heads, p.num_judges(), 1, dense.q.dtype);
    dense.d_q = dense.q;
    dense.d_k = dense.k;
    dense.d_v = contiguous(p.batch, units, p.num_sorted(), 1, DType::kF32);
    dense.backward = true;
    return dense;
}

/// Every judge and every key that is sorted as a block of one row: pooling copies them as f32.
PermutedBlockProblem rows_of(const PermutedBlockProblem& p) {
    PermutedBlockProblem rows = p;
    rows.q_len = p.num_judges();
    rows.kv_len = p.num_sorted();
    rows.block = 1;
    rows.query_block = 1;
    rows.shared = true;
    return rows;
}
int64 num_rows_of(const PermutedBlockProblem& p) {
    return p.batch * (p.num_q_heads * p.num_judges() + p.num_k_heads * p.num_sorted());
}

Status load_forward_key(const ForwardKey& key, KernelStore* store, Function* function) {
    FATTN_CUDA_RETURN_IF_ERROR(store->function(key.unit(), key.name(), function));
    return function->allow_dynamic_shared(key.tile().shared_bytes());
}

}  // namespace

BlockSelection::BlockSelection(const PermutedBlockProblem& problem,
                               std::shared_ptr<const Device> device, const WorkspacePool* pool)
    : problem_(problem),
      device_(std::move(device)),
      workspaces_(pool),
      judges_(judges_of(problem)),
      gradients_(gradients_of(problem)),
      sort_size_(power_of_two(min_of(problem.segment, kMostSortedKeys))),
      parts_(parts()) {}

int64 BlockSelection::num_units() const {
    return problem_.shared ? problem_.num_k_heads : problem_.num_q_heads;
}
int64 BlockSelection::num_rows() const {
    return problem_.batch * num_units() * problem_.num_query_blocks();
}

int64 BlockSelection::runs_of_segment() const {
    return ceil_div<int64>(problem_.segment, sort_size_);
}
bool BlockSelection::has_long_rows() const { return problem_.num_key_blocks() > kMostSharedBlocks; }
int64 BlockSelection::num_choosers() const {
    return has_long_rows() ? min_of(num_rows(), kMostChoosers) : num_rows();
}

BlockSelection::Parts BlockSelection::parts() const {
    const PermutedBlockProblem& p = problem_;
    Parts parts;
    const auto take = [&](int64 elements, uint64 element_bytes) {
        const uint64 at = parts.bytes;
        parts.bytes += round_up<uint64>(static_cast<uint64>(elements) * element_bytes, 64);
        return at;
    };
    const int64 judge_rows = p.batch * p.num_q_heads * p.num_judges();
    parts.pooled_q = take(p.batch * p.num_q_heads * p.num_query_blocks() * p.head_dim, 4);
    parts.pooled_k = take(p.batch * num_units() * p.num_key_blocks() * p.head_dim, 4);
    if (has_long_rows()) parts.long_rows = take(num_choosers() * 2 * p.num_key_blocks(), 4);
    if (runs_of_segment() > 1) parts.runs = take(p.batch * num_units() * p.num_sorted(), 8);
    if (p.num_sorted() == 0 || p.q_len == 0) return parts;
    parts.importance = take(p.batch * num_units() * p.num_sorted(), 4);
    parts.ones = take(judge_rows, static_cast<uint64>(bytes_of(gradients_.d_o.dtype)));
    if (widens(p)) {
        parts.wide_q = take(judge_rows * p.head_dim, 4);
        parts.wide_k = take(p.batch * p.num_k_heads * p.num_sorted() * p.head_dim, 4);
    }
    parts.o = take(judge_rows, 4);
    parts.lse = take(judge_rows, 4);
    parts.terms = take(judge_rows, sizeof(RowTerms));
    return parts;
}

Status BlockSelection::load(KernelStore* store) {
    const std::string unit = kBlockSelectUnit;
    FATTN_CUDA_RETURN_IF_ERROR(store->function(unit, "block_select_ones", &ones_));
    FATTN_CUDA_RETURN_IF_ERROR(store->function(unit, "block_select_sort", &sort_));
    FATTN_CUDA_RETURN_IF_ERROR(store->function(unit, "block_select_merge", &merge_));
    FATTN_CUDA_RETURN_IF_ERROR(store->function(unit, "block_select_pool", &pool_));
    FATTN_CUDA_RETURN_IF_ERROR(store->function(unit, "block_select_choose", &choose_));
    FATTN_CUDA_RETURN_IF_ERROR(sort_.allow_dynamic_shared(sort_bytes(sort_size_)));
    FATTN_CUDA_RETURN_IF_ERROR(
        choose_.allow_dynamic_shared(choose_bytes(problem_.num_key_blocks(), problem_.head_dim)));
    const ForwardKey general = general_key(judges_);
    FATTN_CUDA_RETURN_IF_ERROR(load_forward_key(general, store, &judge_));
    const ForwardKey best = dense_forward_launch(judges_, DenseForwardArgs{}).key;
    if (best != general) FATTN_CUDA_RETURN_IF_ERROR(load_forward_key(best, store, &judge_lean_));
    FATTN_CUDA_RETURN_IF_ERROR(store->function(kBackwardRowsUnit, kRowTermsKernel, &row_terms_));
    const BackwardKey key = backward_key(gradients_, Side::kKeys);
    FATTN_CUDA_RETURN_IF_ERROR(store->function(key.unit(), key.name(), &of_values_));
    return of_values_.allow_dynamic_shared(key.tile().shared_bytes());
}

int64 BlockSelection::num_pooled() const {
    const PermutedBlockProblem& p = problem_;
    return p.batch * (p.num_q_heads * p.num_query_blocks() + num_units() * p.num_key_blocks());
}

Status BlockSelection::check_sizes() const {
    const PermutedBlockProblem& p = problem_;
    const auto check = [](int64 count, const char* of_what) -> Status {
        if (count <= INT32_MAX) return {};
        return {StatusCode::kUnsupported,
                text("there are ", count, " ", of_what,
                     " of all heads; CUDA kernels select from up to ", INT32_MAX)};
    };
    FATTN_CUDA_RETURN_IF_ERROR(check(num_pooled(), "blocks of queries and keys"));
    return check(widens(p) ? num_rows_of(p) : 0, "keys and judging queries");
}

BlockSelectParams BlockSelection::params(BlockChoice choice, void* workspace) const {
    BlockSelectParams params{};
    params.problem = problem_;
    params.choice = choice;
    params.pooled_q = reinterpret_cast<float*>(static_cast<char*>(workspace) + parts_.pooled_q);
    params.pooled_k = reinterpret_cast<float*>(static_cast<char*>(workspace) + parts_.pooled_k);
    params.num_choosers = num_choosers();
    if (has_long_rows()) {
        params.long_rows =
            reinterpret_cast<float*>(static_cast<char*>(workspace) + parts_.long_rows);
    }
    return params;
}

/// Weights of the judges summed: the gradient of values under gradients of one, from the kernels of
/// dense attention.
Status BlockSelection::find_importance(const PermutedBlockSelectArgs& args, void* workspace,
                                       const Stream& stream) const {
    const PermutedBlockProblem& p = problem_;
    const auto part = [&](uint64 at) { return static_cast<char*>(workspace) + at; };
    const int64 skipped = (p.q_len - p.num_judges()) * p.q.strides[2] * bytes_of(p.q.dtype);
    OnesParams ones{gradients_.d_o.dtype, part(parts_.ones), elements_of(gradients_.d_o)};
    FATTN_CUDA_RETURN_IF_ERROR(launch_helper(
        ones_, narrow<uint32>(ceil_div<int64>(ones.count, kSelectThreads)), stream, &ones));

    const void* const judges = static_cast<const char*>(args.q) + skipped;
    DenseForwardArgs forward{};
    forward.q = judges;
    forward.k = forward.v = args.k;
    if (widens(p)) {
        BlockSelectParams rows{};
        rows.problem = rows_of(p);
        rows.choice = BlockChoice::kMoba;  // means of what is there
        rows.q = judges;
        rows.k = args.k;
        rows.pooled_q = reinterpret_cast<float*>(part(parts_.wide_q));
        rows.pooled_k = reinterpret_cast<float*>(part(parts_.wide_k));
        FATTN_CUDA_RETURN_IF_ERROR(
            launch_helper(pool_, narrow<uint32>(num_rows_of(p)), stream, &rows));
        forward.q = rows.pooled_q;
        forward.k = forward.v = rows.pooled_k;
    }
    forward.o = part(parts_.o);
    forward.lse = reinterpret_cast<float*>(part(parts_.lse));
    ForwardLaunch judge = dense_forward_launch(judges_, forward);
    const bool lean = judge.key.features == Features::kLean;
    FATTN_CUDA_RETURN_IF_ERROR(launch_blocks(
        lean ? judge_lean_ : judge_,
        {judge.num_blocks, judge.key.tile().num_threads(), judge.key.tile().shared_bytes()}, stream,
        &judge.params));

    DenseBackwardArgs backward{};
    backward.q = forward.q;
    backward.k = backward.v = forward.k;
    backward.o = forward.o;
    backward.lse = forward.lse;
    backward.d_o = part(parts_.ones);
    backward.d_v = part(parts_.importance);
    DenseBackwardRun gradients = dense_backward_run(gradients_, backward, part(parts_.terms));
    FATTN_CUDA_RETURN_IF_ERROR(
        launch_helper(row_terms_, gradients.num_term_blocks, stream, &gradients.rows));
    const BackwardTile tile = backward_key(gradients_, Side::kKeys).tile();
    return launch_blocks(of_values_,
                         {gradients.d_k_d_v.num_blocks, tile.num_threads(), tile.shared_bytes()},
                         stream, &gradients.d_k_d_v.params);
}

Status BlockSelection::choose(const BlockSelectParams& params, bool pools,
                              const Stream& stream) const {
    const PermutedBlockProblem& p = problem_;
    BlockSelectParams of_run = params;
    if (pools) {
        FATTN_CUDA_RETURN_IF_ERROR(
            launch_helper(pool_, narrow<uint32>(num_pooled()), stream, &of_run));
    }
    return launch_blocks(choose_,
                         {narrow<uint32>(num_choosers()), narrow<int32>(kSelectThreads),
                          choose_bytes(p.num_key_blocks(), p.head_dim)},
                         stream, &of_run);
}

Status BlockSelection::select(const PermutedBlockSelectArgs& args, const RunOptions& run) const {
    const PermutedBlockProblem& p = problem_;
    FATTN_CUDA_RETURN_IF_ERROR(check_sizes());
    Stream stream;
    FATTN_CUDA_RETURN_IF_ERROR(Stream::borrow(device_, run.stream, &stream));
    const int64 heads = p.batch * p.num_q_heads;
    FATTN_CUDA_RETURN_IF_ERROR(check_device_arrays(
        *device_,
        {{"q", args.q, elements_of(p.q)},
         {"k", args.k, elements_of(p.k)},
         {"permutation", args.permutation, heads * p.kv_len},
         {"block_mask", args.block_mask, heads * p.num_query_blocks() * p.num_key_blocks()},
         {"coverage", args.coverage, heads * p.num_query_blocks()}}));
    void* memory = nullptr;
    FATTN_CUDA_RETURN_IF_ERROR(find_workspace(stream, *workspaces_, run, workspace(), &memory));
    BlockSelectParams params = this->params(BlockChoice::kCover, memory);
    params.q = args.q;
    params.k = args.k;
    params.permutation = args.permutation;
    params.block_mask = args.block_mask;
    params.coverage = args.coverage;
    if (p.num_sorted() > 0 && p.q_len > 0) {
        FATTN_CUDA_RETURN_IF_ERROR(find_importance(args, memory, stream));
        params.importance =
            reinterpret_cast<const float*>(static_cast<const char*>(memory) + parts_.importance);
    }
    params.sort_size = sort_size_;
    params.runs_of_segment = runs_of_segment();
    const int64 units = p.batch * num_units();
    const int64 runs = p.num_sorted() / p.segment * params.runs_of_segment;
    const bool merges = p.num_sorted() > 0 && params.runs_of_segment > 1;
    if (merges) {
        params.runs = reinterpret_cast<uint64*>(static_cast<char*>(memory) + parts_.runs);
    }
    FATTN_CUDA_RETURN_IF_ERROR(launch_blocks(
        sort_,
        {narrow<uint32>(units * (runs + 1)), narrow<int32>(kSelectThreads), sort_bytes(sort_size_)},
        stream, &params));
    if (merges) {
        const auto blocks = narrow<uint32>(ceil_div<int64>(units * p.num_sorted(), kSelectThreads));
        FATTN_CUDA_RETURN_IF_ERROR(launch_helper(merge_, blocks, stream, &params));
    }
    return choose(params, true, stream);
}

Status BlockSelection::gate(const BlockGateArgs& args, const RunOptions& run) const {
    const PermutedBlockProblem& p = problem_;
    FATTN_CUDA_RETURN_IF_ERROR(check_sizes());
    Stream stream;
    FATTN_CUDA_RETURN_IF_ERROR(Stream::borrow(device_, run.stream, &stream));
    const int64 mask = p.batch * p.num_q_heads * p.num_query_blocks() * p.num_key_blocks();
    const bool pools = args.scores == nullptr;
    FATTN_CUDA_RETURN_IF_ERROR(
        check_device_arrays(*device_, {{"q", args.q, pools ? elements_of(p.q) : 0},
                                       {"k", args.k, pools ? elements_of(p.k) : 0},
                                       {"scores", args.scores, mask},
                                       {"block_mask", args.block_mask, mask}}));
    void* memory = nullptr;
    FATTN_CUDA_RETURN_IF_ERROR(find_workspace(stream, *workspaces_, run,
                                              pools || has_long_rows() ? workspace() : 0, &memory));
    constexpr BlockChoice kChoices[] = {BlockChoice::kMoba, BlockChoice::kTopK,
                                        BlockChoice::kThreshold};
    BlockSelectParams params = this->params(kChoices[static_cast<uint32>(args.gate)], memory);
    params.q = args.q;
    params.k = args.k;
    params.scores = args.scores;
    params.block_mask = args.block_mask;
    params.top_k = args.top_k;
    params.threshold = args.threshold;
    return choose(params, pools, stream);
}

}  // namespace fattn::cuda
