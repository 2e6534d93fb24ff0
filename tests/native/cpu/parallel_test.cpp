// The worker pool: every task once, slots exclusive, small jobs beside large ones, exceptions,
// cancelling, fork.
#include "cpu/parallel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cfenv>
#include <stdexcept>
#include <thread>
#include <vector>

#if defined(__unix__)
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

#include "support/allocations.h"

namespace fattn::cpu {
namespace {

void wait_until(const std::atomic<bool>& flag) {
    while (!flag.load()) std::this_thread::yield();
}

TEST(Parallel, EveryTaskRunsOnce) {
    for (const int threads : {1, 2, 3, 8, 64}) {
        for (const int64 num_tasks : {0, 1, 2, 7, 1000}) {
            std::vector<std::atomic<int>> runs(static_cast<std::size_t>(num_tasks));
            const Status status = parallel_for(num_tasks, threads, nullptr, [&](int64 task, int) {
                runs[static_cast<std::size_t>(task)].fetch_add(1);
            });
            EXPECT_TRUE(status.ok());
            for (const auto& n : runs) EXPECT_EQ(n.load(), 1) << threads << " " << num_tasks;
        }
    }
}

TEST(Parallel, ASlotIsUsedByOneThreadAtATime) {
    constexpr int kThreads = 5;
    std::atomic<int> inside[kThreads] = {};
    const Status status = parallel_for(20000, kThreads, nullptr, [&](int64, int slot) {
        ASSERT_GE(slot, 0);
        ASSERT_LT(slot, kThreads);
        EXPECT_EQ(inside[slot].fetch_add(1), 0);
        inside[slot].fetch_sub(1);
    });
    EXPECT_TRUE(status.ok());
}

TEST(Parallel, AsManyThreadsAsAskedTakePart) {
    // Every task waits for all the others to have begun: fewer threads would never end.
    constexpr int kThreads = 6;
    std::atomic<int> begun = 0;
    const Status status = parallel_for(kThreads, kThreads, nullptr, [&](int64, int) {
        begun.fetch_add(1);
        while (begun.load() < kThreads) std::this_thread::yield();
    });
    EXPECT_TRUE(status.ok());
}

TEST(Parallel, OneTaskStaysOnTheCaller) {
    const std::thread::id caller = std::this_thread::get_id();
    EXPECT_TRUE(parallel_for(1, 8, nullptr, [&](int64, int slot) {
                    EXPECT_EQ(slot, 0);
                    EXPECT_EQ(std::this_thread::get_id(), caller);
                }).ok());
    EXPECT_TRUE(parallel_for(50, 1, nullptr, [&](int64, int slot) {
                    EXPECT_EQ(slot, 0);
                    EXPECT_EQ(std::this_thread::get_id(), caller);
                }).ok());
}

TEST(Parallel, WorkersLeaveAnEndlessJobForASmallOne) {
    // The large job ends only when it is cancelled, which happens after the small one, and it holds
    // every worker there is. The small job's two tasks wait for each other, so a worker must come
    // over although the large job still has work.
    constexpr int kThreads = 80;  // more than any other test asks for
    std::atomic<bool> seen[kThreads] = {};
    std::atomic<int> num_seen = 0;
    int32 cancel = 0;
    std::thread large([&] {
        const Status status = parallel_for(int64{1} << 40, kThreads, &cancel, [&](int64, int slot) {
            if (!seen[slot].exchange(true)) num_seen.fetch_add(1);
            std::this_thread::yield();
        });
        EXPECT_EQ(status.code(), StatusCode::kCancelled);
    });
    while (num_seen.load() < kThreads) std::this_thread::yield();
    std::atomic<int> begun = 0;
    const Status status = parallel_for(2, 2, nullptr, [&](int64, int) {
        begun.fetch_add(1);
        while (begun.load() < 2) std::this_thread::yield();
    });
    EXPECT_TRUE(status.ok());
    __atomic_store_n(&cancel, 1, __ATOMIC_RELAXED);
    large.join();
}

TEST(Parallel, ASmallJobEndsWhileEveryWorkerIsHeld) {
    // All threads of the large job sit in a task until the small job is over: its caller must do it
    // alone.
    constexpr int kThreads = 4;
    std::atomic<bool> small_done = false;
    std::atomic<int> held = 0;
    std::thread large([&] {
        EXPECT_TRUE(parallel_for(kThreads, kThreads, nullptr, [&](int64, int) {
                        held.fetch_add(1);
                        wait_until(small_done);
                    }).ok());
    });
    while (held.load() < kThreads) std::this_thread::yield();
    std::atomic<int> runs = 0;
    EXPECT_TRUE(parallel_for(3, 2, nullptr, [&](int64, int) { runs.fetch_add(1); }).ok());
    EXPECT_EQ(runs.load(), 3);
    small_done.store(true);
    large.join();
}

TEST(Parallel, SixtyFourCallersOfMixedSizesAllFinish) {
    constexpr int kCallers = 64;
    constexpr int kRounds = 20;
    std::vector<std::thread> callers;
    for (int caller = 0; caller < kCallers; ++caller) {
        callers.emplace_back([caller] {
            for (int round = 0; round < kRounds; ++round) {
                const int64 num_tasks = int64{1} << ((caller + round) % 11);
                std::atomic<int64> sum = 0;
                const Status status =
                    parallel_for(num_tasks, 1 + (caller + round) % 5, nullptr,
                                 [&](int64 task, int) { sum.fetch_add(task + 1); });
                EXPECT_TRUE(status.ok());
                EXPECT_EQ(sum.load(), num_tasks * (num_tasks + 1) / 2);
            }
        });
    }
    for (std::thread& caller : callers) caller.join();
}

TEST(Parallel, ATaskMayCallAgain) {
    std::atomic<int> inner = 0;
    const Status status = parallel_for(8, 4, nullptr, [&](int64, int) {
        EXPECT_TRUE(parallel_for(8, 4, nullptr, [&](int64, int) { inner.fetch_add(1); }).ok());
    });
    EXPECT_TRUE(status.ok());
    EXPECT_EQ(inner.load(), 64);
}

TEST(Parallel, AnExceptionReachesTheCallerAndEndsTheJob) {
    for (const int threads : {1, 4}) {
        std::atomic<int64> runs = 0;
        try {
            (void)parallel_for(int64{1} << 40, threads, nullptr, [&](int64 task, int) {
                runs.fetch_add(1);
                if (task == 100) throw std::runtime_error("task 100");
            });
            FAIL() << "the exception was swallowed";
        } catch (const std::runtime_error& e) {
            EXPECT_STREQ(e.what(), "task 100");
        }
        EXPECT_GE(runs.load(), 101);
    }
}

TEST(Parallel, AWorkersExceptionReachesTheCaller) {
    std::atomic<bool> thrown = false;
    EXPECT_THROW(
        {
            (void)parallel_for(2, 2, nullptr, [&](int64, int slot) {
                if (slot != 0) {
                    thrown.store(true);
                    throw std::runtime_error("on a worker");
                }
                wait_until(thrown);
            });
        },
        std::runtime_error);
    // The pool is as good as before.
    EXPECT_TRUE(parallel_for(100, 4, nullptr, [](int64, int) {}).ok());
}

TEST(Parallel, CancelStopsBetweenTasks) {
    for (const int threads : {1, 3}) {
        int32 cancel = 0;
        std::atomic<int64> runs = 0;
        const Status status = parallel_for(int64{1} << 40, threads, &cancel, [&](int64 task, int) {
            runs.fetch_add(1);
            if (task == 10) __atomic_store_n(&cancel, 1, __ATOMIC_RELAXED);
        });
        EXPECT_EQ(status.code(), StatusCode::kCancelled);
        EXPECT_GE(runs.load(), 11);
    }
    int32 cancel = 1;
    const Status status = parallel_for(5, 2, &cancel, [](int64, int) { FAIL(); });
    EXPECT_EQ(status.code(), StatusCode::kCancelled);
    EXPECT_EQ(status.message(), "the run was cancelled by its caller");
}

TEST(Parallel, TasksSeeDefaultRoundingAndTheCallerKeepsIts) {
    const int before = std::fegetround();
    std::fesetround(FE_UPWARD);
    volatile float one = 1.0f;
    volatile float tiny = 1e-20f;
    for (const int threads : {1, 3}) {
        const Status status = parallel_for(200, threads, nullptr, [&](int64, int) {
            // The C library reads both x87 and SSE control; a sum is the plain proof.
            EXPECT_EQ(one + tiny, 1.0f);
        });
        EXPECT_TRUE(status.ok());
        EXPECT_EQ(std::fegetround(), FE_UPWARD);
        EXPECT_GT(one + tiny, 1.0f);
    }
    std::fesetround(before);
}

TEST(Parallel, ASteadyStateAllocatesNothing) {
    const auto work = [](int64, int) {};
    EXPECT_TRUE(parallel_for(100, 4, nullptr, work).ok());  // starts the workers
    const test::AllocationCount allocations;
    for (int i = 0; i < 100; ++i) EXPECT_TRUE(parallel_for(100, 4, nullptr, work).ok());
    EXPECT_EQ(allocations.so_far(), 0);
}

#if defined(__unix__)
TEST(Parallel, AChildOfForkHasWorkersOfItsOwn) {
    EXPECT_TRUE(parallel_for(100, 3, nullptr, [](int64, int) {}).ok());
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        alarm(60);  // a hanging child fails instead of blocking the test
        std::atomic<int> begun = 0;
        const Status status = parallel_for(3, 3, nullptr, [&](int64, int) {
            begun.fetch_add(1);
            while (begun.load() < 3) std::this_thread::yield();
        });
        _exit(status.ok() ? 0 : 1);
    }
    int result = 0;
    ASSERT_EQ(waitpid(child, &result, 0), child);
    EXPECT_TRUE(WIFEXITED(result)) << result;
    EXPECT_EQ(WEXITSTATUS(result), 0);
}

TEST(Parallel, WorkersBlockSignals) {
    std::atomic<bool> seen = false;
    EXPECT_TRUE(parallel_for(2, 2, nullptr, [&](int64, int slot) {
                    if (slot == 0) return wait_until(seen);
                    sigset_t blocked;
                    EXPECT_EQ(pthread_sigmask(SIG_SETMASK, nullptr, &blocked), 0);
                    EXPECT_EQ(sigismember(&blocked, SIGINT), 1);
                    EXPECT_EQ(sigismember(&blocked, SIGTERM), 1);
                    seen.store(true);
                }).ok());
    sigset_t blocked;
    EXPECT_EQ(pthread_sigmask(SIG_SETMASK, nullptr, &blocked), 0);
    EXPECT_EQ(sigismember(&blocked, SIGTERM), 0);
}
#endif

TEST(Parallel, DefaultThreadsAreThoseThisProcessMayUse) {
    EXPECT_GE(default_num_threads(), 1);
    EXPECT_LE(default_num_threads(), static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace
}  // namespace fattn::cpu
