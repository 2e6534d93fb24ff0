// The process-wide worker pool: jobs live on their callers' stacks in a ring that workers walk; see
// parallel.h.
#include "cpu/parallel.h"

#include <atomic>
#include <bit>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#include <signal.h>
#endif
#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "cpu/cpu_quota.h"

namespace fattn::cpu {
namespace {

constexpr int kSpins = 1000;  // some ten microseconds, about the price of one sleep and wake

void pause_briefly() {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

/// Default rounding, no flushing of denormals and no traps while tasks run, whatever the caller has
/// set.
class ScopedFloatDefaults {
  public:
    ScopedFloatDefaults() : saved_(get()) {
        if (saved_ != kDefault) set(kDefault);
    }
    ~ScopedFloatDefaults() {
        // Tasks may have raised exception flags; the caller gets back what it had.
        if (get() != saved_) set(saved_);
    }
    ScopedFloatDefaults(const ScopedFloatDefaults&) = delete;
    ScopedFloatDefaults& operator=(const ScopedFloatDefaults&) = delete;

  private:
#if defined(__x86_64__)
    using Control = unsigned;
    static constexpr Control kDefault = 0x1F80;
    static Control get() { return _mm_getcsr(); }
    static void set(Control value) { _mm_setcsr(value); }
#elif defined(__aarch64__)
    using Control = uint64;
    static constexpr Control kDefault = 0;
    static Control get() {
        Control value;
        asm volatile("mrs %0, fpcr" : "=r"(value));
        return value;
    }
    static void set(Control value) { asm volatile("msr fpcr, %0" ::"r"(value)); }
#else
    using Control = int;
    static constexpr Control kDefault = 0;
    static Control get() { return 0; }
    static void set(Control) {}
#endif
    Control saved_;
};

bool is_set(const int32* cancel) {
    return cancel != nullptr && __atomic_load_n(cancel, __ATOMIC_RELAXED) != 0;
}

Status cancelled() { return {StatusCode::kCancelled, "the run was cancelled by its caller"}; }

/// One call of parallel_for. Fields without a remark are written before the job enters the ring.
struct Job {
    TaskBody body;
    int64 num_tasks;
    int num_slots;
    const int32* cancel;
    std::atomic<int64> next_task{0};
    std::atomic<bool> stopped{false};  // cancelled or failed: no further task starts
    std::atomic<bool> failed{false};
    std::exception_ptr error{};  // written by whoever sets failed first
    // Written under the pool's mutex.
    std::atomic<int> num_workers{0};
    uint64 busy_slots[kMostThreads / 64]{};
    Job* before = nullptr;
    Job* after = nullptr;
    std::condition_variable idle{};  // num_workers became 0

    bool has_tasks() const {
        return !stopped.load(std::memory_order_relaxed) &&
               next_task.load(std::memory_order_relaxed) < num_tasks;
    }

    /// A free slot other than the caller's slot 0, or -1.
    int take_slot() {
        for (int word = 0; word * 64 < num_slots; ++word) {
            const int bit = std::countr_one(busy_slots[word]);
            if (bit == 64) continue;
            const int slot = word * 64 + bit;
            if (slot >= num_slots) return -1;
            busy_slots[word] |= uint64{1} << bit;
            return slot;
        }
        return -1;
    }
    void free_slot(int slot) { busy_slots[slot / 64] &= ~(uint64{1} << (slot % 64)); }

    /// Runs tasks until none is left, the job stops, or go_on() says no.
    template <class GoOn>
    void run_tasks(int slot, GoOn go_on) {
        try {
            do {
                if (is_set(cancel)) {
                    stopped.store(true, std::memory_order_relaxed);
                    return;
                }
                const int64 task = next_task.fetch_add(1, std::memory_order_relaxed);
                if (task >= num_tasks) return;
                body(task, slot);
            } while (!stopped.load(std::memory_order_relaxed) && go_on());
        } catch (...) {
            if (!failed.exchange(true)) error = std::current_exception();
            stopped.store(true, std::memory_order_relaxed);
        }
    }
};

class Pool {
  public:
    void run(Job& job) {
        enter(job);
        {
            const ScopedFloatDefaults defaults;
            job.run_tasks(0, [] { return true; });
        }
        leave(job);
    }

  private:
    void enter(Job& job) {
        const std::lock_guard lock(mutex_);
        add_workers(job.num_slots - 1);
        if (cursor_ == nullptr) {
            job.before = job.after = &job;
            cursor_ = &job;
        } else {
            job.before = cursor_->before;
            job.after = cursor_;
            job.before->after = job.after->before = &job;
        }
        num_jobs_.fetch_add(1, std::memory_order_relaxed);
        arrivals_.fetch_add(1, std::memory_order_relaxed);
        for (int i = min_of(num_asleep_, job.num_slots - 1); i > 0; --i) arrived_.notify_one();
    }

    /// Returns when no worker touches the job any more.
    void leave(Job& job) {
        std::unique_lock lock(mutex_);
        if (job.after == &job) {
            cursor_ = nullptr;
        } else {
            if (cursor_ == &job) cursor_ = job.after;
            job.before->after = job.after;
            job.after->before = job.before;
        }
        num_jobs_.fetch_sub(1, std::memory_order_relaxed);
        if (job.num_workers.load() == 0) return;
        lock.unlock();
        for (int i = 0; i < kSpins && job.num_workers.load(std::memory_order_relaxed) > 0; ++i) {
            pause_briefly();
        }
        lock.lock();
        job.idle.wait(lock, [&] { return job.num_workers.load() == 0; });
    }

    /// The next job of the ring that has work and a free slot for a worker; null when there is
    /// none.
    Job* take_job(int* slot) {
        Job* job = cursor_;
        for (int i = num_jobs_.load(std::memory_order_relaxed); i > 0; --i, job = job->after) {
            if (!job->has_tasks()) continue;
            *slot = job->take_slot();
            if (*slot < 0) continue;
            job->num_workers.fetch_add(1);
            cursor_ = job->after;
            return job;
        }
        return nullptr;
    }

    void give_back(Job& job, int slot) {
        job.free_slot(slot);
        if (job.num_workers.fetch_sub(1) == 1) job.idle.notify_one();
        // A sleeper may have passed this job by because all its slots were taken.
        if (num_asleep_ > 0 && job.has_tasks()) arrived_.notify_one();
    }

    void work() {
        const ScopedFloatDefaults defaults;
        std::unique_lock lock(mutex_);
        for (;;) {
            int slot = -1;
            Job* job = take_job(&slot);
            if (job == nullptr) {
                wait_for_job(lock);
                continue;
            }
            lock.unlock();
            // Alone, a job keeps its worker; beside others, one task each in turn.
            job->run_tasks(slot, [this] { return num_jobs_.load(std::memory_order_relaxed) <= 1; });
            lock.lock();
            give_back(*job, slot);
        }
    }

    void wait_for_job(std::unique_lock<std::mutex>& lock) {
        const uint64 seen = arrivals_.load(std::memory_order_relaxed);
        lock.unlock();
        for (int i = 0; i < kSpins && arrivals_.load(std::memory_order_relaxed) == seen; ++i) {
            pause_briefly();
        }
        lock.lock();
        if (arrivals_.load(std::memory_order_relaxed) != seen) return;
        ++num_asleep_;
        arrived_.wait(lock);
        --num_asleep_;
    }

    /// Starts workers until there are num; fewer when the system refuses.
    void add_workers(int num) {
        if (num_workers_ >= num) return;
#if defined(__unix__) || defined(__APPLE__)
        // Signals are the program's own business: its threads handle them, workers never do.
        sigset_t all;
        sigset_t saved;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &saved);
#endif
        try {
            while (num_workers_ < num) {
                std::thread([this] { work(); }).detach();
                ++num_workers_;
            }
        } catch (const std::system_error&) {  // the callers do the work alone
        }
#if defined(__unix__) || defined(__APPLE__)
        pthread_sigmask(SIG_SETMASK, &saved, nullptr);
#endif
    }

    std::mutex mutex_;
    std::condition_variable arrived_;
    Job* cursor_ = nullptr;  // where the next worker looks first
    int num_asleep_ = 0;
    int num_workers_ = 0;
    std::atomic<int> num_jobs_{0};
    std::atomic<uint64> arrivals_{0};
};

/// Never destroyed: workers use it until the process ends.
Pool& pool() {
    alignas(Pool) static unsigned char storage[sizeof(Pool)];
    static Pool* const instance = [] {
#if defined(__unix__) || defined(__APPLE__)
        // A child of fork has none of the workers and perhaps a locked mutex: it starts afresh.
        pthread_atfork(nullptr, nullptr, [] { new (storage) Pool; });
#endif
        return new (storage) Pool;
    }();
    return *instance;
}

}  // namespace

int default_num_threads() {
    static const int num = [] {
        auto processors = static_cast<int>(std::thread::hardware_concurrency());
#if defined(__linux__)
        cpu_set_t set;
        if (sched_getaffinity(0, sizeof(set), &set) == 0) processors = CPU_COUNT(&set);
        // Threads beyond a container's quota would all be stopped for the rest of each period.
        if (const int quota = quota_processors(""); quota != kNoQuota)
            processors = min_of(processors, quota);
#endif
        return clamp_to(processors, 1, kMostThreads);
    }();
    return num;
}

int threads_of_run(int max_threads, int default_threads) {
    return max_threads > 0 ? min_of(max_threads, kMostThreads) : default_threads;
}

Status parallel_for(int64 num_tasks, int max_threads, const int32* cancel, TaskBody body) {
    const int num_slots = threads_with_tasks(num_tasks, clamp_to(max_threads, 1, kMostThreads));
    Job job{.body = body, .num_tasks = num_tasks, .num_slots = num_slots, .cancel = cancel};
    job.busy_slots[0] = 1;  // the caller's
    if (num_slots == 1) {
        const ScopedFloatDefaults defaults;
        job.run_tasks(0, [] { return true; });
    } else {
        pool().run(job);
    }
    if (job.error != nullptr) std::rethrow_exception(job.error);
    return is_set(cancel) ? cancelled() : Status();
}

}  // namespace fattn::cpu
