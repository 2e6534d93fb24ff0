// How many random problems a test runs and where their seeds begin; read from the environment by
// conformance and laws.
#pragma once

#include "core/types.h"

namespace fattn::test {

struct Sampling {
    uint64 first_seed;
    int count;
};

/// FATTN_TEST_MODE=full runs all instead of a sample, reduced an eighth of it, for programs that
/// run slowly (emulated, sanitized). FATTN_TEST_SEED and FATTN_TEST_COUNT say which and how many,
/// so a problem named in a failure runs alone with its seed and a count of 1. Printed, so that any
/// run can be repeated.
Sampling sampling(int sampled, int full);

/// Whether FATTN_TEST_MODE is full.
bool runs_everything();

}  // namespace fattn::test
