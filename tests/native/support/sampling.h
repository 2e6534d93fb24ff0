// How many random problems a test runs, where their seeds begin and on which CPU targets; read from
// the environment by the tests of kernels.
#pragma once

#include <vector>

#include "core/types.h"

namespace fattn::test {

struct Sampling {
    uint64 first_seed;
    int count;
};

/// FATTN_TEST_MODE=full runs all instead of a sample, reduced a sixteenth of it, for programs that
/// run slowly (emulated, sanitized). FATTN_TEST_SEED and FATTN_TEST_COUNT say which and how many,
/// so a problem named in a failure runs alone with its seed and a count of 1. Printed, so that any
/// run can be repeated.
Sampling sampling(int sampled, int full);

/// Whether FATTN_TEST_MODE is full, or reduced.
bool runs_everything();
bool runs_little();

/// Whether tests run a target among those available, a bit each, the most capable last: every one
/// of them, or under FATTN_TEST_TARGETS=best the most capable alone.
bool runs_target(uint32 target, uint32 available);

/// Picks from a list of cases that nested loops make: all under FATTN_TEST_MODE=full, else every
/// step-th, and of those one in reduction when reduced. A step that shares no factor with the
/// lengths of the loops brings the values of each in turn.
class CasePicker {
  public:
    explicit CasePicker(int step = 1, int reduction = 11) : step_(runs_everything() ? 1 : step) {
        if (runs_little()) step_ *= reduction;
    }
    bool next() { return count_++ % step_ == 0; }

  private:
    int step_;
    int count_ = 0;
};

/// The cases of a list that a picker takes.
template <class Case>
std::vector<Case> picked(const std::vector<Case>& cases) {
    CasePicker picker;
    std::vector<Case> result;
    for (const Case& one : cases) {
        if (picker.next()) result.push_back(one);
    }
    return result;
}

}  // namespace fattn::test
