// Loads the gathered kernels of a problem and enqueues their runs; see gathered_kernel.h.
#include "cuda/host/gathered_kernel.h"

#include "cuda/host/dense_backward.h"
#include "cuda/host/launch_checks.h"
#include "cuda/host/wide_copies.h"
#include "cuda/runtime/error.h"

namespace fattn::cuda {
namespace {

Status load_with_shared(const std::string& unit, const std::string& name, int32 shared_bytes,
                        KernelStore* store, Function* function) {
    FATTN_CUDA_RETURN_IF_ERROR(store->function(unit, name, function));
    return function->allow_dynamic_shared(shared_bytes);
}

}  // namespace

Status GatheredKernel::load(KernelStore* store) {
    FATTN_CUDA_RETURN_IF_ERROR(load_with_shared(keys_.forward_unit(), keys_.forward_name(),
                                                gathered_forward_bytes(keys_.forward_tile()), store,
                                                &forward_));
    FATTN_CUDA_RETURN_IF_ERROR(row_order_.load(store));
    if (!problem_.dense.backward) return {};
    FATTN_CUDA_RETURN_IF_ERROR(store->function(kBlockSelectUnit, kInvertKernel, &invert_));
    for (const Side side : {Side::kQueries, Side::kKeys}) {
        FATTN_CUDA_RETURN_IF_ERROR(
            load_with_shared(backward_keys_.backward_unit(), backward_keys_.backward_name(side),
                             gathered_backward_bytes(backward_keys_.backward_tile(side)), store,
                             side == Side::kKeys ? &of_keys_ : &queries_));
    }
    FATTN_CUDA_RETURN_IF_ERROR(store->function(kBackwardRowsUnit, kConvertKernel, &convert_));
    return store->function(kBackwardRowsUnit, kRowTermsKernel, &row_terms_);
}

const char* GatheredKernel::name(Pass pass) const {
    if (pass == Pass::kForward) return forward_.name().c_str();
    return problem_.dense.backward ? of_keys_.name().c_str() : "none";
}

Status GatheredKernel::forward(const GatheredPattern& pattern, const DenseForwardArgs& args,
                               void* workspace, const RunOptions& run) const {
    Stream stream;
    FATTN_CUDA_RETURN_IF_ERROR(Stream::borrow(device_, run.stream, &stream));
    GatheredForwardLaunch forward = gathered_forward_launch(problem_, pattern, args);
    FATTN_CUDA_RETURN_IF_ERROR(row_order_.order(&forward, workspace, stream));
    const ForwardTile tile = keys_.forward_tile();
    return launch_blocks(forward_,
                         {forward.num_blocks, tile.num_threads(), gathered_forward_bytes(tile)},
                         stream, &forward.params);
}

uint64 GatheredKernel::terms_bytes() const {
    return round_up<uint64>(cuda::terms_bytes(problem_.dense), 64);
}

uint64 GatheredKernel::bytes_before_order() const {
    const DenseProblem& p = problem_.dense;
    if (!has_wide_backward(p)) return cuda::terms_bytes(p);
    WideCopies copies(nullptr);
    static_cast<void>(copies.args(p, {}));
    GridBoxes boxes = problem_.pattern.boxes;
    copies.widen(&boxes);
    return terms_bytes() + copies.bytes();
}

uint64 GatheredKernel::backward_bytes() const {
    if (!problem_.dense.backward) return 0;
    const uint64 order = row_order_.bytes(Pass::kBackward);
    return order == 0 ? bytes_before_order() : order_at() + order;
}

Status GatheredKernel::backward(GatheredPattern pattern, GatheredPattern of_keys,
                                const DenseBackwardArgs& given, void* workspace,
                                const Stream& stream) const {
    DenseBackwardArgs args = given;
    WideCopies copies(static_cast<char*>(workspace) + terms_bytes());
    if (has_wide_backward(problem_.dense)) {
        args = copies.args(problem_.dense, given);
        copies.widen(&of_keys.boxes);
        pattern.boxes.additional_k = of_keys.boxes.additional_k;
        pattern.boxes.additional_v = of_keys.boxes.additional_v;
        pattern.boxes.k = of_keys.boxes.k;
        pattern.boxes.v = of_keys.boxes.v;
    }
    FATTN_CUDA_RETURN_IF_ERROR(launch_converts(convert_, copies.before(), stream));
    GatheredBackwardRun run =
        gathered_backward_run(backward_, pattern, of_keys, args, static_cast<RowTerms*>(workspace));
    FATTN_CUDA_RETURN_IF_ERROR(launch_helper(row_terms_, run.num_term_blocks, stream, &run.rows));
    // Both sides use one place, one after the other.
    void* const order = static_cast<char*>(workspace) + order_at();
    const auto gradient = [&](const Function& function, Side side, GatheredBackwardLaunch* launch) {
        FATTN_CUDA_RETURN_IF_ERROR(row_order_.order(launch, side, order, stream));
        const BackwardTile tile = backward_keys_.backward_tile(side);
        return launch_blocks(
            function, {launch->num_blocks, tile.num_threads(), gathered_backward_bytes(tile)},
            stream, &launch->params);
    };
    FATTN_CUDA_RETURN_IF_ERROR(gradient(queries_, Side::kQueries, &run.d_q));
    FATTN_CUDA_RETURN_IF_ERROR(gradient(of_keys_, Side::kKeys, &run.d_k_d_v));
    return launch_converts(convert_, copies.after(), stream);
}

Status GatheredKernel::invert(const int32* permutation, int32* inverse, int64 rows, int64 length,
                              const Stream& stream) const {
    InvertLaunch invert = invert_launch(permutation, inverse, rows, length);
    return launch_helper(invert_, invert.num_blocks, stream, &invert.params);
}

}  // namespace fattn::cuda
