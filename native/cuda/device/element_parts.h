// What follows from an element type: the arithmetic of scores and the products of a tile; chosen by
// the softmax kernels.
#pragma once

#include "core/types.h"
#include "cuda/device/approx.h"
#include "cuda/device/products_16.h"
#include "cuda/device/products_32.h"

namespace fattn::cuda {

/// kEarlyKeys: of Products16.
template <class Element, int kHeadDim, int kRowBlocks, int kTileKv, bool kEarlyKeys = false>
struct ElementParts {
    using Value = Approx;
    using Products = Products16<Element, kHeadDim, kRowBlocks, kTileKv, kEarlyKeys>;
};
template <int kHeadDim, int kRowBlocks, int kTileKv, bool kEarlyKeys>
struct ElementParts<float, kHeadDim, kRowBlocks, kTileKv, kEarlyKeys> {
    using Value = float;
    using Products = Products32<kHeadDim, kRowBlocks, kTileKv>;
};

}  // namespace fattn::cuda
