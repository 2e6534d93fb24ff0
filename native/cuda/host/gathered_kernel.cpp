// Loads the gathered kernels of a problem and enqueues their runs; see gathered_kernel.h.
#include "cuda/host/gathered_kernel.h"

#include "cuda/host/dense_backward.h"
#include "cuda/host/launch_checks.h"
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
    if (!problem_.dense.backward) return {};
    FATTN_CUDA_RETURN_IF_ERROR(store->function(kBlockSelectUnit, kInvertKernel, &invert_));
    for (const Side side : {Side::kQueries, Side::kKeys}) {
        FATTN_CUDA_RETURN_IF_ERROR(
            load_with_shared(keys_.backward_unit(), keys_.backward_name(side),
                             gathered_backward_bytes(keys_.backward_tile(side)), store,
                             side == Side::kKeys ? &of_keys_ : &queries_));
    }
    return store->function(kBackwardRowsUnit, kRowTermsKernel, &row_terms_);
}

const char* GatheredKernel::name(Pass pass) const {
    if (pass == Pass::kForward) return forward_.name().c_str();
    return problem_.dense.backward ? of_keys_.name().c_str() : "none";
}

Status GatheredKernel::forward(const GatheredPattern& pattern, const DenseForwardArgs& args,
                               const RunOptions& run) const {
    Stream stream;
    FATTN_CUDA_RETURN_IF_ERROR(Stream::borrow(device_, run.stream, &stream));
    GatheredForwardLaunch forward = gathered_forward_launch(problem_, pattern, args);
    const ForwardTile tile = keys_.forward_tile();
    return launch_blocks(forward_,
                         {forward.num_blocks, tile.num_threads(), gathered_forward_bytes(tile)},
                         stream, &forward.params);
}

Status GatheredKernel::backward(const GatheredPattern& pattern, const GatheredPattern& of_keys,
                                const DenseBackwardArgs& args, RowTerms* terms,
                                const Stream& stream) const {
    GatheredBackwardRun run = gathered_backward_run(problem_, pattern, of_keys, args, terms);
    FATTN_CUDA_RETURN_IF_ERROR(launch_helper(row_terms_, run.num_term_blocks, stream, &run.rows));
    const auto gradient = [&](const Function& function, Side side, GatheredBackwardLaunch* launch) {
        const BackwardTile tile = keys_.backward_tile(side);
        return launch_blocks(
            function, {launch->num_blocks, tile.num_threads(), gathered_backward_bytes(tile)},
            stream, &launch->params);
    };
    FATTN_CUDA_RETURN_IF_ERROR(gradient(queries_, Side::kQueries, &run.d_q));
    return gradient(of_keys_, Side::kKeys, &run.d_k_d_v);
}

Status GatheredKernel::invert(const int32* permutation, int32* inverse, int64 rows, int64 length,
                              const Stream& stream) const {
    InvertLaunch invert = invert_launch(permutation, inverse, rows, length);
    return launch_helper(invert_, invert.num_blocks, stream, &invert.params);
}

}  // namespace fattn::cuda
