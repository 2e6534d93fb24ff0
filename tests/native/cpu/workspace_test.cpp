// Scratch memory of runs: the caller's block or the pool's, grown once and kept.
#include "cpu/workspace.h"

#include <gtest/gtest.h>

#include <cstdint>

#include "support/allocations.h"

namespace fattn::cpu {
namespace {

bool is_aligned(const void* data) {
    return reinterpret_cast<std::uintptr_t>(data) % kWorkspaceAlignment == 0;
}

TEST(Workspace, ThePoolGivesTheSameBlockAgain) {
    WorkspacePool pool;
    void* first = nullptr;
    {
        const ScopedWorkspace workspace(pool, {}, 1000);
        ASSERT_TRUE(workspace.status().ok());
        EXPECT_TRUE(is_aligned(workspace.data()));
        first = workspace.data();
    }
    const test::AllocationCount allocations;
    for (const uint64 bytes : {1000u, 10u, 999u}) {
        const ScopedWorkspace workspace(pool, {}, bytes);
        EXPECT_EQ(workspace.data(), first);
    }
    EXPECT_EQ(allocations.so_far(), 0);
}

TEST(Workspace, ConcurrentRunsHaveBlocksOfTheirOwnAsLargeAsAnyRunAsked) {
    WorkspacePool pool;
    { const ScopedWorkspace large(pool, {}, 4096); }
    const ScopedWorkspace a(pool, {}, 64);
    const ScopedWorkspace b(pool, {}, 64);
    EXPECT_NE(a.data(), b.data());
    WorkspacePool::Block block = pool.take(1);
    EXPECT_GE(block.bytes, 4096u);
    pool.give_back(block);
}

TEST(Workspace, TrimForgetsBlocksAndSizes) {
    WorkspacePool pool;
    { const ScopedWorkspace large(pool, {}, 1 << 20); }
    pool.trim();
    const WorkspacePool::Block block = pool.take(64);
    EXPECT_EQ(block.bytes, 64u);
    pool.give_back(block);
}

TEST(Workspace, NothingIsTakenForNoBytes) {
    WorkspacePool pool;
    const ScopedWorkspace workspace(pool, {}, 0);
    EXPECT_TRUE(workspace.status().ok());
    EXPECT_EQ(workspace.data(), nullptr);
}

TEST(Workspace, TheCallersBlockIsUsed) {
    WorkspacePool pool;
    alignas(64) std::byte memory[256];
    const RunOptions run{.workspace = memory, .workspace_bytes = 256};
    const ScopedWorkspace workspace(pool, run, 256);
    EXPECT_TRUE(workspace.status().ok());
    EXPECT_EQ(workspace.data(), memory);
}

TEST(Workspace, ASmallOrMisalignedBlockIsRefused) {
    WorkspacePool pool;
    alignas(64) std::byte memory[256];
    const ScopedWorkspace small(pool, {.workspace = memory, .workspace_bytes = 255}, 256);
    EXPECT_EQ(small.status().code(), StatusCode::kWorkspaceTooSmall);
    EXPECT_EQ(small.status().message(),
              "run.workspace_bytes is 255; this run needs 256 (fattn_plan_workspace with the same "
              "max_threads)");
    EXPECT_EQ(small.data(), nullptr);
    const ScopedWorkspace crooked(pool, {.workspace = memory + 4, .workspace_bytes = 128}, 64);
    EXPECT_EQ(crooked.status().code(), StatusCode::kWorkspaceTooSmall);
    EXPECT_EQ(crooked.status().message(),
              "run.workspace is not aligned; its address must be a multiple of 64");
}

TEST(Workspace, MemoryThatDoesNotExistIsAnErrorAndLeavesThePoolUsable) {
    WorkspacePool pool;
    const uint64 absurd = uint64{1} << 60;
    {
        const ScopedWorkspace workspace(pool, {}, absurd);
        EXPECT_EQ(workspace.status().code(), StatusCode::kOutOfMemory);
        EXPECT_EQ(workspace.status().message(),
                  "the run needs 1152921504606846976 bytes of workspace; the system has no such "
                  "memory left");
    }
    const ScopedWorkspace workspace(pool, {}, 64);
    EXPECT_TRUE(workspace.status().ok());
    EXPECT_NE(workspace.data(), nullptr);
}

}  // namespace
}  // namespace fattn::cpu
