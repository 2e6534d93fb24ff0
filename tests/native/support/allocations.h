// Counts what the test program allocates through operator new; used by tests of "a run allocates
// nothing".
#pragma once

#include "core/types.h"

namespace fattn::test {

/// Calls of any operator new, on all threads, since this was made.
class AllocationCount {
  public:
    AllocationCount();
    int64 so_far() const;

  private:
    int64 before_;
};

}  // namespace fattn::test
