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

/// Whether FATTN_TEST_MODE is full, or reduced.
bool runs_everything();
bool runs_little();

/// Picks from a list of cases that nested loops make: all of them, but under
/// FATTN_TEST_MODE=reduced every eleventh, which brings values of every loop in turn.
class CasePicker {
  public:
    bool next() { return !runs_little() || count_++ % 11 == 0; }

  private:
    int count_ = 0;
};

}  // namespace fattn::test
