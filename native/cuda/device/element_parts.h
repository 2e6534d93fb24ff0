// What follows from an element type: the arithmetic of scores and the products of a tile; chosen by
// the softmax kernels.
#pragma once

#include "core/types.h"
#include "cuda/device/approx.h"
#include "cuda/device/products_16.h"
#include "cuda/device/products_32.h"

namespace fattn::cuda {

template <class Element, int kHeadDim, int kRowBlocks, int kTileKv>
struct ElementParts {
    using Value = Approx;
    using Products = Products16<Element, kHeadDim, kRowBlocks, kTileKv>;
};
template <int kHeadDim, int kRowBlocks, int kTileKv>
struct ElementParts<float, kHeadDim, kRowBlocks, kTileKv> {
    using Value = float;
    using Products = Products32<kHeadDim, kRowBlocks, kTileKv>;
};

}  // namespace fattn::cuda
