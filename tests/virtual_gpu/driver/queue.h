// Operations that streams have been given and that have not run yet, of all contexts. Filled by
// enqueue; emptied by waits, queries and the seed.
#pragma once

#include <chrono>
#include <condition_variable>
#include <list>
#include <mutex>
#include <vector>

#include "driver/objects.h"

namespace fattn::vgpu::driver {

struct Driver;

// A stream's order and event waits are the edges of a graph of operations. An operation runs once
// everything before it has, on the thread that forces it; when that is, is the whole point:
//   early   when it is issued
//   late    when something waits for it or asks for it, and then nothing that it does not depend on
//   seeded  now and then before that, any operation that could run on a GPU at that time
// Host functions run on a thread of their own, as a driver's do, soon after everything before them
// has.
class Queue {
  public:
    explicit Queue(Driver& driver) : driver_(driver) {}

    // Adds work to a stream that is not capturing, behind `also_after` too, and lets the seed run
    // what it likes.
    OperationRef submit(Stream& stream, Work work,
                        const std::vector<OperationRef>& also_after = {});
    // Adds work that is in no stream's order by itself: the inner nodes of a graph.
    OperationRef submit_detached(Context& context, Work work, std::vector<OperationRef> after);

    void force(const OperationRef& target);
    // What a query does: brings the target one operation nearer. True when it is done.
    bool approach(const OperationRef& target);
    void force_context(const Context& context);
    // Ends every operation of a context without running it.
    void drop_context(const Context& context);

    // True if a kernel or another copy that has not run might still use host bytes.
    bool host_range_in_use(const Work::Range& range) const;

    void reseed(uint64_t seed) { random_ = seed; }

  private:
    OperationRef add(OperationRef operation);
    void let_seed_run();
    void run_all_ready();
    OperationRef first_before(const OperationRef& target) const;
    std::vector<OperationRef> ancestors(const OperationRef& target) const;
    static bool ready(const Operation& operation);
    void run(const OperationRef& operation);
    void finish(const OperationRef& operation, double duration_us);
    void wait_for(const OperationRef& target);
    void start_host_thread();
    void run_host_functions();
    uint64_t random();

    Driver& driver_;
    std::list<OperationRef> pending_;  // by serial
    uint64_t next_serial_ = 1;
    uint64_t random_ = 1;
    bool host_thread_started_ = false;
};

// What every operation of a program goes through: into the graph when the stream captures, else
// into the queue. Null when captured.
OperationRef enqueue(Driver& driver, Stream& stream, Work work);

}  // namespace fattn::vgpu::driver
