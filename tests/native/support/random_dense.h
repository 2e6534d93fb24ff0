// Random dense problems over the product of all features, each made from one number; used by
// conformance tests.
#pragma once

#include "support/dense_case.h"

namespace fattn::test {

/// The same problem for the same seed. backward leaves out what has no gradient (paged keys) and
/// keeps problems smaller.
DenseSpec random_dense_spec(uint64 seed, bool backward);

}  // namespace fattn::test
