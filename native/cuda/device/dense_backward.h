// One dense backward key as an entry point; included by the translation unit of each element type.
#pragma once

#include "cuda/device/softmax_backward.h"

#define FATTN_DENSE_BACKWARD(name, Element, head_dim, side)                              \
    extern "C" __global__ void __launch_bounds__(                                        \
        fattn::cuda::dense_backward_tile(sizeof(Element), head_dim, side).num_threads(), \
        fattn::cuda::dense_backward_tile(sizeof(Element), head_dim, side).min_blocks)    \
        name(const __grid_constant__ fattn::cuda::SoftmaxBackwardParams params) {        \
        fattn::cuda::BackwardBlock<Element, head_dim, side>(params).run();               \
    }
