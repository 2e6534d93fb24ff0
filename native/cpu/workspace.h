// Scratch memory of CPU runs: the caller's block, or one from a grow-only pool; used by the CPU
// kernels' host code.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

#include "backend/backend.h"
#include "backend/status.h"

namespace fattn::cpu {

constexpr std::size_t kWorkspaceAlignment = 64;

/// Bytes up to where the next part of a workspace begins, on a cache line of its own.
constexpr uint64 line_up(uint64 bytes) { return round_up<uint64>(bytes, kWorkspaceAlignment); }

/// Blocks kept between runs: one per concurrent run, each as large as any run asked. Thread-safe.
class WorkspacePool {
  public:
    struct Block {
        void* data = nullptr;
        uint64 bytes = 0;
    };

    WorkspacePool() = default;
    ~WorkspacePool();
    WorkspacePool(const WorkspacePool&) = delete;
    WorkspacePool& operator=(const WorkspacePool&) = delete;

    /// Returns null memory when the system has none.
    Block take(uint64 bytes);
    void give_back(Block block);
    /// Frees idle blocks.
    void trim();

  private:
    std::mutex mutex_;
    std::vector<Block> idle_;
    int64 num_taken_ = 0;
    uint64 largest_ = 0;  // any request since the last trim
};

/// The workspace of one run for its duration.
class ScopedWorkspace {
  public:
    /// Uses run.workspace when given (checking size and alignment), else takes a block from the
    /// pool.
    ScopedWorkspace(WorkspacePool& pool, const RunOptions& run, uint64 bytes);
    ~ScopedWorkspace();
    ScopedWorkspace(const ScopedWorkspace&) = delete;
    ScopedWorkspace& operator=(const ScopedWorkspace&) = delete;

    const Status& status() const { return status_; }
    std::byte* data() const { return data_; }

  private:
    WorkspacePool& pool_;
    WorkspacePool::Block block_;
    std::byte* data_ = nullptr;
    Status status_;
};

}  // namespace fattn::cpu
