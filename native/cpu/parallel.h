// The process-wide worker pool that CPU runs share; used by the CPU kernels' host code and by
// measurements.
#pragma once

#include "backend/status.h"
#include "core/types.h"

namespace fattn::cpu {

/// A borrowed callable: body(task, slot). Never owns, never allocates.
class TaskBody {
  public:
    template <class F>
    TaskBody(const F& f)  // NOLINT: implicit by design
        : object_(&f), call_([](const void* object, int64 task, int slot) {
              (*static_cast<const F*>(object))(task, slot);
          }) {}

    void operator()(int64 task, int slot) const { call_(object_, task, slot); }

  private:
    const void* object_;
    void (*call_)(const void*, int64, int);
};

/// Threads that one job, and with that a device or a run, may have at most.
constexpr int kMostThreads = 1024;

/// Threads a run uses when it does not say: processors this process may run on, no more than the
/// quota of its container is worth.
int default_num_threads();

/// Threads of a run that allows max_threads, 0 for its device's own number: what its workspace is
/// counted for and what parallel_for is given.
int threads_of_run(int max_threads, int default_threads);

/// Those of num_threads threads that num_tasks tasks can occupy, at least 1: so many slots
/// parallel_for uses at most, so memory of single threads is counted for no more.
constexpr int threads_with_tasks(int64 num_tasks, int num_threads) {
    return static_cast<int>(clamp_to<int64>(num_tasks, 1, num_threads));
}

/// Runs body(task, slot) for every task in [0, num_tasks), each exactly once, on at most
/// max_threads threads of which the caller is one. A slot below both max_threads and num_tasks is
/// used by one thread at a time, so it may index scratch memory. Tasks of concurrent jobs are taken
/// round-robin, so a small job does not wait for a large one. Polls cancel between tasks. An
/// exception of a body ends the job and is rethrown on the caller's thread.
Status parallel_for(int64 num_tasks, int max_threads, const int32* cancel, TaskBody body);

}  // namespace fattn::cpu
