// Random neighborhood problems over the product of all features; used by conformance and
// determinism tests.
#pragma once

#include "support/neighborhood_case.h"

namespace fattn::test {

/// The same spec for the same seed. Small enough for the reference, which looks at all pairs.
NeighborhoodSpec random_neighborhood_spec(uint64 seed, bool backward);

}  // namespace fattn::test
