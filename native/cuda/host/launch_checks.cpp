// See launch_checks.h.
#include "cuda/host/launch_checks.h"

#include "cuda/runtime/error.h"
#include "cuda/runtime/memory.h"

namespace fattn::cuda {
namespace {

/// The inputs that both passes have.
template <class Args>
Status check_inputs(const Device& device, const DenseProblem& p, const Args& args) {
    return check_device_arrays(device,
                               {{"args->q", args.q, elements_of(p.q)},
                                {"args->k", args.k, elements_of(p.k)},
                                {"args->v", args.v, elements_of(p.v)},
                                {"args->bias", args.bias, p.has_bias ? elements_of(p.bias) : 0},
                                {"args->mask", args.mask, p.has_mask ? elements_of(p.mask) : 0},
                                {"args->alibi_slopes", args.alibi_slopes, p.num_q_heads},
                                {"args->sink_logits", args.sink_logits, p.num_q_heads},
                                {"args->cu_seqlens_q", args.cu_seqlens_q, p.batch + 1},
                                {"args->cu_seqlens_k", args.cu_seqlens_k, p.batch + 1},
                                {"args->kv_len", args.kv_len, p.batch}});
}

}  // namespace

int64 elements_of(const TensorLayout& layout) {
    int64 elements = 1;
    for (const int64 extent : layout.shape) elements *= extent;
    return elements;
}

Status check_device_arrays(const Device& device, std::initializer_list<RunArray> arrays) {
    for (const auto& [name, address, elements] : arrays) {
        if (address == nullptr || elements == 0) continue;
        FATTN_CUDA_RETURN_IF_ERROR(check_device_pointer(device, address, name));
    }
    return {};
}

Status check_run_arrays(const Device& device, const DenseProblem& p, const DenseForwardArgs& args) {
    FATTN_CUDA_RETURN_IF_ERROR(check_inputs(device, p, args));
    return check_device_arrays(device,
                               {{"args->block_table", args.block_table, p.max_pages_per_seq},
                                {"args->o", args.o, elements_of(p.o)},
                                {"args->lse", args.lse, elements_of(p.q)}});
}

Status check_run_arrays(const Device& device, const DenseProblem& p,
                        const DenseBackwardArgs& args) {
    FATTN_CUDA_RETURN_IF_ERROR(check_inputs(device, p, args));
    const int64 o = p.weights == Weights::kSoftmax ? elements_of(p.o) : 0;
    return check_device_arrays(
        device, {{"args->o", args.o, o},
                 {"args->lse", args.lse, o},
                 {"args->d_o", args.d_o, elements_of(p.d_o)},
                 {"args->d_lse", args.d_lse, o},
                 {"args->d_q", args.d_q, elements_of(p.d_q)},
                 {"args->d_k", args.d_k, elements_of(p.d_k)},
                 {"args->d_v", args.d_v, elements_of(p.d_v)},
                 {"args->d_bias", args.d_bias, p.has_bias ? elements_of(p.d_bias) : 0},
                 {"args->d_sink_logits", args.d_sink_logits, p.num_q_heads}});
}

Status launch_blocks(const Function& function, const Blocks& blocks, const Stream& stream,
                     void* params) {
    if (blocks.count == 0) return {};
    void* arguments[] = {params};
    return launch(function,
                  {.grid = {blocks.count, 1, 1},
                   .block = {static_cast<unsigned>(blocks.threads), 1, 1},
                   .dynamic_shared_bytes = static_cast<unsigned>(blocks.shared_bytes)},
                  stream, arguments);
}

Status launch_helper(const Function& function, uint32 num_blocks, const Stream& stream,
                     void* params) {
    return launch_blocks(function, {num_blocks, kHelperThreads, kHelperThreads * sizeof(float)},
                         stream, params);
}

}  // namespace fattn::cuda
