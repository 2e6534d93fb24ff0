// One dense forward key as an entry point; included by the translation unit of each element type.
#pragma once

#include "cuda/device/softmax_forward.h"

#define FATTN_DENSE_FORWARD(name, Element, head_dim, features)                        \
    extern "C" __global__ void __launch_bounds__(                                     \
        fattn::cuda::forward_tile(sizeof(Element), head_dim, features).num_threads(), \
        fattn::cuda::forward_tile(sizeof(Element), head_dim, features).min_blocks)    \
        name(const __grid_constant__ fattn::cuda::SoftmaxForwardParams params) {      \
        fattn::cuda::ForwardBlock<Element, head_dim, features>(params).run();         \
    }
